// Original file: proto/ringtune/v1/coordinator.proto

import type { Long } from '@grpc/proto-loader';

export interface NotFiniteTensor {
  'name'?: (string);
  'elements'?: (number | string | Long);
  'size'?: (number | string | Long);
}

export interface NotFiniteTensor__Output {
  'name': (string);
  'elements': (number);
  'size': (number);
}
