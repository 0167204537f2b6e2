// Original file: proto/ringtune/v1/coordinator.proto


export interface MeasureLinksRequest {
}

export interface MeasureLinksRequest__Output {
}
