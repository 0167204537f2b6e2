// The JSON header of a safetensors file, checked before it is believed: what the tensors are and where their bytes lie.
// Nothing is read here; a file that passes has data without holes or overlaps that ends where the file ends.

import { RingtuneError } from "../../common/errors.ts";

/** Bytes per element of every type that a file may hold. */
const elementBytes: Readonly<Record<string, number>> = {
  ...{ BOOL: 1, U8: 1, I8: 1, F8_E4M3: 1, F8_E5M2: 1 },
  ...{ U16: 2, I16: 2, F16: 2, BF16: 2, U32: 4, I32: 4, F32: 4, U64: 8, I64: 8, F64: 8 },
};
export interface TensorEntry {
  readonly name: string;
  readonly dtype: string;
  readonly shape: readonly number[];
  /** Bytes [begin, end) of the data section. */
  readonly begin: number;
  readonly end: number;
}

export interface SafetensorsHeader {
  readonly tensors: ReadonlyMap<string, TensorEntry>;
  readonly metadata: Readonly<Record<string, string>>;
  /** Where the data section starts in the file. */
  readonly dataOffset: number;
}

/** Checks the header of a file of `fileBytes`. Throws `checkpoint_invalid` with the file, the tensor and both numbers. */
export function parseHeader(bytes: Uint8Array, fileBytes: number, path: string): SafetensorsHeader {
  let json: unknown;
  try {
    json = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes));
  } catch (cause) {
    throw invalid(path, `has a header of ${bytes.length} bytes that is not JSON; it is corrupt`, {}, cause);
  }
  if (!isRecord(json)) throw invalid(path, `has a header that is not a JSON object; it is corrupt`);
  const { __metadata__: metadata = {}, ...rest } = json;
  if (!isRecord(metadata) || !Object.values(metadata).every((value) => typeof value === "string")) {
    throw invalid(path, `has a __metadata__ that is not a map of strings; it is corrupt`);
  }
  const entries = Object.entries(rest).map(([name, entry]) => parseEntry(name, entry, path));
  entries.sort((a, b) => a.begin - b.begin || a.end - b.end);
  const dataOffset = 8 + bytes.length;
  assertContiguous(entries, fileBytes - dataOffset, path);
  return {
    tensors: new Map(entries.map((entry) => [entry.name, entry])),
    metadata: metadata as Record<string, string>,
    dataOffset,
  };
}

function parseEntry(name: string, entry: unknown, path: string): TensorEntry {
  const { dtype, shape, data_offsets: offsets } = isRecord(entry) ? entry : {};
  if (typeof dtype !== "string" || !isSizes(shape) || !isSizes(offsets) || offsets.length !== 2) {
    throw invalid(path, `describes tensor ${name} without a valid dtype, shape and data_offsets; it is corrupt`, {
      tensor: name,
    });
  }
  const width = Object.hasOwn(elementBytes, dtype) ? elementBytes[dtype] : undefined;
  if (width === undefined) {
    throw invalid(
      path,
      `has tensor ${name} of unknown type ${dtype}; known are ${Object.keys(elementBytes).join(", ")}`,
      {
        tensor: name,
        dtype,
      },
    );
  }
  const [begin = 0, end = 0] = offsets;
  const expected = shape.reduce((product, dimension) => product * dimension, width);
  if (end - begin !== expected) {
    throw invalid(
      path,
      `gives tensor ${name} ${end - begin} bytes, but ${dtype} of shape [${shape.join(", ")}] needs ${expected}; it is corrupt`,
      { tensor: name, found: end - begin, expected },
    );
  }
  return { name, dtype, shape, begin, end };
}

/** Data has no holes, no overlaps and ends with the file. */
function assertContiguous(entries: readonly TensorEntry[], dataBytes: number, path: string): void {
  let expected = 0;
  for (const { name, begin, end } of entries) {
    if (begin !== expected) {
      const what = begin < expected ? "overlaps the tensor before it" : "leaves a hole before it";
      throw invalid(path, `has tensor ${name} at byte ${begin}, which ${what} (expected ${expected}); it is corrupt`, {
        tensor: name,
        found: begin,
        expected,
      });
    }
    if (end > dataBytes) {
      throw invalid(
        path,
        `ends after ${dataBytes} bytes of data, tensor ${name} goes to byte ${end}; it is truncated`,
        {
          tensor: name,
          found: dataBytes,
          expected: end,
        },
      );
    }
    expected = end;
  }
  if (expected !== dataBytes) {
    throw invalid(path, `has ${dataBytes} bytes of data, its tensors take ${expected}; it is corrupt`, {
      found: dataBytes,
      expected,
    });
  }
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function isSizes(value: unknown): value is number[] {
  return Array.isArray(value) && value.every((item) => Number.isSafeInteger(item) && (item as number) >= 0);
}

/** `path` and what is wrong with it, as `checkpoint_invalid`. */
export function invalid(
  path: string,
  predicate: string,
  details: Readonly<Record<string, string | number>> = {},
  cause?: unknown,
): RingtuneError {
  return new RingtuneError("checkpoint_invalid", `${path} ${predicate}`, {
    details: { file: path, ...details },
    cause,
  });
}
