// The frames that ranks exchange over ZeroMQ: a fixed 64-byte header as a message part of its own and, for the kinds that
// carry data, the payload as the second part. Control goes by gRPC; this is neither that nor a serialisation of tensors:
// a payload is raw bytes (little-endian numbers where they are summed) at an offset of a buffer that both sides know.
// Whatever arrives is untrusted: `decodeFrame` returns the header or the reason to drop the message, and never throws.
//
//   offset  size  field (little-endian)
//        0     4  magic "RNGT"
//        4     2  version, 3
//        6     1  kind: 1 hello, 2 credit, 3 reduce-scatter, 4 all-gather, 5 broadcast, 6 signal, 7 exchange
//        7     1  dtype of the bucket: 0 bytes (and control frames), 1 float32, 2 int64, 3 bfloat16, 4 float16
//        8     8  job: first 8 bytes of SHA-256 of the job id
//       16     4  generation
//       20     4  source: rank of the sender
//       24     4  step
//       28     4  bucket of the step
//       32     4  chunk of the bucket (hello: the sender's world size)
//       36     4  segment of the chunk (credit: frames the receiver will buffer, its window)
//       40     8  offset of the payload in the bucket, bytes (credit: frames taken so far on this connection)
//       48     8  total size of the bucket, bytes
//       56     4  length of the payload, bytes
//       60     4  zero

import { createHash } from "node:crypto";

export const frameVersion = 3;
export const frameHeaderBytes = 64;
/** No payload is longer; ZeroMQ cuts off a peer that tries. */
export const maxPayloadBytes = 8 * 1024 * 1024;

const magic = 0x5447_4e52; // "RNGT" read as a little-endian word

const kindCodes = {
  hello: 1,
  credit: 2,
  "reduce-scatter": 3,
  "all-gather": 4,
  broadcast: 5,
  signal: 6,
  exchange: 7,
} as const;

export type FrameKind = keyof typeof kindCodes;
/** Kinds with a payload. */
export type DataKind = Exclude<FrameKind, "hello" | "credit" | "signal">;

const dtypeCodes = { bytes: 0, float32: 1, int64: 2, bfloat16: 3, float16: 4 } as const;

/** What a bucket is made of: numbers that are summed, or bytes that are only copied. */
export type Dtype = keyof typeof dtypeCodes;

const dtypeOf = new Map<number, Dtype>(
  Object.entries(dtypeCodes).map(([dtype, code]) => [code, dtype as Dtype] as const),
);

const kindOf = new Map<number, FrameKind>(
  Object.entries(kindCodes).map(([kind, code]) => [code, kind as FrameKind] as const),
);

export interface FrameHeader {
  readonly kind: FrameKind;
  readonly dtype: Dtype;
  /** See `hashJobId`. */
  readonly job: bigint;
  readonly generation: number;
  readonly source: number;
  readonly step: number;
  readonly bucket: number;
  readonly chunk: number;
  readonly segment: number;
  readonly offset: number;
  readonly total: number;
  readonly length: number;
}

/** Why a message is no frame. The values are metric labels. */
export type FrameProblem =
  "parts" | "header_length" | "magic" | "version" | "kind" | "dtype" | "reserved" | "range" | "payload";

export type DecodedFrame =
  | { readonly ok: true; readonly header: FrameHeader; readonly payload: Uint8Array }
  | { readonly ok: false; readonly problem: FrameProblem };

const empty = new Uint8Array(0);

/** The 64 bytes of a header. Programmer mistakes (negative or fractional fields) throw a RangeError. */
export function encodeHeader(header: FrameHeader): Buffer {
  const bytes = Buffer.alloc(frameHeaderBytes);
  bytes.writeUInt32LE(magic, 0);
  bytes.writeUInt16LE(frameVersion, 4);
  bytes.writeUInt8(kindCodes[header.kind], 6);
  bytes.writeUInt8(dtypeCodes[header.dtype], 7);
  bytes.writeBigUInt64LE(header.job, 8);
  bytes.writeUInt32LE(header.generation, 16);
  bytes.writeUInt32LE(header.source, 20);
  bytes.writeUInt32LE(header.step, 24);
  bytes.writeUInt32LE(header.bucket, 28);
  bytes.writeUInt32LE(header.chunk, 32);
  bytes.writeUInt32LE(header.segment, 36);
  bytes.writeBigUInt64LE(BigInt(header.offset), 40);
  bytes.writeBigUInt64LE(BigInt(header.total), 48);
  bytes.writeUInt32LE(header.length, 56);
  return bytes;
}

/** Checks the parts of a ZeroMQ message (without a routing id). The payload is a view of the message, not a copy. */
export function decodeFrame(parts: readonly Uint8Array[]): DecodedFrame {
  const [head, payload = empty] = parts;
  if (head === undefined || parts.length > 2) return { ok: false, problem: "parts" };
  if (head.byteLength !== frameHeaderBytes) return { ok: false, problem: "header_length" };
  const view = new DataView(head.buffer, head.byteOffset, head.byteLength);
  if (view.getUint32(0, true) !== magic) return { ok: false, problem: "magic" };
  if (view.getUint16(4, true) !== frameVersion) return { ok: false, problem: "version" };
  const kind = kindOf.get(view.getUint8(6));
  if (kind === undefined) return { ok: false, problem: "kind" };
  const dtype = dtypeOf.get(view.getUint8(7));
  if (dtype === undefined) return { ok: false, problem: "dtype" };
  if (view.getUint32(60, true) !== 0) return { ok: false, problem: "reserved" };
  const offset = Number(view.getBigUint64(40, true));
  const total = Number(view.getBigUint64(48, true));
  const length = view.getUint32(56, true);
  if (!Number.isSafeInteger(offset) || !Number.isSafeInteger(total)) return { ok: false, problem: "range" };
  const control = kind === "hello" || kind === "credit" || kind === "signal";
  if (control ? parts.length !== 1 || length !== 0 : parts.length !== 2) return { ok: false, problem: "parts" };
  if (control && dtype !== "bytes") return { ok: false, problem: "dtype" };
  if (!control && (offset + length > total || length > maxPayloadBytes)) return { ok: false, problem: "range" };
  if (payload.byteLength !== length) return { ok: false, problem: "payload" };
  const header: FrameHeader = {
    kind,
    dtype,
    job: view.getBigUint64(8, true),
    generation: view.getUint32(16, true),
    source: view.getUint32(20, true),
    step: view.getUint32(24, true),
    bucket: view.getUint32(28, true),
    chunk: view.getUint32(32, true),
    segment: view.getUint32(36, true),
    offset,
    total,
    length,
  };
  return { ok: true, header, payload };
}

/** Jobs are told apart by the first 8 bytes of SHA-256 of their id. */
export function hashJobId(jobId: string): bigint {
  return createHash("sha256").update(jobId, "utf8").digest().readBigUInt64LE(0);
}
