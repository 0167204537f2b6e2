// The one error type of Ringtune, with a closed set of codes, and the sentence that a user reads.
// Mapping to gRPC status lives in proto/status.ts, mapping to exit codes here; nothing else classifies errors.

export const errorCodes = [
  "config_invalid",
  "data_invalid",
  "tokenizer_invalid",
  "checkpoint_invalid",
  "run_exists",
  "run_missing",
  "address_in_use",
  "protocol_mismatch",
  "unauthenticated",
  "no_device",
  "engine_unavailable",
  "model_mismatch",
  "worker_lost",
  "collective_failed",
  "timed_out",
  // A coordinator that does not lead (yet), or a store that does not answer: another, or later, may.
  "unavailable",
  // Another coordinator leads the run now.
  "superseded",
  "not_finite",
  "disk_failed",
  "download_failed",
  "cancelled",
  "usage",
  "internal",
] as const;

export type ErrorCode = (typeof errorCodes)[number];

export interface RingtuneErrorOptions {
  /** Structured facts behind the sentence: both numbers, the path, the rank. Never a secret. */
  readonly details?: Readonly<Record<string, string | number | boolean | null>>;
  readonly cause?: unknown;
}

/** A failure with a named cause. `message` is one sentence (or a list of problems): what, where and what to do. */
export class RingtuneError extends Error {
  readonly code: ErrorCode;
  readonly details: Readonly<Record<string, string | number | boolean | null>>;

  constructor(code: ErrorCode, message: string, options: RingtuneErrorOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = "RingtuneError";
    this.code = code;
    this.details = options.details ?? {};
  }
}

/** What to print for any thrown value: the sentence alone for ours, the system's own sentence for the rest. */
export function describeError(error: unknown): string {
  if (error instanceof Error) return error.message;
  return String(error);
}

/**
 * For whoever decides whether to start a process again (docs/deploy.md): 0 done; 1 failed, starting it again may help; 2 the
 * command line or configuration is wrong; 3 the numbers were not finite; 4 refused by the other side, or this machine lacks
 * what it takes; 130 stopped by Ctrl-C or SIGTERM. After 2, 3 and 4 it would end the same way again.
 */
export function exitCodeOf(error: unknown): number {
  if (!(error instanceof RingtuneError)) return 1;
  switch (error.code) {
    case "usage":
    case "config_invalid":
      return 2;
    case "not_finite":
      return 3;
    case "unauthenticated":
    case "protocol_mismatch":
    case "no_device":
    case "engine_unavailable":
      return 4;
    case "cancelled":
      return 130;
    default:
      return 1;
  }
}

/** Exhaustiveness check for unions with a `kind`; a programmer mistake if it ever runs. */
export function assertNever(value: never): never {
  throw new Error(`unhandled case: ${JSON.stringify(value)}`);
}

/** A programmer mistake, kept on in production. */
export function assert(condition: unknown, message: string): asserts condition {
  if (!condition) throw new Error(`assertion failed: ${message}`);
}
