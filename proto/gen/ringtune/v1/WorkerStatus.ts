// Original file: proto/ringtune/v1/coordinator.proto


export interface WorkerStatus {
  'id'?: (string);
  'host'?: (string);
  'pid'?: (number);
  'status'?: (string);
  'rank'?: (number);
  'doing'?: (string);
  'silentSeconds'?: (number | string);
  'limitSeconds'?: (number | string);
  'lagSeconds'?: (number | string);
  'rowsPerSecond'?: (number | string);
}

export interface WorkerStatus__Output {
  'id': (string);
  'host': (string);
  'pid': (number);
  'status': (string);
  'rank': (number);
  'doing': (string);
  'silentSeconds': (number);
  'limitSeconds': (number);
  'lagSeconds': (number);
  'rowsPerSecond': (number);
}
