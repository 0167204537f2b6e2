// Original file: proto/ringtune/v1/coordinator.proto


export interface Finish {
  'reason'?: (string);
}

export interface Finish__Output {
  'reason': (string);
}
