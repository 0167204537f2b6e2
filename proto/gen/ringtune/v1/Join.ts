// Original file: proto/ringtune/v1/coordinator.proto


export interface Join {
  'protocolVersion'?: (number);
  'workerId'?: (string);
  'joinToken'?: (string);
  'host'?: (string);
  'pid'?: (number);
  'ringEndpoint'?: (string);
}

export interface Join__Output {
  'protocolVersion': (number);
  'workerId': (string);
  'joinToken': (string);
  'host': (string);
  'pid': (number);
  'ringEndpoint': (string);
}
