// Original file: proto/ringtune/v1/coordinator.proto

import type { Long } from '@grpc/proto-loader';

export interface Evaluated {
  'generation'?: (number | string | Long);
  'step'?: (number | string | Long);
  'lossSum'?: (number | string);
  'tokens'?: (number | string | Long);
}

export interface Evaluated__Output {
  'generation': (number);
  'step': (number);
  'lossSum': (number);
  'tokens': (number);
}
