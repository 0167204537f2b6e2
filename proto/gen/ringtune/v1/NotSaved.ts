// Original file: proto/ringtune/v1/coordinator.proto

import type { Long } from '@grpc/proto-loader';

export interface NotSaved {
  'step'?: (number | string | Long);
  'attempt'?: (number | string | Long);
  'reason'?: (string);
  'neededBytes'?: (number | string | Long);
}

export interface NotSaved__Output {
  'step': (number);
  'attempt': (number);
  'reason': (string);
  'neededBytes': (number);
}
