// Original file: proto/ringtune/v1/coordinator.proto


export interface StepTimes {
  'dataSeconds'?: (number | string);
  'computeSeconds'?: (number | string);
  'allReduceSeconds'?: (number | string);
}

export interface StepTimes__Output {
  'dataSeconds': (number);
  'computeSeconds': (number);
  'allReduceSeconds': (number);
}
