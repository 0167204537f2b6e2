// Original file: proto/ringtune/v1/coordinator.proto


export interface Held {
}

export interface Held__Output {
}
