// Original file: proto/ringtune/v1/coordinator.proto


export interface TokenRequest {
  'seconds'?: (number | string);
}

export interface TokenRequest__Output {
  'seconds': (number);
}
