// Original file: proto/ringtune/v1/coordinator.proto

import type { Long } from '@grpc/proto-loader';

export interface Saved {
  'step'?: (number | string | Long);
  'sizeBytes'?: (number | string | Long);
}

export interface Saved__Output {
  'step': (number);
  'sizeBytes': (number);
}
