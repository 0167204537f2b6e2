// Original file: proto/ringtune/v1/coordinator.proto

import type { Welcome as _ringtune_v1_Welcome, Welcome__Output as _ringtune_v1_Welcome__Output } from '../../ringtune/v1/Welcome.ts';
import type { Form as _ringtune_v1_Form, Form__Output as _ringtune_v1_Form__Output } from '../../ringtune/v1/Form.ts';
import type { Plan as _ringtune_v1_Plan, Plan__Output as _ringtune_v1_Plan__Output } from '../../ringtune/v1/Plan.ts';
import type { Commit as _ringtune_v1_Commit, Commit__Output as _ringtune_v1_Commit__Output } from '../../ringtune/v1/Commit.ts';
import type { Evaluate as _ringtune_v1_Evaluate, Evaluate__Output as _ringtune_v1_Evaluate__Output } from '../../ringtune/v1/Evaluate.ts';
import type { Save as _ringtune_v1_Save, Save__Output as _ringtune_v1_Save__Output } from '../../ringtune/v1/Save.ts';
import type { Finish as _ringtune_v1_Finish, Finish__Output as _ringtune_v1_Finish__Output } from '../../ringtune/v1/Finish.ts';
import type { Prepare as _ringtune_v1_Prepare, Prepare__Output as _ringtune_v1_Prepare__Output } from '../../ringtune/v1/Prepare.ts';

export interface CoordinatorMessage {
  'welcome'?: (_ringtune_v1_Welcome | null);
  'form'?: (_ringtune_v1_Form | null);
  'plan'?: (_ringtune_v1_Plan | null);
  'commit'?: (_ringtune_v1_Commit | null);
  'evaluate'?: (_ringtune_v1_Evaluate | null);
  'save'?: (_ringtune_v1_Save | null);
  'finish'?: (_ringtune_v1_Finish | null);
  'prepare'?: (_ringtune_v1_Prepare | null);
  'message'?: "welcome"|"form"|"plan"|"commit"|"evaluate"|"save"|"finish"|"prepare";
}

export interface CoordinatorMessage__Output {
  'welcome'?: (_ringtune_v1_Welcome__Output | null);
  'form'?: (_ringtune_v1_Form__Output | null);
  'plan'?: (_ringtune_v1_Plan__Output | null);
  'commit'?: (_ringtune_v1_Commit__Output | null);
  'evaluate'?: (_ringtune_v1_Evaluate__Output | null);
  'save'?: (_ringtune_v1_Save__Output | null);
  'finish'?: (_ringtune_v1_Finish__Output | null);
  'prepare'?: (_ringtune_v1_Prepare__Output | null);
  'message'?: "welcome"|"form"|"plan"|"commit"|"evaluate"|"save"|"finish"|"prepare";
}
