// Original file: proto/ringtune/v1/coordinator.proto


export interface Failed {
  'code'?: (string);
  'message'?: (string);
}

export interface Failed__Output {
  'code': (string);
  'message': (string);
}
