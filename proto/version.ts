// The version that both ends of the control plane must share; raised whenever a message changes its meaning.

export const PROTOCOL_VERSION = 3;
