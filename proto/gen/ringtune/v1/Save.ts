// Original file: proto/ringtune/v1/coordinator.proto

import type { Long } from '@grpc/proto-loader';

export interface Save {
  'generation'?: (number | string | Long);
  'step'?: (number | string | Long);
  'path'?: (string);
  'position'?: (number | string | Long);
  'part'?: (number);
  'parts'?: (number);
  'attempt'?: (number | string | Long);
}

export interface Save__Output {
  'generation': (number);
  'step': (number);
  'path': (string);
  'position': (number);
  'part': (number);
  'parts': (number);
  'attempt': (number);
}
