// The text of a configuration file, or one sentence that says why it is not one. What the text means is not known here.

import { open } from "node:fs/promises";
import { RingtuneError } from "../errors.ts";

/** Far above any configuration; a data file given by mistake is not read into memory. */
const maxBytes = 1 << 20;

/** Throws RingtuneError `config_invalid` when the file is missing, a folder, unreadable, huge, binary or not UTF-8. */
export async function readConfigText(path: string): Promise<string> {
  let bytes: Buffer;
  try {
    const handle = await open(path, "r");
    try {
      if ((await handle.stat()).isDirectory()) {
        throw whole(path, "is a folder; name the YAML file in it");
      }
      const buffer = Buffer.alloc(maxBytes + 1);
      let length = 0;
      for (;;) {
        const { bytesRead } = await handle.read(buffer, length, buffer.length - length, null);
        length += bytesRead;
        if (bytesRead === 0 || length === buffer.length) break;
      }
      bytes = buffer.subarray(0, length);
    } finally {
      await handle.close();
    }
  } catch (error) {
    if (error instanceof RingtuneError) throw error;
    const code = (error as NodeJS.ErrnoException).code;
    const why =
      code === "ENOENT" || code === "ENOTDIR"
        ? "does not exist; name a YAML file, such as examples/sotu.yaml"
        : code === "EACCES"
          ? "can't be read: permission denied"
          : `can't be read: ${code}`;
    throw whole(path, why);
  }
  if (bytes.length > maxBytes)
    throw whole(path, "is larger than 1 MiB; is it a data file? Name the YAML configuration");
  if (bytes.includes(0)) throw whole(path, "is a binary file; name the YAML configuration");
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch {
    throw whole(path, "is not UTF-8 text; save it as UTF-8, or name the YAML configuration");
  }
}

/** A problem of the file as a whole. */
export function whole(name: string, message: string): RingtuneError {
  return new RingtuneError("config_invalid", `${name} ${message}`, { details: { path: name, problems: 1 } });
}
