// Original file: proto/ringtune/v1/coordinator.proto


export interface Prepared {
  'gpuUuid'?: (string);
}

export interface Prepared__Output {
  'gpuUuid': (string);
}
