// Original file: proto/ringtune/v1/coordinator.proto

import type { StepTimes as _ringtune_v1_StepTimes, StepTimes__Output as _ringtune_v1_StepTimes__Output } from '../../ringtune/v1/StepTimes.ts';
import type { NotFiniteTensor as _ringtune_v1_NotFiniteTensor, NotFiniteTensor__Output as _ringtune_v1_NotFiniteTensor__Output } from '../../ringtune/v1/NotFiniteTensor.ts';
import type { Long } from '@grpc/proto-loader';

export interface Reduced {
  'generation'?: (number | string | Long);
  'step'?: (number | string | Long);
  'lossSum'?: (number | string);
  'tokens'?: (number | string | Long);
  'gradientNorm'?: (number | string);
  'digest'?: (string);
  'times'?: (_ringtune_v1_StepTimes | null);
  'bytesSent'?: (number | string | Long);
  'notFiniteRows'?: (number)[];
  'rows'?: (number);
  'sampleDigest'?: (string);
  'notFiniteTensors'?: (_ringtune_v1_NotFiniteTensor)[];
  'bytesBetweenHosts'?: (number | string | Long);
}

export interface Reduced__Output {
  'generation': (number);
  'step': (number);
  'lossSum': (number);
  'tokens': (number);
  'gradientNorm': (number);
  'digest': (string);
  'times': (_ringtune_v1_StepTimes__Output | null);
  'bytesSent': (number);
  'notFiniteRows': (number)[];
  'rows': (number);
  'sampleDigest': (string);
  'notFiniteTensors': (_ringtune_v1_NotFiniteTensor__Output)[];
  'bytesBetweenHosts': (number);
}
