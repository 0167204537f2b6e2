// Original file: proto/ringtune/v1/coordinator.proto


export interface Finish {
  'reason'?: (string);
  'drained'?: (boolean);
}

export interface Finish__Output {
  'reason': (string);
  'drained': (boolean);
}
