// Original file: proto/ringtune/v1/coordinator.proto

import type { Span as _ringtune_v1_Span, Span__Output as _ringtune_v1_Span__Output } from '../../ringtune/v1/Span.ts';

export interface StepTimes {
  'dataSeconds'?: (number | string);
  'computeSeconds'?: (number | string);
  'allReduceSeconds'?: (number | string);
  'collectiveSeconds'?: (number | string);
  'microbatches'?: (_ringtune_v1_Span)[];
  'buckets'?: (_ringtune_v1_Span)[];
}

export interface StepTimes__Output {
  'dataSeconds': (number);
  'computeSeconds': (number);
  'allReduceSeconds': (number);
  'collectiveSeconds': (number);
  'microbatches': (_ringtune_v1_Span__Output)[];
  'buckets': (_ringtune_v1_Span__Output)[];
}
