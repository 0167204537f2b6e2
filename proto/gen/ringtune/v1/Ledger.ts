// Original file: proto/ringtune/v1/coordinator.proto

import type { Long } from '@grpc/proto-loader';

export interface Ledger {
  'leased'?: (number | string | Long);
  'committed'?: (number | string | Long);
  'requeued'?: (number | string | Long);
  'duplicated'?: (number | string | Long);
  'lost'?: (number | string | Long);
  'digest'?: (string);
}

export interface Ledger__Output {
  'leased': (number);
  'committed': (number);
  'requeued': (number);
  'duplicated': (number);
  'lost': (number);
  'digest': (string);
}
