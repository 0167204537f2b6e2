// Original file: proto/ringtune/v1/coordinator.proto

import type { WorkerStatus as _ringtune_v1_WorkerStatus, WorkerStatus__Output as _ringtune_v1_WorkerStatus__Output } from '../../ringtune/v1/WorkerStatus.ts';
import type { Ledger as _ringtune_v1_Ledger, Ledger__Output as _ringtune_v1_Ledger__Output } from '../../ringtune/v1/Ledger.ts';
import type { Standby as _ringtune_v1_Standby, Standby__Output as _ringtune_v1_Standby__Output } from '../../ringtune/v1/Standby.ts';
import type { MeasuredLink as _ringtune_v1_MeasuredLink, MeasuredLink__Output as _ringtune_v1_MeasuredLink__Output } from '../../ringtune/v1/MeasuredLink.ts';
import type { Long } from '@grpc/proto-loader';

export interface StatusReply {
  'run'?: (string);
  'phase'?: (string);
  'generation'?: (number | string | Long);
  'step'?: (number | string | Long);
  'totalSteps'?: (number | string | Long);
  'saved'?: (number | string | Long);
  'workers'?: (_ringtune_v1_WorkerStatus)[];
  'dead'?: (string)[];
  'joinCommand'?: (string);
  'ledger'?: (_ringtune_v1_Ledger | null);
  'standbys'?: (_ringtune_v1_Standby)[];
  'links'?: (_ringtune_v1_MeasuredLink)[];
  'measuresLinks'?: (boolean);
}

export interface StatusReply__Output {
  'run': (string);
  'phase': (string);
  'generation': (number);
  'step': (number);
  'totalSteps': (number);
  'saved': (number);
  'workers': (_ringtune_v1_WorkerStatus__Output)[];
  'dead': (string)[];
  'joinCommand': (string);
  'ledger': (_ringtune_v1_Ledger__Output | null);
  'standbys': (_ringtune_v1_Standby__Output)[];
  'links': (_ringtune_v1_MeasuredLink__Output)[];
  'measuresLinks': (boolean);
}
