// Original file: proto/ringtune/v1/coordinator.proto


export interface Heartbeat {
  'doing'?: (string);
  'inCollective'?: (boolean);
  'count'?: (number);
}

export interface Heartbeat__Output {
  'doing': (string);
  'inCollective': (boolean);
  'count': (number);
}
