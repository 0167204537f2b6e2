// RingtuneError codes as gRPC status codes and back: the only place where the two meet.

import { errorCodes, RingtuneError, type ErrorCode } from "../common/errors.ts";

/** Numbers of the gRPC specification (grpc/grpc, doc/statuscodes.md). */
const status = {
  cancelled: 1,
  unknown: 2,
  invalidArgument: 3,
  deadlineExceeded: 4,
  notFound: 5,
  alreadyExists: 6,
  failedPrecondition: 9,
  aborted: 10,
  internal: 13,
  unavailable: 14,
  unauthenticated: 16,
} as const;

const statusOf: Record<ErrorCode, number> = {
  usage: status.invalidArgument,
  config_invalid: status.invalidArgument,
  data_invalid: status.invalidArgument,
  tokenizer_invalid: status.invalidArgument,
  checkpoint_invalid: status.failedPrecondition,
  model_mismatch: status.failedPrecondition,
  protocol_mismatch: status.failedPrecondition,
  no_device: status.failedPrecondition,
  engine_unavailable: status.failedPrecondition,
  run_exists: status.alreadyExists,
  run_missing: status.notFound,
  address_in_use: status.unavailable,
  unauthenticated: status.unauthenticated,
  worker_lost: status.unavailable,
  collective_failed: status.aborted,
  timed_out: status.deadlineExceeded,
  unavailable: status.unavailable,
  superseded: status.aborted,
  not_finite: status.aborted,
  disk_failed: status.internal,
  download_failed: status.unavailable,
  cancelled: status.cancelled,
  internal: status.internal,
};

/** Sent as trailing metadata beside the status, so that the code survives the round trip. */
export const CODE_KEY = "ringtune-code";

export function statusCodeOf(code: ErrorCode): number {
  return statusOf[code];
}

/** The error behind a failed call of ours; a code that this version does not know is that of a lost connection. */
export function errorFromStatus(details: string, ringtuneCode: string): RingtuneError {
  const code = errorCodes.find((known) => known === ringtuneCode) ?? "worker_lost";
  return new RingtuneError(code, details);
}
