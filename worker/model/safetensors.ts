// The safetensors format (https://github.com/huggingface/safetensors, "Format"): reading with everything checked before
// it is believed, and writing. Which tensors belong to a model is decided in load-parameters.ts.
//
//     [ header length, u64 little-endian ][ JSON header, padded with spaces ][ tensor data, without holes ]

import { endianness } from "node:os";
import { open, type FileHandle } from "node:fs/promises";
import { writeFileAtomic } from "../../common/atomic-file.ts";
import { assert, type RingtuneError } from "../../common/errors.ts";
import { invalid, parseHeader, type SafetensorsHeader, type TensorEntry } from "./safetensors-header.ts";

const readableTypes = ["F32", "F16", "BF16"];
/** The limit of the reference implementation. */
const maxHeaderBytes = 100_000_000;
const pieceBytes = 4 * 1024 * 1024;

export interface SafetensorsFile {
  readonly path: string;
  /** In the order of the data. */
  readonly tensors: ReadonlyMap<string, TensorEntry>;
  readonly metadata: Readonly<Record<string, string>>;
  /**
   * Reads one tensor, converted to float32, into `into`, whose length must be the tensor's.
   * Throws `checkpoint_invalid` for a type that is not F32, F16 or BF16, and for a NaN or infinite element.
   */
  read(name: string, into: Float32Array): Promise<void>;
  close(): Promise<void>;
}

export interface NamedTensor {
  readonly name: string;
  readonly shape: readonly number[];
  readonly data: Float32Array;
}

/**
 * Opens a file and checks its header against its size. Throws `checkpoint_invalid` that names the file, the tensor and
 * both numbers: a length that lies, an overlap or a hole, an unknown type, a shape that does not fit its bytes, truncation.
 */
export async function openSafetensors(path: string): Promise<SafetensorsFile> {
  assert(endianness() === "LE", "safetensors are read in place on little-endian machines only");
  let file: FileHandle;
  try {
    file = await open(path, "r");
  } catch (cause) {
    throw unreadable(path, cause);
  }
  try {
    const header = await readHeader(file, path);
    return {
      path,
      tensors: header.tensors,
      metadata: header.metadata,
      read: async (name, into) => {
        const entry = header.tensors.get(name);
        assert(entry !== undefined, `${path} has no tensor ${name}`);
        await readTensor(file, path, entry, header.dataOffset, into);
      },
      close: () => file.close(),
    };
  } catch (error) {
    await file.close();
    throw error;
  }
}

/** Writes float32 tensors in the order given, atomically. The weights are streamed, never copied. */
export async function writeSafetensors(path: string, tensors: readonly NamedTensor[]): Promise<void> {
  await writeFileAtomic(path, encodeSafetensors(tensors));
}

/** The bytes of a file, piece by piece: what `writeSafetensors` writes. Tensor data is viewed, so do not change it meanwhile. */
export function* encodeSafetensors(tensors: readonly NamedTensor[]): Generator<Uint8Array> {
  const header: Record<string, unknown> = { __metadata__: { format: "pt" } };
  let offset = 0;
  for (const { name, shape, data } of tensors) {
    const size = shape.reduce((product, dimension) => product * dimension, 1);
    assert(size === data.length, `tensor ${name} of shape [${shape.join(", ")}] has ${data.length} elements`);
    assert(!Object.hasOwn(header, name), `tensor ${name} is given twice`);
    header[name] = { dtype: "F32", shape, data_offsets: [offset, offset + data.byteLength] };
    offset += data.byteLength;
  }
  const json = Buffer.from(JSON.stringify(header));
  const padding = (8 - (json.length % 8)) % 8;
  const start = Buffer.alloc(8 + json.length + padding, " ");
  start.writeBigUInt64LE(BigInt(json.length + padding));
  json.copy(start, 8);
  yield start;
  for (const { data } of tensors) {
    for (let at = 0; at < data.byteLength; at += pieceBytes) {
      yield new Uint8Array(data.buffer, data.byteOffset + at, Math.min(pieceBytes, data.byteLength - at));
    }
  }
}

async function readHeader(file: FileHandle, path: string): Promise<SafetensorsHeader> {
  const stat = await file.stat();
  if (!stat.isFile()) throw invalid(path, `is not a file`);
  const fileBytes = stat.size;
  if (fileBytes < 8) {
    throw invalid(
      path,
      `is ${fileBytes} bytes long, a safetensors file has at least 8; it is truncated or something else`,
    );
  }
  const lengthBytes = Buffer.alloc(8);
  await readFully(file, path, lengthBytes, 0);
  const declared = lengthBytes.readBigUInt64LE();
  if (declared > BigInt(Math.min(maxHeaderBytes, fileBytes - 8))) {
    throw invalid(
      path,
      `declares a header of ${declared} bytes, ${fileBytes - 8} follow and ${maxHeaderBytes} are allowed; it is truncated or not a safetensors file`,
    );
  }
  const text = Buffer.alloc(Number(declared));
  await readFully(file, path, text, 8);
  return parseHeader(text, fileBytes, path);
}

async function readTensor(
  file: FileHandle,
  path: string,
  entry: TensorEntry,
  dataOffset: number,
  into: Float32Array,
): Promise<void> {
  const { name, dtype, shape, begin, end } = entry;
  const size = shape.reduce((product, dimension) => product * dimension, 1);
  assert(size === into.length, `tensor ${name} has ${size} elements, the destination ${into.length}`);
  if (!readableTypes.includes(dtype)) {
    throw invalid(path, `has tensor ${name} of type ${dtype}; only ${readableTypes.join(", ")} can be read`, {
      tensor: name,
      dtype,
    });
  }
  if (dtype === "F32") {
    await readFully(file, path, new Uint8Array(into.buffer, into.byteOffset, into.byteLength), dataOffset + begin);
  } else {
    const convert = dtype === "F16" ? floatOfHalf : floatOfBrain;
    const piece = new Uint8Array(Math.min(pieceBytes, end - begin));
    for (let at = begin; at < end; at += pieceBytes) {
      const part = piece.subarray(0, Math.min(pieceBytes, end - at));
      await readFully(file, path, part, dataOffset + at);
      const words = new Uint16Array(part.buffer, 0, part.length / 2);
      const first = (at - begin) / 2;
      for (let i = 0; i < words.length; i++) into[first + i] = convert(words[i]!);
    }
  }
  for (let i = 0; i < into.length; i++) {
    const value = into[i]!;
    if (value - value !== 0) {
      throw invalid(
        path,
        `holds ${value} at element ${i} of tensor ${name} ([${shape.join(", ")}]); weights must be finite`,
        {
          tensor: name,
          element: i,
        },
      );
    }
  }
}

async function readFully(file: FileHandle, path: string, into: Uint8Array, position: number): Promise<void> {
  const maxRead = 0x4000_0000; // one read of the system takes less than 2 GiB
  for (let done = 0; done < into.length;) {
    const count = Math.min(maxRead, into.length - done);
    let bytesRead: number;
    try {
      ({ bytesRead } = await file.read(into, done, count, position + done));
    } catch (cause) {
      throw unreadable(path, cause);
    }
    if (bytesRead === 0) {
      throw invalid(
        path,
        `ended at byte ${position + done} while reading to ${position + into.length}; it was cut off meanwhile`,
      );
    }
    done += bytesRead;
  }
}

/** IEEE 754 binary16. */
function floatOfHalf(bits: number): number {
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits >> 10) & 0x1f;
  const fraction = bits & 0x3ff;
  if (exponent === 0) return sign * fraction * 2 ** -24;
  if (exponent === 31) return fraction === 0 ? sign * Infinity : NaN;
  return sign * (1024 + fraction) * 2 ** (exponent - 25);
}

const brainBits = new Uint32Array(1);
const brainFloat = new Float32Array(brainBits.buffer);

/** bfloat16: the upper half of a float32. */
function floatOfBrain(bits: number): number {
  brainBits[0] = bits << 16;
  return brainFloat[0]!;
}

function unreadable(path: string, cause: unknown): RingtuneError {
  const code = (cause as NodeJS.ErrnoException).code ?? "unknown error";
  const why = code === "ENOENT" ? "there is no such file" : code === "EACCES" ? "permission denied" : code;
  return invalid(path, `cannot be read: ${why}`, { code }, cause);
}
