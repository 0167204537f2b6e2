// The control plane's messages as unions with a `kind`, which TypeScript can check for completeness.
// The generated types keep a oneof as optional fields; `unwrap` and `wrap` go back and forth.

import type { CoordinatorMessage__Output } from "./gen/ringtune/v1/CoordinatorMessage.ts";
import type { WorkerMessage__Output } from "./gen/ringtune/v1/WorkerMessage.ts";

type Tagged<M> = {
  [K in Exclude<keyof M, "message">]-?: { readonly kind: K; readonly value: NonNullable<M[K]> };
}[Exclude<keyof M, "message">];

/** What a worker says: `{ kind: "reduced", value: Reduced }` and so on. */
export type FromWorker = Tagged<WorkerMessage__Output>;
/** What the coordinator says: `{ kind: "plan", value: Plan }` and so on. */
export type FromCoordinator = Tagged<CoordinatorMessage__Output>;

/** The set field of a oneof, or undefined when none is set (a peer of another version, or rubbish). */
export function unwrap(message: WorkerMessage__Output): FromWorker | undefined;
export function unwrap(message: CoordinatorMessage__Output): FromCoordinator | undefined;
export function unwrap(message: { message?: string }): unknown {
  const kind = message.message;
  if (kind === undefined) return undefined;
  return { kind, value: (message as Record<string, unknown>)[kind] };
}

/** The generated form of a tagged message. */
export function wrap(message: { readonly kind: string; readonly value: unknown }): Record<string, unknown> {
  return { [message.kind]: message.value };
}
