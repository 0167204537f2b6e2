// Original file: proto/ringtune/v1/coordinator.proto

import type { SavedFile as _ringtune_v1_SavedFile, SavedFile__Output as _ringtune_v1_SavedFile__Output } from '../../ringtune/v1/SavedFile.ts';
import type { SaveTimes as _ringtune_v1_SaveTimes, SaveTimes__Output as _ringtune_v1_SaveTimes__Output } from '../../ringtune/v1/SaveTimes.ts';
import type { Long } from '@grpc/proto-loader';

export interface Saved {
  'step'?: (number | string | Long);
  'attempt'?: (number | string | Long);
  'files'?: (_ringtune_v1_SavedFile)[];
  'factsJson'?: (string);
  'times'?: (_ringtune_v1_SaveTimes | null);
}

export interface Saved__Output {
  'step': (number);
  'attempt': (number);
  'files': (_ringtune_v1_SavedFile__Output)[];
  'factsJson': (string);
  'times': (_ringtune_v1_SaveTimes__Output | null);
}
