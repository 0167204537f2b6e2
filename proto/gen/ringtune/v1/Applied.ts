// Original file: proto/ringtune/v1/coordinator.proto

import type { Long } from '@grpc/proto-loader';

export interface Applied {
  'generation'?: (number | string | Long);
  'step'?: (number | string | Long);
  'seconds'?: (number | string);
  'digest'?: (string);
  'notices'?: (string)[];
}

export interface Applied__Output {
  'generation': (number);
  'step': (number);
  'seconds': (number);
  'digest': (string);
  'notices': (string)[];
}
