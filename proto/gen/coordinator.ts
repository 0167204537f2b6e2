import type * as grpc from '@grpc/grpc-js';
import type { MessageTypeDefinition } from '@grpc/proto-loader';

import type { AdminClient as _ringtune_v1_AdminClient, AdminDefinition as _ringtune_v1_AdminDefinition } from './ringtune/v1/Admin.ts';
import type { AdminReply as _ringtune_v1_AdminReply, AdminReply__Output as _ringtune_v1_AdminReply__Output } from './ringtune/v1/AdminReply.ts';
import type { Applied as _ringtune_v1_Applied, Applied__Output as _ringtune_v1_Applied__Output } from './ringtune/v1/Applied.ts';
import type { Clock as _ringtune_v1_Clock, Clock__Output as _ringtune_v1_Clock__Output } from './ringtune/v1/Clock.ts';
import type { Commit as _ringtune_v1_Commit, Commit__Output as _ringtune_v1_Commit__Output } from './ringtune/v1/Commit.ts';
import type { CoordinatorClient as _ringtune_v1_CoordinatorClient, CoordinatorDefinition as _ringtune_v1_CoordinatorDefinition } from './ringtune/v1/Coordinator.ts';
import type { CoordinatorMessage as _ringtune_v1_CoordinatorMessage, CoordinatorMessage__Output as _ringtune_v1_CoordinatorMessage__Output } from './ringtune/v1/CoordinatorMessage.ts';
import type { DrainRequest as _ringtune_v1_DrainRequest, DrainRequest__Output as _ringtune_v1_DrainRequest__Output } from './ringtune/v1/DrainRequest.ts';
import type { Evaluate as _ringtune_v1_Evaluate, Evaluate__Output as _ringtune_v1_Evaluate__Output } from './ringtune/v1/Evaluate.ts';
import type { Evaluated as _ringtune_v1_Evaluated, Evaluated__Output as _ringtune_v1_Evaluated__Output } from './ringtune/v1/Evaluated.ts';
import type { Failed as _ringtune_v1_Failed, Failed__Output as _ringtune_v1_Failed__Output } from './ringtune/v1/Failed.ts';
import type { Finish as _ringtune_v1_Finish, Finish__Output as _ringtune_v1_Finish__Output } from './ringtune/v1/Finish.ts';
import type { Folder as _ringtune_v1_Folder, Folder__Output as _ringtune_v1_Folder__Output } from './ringtune/v1/Folder.ts';
import type { Form as _ringtune_v1_Form, Form__Output as _ringtune_v1_Form__Output } from './ringtune/v1/Form.ts';
import type { Formed as _ringtune_v1_Formed, Formed__Output as _ringtune_v1_Formed__Output } from './ringtune/v1/Formed.ts';
import type { Heartbeat as _ringtune_v1_Heartbeat, Heartbeat__Output as _ringtune_v1_Heartbeat__Output } from './ringtune/v1/Heartbeat.ts';
import type { Held as _ringtune_v1_Held, Held__Output as _ringtune_v1_Held__Output } from './ringtune/v1/Held.ts';
import type { Holding as _ringtune_v1_Holding, Holding__Output as _ringtune_v1_Holding__Output } from './ringtune/v1/Holding.ts';
import type { Interrupted as _ringtune_v1_Interrupted, Interrupted__Output as _ringtune_v1_Interrupted__Output } from './ringtune/v1/Interrupted.ts';
import type { Join as _ringtune_v1_Join, Join__Output as _ringtune_v1_Join__Output } from './ringtune/v1/Join.ts';
import type { Leaving as _ringtune_v1_Leaving, Leaving__Output as _ringtune_v1_Leaving__Output } from './ringtune/v1/Leaving.ts';
import type { Ledger as _ringtune_v1_Ledger, Ledger__Output as _ringtune_v1_Ledger__Output } from './ringtune/v1/Ledger.ts';
import type { Link as _ringtune_v1_Link, Link__Output as _ringtune_v1_Link__Output } from './ringtune/v1/Link.ts';
import type { MeasureLinksRequest as _ringtune_v1_MeasureLinksRequest, MeasureLinksRequest__Output as _ringtune_v1_MeasureLinksRequest__Output } from './ringtune/v1/MeasureLinksRequest.ts';
import type { MeasuredLink as _ringtune_v1_MeasuredLink, MeasuredLink__Output as _ringtune_v1_MeasuredLink__Output } from './ringtune/v1/MeasuredLink.ts';
import type { Member as _ringtune_v1_Member, Member__Output as _ringtune_v1_Member__Output } from './ringtune/v1/Member.ts';
import type { NotFiniteTensor as _ringtune_v1_NotFiniteTensor, NotFiniteTensor__Output as _ringtune_v1_NotFiniteTensor__Output } from './ringtune/v1/NotFiniteTensor.ts';
import type { NotSaved as _ringtune_v1_NotSaved, NotSaved__Output as _ringtune_v1_NotSaved__Output } from './ringtune/v1/NotSaved.ts';
import type { Peer as _ringtune_v1_Peer, Peer__Output as _ringtune_v1_Peer__Output } from './ringtune/v1/Peer.ts';
import type { Plan as _ringtune_v1_Plan, Plan__Output as _ringtune_v1_Plan__Output } from './ringtune/v1/Plan.ts';
import type { PredictionCounts as _ringtune_v1_PredictionCounts, PredictionCounts__Output as _ringtune_v1_PredictionCounts__Output } from './ringtune/v1/PredictionCounts.ts';
import type { Prepare as _ringtune_v1_Prepare, Prepare__Output as _ringtune_v1_Prepare__Output } from './ringtune/v1/Prepare.ts';
import type { Prepared as _ringtune_v1_Prepared, Prepared__Output as _ringtune_v1_Prepared__Output } from './ringtune/v1/Prepared.ts';
import type { Reduced as _ringtune_v1_Reduced, Reduced__Output as _ringtune_v1_Reduced__Output } from './ringtune/v1/Reduced.ts';
import type { Reduction as _ringtune_v1_Reduction, Reduction__Output as _ringtune_v1_Reduction__Output } from './ringtune/v1/Reduction.ts';
import type { Save as _ringtune_v1_Save, Save__Output as _ringtune_v1_Save__Output } from './ringtune/v1/Save.ts';
import type { SaveTimes as _ringtune_v1_SaveTimes, SaveTimes__Output as _ringtune_v1_SaveTimes__Output } from './ringtune/v1/SaveTimes.ts';
import type { Saved as _ringtune_v1_Saved, Saved__Output as _ringtune_v1_Saved__Output } from './ringtune/v1/Saved.ts';
import type { SavedFile as _ringtune_v1_SavedFile, SavedFile__Output as _ringtune_v1_SavedFile__Output } from './ringtune/v1/SavedFile.ts';
import type { ScaleRequest as _ringtune_v1_ScaleRequest, ScaleRequest__Output as _ringtune_v1_ScaleRequest__Output } from './ringtune/v1/ScaleRequest.ts';
import type { Seed as _ringtune_v1_Seed, Seed__Output as _ringtune_v1_Seed__Output } from './ringtune/v1/Seed.ts';
import type { Shard as _ringtune_v1_Shard, Shard__Output as _ringtune_v1_Shard__Output } from './ringtune/v1/Shard.ts';
import type { Span as _ringtune_v1_Span, Span__Output as _ringtune_v1_Span__Output } from './ringtune/v1/Span.ts';
import type { Standby as _ringtune_v1_Standby, Standby__Output as _ringtune_v1_Standby__Output } from './ringtune/v1/Standby.ts';
import type { StatusReply as _ringtune_v1_StatusReply, StatusReply__Output as _ringtune_v1_StatusReply__Output } from './ringtune/v1/StatusReply.ts';
import type { StatusRequest as _ringtune_v1_StatusRequest, StatusRequest__Output as _ringtune_v1_StatusRequest__Output } from './ringtune/v1/StatusRequest.ts';
import type { StepTimes as _ringtune_v1_StepTimes, StepTimes__Output as _ringtune_v1_StepTimes__Output } from './ringtune/v1/StepTimes.ts';
import type { StopRequest as _ringtune_v1_StopRequest, StopRequest__Output as _ringtune_v1_StopRequest__Output } from './ringtune/v1/StopRequest.ts';
import type { TokenReply as _ringtune_v1_TokenReply, TokenReply__Output as _ringtune_v1_TokenReply__Output } from './ringtune/v1/TokenReply.ts';
import type { TokenRequest as _ringtune_v1_TokenRequest, TokenRequest__Output as _ringtune_v1_TokenRequest__Output } from './ringtune/v1/TokenRequest.ts';
import type { TraceReply as _ringtune_v1_TraceReply, TraceReply__Output as _ringtune_v1_TraceReply__Output } from './ringtune/v1/TraceReply.ts';
import type { TraceRequest as _ringtune_v1_TraceRequest, TraceRequest__Output as _ringtune_v1_TraceRequest__Output } from './ringtune/v1/TraceRequest.ts';
import type { Welcome as _ringtune_v1_Welcome, Welcome__Output as _ringtune_v1_Welcome__Output } from './ringtune/v1/Welcome.ts';
import type { WorkerMessage as _ringtune_v1_WorkerMessage, WorkerMessage__Output as _ringtune_v1_WorkerMessage__Output } from './ringtune/v1/WorkerMessage.ts';
import type { WorkerStatus as _ringtune_v1_WorkerStatus, WorkerStatus__Output as _ringtune_v1_WorkerStatus__Output } from './ringtune/v1/WorkerStatus.ts';

type SubtypeConstructor<Constructor extends new (...args: any) => any, Subtype> = {
  new(...args: ConstructorParameters<Constructor>): Subtype;
};

export interface ProtoGrpcType {
  ringtune: {
    v1: {
      Admin: SubtypeConstructor<typeof grpc.Client, _ringtune_v1_AdminClient> & { service: _ringtune_v1_AdminDefinition }
      AdminReply: MessageTypeDefinition<_ringtune_v1_AdminReply, _ringtune_v1_AdminReply__Output>
      Applied: MessageTypeDefinition<_ringtune_v1_Applied, _ringtune_v1_Applied__Output>
      Clock: MessageTypeDefinition<_ringtune_v1_Clock, _ringtune_v1_Clock__Output>
      Commit: MessageTypeDefinition<_ringtune_v1_Commit, _ringtune_v1_Commit__Output>
      Coordinator: SubtypeConstructor<typeof grpc.Client, _ringtune_v1_CoordinatorClient> & { service: _ringtune_v1_CoordinatorDefinition }
      CoordinatorMessage: MessageTypeDefinition<_ringtune_v1_CoordinatorMessage, _ringtune_v1_CoordinatorMessage__Output>
      DrainRequest: MessageTypeDefinition<_ringtune_v1_DrainRequest, _ringtune_v1_DrainRequest__Output>
      Evaluate: MessageTypeDefinition<_ringtune_v1_Evaluate, _ringtune_v1_Evaluate__Output>
      Evaluated: MessageTypeDefinition<_ringtune_v1_Evaluated, _ringtune_v1_Evaluated__Output>
      Failed: MessageTypeDefinition<_ringtune_v1_Failed, _ringtune_v1_Failed__Output>
      Finish: MessageTypeDefinition<_ringtune_v1_Finish, _ringtune_v1_Finish__Output>
      Folder: MessageTypeDefinition<_ringtune_v1_Folder, _ringtune_v1_Folder__Output>
      Form: MessageTypeDefinition<_ringtune_v1_Form, _ringtune_v1_Form__Output>
      Formed: MessageTypeDefinition<_ringtune_v1_Formed, _ringtune_v1_Formed__Output>
      Heartbeat: MessageTypeDefinition<_ringtune_v1_Heartbeat, _ringtune_v1_Heartbeat__Output>
      Held: MessageTypeDefinition<_ringtune_v1_Held, _ringtune_v1_Held__Output>
      Holding: MessageTypeDefinition<_ringtune_v1_Holding, _ringtune_v1_Holding__Output>
      Interrupted: MessageTypeDefinition<_ringtune_v1_Interrupted, _ringtune_v1_Interrupted__Output>
      Join: MessageTypeDefinition<_ringtune_v1_Join, _ringtune_v1_Join__Output>
      Leaving: MessageTypeDefinition<_ringtune_v1_Leaving, _ringtune_v1_Leaving__Output>
      Ledger: MessageTypeDefinition<_ringtune_v1_Ledger, _ringtune_v1_Ledger__Output>
      Link: MessageTypeDefinition<_ringtune_v1_Link, _ringtune_v1_Link__Output>
      MeasureLinksRequest: MessageTypeDefinition<_ringtune_v1_MeasureLinksRequest, _ringtune_v1_MeasureLinksRequest__Output>
      MeasuredLink: MessageTypeDefinition<_ringtune_v1_MeasuredLink, _ringtune_v1_MeasuredLink__Output>
      Member: MessageTypeDefinition<_ringtune_v1_Member, _ringtune_v1_Member__Output>
      NotFiniteTensor: MessageTypeDefinition<_ringtune_v1_NotFiniteTensor, _ringtune_v1_NotFiniteTensor__Output>
      NotSaved: MessageTypeDefinition<_ringtune_v1_NotSaved, _ringtune_v1_NotSaved__Output>
      Peer: MessageTypeDefinition<_ringtune_v1_Peer, _ringtune_v1_Peer__Output>
      Plan: MessageTypeDefinition<_ringtune_v1_Plan, _ringtune_v1_Plan__Output>
      PredictionCounts: MessageTypeDefinition<_ringtune_v1_PredictionCounts, _ringtune_v1_PredictionCounts__Output>
      Prepare: MessageTypeDefinition<_ringtune_v1_Prepare, _ringtune_v1_Prepare__Output>
      Prepared: MessageTypeDefinition<_ringtune_v1_Prepared, _ringtune_v1_Prepared__Output>
      Reduced: MessageTypeDefinition<_ringtune_v1_Reduced, _ringtune_v1_Reduced__Output>
      Reduction: MessageTypeDefinition<_ringtune_v1_Reduction, _ringtune_v1_Reduction__Output>
      Save: MessageTypeDefinition<_ringtune_v1_Save, _ringtune_v1_Save__Output>
      SaveTimes: MessageTypeDefinition<_ringtune_v1_SaveTimes, _ringtune_v1_SaveTimes__Output>
      Saved: MessageTypeDefinition<_ringtune_v1_Saved, _ringtune_v1_Saved__Output>
      SavedFile: MessageTypeDefinition<_ringtune_v1_SavedFile, _ringtune_v1_SavedFile__Output>
      ScaleRequest: MessageTypeDefinition<_ringtune_v1_ScaleRequest, _ringtune_v1_ScaleRequest__Output>
      Seed: MessageTypeDefinition<_ringtune_v1_Seed, _ringtune_v1_Seed__Output>
      Shard: MessageTypeDefinition<_ringtune_v1_Shard, _ringtune_v1_Shard__Output>
      Span: MessageTypeDefinition<_ringtune_v1_Span, _ringtune_v1_Span__Output>
      Standby: MessageTypeDefinition<_ringtune_v1_Standby, _ringtune_v1_Standby__Output>
      StatusReply: MessageTypeDefinition<_ringtune_v1_StatusReply, _ringtune_v1_StatusReply__Output>
      StatusRequest: MessageTypeDefinition<_ringtune_v1_StatusRequest, _ringtune_v1_StatusRequest__Output>
      StepTimes: MessageTypeDefinition<_ringtune_v1_StepTimes, _ringtune_v1_StepTimes__Output>
      StopRequest: MessageTypeDefinition<_ringtune_v1_StopRequest, _ringtune_v1_StopRequest__Output>
      TokenReply: MessageTypeDefinition<_ringtune_v1_TokenReply, _ringtune_v1_TokenReply__Output>
      TokenRequest: MessageTypeDefinition<_ringtune_v1_TokenRequest, _ringtune_v1_TokenRequest__Output>
      TraceReply: MessageTypeDefinition<_ringtune_v1_TraceReply, _ringtune_v1_TraceReply__Output>
      TraceRequest: MessageTypeDefinition<_ringtune_v1_TraceRequest, _ringtune_v1_TraceRequest__Output>
      Welcome: MessageTypeDefinition<_ringtune_v1_Welcome, _ringtune_v1_Welcome__Output>
      WorkerMessage: MessageTypeDefinition<_ringtune_v1_WorkerMessage, _ringtune_v1_WorkerMessage__Output>
      WorkerStatus: MessageTypeDefinition<_ringtune_v1_WorkerStatus, _ringtune_v1_WorkerStatus__Output>
    }
  }
}

