// Original file: proto/ringtune/v1/coordinator.proto


export interface Link {
  'rank'?: (number);
  'bytesPerSecond'?: (number | string);
  'latencySeconds'?: (number | string);
}

export interface Link__Output {
  'rank': (number);
  'bytesPerSecond': (number);
  'latencySeconds': (number);
}
