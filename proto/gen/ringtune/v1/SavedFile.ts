// Original file: proto/ringtune/v1/coordinator.proto

import type { Long } from '@grpc/proto-loader';

export interface SavedFile {
  'name'?: (string);
  'sizeBytes'?: (number | string | Long);
  'sha256'?: (string);
}

export interface SavedFile__Output {
  'name': (string);
  'sizeBytes': (number);
  'sha256': (string);
}
