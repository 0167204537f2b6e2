// Original file: proto/ringtune/v1/coordinator.proto


export interface DrainRequest {
  'workerId'?: (string);
}

export interface DrainRequest__Output {
  'workerId': (string);
}
