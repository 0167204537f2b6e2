// Original file: proto/ringtune/v1/coordinator.proto

import type { Link as _ringtune_v1_Link, Link__Output as _ringtune_v1_Link__Output } from '../../ringtune/v1/Link.ts';
import type { Long } from '@grpc/proto-loader';

export interface Formed {
  'generation'?: (number | string | Long);
  'step'?: (number | string | Long);
  'engine'?: (string);
  'parameters'?: (number | string | Long);
  'digest'?: (string);
  'engineWhy'?: (string)[];
  'notices'?: (string)[];
  'gpuUuid'?: (string);
  'links'?: (_ringtune_v1_Link)[];
}

export interface Formed__Output {
  'generation': (number);
  'step': (number);
  'engine': (string);
  'parameters': (number);
  'digest': (string);
  'engineWhy': (string)[];
  'notices': (string)[];
  'gpuUuid': (string);
  'links': (_ringtune_v1_Link__Output)[];
}
