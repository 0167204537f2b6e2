// Original file: proto/ringtune/v1/coordinator.proto


export interface Folder {
  'path'?: (string);
  'checkpoint'?: (boolean);
}

export interface Folder__Output {
  'path': (string);
  'checkpoint': (boolean);
}
