// Original file: proto/ringtune/v1/coordinator.proto


export interface Peer {
  'root'?: (number);
  'keeps'?: (boolean);
}

export interface Peer__Output {
  'root': (number);
  'keeps': (boolean);
}
