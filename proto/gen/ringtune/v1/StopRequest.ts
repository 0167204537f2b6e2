// Original file: proto/ringtune/v1/coordinator.proto


export interface StopRequest {
}

export interface StopRequest__Output {
}
