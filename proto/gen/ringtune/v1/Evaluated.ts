// Original file: proto/ringtune/v1/coordinator.proto

import type { PredictionCounts as _ringtune_v1_PredictionCounts, PredictionCounts__Output as _ringtune_v1_PredictionCounts__Output } from '../../ringtune/v1/PredictionCounts.ts';
import type { Long } from '@grpc/proto-loader';

export interface Evaluated {
  'generation'?: (number | string | Long);
  'step'?: (number | string | Long);
  'lossSum'?: (number | string);
  'tokens'?: (number | string | Long);
  'notFiniteRows'?: (number)[];
  'counts'?: (_ringtune_v1_PredictionCounts | null);
}

export interface Evaluated__Output {
  'generation': (number);
  'step': (number);
  'lossSum': (number);
  'tokens': (number);
  'notFiniteRows': (number)[];
  'counts': (_ringtune_v1_PredictionCounts__Output | null);
}
