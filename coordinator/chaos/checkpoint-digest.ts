// One digest of all tensors in a checkpoint, weights and optimizer state: the same for equal contents however they are divided
// into files, which depends on how many workers wrote them. Reads no more of safetensors than where each tensor lies.

import { createHash } from "node:crypto";
import { open, readdir, type FileHandle } from "node:fs/promises";
import { join } from "node:path";

interface Tensor {
  /** With what it belongs to: "model transformer.wte.weight". */
  readonly name: string;
  readonly type: string;
  readonly file: FileHandle;
  readonly begin: number;
  readonly end: number;
}

type Header = Record<string, { dtype: string; shape: number[]; data_offsets: [number, number] }>;

const BLOCK_BYTES = 1 << 22;

/** SHA-256, hexadecimal. */
export async function digestOfCheckpoint(folder: string): Promise<string> {
  const names = (await readdir(folder)).filter((name) => name.endsWith(".safetensors"));
  const files = await Promise.all(names.map((name) => open(join(folder, name), "r")));
  try {
    const tensors = (await Promise.all(files.map((file, i) => tensorsOf(file, names[i]!)))).flat();
    tensors.sort((a, b) => (a.name < b.name ? -1 : 1));
    const hash = createHash("sha256");
    const block = Buffer.alloc(BLOCK_BYTES);
    for (const { name, type, file, begin, end } of tensors) {
      hash.update(`${name} ${type}\n`);
      for (let at = begin; at < end; at += BLOCK_BYTES) {
        const length = Math.min(BLOCK_BYTES, end - at);
        const { bytesRead } = await file.read(block, 0, length, at);
        hash.update(block.subarray(0, bytesRead));
      }
    }
    return hash.digest("hex");
  } finally {
    await Promise.all(files.map((file) => file.close()));
  }
}

/** A file begins with the length of its header, which says where each tensor lies after it. */
async function tensorsOf(file: FileHandle, fileName: string): Promise<Tensor[]> {
  const [group = ""] = fileName.split(/[-.]/);
  const size = Buffer.alloc(8);
  await file.read(size, 0, 8, 0);
  const length = Number(size.readBigUInt64LE());
  const text = Buffer.alloc(length);
  await file.read(text, 0, length, 8);
  const header = JSON.parse(text.toString("utf8")) as Header;
  return Object.entries(header)
    .filter(([name]) => name !== "__metadata__")
    .map(
      ([
        name,
        {
          dtype,
          shape,
          data_offsets: [begin, end],
        },
      ]) => ({
        ...{ name: `${group} ${name}`, type: `${dtype} ${shape.join("x")}`, file },
        ...{ begin: 8 + length + begin, end: 8 + length + end },
      }),
    );
}
