// Original file: proto/ringtune/v1/coordinator.proto


export interface SaveTimes {
  'waitedSeconds'?: (number | string);
  'copiedSeconds'?: (number | string);
  'writtenSeconds'?: (number | string);
}

export interface SaveTimes__Output {
  'waitedSeconds': (number);
  'copiedSeconds': (number);
  'writtenSeconds': (number);
}
