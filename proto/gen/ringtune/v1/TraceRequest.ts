// Original file: proto/ringtune/v1/coordinator.proto


export interface TraceRequest {
  'steps'?: (number);
}

export interface TraceRequest__Output {
  'steps': (number);
}
