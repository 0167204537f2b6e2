// Original file: proto/ringtune/v1/coordinator.proto

import type { Reduction as _ringtune_v1_Reduction, Reduction__Output as _ringtune_v1_Reduction__Output } from '../../ringtune/v1/Reduction.ts';
import type { Long } from '@grpc/proto-loader';

export interface Holding {
  'jobId'?: (string);
  'ready'?: (boolean);
  'generation'?: (number | string | Long);
  'step'?: (number | string | Long);
  'reduced'?: (_ringtune_v1_Reduction | null);
  'whole'?: (boolean);
}

export interface Holding__Output {
  'jobId': (string);
  'ready': (boolean);
  'generation': (number);
  'step': (number);
  'reduced': (_ringtune_v1_Reduction__Output | null);
  'whole': (boolean);
}
