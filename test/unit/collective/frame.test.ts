// The frame format: golden bytes, a round trip of every field, and a decoder that no bytes can crash.

import fc from "fast-check";
import { expect, test } from "vitest";
import {
  decodeFrame,
  encodeHeader,
  frameHeaderBytes,
  hashJobId,
  maxPayloadBytes,
  type FrameHeader,
} from "../../../proto/frame.ts";

const word = fc.integer({ min: 0, max: 0xffff_ffff });

const dataHeader: fc.Arbitrary<FrameHeader> = fc
  .record({
    kind: fc.constantFrom("reduce-scatter" as const, "all-gather" as const, "broadcast" as const),
    dtype: fc.constantFrom("bytes" as const, "float32" as const, "int64" as const),
    job: fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }),
    generation: word,
    source: word,
    step: word,
    bucket: word,
    chunk: word,
    segment: word,
    offset: fc.integer({ min: 0, max: 2 ** 52 }),
    length: fc.integer({ min: 0, max: 1000 }),
    rest: fc.integer({ min: 0, max: 2 ** 51 }),
  })
  .map(({ rest, ...header }) => ({ ...header, total: header.offset + header.length + rest }));

const sample: FrameHeader = {
  kind: "reduce-scatter",
  dtype: "int64",
  job: hashJobId("job"),
  generation: 7,
  source: 2,
  step: 5,
  bucket: 1,
  chunk: 3,
  segment: 4,
  offset: 8192,
  total: 65536,
  length: 4,
};
const payload = Uint8Array.of(1, 2, 3, 4);

function problemOf(change: (header: Buffer) => void): string | undefined {
  const header = encodeHeader(sample);
  change(header);
  const decoded = decodeFrame([header, payload]);
  return decoded.ok ? undefined : decoded.problem;
}

test("the header's bytes are those of the documented format", () => {
  expect(encodeHeader(sample).toString("hex")).toBe(
    "524e4754" +
      "0300" +
      "03" +
      "02" +
      "5e8c9902207afaeb" +
      "07000000" +
      "02000000" +
      "05000000" +
      "01000000" +
      "03000000" +
      "04000000" +
      "0020000000000000" +
      "0000010000000000" +
      "04000000" +
      "00000000",
  );
});

test("every field survives a round trip, and the payload is not copied", () => {
  fc.assert(
    fc.property(dataHeader, (header) => {
      const bytes = new Uint8Array(header.length);
      const decoded = decodeFrame([encodeHeader(header), bytes]);
      expect(decoded).toEqual({ ok: true, header, payload: bytes });
      expect(decoded.ok && decoded.payload).toBe(bytes);
    }),
  );
});

test("control frames have one part", () => {
  const hello = encodeHeader({ ...sample, kind: "hello", dtype: "bytes", length: 0 });
  expect(decodeFrame([hello]).ok).toBe(true);
  const odd = encodeHeader({ ...sample, kind: "hello", length: 0 });
  expect(decodeFrame([odd])).toEqual({ ok: false, problem: "dtype" });
  expect(decodeFrame([hello, new Uint8Array(0)])).toEqual({ ok: false, problem: "parts" });
  expect(decodeFrame([encodeHeader({ ...sample, kind: "credit" })])).toEqual({ ok: false, problem: "parts" });
});

test("each defect has its own reason", () => {
  expect(problemOf(() => undefined)).toBeUndefined();
  expect(problemOf((header) => header.write("RNGX"))).toBe("magic");
  expect(problemOf((header) => header.writeUInt16LE(1, 4))).toBe("version");
  expect(problemOf((header) => header.writeUInt8(8, 6))).toBe("kind");
  expect(problemOf((header) => header.writeUInt8(0, 6))).toBe("kind");
  expect(problemOf((header) => header.writeUInt8(5, 7))).toBe("dtype");
  expect(problemOf((header) => header.writeUInt32LE(1, 60))).toBe("reserved");
  expect(problemOf((header) => header.writeUInt32LE(5, 56))).toBe("payload");
  expect(problemOf((header) => header.writeBigUInt64LE(65533n, 40))).toBe("range");
  expect(problemOf((header) => header.writeBigUInt64LE(2n ** 63n, 40))).toBe("range");
  expect(problemOf((header) => header.writeBigUInt64LE(2n ** 63n, 48))).toBe("range");
  expect(
    problemOf((header) => {
      header.writeBigUInt64LE(2n ** 40n, 48);
      header.writeUInt32LE(maxPayloadBytes + 1, 56);
    }),
  ).toBe("range");
  expect(decodeFrame([])).toEqual({ ok: false, problem: "parts" });
  expect(decodeFrame([encodeHeader(sample)])).toEqual({ ok: false, problem: "parts" });
  expect(decodeFrame([encodeHeader(sample), payload, payload])).toEqual({ ok: false, problem: "parts" });
  expect(decodeFrame([encodeHeader(sample).subarray(1), payload])).toEqual({ ok: false, problem: "header_length" });
});

test("no bytes crash the decoder", () => {
  const near = fc
    .tuple(dataHeader, fc.array(fc.tuple(fc.nat(frameHeaderBytes - 1), fc.nat(255)), { maxLength: 4 }))
    .map(([header, changes]) => {
      const bytes = encodeHeader(header);
      for (const [at, value] of changes) bytes[at] = value;
      return new Uint8Array(bytes);
    });
  const part = fc.oneof(near, fc.uint8Array({ maxLength: 200 }));
  fc.assert(
    fc.property(fc.array(part, { maxLength: 4 }), (parts) => {
      const decoded = decodeFrame(parts);
      if (decoded.ok) expect(decoded.header.offset + decoded.payload.byteLength).toBeLessThanOrEqual(2 ** 53);
      else expect(decoded.problem).toMatch(/^[a-z_]+$/);
    }),
    { numRuns: 2000 },
  );
});

test("jobs with different names have different hashes", () => {
  expect(hashJobId("a")).not.toBe(hashJobId("b"));
  expect(hashJobId("a")).toBe(hashJobId("a"));
});
