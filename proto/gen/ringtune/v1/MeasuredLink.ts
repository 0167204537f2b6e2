// Original file: proto/ringtune/v1/coordinator.proto


export interface MeasuredLink {
  'from'?: (string);
  'to'?: (string);
  'bytesPerSecond'?: (number | string);
  'latencySeconds'?: (number | string);
}

export interface MeasuredLink__Output {
  'from': (string);
  'to': (string);
  'bytesPerSecond': (number);
  'latencySeconds': (number);
}
