// Original file: proto/ringtune/v1/coordinator.proto


export interface Clock {
  'offsetSeconds'?: (number | string);
  'roundTripSeconds'?: (number | string);
}

export interface Clock__Output {
  'offsetSeconds': (number);
  'roundTripSeconds': (number);
}
