// Original file: proto/ringtune/v1/coordinator.proto


export interface Shard {
  'rows'?: (number);
  'length'?: (number);
  'inputIds'?: (Buffer | Uint8Array | string);
  'targets'?: (Buffer | Uint8Array | string);
}

export interface Shard__Output {
  'rows': (number);
  'length': (number);
  'inputIds': (Buffer);
  'targets': (Buffer);
}
