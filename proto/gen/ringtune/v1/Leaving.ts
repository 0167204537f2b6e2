// Original file: proto/ringtune/v1/coordinator.proto


export interface Leaving {
  'reason'?: (string);
}

export interface Leaving__Output {
  'reason': (string);
}
