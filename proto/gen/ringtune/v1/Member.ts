// Original file: proto/ringtune/v1/coordinator.proto


export interface Member {
  'workerId'?: (string);
  'ringEndpoint'?: (string);
}

export interface Member__Output {
  'workerId': (string);
  'ringEndpoint': (string);
}
