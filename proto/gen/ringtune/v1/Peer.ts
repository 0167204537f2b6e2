// Original file: proto/ringtune/v1/coordinator.proto


export interface Peer {
  'root'?: (number);
  'receivers'?: (number)[];
}

export interface Peer__Output {
  'root': (number);
  'receivers': (number)[];
}
