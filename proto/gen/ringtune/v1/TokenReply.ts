// Original file: proto/ringtune/v1/coordinator.proto


export interface TokenReply {
  'token'?: (string);
  'expires'?: (string);
}

export interface TokenReply__Output {
  'token': (string);
  'expires': (string);
}
