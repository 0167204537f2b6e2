// Original file: proto/ringtune/v1/coordinator.proto

import type { Shard as _ringtune_v1_Shard, Shard__Output as _ringtune_v1_Shard__Output } from '../../ringtune/v1/Shard.ts';

export interface Prepare {
  'localWorldSize'?: (number);
  'shard'?: (_ringtune_v1_Shard | null);
  'microbatch'?: (number);
}

export interface Prepare__Output {
  'localWorldSize': (number);
  'shard': (_ringtune_v1_Shard__Output | null);
  'microbatch': (number);
}
