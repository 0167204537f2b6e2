// TensorFlow.js has one current backend per process; an engine borrows it for the length of one synchronous call.

import { assert } from "../../common/errors.ts";
import { tf } from "../model/tf.ts";

/** Runs `body`, which must not be async, with the current backend set to `name`, which must be initialised or synchronous. */
export function withBackend<T>(name: string, body: () => T): T {
  const before = tf.engine().backendName;
  select(name);
  try {
    return body();
  } finally {
    if (before) select(before);
  }
}

// setBackend is async in type only: for such a backend it takes effect before it returns.
function select(name: string): void {
  void tf.setBackend(name);
  assert(tf.getBackend() === name, `TensorFlow.js did not switch to its backend ${name}`);
}
