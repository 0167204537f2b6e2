// Original file: proto/ringtune/v1/coordinator.proto


export interface TraceReply {
  'json'?: (string);
  'sentence'?: (string);
  'summary'?: (string);
}

export interface TraceReply__Output {
  'json': (string);
  'sentence': (string);
  'summary': (string);
}
