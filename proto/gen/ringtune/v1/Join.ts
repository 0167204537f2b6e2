// Original file: proto/ringtune/v1/coordinator.proto

import type { Holding as _ringtune_v1_Holding, Holding__Output as _ringtune_v1_Holding__Output } from '../../ringtune/v1/Holding.ts';

export interface Join {
  'protocolVersion'?: (number);
  'workerId'?: (string);
  'joinToken'?: (string);
  'host'?: (string);
  'pid'?: (number);
  'ringEndpoint'?: (string);
  'holding'?: (_ringtune_v1_Holding | null);
}

export interface Join__Output {
  'protocolVersion': (number);
  'workerId': (string);
  'joinToken': (string);
  'host': (string);
  'pid': (number);
  'ringEndpoint': (string);
  'holding': (_ringtune_v1_Holding__Output | null);
}
