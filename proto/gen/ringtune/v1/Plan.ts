// Original file: proto/ringtune/v1/coordinator.proto

import type { Shard as _ringtune_v1_Shard, Shard__Output as _ringtune_v1_Shard__Output } from '../../ringtune/v1/Shard.ts';
import type { Long } from '@grpc/proto-loader';

export interface Plan {
  'generation'?: (number | string | Long);
  'step'?: (number | string | Long);
  'shard'?: (_ringtune_v1_Shard | null);
  'microbatch'?: (number);
  'globalTokens'?: (number | string | Long);
  'learningRates'?: (number | string)[];
  'clip'?: (number | string);
  'verify'?: (boolean);
  'firstRow'?: (number | string | Long);
  'batchRows'?: (number | string | Long);
}

export interface Plan__Output {
  'generation': (number);
  'step': (number);
  'shard': (_ringtune_v1_Shard__Output | null);
  'microbatch': (number);
  'globalTokens': (number);
  'learningRates': (number)[];
  'clip': (number);
  'verify': (boolean);
  'firstRow': (number);
  'batchRows': (number);
}
