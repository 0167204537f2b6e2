// A part of a checkpoint: copied out of the live buffers in one go, so that training goes on at once, and written from the
// copy, by a thread as a rule (checkpoint-writer.ts). Which tensors a part has is decided in checkpoint-parts.ts.

import { createHash } from "node:crypto";
import { mkdir, open } from "node:fs/promises";
import { dirname, join } from "node:path";
import { syncFolder } from "../../common/atomic-file.ts";
import { diskError } from "../../common/disk-error.ts";
import { RingtuneError } from "../../common/errors.ts";
import { encodeSafetensors, type NamedTensor } from "../model/safetensors.ts";
import type { Shard } from "../model/shards.ts";
import { isOptimizerFile } from "./optimizer-file.ts";
import { globalNorm } from "./summary.ts";

/** What a thread needs to write a part. */
export interface PartOrder {
  /** Folder that the parts meet in; whoever comes first makes it, its parent exists. */
  readonly path: string;
  readonly step: number;
  readonly part: number;
  readonly parts: number;
  /** The numbers of all tensors, one after another in the order of `files`. */
  readonly copy: Float32Array;
  readonly files: readonly { readonly file: string; readonly tensors: readonly Omit<NamedTensor, "data">[] }[];
  readonly texts: readonly (readonly [name: string, text: string])[];
}

export interface WrittenFile {
  readonly name: string;
  readonly sizeBytes: number;
  readonly sha256: string;
}

/** Copies the tensors of a part into `room` (or into new memory, if it is too small), ready to be written. */
export function copyPart(shards: readonly Shard[], room: Float32Array | undefined): Pick<PartOrder, "copy" | "files"> {
  const length = shards.flatMap(({ tensors }) => tensors).reduce((sum, { data }) => sum + data.length, 0);
  const copy = room !== undefined && room.length >= length ? room : new Float32Array(length);
  let at = 0;
  for (const { tensors } of shards) {
    for (const { data } of tensors) {
      copy.set(data, at);
      at += data.length;
    }
  }
  const files = shards.map(({ file, tensors }) => ({
    file,
    tensors: tensors.map(({ name, shape }) => ({ name, shape })),
  }));
  return { copy, files };
}

/**
 * Writes the files of a part and waits for stable storage. Throws `disk_failed`, or `not_finite` for what could not be
 * loaded again, with what was written so far left to whoever gave the order.
 */
export async function writePart(order: PartOrder): Promise<WrittenFile[]> {
  const { path, step, part, parts, copy, texts } = order;
  let at = 0;
  const written: WrittenFile[] = [];
  try {
    await mkdir(path).catch((error: NodeJS.ErrnoException) => {
      if (error.code !== "EEXIST") throw error;
    });
    for (const { file, tensors } of order.files) {
      const views = tensors.map((tensor) => {
        const size = tensor.shape.reduce((product, dimension) => product * dimension, 1);
        return { ...tensor, data: copy.subarray(at, (at += size)) };
      });
      for (const view of views) assertFinite(step, file, view);
      written.push(await writeFile(join(path, file), file, encodeSafetensors(views)));
    }
    for (const [name, text] of texts) written.push(await writeFile(join(path, name), name, [Buffer.from(text)]));
    await syncFolder(path);
    return written;
  } catch (error) {
    const which = parts === 1 ? "the checkpoint" : `part ${part + 1} of ${parts} of the checkpoint`;
    throw diskError(`cannot write ${which} of step ${step} in ${dirname(path)}`, error);
  }
}

async function writeFile(path: string, name: string, chunks: Iterable<Uint8Array>): Promise<WrittenFile> {
  const hash = createHash("sha256");
  let sizeBytes = 0;
  const file = await open(path, "w");
  try {
    for (const chunk of chunks) {
      hash.update(chunk);
      sizeBytes += chunk.byteLength;
      await file.writeFile(chunk);
    }
    await file.sync();
  } finally {
    await file.close();
  }
  return { name, sizeBytes, sha256: hash.digest("hex") };
}

/** What could not be loaded again is not written; a run stops at the next step, but this may come before it. */
function assertFinite(step: number, file: string, { name, data }: NamedTensor): void {
  if (Number.isFinite(globalNorm(data))) return;
  const element = data.findIndex((value) => !Number.isFinite(value));
  if (element === -1) return; // the sum of squares is too large, the numbers are not
  const slot = isOptimizerFile(file) ? name.slice(0, name.indexOf(".")) : "";
  const tensor = slot === "" ? name : name.slice(slot.length + 1);
  const of = slot === "" ? "" : ` of ${slot}, the optimizer's state,`;
  throw new RingtuneError(
    "not_finite",
    `the weights after step ${step} are of no use, and their checkpoint is not written: there is ${data[element]} at element ${element} of tensor ${tensor}${of}; lower train.learning_rate or lengthen the warmup`,
    { details: { tensor, element } },
  );
}
