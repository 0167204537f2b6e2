// Original file: proto/ringtune/v1/coordinator.proto


export interface AdminReply {
  'sentence'?: (string);
}

export interface AdminReply__Output {
  'sentence': (string);
}
