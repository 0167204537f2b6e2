// Original file: proto/ringtune/v1/coordinator.proto


export interface Standby {
  'address'?: (string);
  'host'?: (string);
  'pid'?: (number);
}

export interface Standby__Output {
  'address': (string);
  'host': (string);
  'pid': (number);
}
