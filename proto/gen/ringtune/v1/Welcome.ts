// Original file: proto/ringtune/v1/coordinator.proto

import type { Long } from '@grpc/proto-loader';

export interface Welcome {
  'jobId'?: (string);
  'heartbeatSeconds'?: (number | string);
  'engine'?: (string);
  'device'?: (string);
  'threads'?: (number);
  'modelConfigJson'?: (string);
  'tokenizerJson'?: (string);
  'tokenizerConfigJson'?: (string);
  'optimizerJson'?: (string);
  'seed'?: (number | string | Long);
  'trainingJson'?: (string);
  'baseModelPath'?: (string);
  'taskJson'?: (string);
  'workerId'?: (string);
  'recoverSeconds'?: (number | string);
  'arrivedMs'?: (number | string);
  'sentMs'?: (number | string);
}

export interface Welcome__Output {
  'jobId': (string);
  'heartbeatSeconds': (number);
  'engine': (string);
  'device': (string);
  'threads': (number);
  'modelConfigJson': (string);
  'tokenizerJson': (string);
  'tokenizerConfigJson': (string);
  'optimizerJson': (string);
  'seed': (number);
  'trainingJson': (string);
  'baseModelPath': (string);
  'taskJson': (string);
  'workerId': (string);
  'recoverSeconds': (number);
  'arrivedMs': (number);
  'sentMs': (number);
}
