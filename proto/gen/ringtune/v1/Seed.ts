// Original file: proto/ringtune/v1/coordinator.proto


export interface Seed {
}

export interface Seed__Output {
}
