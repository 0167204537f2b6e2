// The safetensors format (https://github.com/huggingface/safetensors, "Format"): reading with everything checked before
// it is believed, and writing. Which tensors belong to a model is decided in load-parameters.ts.
//
//     [ header length, u64 little-endian ][ JSON header, padded with spaces ][ tensor data, without holes ]

import { endianness } from "node:os";
import { open, type FileHandle } from "node:fs/promises";
import { writeFileAtomic } from "../../common/atomic-file.ts";
import { assert, RingtuneError } from "../../common/errors.ts";
import { brainOfFloat, floatOfBrain, floatOfHalf, halfOfFloat } from "./half-precision.ts";
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

/** How weights can be stored, by PyTorch's names. */
export const storedTypes = ["float32", "float16", "bfloat16"] as const;
export type StoredType = (typeof storedTypes)[number];

/** Bytes of a stored number. */
export function widthOf(type: StoredType): number {
  return type === "float32" ? 4 : 2;
}

/**
 * Writes tensors in the order given, atomically. The weights are streamed, never copied.
 * Throws `checkpoint_invalid` for a number that `type` can't hold.
 */
export async function writeSafetensors(
  path: string,
  tensors: readonly NamedTensor[],
  type: StoredType = "float32",
): Promise<void> {
  await writeFileAtomic(path, encodeSafetensors(tensors, type));
}

/**
 * The bytes of a file, piece by piece, each valid until the next: what `writeSafetensors` writes. Tensor data is viewed,
 * so do not change it meanwhile.
 */
export function* encodeSafetensors(
  tensors: readonly NamedTensor[],
  type: StoredType = "float32",
): Generator<Uint8Array> {
  const header: Record<string, unknown> = { __metadata__: { format: "pt" } };
  let offset = 0;
  for (const { name, shape, data } of tensors) {
    const size = shape.reduce((product, dimension) => product * dimension, 1);
    assert(size === data.length, `tensor ${name} of shape [${shape.join(", ")}] has ${data.length} elements`);
    assert(!Object.hasOwn(header, name), `tensor ${name} is given twice`);
    const end = offset + data.length * widthOf(type);
    header[name] = { dtype: dtypes[type], shape, data_offsets: [offset, end] };
    offset = end;
  }
  const json = Buffer.from(JSON.stringify(header));
  const padding = (8 - (json.length % 8)) % 8;
  const start = Buffer.alloc(8 + json.length + padding, " ");
  start.writeBigUInt64LE(BigInt(json.length + padding));
  json.copy(start, 8);
  yield start;
  for (const tensor of tensors) {
    if (type === "float32") yield* piecesOf(tensor.data);
    else yield* rounded(tensor, type);
  }
}

const dtypes = { float32: "F32", float16: "F16", bfloat16: "BF16" } as const;

function* piecesOf({ buffer, byteOffset, byteLength }: Float32Array): Generator<Uint8Array> {
  for (let at = 0; at < byteLength; at += pieceBytes) {
    yield new Uint8Array(buffer, byteOffset + at, Math.min(pieceBytes, byteLength - at));
  }
}

function* rounded({ name, data }: NamedTensor, type: "float16" | "bfloat16"): Generator<Uint8Array> {
  const [round, infinity] = type === "float16" ? [halfOfFloat, 0x7c00] : [brainOfFloat, 0x7f80];
  const words = new Uint16Array(Math.min(pieceBytes / 2, data.length));
  for (let at = 0; at < data.length; at += words.length) {
    const count = Math.min(words.length, data.length - at);
    for (let i = 0; i < count; i++) {
      const word = round(data[at + i]!);
      if ((word & 0x7fff) >= infinity) {
        const other = type === "float16" ? "bfloat16" : "float32";
        throw new RingtuneError(
          "checkpoint_invalid",
          `element ${at + i} of tensor ${name} is ${data[at + i]}, which ${type} can't hold; save as ${other}`,
          { details: { tensor: name, element: at + i } },
        );
      }
      words[i] = word;
    }
    yield new Uint8Array(words.buffer, 0, 2 * count);
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

function unreadable(path: string, cause: unknown): RingtuneError {
  const code = (cause as NodeJS.ErrnoException).code ?? "unknown error";
  const why = code === "ENOENT" ? "there is no such file" : code === "EACCES" ? "permission denied" : code;
  return invalid(path, `cannot be read: ${why}`, { code }, cause);
}
