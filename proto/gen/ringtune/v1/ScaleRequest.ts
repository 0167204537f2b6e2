// Original file: proto/ringtune/v1/coordinator.proto


export interface ScaleRequest {
  'workers'?: (number);
}

export interface ScaleRequest__Output {
  'workers': (number);
}
