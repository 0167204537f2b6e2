// Original file: proto/ringtune/v1/coordinator.proto


export interface Prepare {
  'localWorldSize'?: (number);
}

export interface Prepare__Output {
  'localWorldSize': (number);
}
