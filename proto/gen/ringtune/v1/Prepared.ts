// Original file: proto/ringtune/v1/coordinator.proto


export interface Prepared {
}

export interface Prepared__Output {
}
