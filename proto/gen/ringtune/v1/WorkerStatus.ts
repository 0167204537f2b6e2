// Original file: proto/ringtune/v1/coordinator.proto

import type { Clock as _ringtune_v1_Clock, Clock__Output as _ringtune_v1_Clock__Output } from '../../ringtune/v1/Clock.ts';

export interface WorkerStatus {
  'id'?: (string);
  'host'?: (string);
  'pid'?: (number);
  'status'?: (string);
  'rank'?: (number);
  'doing'?: (string);
  'silentSeconds'?: (number | string);
  'limitSeconds'?: (number | string);
  'lagSeconds'?: (number | string);
  'rowsPerSecond'?: (number | string);
  'clock'?: (_ringtune_v1_Clock | null);
}

export interface WorkerStatus__Output {
  'id': (string);
  'host': (string);
  'pid': (number);
  'status': (string);
  'rank': (number);
  'doing': (string);
  'silentSeconds': (number);
  'limitSeconds': (number);
  'lagSeconds': (number);
  'rowsPerSecond': (number);
  'clock': (_ringtune_v1_Clock__Output | null);
}
