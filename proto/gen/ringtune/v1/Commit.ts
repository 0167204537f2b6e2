// Original file: proto/ringtune/v1/coordinator.proto

import type { Long } from '@grpc/proto-loader';

export interface Commit {
  'generation'?: (number | string | Long);
  'step'?: (number | string | Long);
}

export interface Commit__Output {
  'generation': (number);
  'step': (number);
}
