// Original file: proto/ringtune/v1/coordinator.proto

import type { Long } from '@grpc/proto-loader';

export interface PredictionCounts {
  'truePositives'?: (number | string | Long)[];
  'falsePositives'?: (number | string | Long)[];
  'falseNegatives'?: (number | string | Long)[];
  'correct'?: (number | string | Long);
  'total'?: (number | string | Long);
}

export interface PredictionCounts__Output {
  'truePositives': (number)[];
  'falsePositives': (number)[];
  'falseNegatives': (number)[];
  'correct': (number);
  'total': (number);
}
