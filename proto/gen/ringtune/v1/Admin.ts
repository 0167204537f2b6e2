// Original file: proto/ringtune/v1/coordinator.proto

import type * as grpc from '@grpc/grpc-js'
import type { MethodDefinition } from '@grpc/proto-loader'
import type { AdminReply as _ringtune_v1_AdminReply, AdminReply__Output as _ringtune_v1_AdminReply__Output } from '../../ringtune/v1/AdminReply.ts';
import type { DrainRequest as _ringtune_v1_DrainRequest, DrainRequest__Output as _ringtune_v1_DrainRequest__Output } from '../../ringtune/v1/DrainRequest.ts';
import type { MeasureLinksRequest as _ringtune_v1_MeasureLinksRequest, MeasureLinksRequest__Output as _ringtune_v1_MeasureLinksRequest__Output } from '../../ringtune/v1/MeasureLinksRequest.ts';
import type { ScaleRequest as _ringtune_v1_ScaleRequest, ScaleRequest__Output as _ringtune_v1_ScaleRequest__Output } from '../../ringtune/v1/ScaleRequest.ts';
import type { StatusReply as _ringtune_v1_StatusReply, StatusReply__Output as _ringtune_v1_StatusReply__Output } from '../../ringtune/v1/StatusReply.ts';
import type { StatusRequest as _ringtune_v1_StatusRequest, StatusRequest__Output as _ringtune_v1_StatusRequest__Output } from '../../ringtune/v1/StatusRequest.ts';
import type { StopRequest as _ringtune_v1_StopRequest, StopRequest__Output as _ringtune_v1_StopRequest__Output } from '../../ringtune/v1/StopRequest.ts';
import type { TokenReply as _ringtune_v1_TokenReply, TokenReply__Output as _ringtune_v1_TokenReply__Output } from '../../ringtune/v1/TokenReply.ts';
import type { TokenRequest as _ringtune_v1_TokenRequest, TokenRequest__Output as _ringtune_v1_TokenRequest__Output } from '../../ringtune/v1/TokenRequest.ts';
import type { TraceReply as _ringtune_v1_TraceReply, TraceReply__Output as _ringtune_v1_TraceReply__Output } from '../../ringtune/v1/TraceReply.ts';
import type { TraceRequest as _ringtune_v1_TraceRequest, TraceRequest__Output as _ringtune_v1_TraceRequest__Output } from '../../ringtune/v1/TraceRequest.ts';

export interface AdminClient extends grpc.Client {
  Drain(argument: _ringtune_v1_DrainRequest, metadata: grpc.Metadata, options: grpc.CallOptions, callback: grpc.requestCallback<_ringtune_v1_AdminReply__Output>): grpc.ClientUnaryCall;
  Drain(argument: _ringtune_v1_DrainRequest, metadata: grpc.Metadata, callback: grpc.requestCallback<_ringtune_v1_AdminReply__Output>): grpc.ClientUnaryCall;
  Drain(argument: _ringtune_v1_DrainRequest, options: grpc.CallOptions, callback: grpc.requestCallback<_ringtune_v1_AdminReply__Output>): grpc.ClientUnaryCall;
  Drain(argument: _ringtune_v1_DrainRequest, callback: grpc.requestCallback<_ringtune_v1_AdminReply__Output>): grpc.ClientUnaryCall;
  drain(argument: _ringtune_v1_DrainRequest, metadata: grpc.Metadata, options: grpc.CallOptions, callback: grpc.requestCallback<_ringtune_v1_AdminReply__Output>): grpc.ClientUnaryCall;
  drain(argument: _ringtune_v1_DrainRequest, metadata: grpc.Metadata, callback: grpc.requestCallback<_ringtune_v1_AdminReply__Output>): grpc.ClientUnaryCall;
  drain(argument: _ringtune_v1_DrainRequest, options: grpc.CallOptions, callback: grpc.requestCallback<_ringtune_v1_AdminReply__Output>): grpc.ClientUnaryCall;
  drain(argument: _ringtune_v1_DrainRequest, callback: grpc.requestCallback<_ringtune_v1_AdminReply__Output>): grpc.ClientUnaryCall;
  
  IssueToken(argument: _ringtune_v1_TokenRequest, metadata: grpc.Metadata, options: grpc.CallOptions, callback: grpc.requestCallback<_ringtune_v1_TokenReply__Output>): grpc.ClientUnaryCall;
  IssueToken(argument: _ringtune_v1_TokenRequest, metadata: grpc.Metadata, callback: grpc.requestCallback<_ringtune_v1_TokenReply__Output>): grpc.ClientUnaryCall;
  IssueToken(argument: _ringtune_v1_TokenRequest, options: grpc.CallOptions, callback: grpc.requestCallback<_ringtune_v1_TokenReply__Output>): grpc.ClientUnaryCall;
  IssueToken(argument: _ringtune_v1_TokenRequest, callback: grpc.requestCallback<_ringtune_v1_TokenReply__Output>): grpc.ClientUnaryCall;
  issueToken(argument: _ringtune_v1_TokenRequest, metadata: grpc.Metadata, options: grpc.CallOptions, callback: grpc.requestCallback<_ringtune_v1_TokenReply__Output>): grpc.ClientUnaryCall;
  issueToken(argument: _ringtune_v1_TokenRequest, metadata: grpc.Metadata, callback: grpc.requestCallback<_ringtune_v1_TokenReply__Output>): grpc.ClientUnaryCall;
  issueToken(argument: _ringtune_v1_TokenRequest, options: grpc.CallOptions, callback: grpc.requestCallback<_ringtune_v1_TokenReply__Output>): grpc.ClientUnaryCall;
  issueToken(argument: _ringtune_v1_TokenRequest, callback: grpc.requestCallback<_ringtune_v1_TokenReply__Output>): grpc.ClientUnaryCall;
  
  MeasureLinks(argument: _ringtune_v1_MeasureLinksRequest, metadata: grpc.Metadata, options: grpc.CallOptions, callback: grpc.requestCallback<_ringtune_v1_AdminReply__Output>): grpc.ClientUnaryCall;
  MeasureLinks(argument: _ringtune_v1_MeasureLinksRequest, metadata: grpc.Metadata, callback: grpc.requestCallback<_ringtune_v1_AdminReply__Output>): grpc.ClientUnaryCall;
  MeasureLinks(argument: _ringtune_v1_MeasureLinksRequest, options: grpc.CallOptions, callback: grpc.requestCallback<_ringtune_v1_AdminReply__Output>): grpc.ClientUnaryCall;
  MeasureLinks(argument: _ringtune_v1_MeasureLinksRequest, callback: grpc.requestCallback<_ringtune_v1_AdminReply__Output>): grpc.ClientUnaryCall;
  measureLinks(argument: _ringtune_v1_MeasureLinksRequest, metadata: grpc.Metadata, options: grpc.CallOptions, callback: grpc.requestCallback<_ringtune_v1_AdminReply__Output>): grpc.ClientUnaryCall;
  measureLinks(argument: _ringtune_v1_MeasureLinksRequest, metadata: grpc.Metadata, callback: grpc.requestCallback<_ringtune_v1_AdminReply__Output>): grpc.ClientUnaryCall;
  measureLinks(argument: _ringtune_v1_MeasureLinksRequest, options: grpc.CallOptions, callback: grpc.requestCallback<_ringtune_v1_AdminReply__Output>): grpc.ClientUnaryCall;
  measureLinks(argument: _ringtune_v1_MeasureLinksRequest, callback: grpc.requestCallback<_ringtune_v1_AdminReply__Output>): grpc.ClientUnaryCall;
  
  Scale(argument: _ringtune_v1_ScaleRequest, metadata: grpc.Metadata, options: grpc.CallOptions, callback: grpc.requestCallback<_ringtune_v1_AdminReply__Output>): grpc.ClientUnaryCall;
  Scale(argument: _ringtune_v1_ScaleRequest, metadata: grpc.Metadata, callback: grpc.requestCallback<_ringtune_v1_AdminReply__Output>): grpc.ClientUnaryCall;
  Scale(argument: _ringtune_v1_ScaleRequest, options: grpc.CallOptions, callback: grpc.requestCallback<_ringtune_v1_AdminReply__Output>): grpc.ClientUnaryCall;
  Scale(argument: _ringtune_v1_ScaleRequest, callback: grpc.requestCallback<_ringtune_v1_AdminReply__Output>): grpc.ClientUnaryCall;
  scale(argument: _ringtune_v1_ScaleRequest, metadata: grpc.Metadata, options: grpc.CallOptions, callback: grpc.requestCallback<_ringtune_v1_AdminReply__Output>): grpc.ClientUnaryCall;
  scale(argument: _ringtune_v1_ScaleRequest, metadata: grpc.Metadata, callback: grpc.requestCallback<_ringtune_v1_AdminReply__Output>): grpc.ClientUnaryCall;
  scale(argument: _ringtune_v1_ScaleRequest, options: grpc.CallOptions, callback: grpc.requestCallback<_ringtune_v1_AdminReply__Output>): grpc.ClientUnaryCall;
  scale(argument: _ringtune_v1_ScaleRequest, callback: grpc.requestCallback<_ringtune_v1_AdminReply__Output>): grpc.ClientUnaryCall;
  
  Status(argument: _ringtune_v1_StatusRequest, metadata: grpc.Metadata, options: grpc.CallOptions, callback: grpc.requestCallback<_ringtune_v1_StatusReply__Output>): grpc.ClientUnaryCall;
  Status(argument: _ringtune_v1_StatusRequest, metadata: grpc.Metadata, callback: grpc.requestCallback<_ringtune_v1_StatusReply__Output>): grpc.ClientUnaryCall;
  Status(argument: _ringtune_v1_StatusRequest, options: grpc.CallOptions, callback: grpc.requestCallback<_ringtune_v1_StatusReply__Output>): grpc.ClientUnaryCall;
  Status(argument: _ringtune_v1_StatusRequest, callback: grpc.requestCallback<_ringtune_v1_StatusReply__Output>): grpc.ClientUnaryCall;
  status(argument: _ringtune_v1_StatusRequest, metadata: grpc.Metadata, options: grpc.CallOptions, callback: grpc.requestCallback<_ringtune_v1_StatusReply__Output>): grpc.ClientUnaryCall;
  status(argument: _ringtune_v1_StatusRequest, metadata: grpc.Metadata, callback: grpc.requestCallback<_ringtune_v1_StatusReply__Output>): grpc.ClientUnaryCall;
  status(argument: _ringtune_v1_StatusRequest, options: grpc.CallOptions, callback: grpc.requestCallback<_ringtune_v1_StatusReply__Output>): grpc.ClientUnaryCall;
  status(argument: _ringtune_v1_StatusRequest, callback: grpc.requestCallback<_ringtune_v1_StatusReply__Output>): grpc.ClientUnaryCall;
  
  Stop(argument: _ringtune_v1_StopRequest, metadata: grpc.Metadata, options: grpc.CallOptions, callback: grpc.requestCallback<_ringtune_v1_AdminReply__Output>): grpc.ClientUnaryCall;
  Stop(argument: _ringtune_v1_StopRequest, metadata: grpc.Metadata, callback: grpc.requestCallback<_ringtune_v1_AdminReply__Output>): grpc.ClientUnaryCall;
  Stop(argument: _ringtune_v1_StopRequest, options: grpc.CallOptions, callback: grpc.requestCallback<_ringtune_v1_AdminReply__Output>): grpc.ClientUnaryCall;
  Stop(argument: _ringtune_v1_StopRequest, callback: grpc.requestCallback<_ringtune_v1_AdminReply__Output>): grpc.ClientUnaryCall;
  stop(argument: _ringtune_v1_StopRequest, metadata: grpc.Metadata, options: grpc.CallOptions, callback: grpc.requestCallback<_ringtune_v1_AdminReply__Output>): grpc.ClientUnaryCall;
  stop(argument: _ringtune_v1_StopRequest, metadata: grpc.Metadata, callback: grpc.requestCallback<_ringtune_v1_AdminReply__Output>): grpc.ClientUnaryCall;
  stop(argument: _ringtune_v1_StopRequest, options: grpc.CallOptions, callback: grpc.requestCallback<_ringtune_v1_AdminReply__Output>): grpc.ClientUnaryCall;
  stop(argument: _ringtune_v1_StopRequest, callback: grpc.requestCallback<_ringtune_v1_AdminReply__Output>): grpc.ClientUnaryCall;
  
  Trace(argument: _ringtune_v1_TraceRequest, metadata: grpc.Metadata, options: grpc.CallOptions, callback: grpc.requestCallback<_ringtune_v1_TraceReply__Output>): grpc.ClientUnaryCall;
  Trace(argument: _ringtune_v1_TraceRequest, metadata: grpc.Metadata, callback: grpc.requestCallback<_ringtune_v1_TraceReply__Output>): grpc.ClientUnaryCall;
  Trace(argument: _ringtune_v1_TraceRequest, options: grpc.CallOptions, callback: grpc.requestCallback<_ringtune_v1_TraceReply__Output>): grpc.ClientUnaryCall;
  Trace(argument: _ringtune_v1_TraceRequest, callback: grpc.requestCallback<_ringtune_v1_TraceReply__Output>): grpc.ClientUnaryCall;
  trace(argument: _ringtune_v1_TraceRequest, metadata: grpc.Metadata, options: grpc.CallOptions, callback: grpc.requestCallback<_ringtune_v1_TraceReply__Output>): grpc.ClientUnaryCall;
  trace(argument: _ringtune_v1_TraceRequest, metadata: grpc.Metadata, callback: grpc.requestCallback<_ringtune_v1_TraceReply__Output>): grpc.ClientUnaryCall;
  trace(argument: _ringtune_v1_TraceRequest, options: grpc.CallOptions, callback: grpc.requestCallback<_ringtune_v1_TraceReply__Output>): grpc.ClientUnaryCall;
  trace(argument: _ringtune_v1_TraceRequest, callback: grpc.requestCallback<_ringtune_v1_TraceReply__Output>): grpc.ClientUnaryCall;
  
}

export interface AdminHandlers extends grpc.UntypedServiceImplementation {
  Drain: grpc.handleUnaryCall<_ringtune_v1_DrainRequest__Output, _ringtune_v1_AdminReply>;
  
  IssueToken: grpc.handleUnaryCall<_ringtune_v1_TokenRequest__Output, _ringtune_v1_TokenReply>;
  
  MeasureLinks: grpc.handleUnaryCall<_ringtune_v1_MeasureLinksRequest__Output, _ringtune_v1_AdminReply>;
  
  Scale: grpc.handleUnaryCall<_ringtune_v1_ScaleRequest__Output, _ringtune_v1_AdminReply>;
  
  Status: grpc.handleUnaryCall<_ringtune_v1_StatusRequest__Output, _ringtune_v1_StatusReply>;
  
  Stop: grpc.handleUnaryCall<_ringtune_v1_StopRequest__Output, _ringtune_v1_AdminReply>;
  
  Trace: grpc.handleUnaryCall<_ringtune_v1_TraceRequest__Output, _ringtune_v1_TraceReply>;
  
}

export interface AdminDefinition extends grpc.ServiceDefinition {
  Drain: MethodDefinition<_ringtune_v1_DrainRequest, _ringtune_v1_AdminReply, _ringtune_v1_DrainRequest__Output, _ringtune_v1_AdminReply__Output>
  IssueToken: MethodDefinition<_ringtune_v1_TokenRequest, _ringtune_v1_TokenReply, _ringtune_v1_TokenRequest__Output, _ringtune_v1_TokenReply__Output>
  MeasureLinks: MethodDefinition<_ringtune_v1_MeasureLinksRequest, _ringtune_v1_AdminReply, _ringtune_v1_MeasureLinksRequest__Output, _ringtune_v1_AdminReply__Output>
  Scale: MethodDefinition<_ringtune_v1_ScaleRequest, _ringtune_v1_AdminReply, _ringtune_v1_ScaleRequest__Output, _ringtune_v1_AdminReply__Output>
  Status: MethodDefinition<_ringtune_v1_StatusRequest, _ringtune_v1_StatusReply, _ringtune_v1_StatusRequest__Output, _ringtune_v1_StatusReply__Output>
  Stop: MethodDefinition<_ringtune_v1_StopRequest, _ringtune_v1_AdminReply, _ringtune_v1_StopRequest__Output, _ringtune_v1_AdminReply__Output>
  Trace: MethodDefinition<_ringtune_v1_TraceRequest, _ringtune_v1_TraceReply, _ringtune_v1_TraceRequest__Output, _ringtune_v1_TraceReply__Output>
}
