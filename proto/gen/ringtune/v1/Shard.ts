// Original file: proto/ringtune/v1/coordinator.proto


export interface Shard {
  'rows'?: (number);
  'length'?: (number);
  'inputIds'?: (Buffer | Uint8Array | string);
  'targets'?: (Buffer | Uint8Array | string);
  'attentionMask'?: (Buffer | Uint8Array | string);
  'tokenTypeIds'?: (Buffer | Uint8Array | string);
}

export interface Shard__Output {
  'rows': (number);
  'length': (number);
  'inputIds': (Buffer);
  'targets': (Buffer);
  'attentionMask': (Buffer);
  'tokenTypeIds': (Buffer);
}
