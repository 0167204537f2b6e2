// Original file: proto/ringtune/v1/coordinator.proto

import type { Join as _ringtune_v1_Join, Join__Output as _ringtune_v1_Join__Output } from '../../ringtune/v1/Join.ts';
import type { Formed as _ringtune_v1_Formed, Formed__Output as _ringtune_v1_Formed__Output } from '../../ringtune/v1/Formed.ts';
import type { Reduced as _ringtune_v1_Reduced, Reduced__Output as _ringtune_v1_Reduced__Output } from '../../ringtune/v1/Reduced.ts';
import type { Applied as _ringtune_v1_Applied, Applied__Output as _ringtune_v1_Applied__Output } from '../../ringtune/v1/Applied.ts';
import type { Evaluated as _ringtune_v1_Evaluated, Evaluated__Output as _ringtune_v1_Evaluated__Output } from '../../ringtune/v1/Evaluated.ts';
import type { Saved as _ringtune_v1_Saved, Saved__Output as _ringtune_v1_Saved__Output } from '../../ringtune/v1/Saved.ts';
import type { Heartbeat as _ringtune_v1_Heartbeat, Heartbeat__Output as _ringtune_v1_Heartbeat__Output } from '../../ringtune/v1/Heartbeat.ts';
import type { Failed as _ringtune_v1_Failed, Failed__Output as _ringtune_v1_Failed__Output } from '../../ringtune/v1/Failed.ts';
import type { Interrupted as _ringtune_v1_Interrupted, Interrupted__Output as _ringtune_v1_Interrupted__Output } from '../../ringtune/v1/Interrupted.ts';
import type { Prepared as _ringtune_v1_Prepared, Prepared__Output as _ringtune_v1_Prepared__Output } from '../../ringtune/v1/Prepared.ts';
import type { Leaving as _ringtune_v1_Leaving, Leaving__Output as _ringtune_v1_Leaving__Output } from '../../ringtune/v1/Leaving.ts';
import type { NotSaved as _ringtune_v1_NotSaved, NotSaved__Output as _ringtune_v1_NotSaved__Output } from '../../ringtune/v1/NotSaved.ts';
import type { Clock as _ringtune_v1_Clock, Clock__Output as _ringtune_v1_Clock__Output } from '../../ringtune/v1/Clock.ts';

export interface WorkerMessage {
  'join'?: (_ringtune_v1_Join | null);
  'formed'?: (_ringtune_v1_Formed | null);
  'reduced'?: (_ringtune_v1_Reduced | null);
  'applied'?: (_ringtune_v1_Applied | null);
  'evaluated'?: (_ringtune_v1_Evaluated | null);
  'saved'?: (_ringtune_v1_Saved | null);
  'heartbeat'?: (_ringtune_v1_Heartbeat | null);
  'failed'?: (_ringtune_v1_Failed | null);
  'interrupted'?: (_ringtune_v1_Interrupted | null);
  'prepared'?: (_ringtune_v1_Prepared | null);
  'leaving'?: (_ringtune_v1_Leaving | null);
  'notSaved'?: (_ringtune_v1_NotSaved | null);
  'clock'?: (_ringtune_v1_Clock | null);
  'message'?: "join"|"formed"|"reduced"|"applied"|"evaluated"|"saved"|"heartbeat"|"failed"|"interrupted"|"prepared"|"leaving"|"notSaved"|"clock";
}

export interface WorkerMessage__Output {
  'join'?: (_ringtune_v1_Join__Output | null);
  'formed'?: (_ringtune_v1_Formed__Output | null);
  'reduced'?: (_ringtune_v1_Reduced__Output | null);
  'applied'?: (_ringtune_v1_Applied__Output | null);
  'evaluated'?: (_ringtune_v1_Evaluated__Output | null);
  'saved'?: (_ringtune_v1_Saved__Output | null);
  'heartbeat'?: (_ringtune_v1_Heartbeat__Output | null);
  'failed'?: (_ringtune_v1_Failed__Output | null);
  'interrupted'?: (_ringtune_v1_Interrupted__Output | null);
  'prepared'?: (_ringtune_v1_Prepared__Output | null);
  'leaving'?: (_ringtune_v1_Leaving__Output | null);
  'notSaved'?: (_ringtune_v1_NotSaved__Output | null);
  'clock'?: (_ringtune_v1_Clock__Output | null);
  'message'?: "join"|"formed"|"reduced"|"applied"|"evaluated"|"saved"|"heartbeat"|"failed"|"interrupted"|"prepared"|"leaving"|"notSaved"|"clock";
}
