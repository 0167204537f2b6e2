// Original file: proto/ringtune/v1/coordinator.proto

import type * as grpc from '@grpc/grpc-js'
import type { MethodDefinition } from '@grpc/proto-loader'
import type { CoordinatorMessage as _ringtune_v1_CoordinatorMessage, CoordinatorMessage__Output as _ringtune_v1_CoordinatorMessage__Output } from '../../ringtune/v1/CoordinatorMessage.ts';
import type { WorkerMessage as _ringtune_v1_WorkerMessage, WorkerMessage__Output as _ringtune_v1_WorkerMessage__Output } from '../../ringtune/v1/WorkerMessage.ts';

export interface CoordinatorClient extends grpc.Client {
  Session(metadata: grpc.Metadata, options?: grpc.CallOptions): grpc.ClientDuplexStream<_ringtune_v1_WorkerMessage, _ringtune_v1_CoordinatorMessage__Output>;
  Session(options?: grpc.CallOptions): grpc.ClientDuplexStream<_ringtune_v1_WorkerMessage, _ringtune_v1_CoordinatorMessage__Output>;
  session(metadata: grpc.Metadata, options?: grpc.CallOptions): grpc.ClientDuplexStream<_ringtune_v1_WorkerMessage, _ringtune_v1_CoordinatorMessage__Output>;
  session(options?: grpc.CallOptions): grpc.ClientDuplexStream<_ringtune_v1_WorkerMessage, _ringtune_v1_CoordinatorMessage__Output>;
  
}

export interface CoordinatorHandlers extends grpc.UntypedServiceImplementation {
  Session: grpc.handleBidiStreamingCall<_ringtune_v1_WorkerMessage__Output, _ringtune_v1_CoordinatorMessage>;
  
}

export interface CoordinatorDefinition extends grpc.ServiceDefinition {
  Session: MethodDefinition<_ringtune_v1_WorkerMessage, _ringtune_v1_CoordinatorMessage, _ringtune_v1_WorkerMessage__Output, _ringtune_v1_CoordinatorMessage__Output>
}
