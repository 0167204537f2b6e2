// A JSON file whole, or the sentence why not. What it must hold is the caller's business.

import { readFile } from "node:fs/promises";
import { RingtuneError } from "../../common/errors.ts";

/** Throws `checkpoint_invalid` when the file is missing or is not JSON. */
export async function readJson(path: string): Promise<unknown> {
  let text: string;
  try {
    text = await readFile(path, "utf8");
  } catch (cause) {
    const code = (cause as NodeJS.ErrnoException).code ?? "unknown error";
    const why = code === "ENOENT" ? "there is no such file" : code === "EACCES" ? "permission denied" : code;
    throw new RingtuneError("checkpoint_invalid", `${path} cannot be read: ${why}`, { details: { file: path }, cause });
  }
  try {
    return JSON.parse(text) as unknown;
  } catch (cause) {
    throw new RingtuneError(
      "checkpoint_invalid",
      `${path} is ${Buffer.byteLength(text)} bytes that are not JSON (${(cause as Error).message}); it is corrupt or truncated`,
      { details: { file: path }, cause },
    );
  }
}
