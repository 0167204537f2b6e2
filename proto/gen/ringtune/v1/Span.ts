// Original file: proto/ringtune/v1/coordinator.proto


export interface Span {
  'began'?: (number | string);
  'ended'?: (number | string);
}

export interface Span__Output {
  'began': (number);
  'ended': (number);
}
