// Original file: proto/ringtune/v1/coordinator.proto

import type { Long } from '@grpc/proto-loader';

export interface Reduction {
  'generation'?: (number | string | Long);
  'step'?: (number | string | Long);
  'digest'?: (string);
}

export interface Reduction__Output {
  'generation': (number);
  'step': (number);
  'digest': (string);
}
