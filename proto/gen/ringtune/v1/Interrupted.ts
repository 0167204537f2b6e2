// Original file: proto/ringtune/v1/coordinator.proto

import type { Long } from '@grpc/proto-loader';

export interface Interrupted {
  'generation'?: (number | string | Long);
  'step'?: (number | string | Long);
  'reason'?: (string);
}

export interface Interrupted__Output {
  'generation': (number);
  'step': (number);
  'reason': (string);
}
