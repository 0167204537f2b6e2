// The format, against files assembled by hand and the golden one that PyTorch's numbers were computed from.

import { mkdtemp, readFile, rm, truncate, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { RingtuneError } from "../../../common/errors.ts";
import { createModel } from "../../../worker/model/architectures.ts";
import { readModelConfig } from "../../../worker/model/huggingface.ts";
import { loadParameters, loadTensors } from "../../../worker/model/load-parameters.ts";
import { createLayout } from "../../../worker/model/parameters.ts";
import { openSafetensors, writeSafetensors } from "../../../worker/model/safetensors.ts";
import { globalNorm } from "../../../worker/train/optimizer.ts";

const golden = join(import.meta.dirname, "../../golden/gpt2");

let folder: string;
let path: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "ringtune-safetensors-"));
  path = join(folder, "model.safetensors");
});
afterEach(async () => rm(folder, { recursive: true }));

/** A file with this header and data, without any help from the code under test. */
async function assemble(header: unknown, data: Uint8Array, declared?: bigint): Promise<void> {
  const json = Buffer.from(typeof header === "string" ? header : JSON.stringify(header));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(declared ?? BigInt(json.length));
  await writeFile(path, Buffer.concat([length, json, data]));
}

const floats = (...values: number[]): Uint8Array => new Uint8Array(Float32Array.from(values).buffer);
const entry = (shape: number[], begin: number, end: number, dtype = "F32") => ({
  dtype,
  shape,
  data_offsets: [begin, end],
});

async function refusal(work: Promise<unknown>): Promise<RingtuneError> {
  const error: unknown = await work.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  expect(error).toBeInstanceOf(RingtuneError);
  expect((error as RingtuneError).code).toBe("checkpoint_invalid");
  expect((error as RingtuneError).message).toContain(folder);
  return error as RingtuneError;
}

describe("a safetensors file", () => {
  test("is laid out byte for byte as the format says", async () => {
    const data = Float32Array.of(1, 2, 3, 4, 5, 6);
    await writeSafetensors(path, [
      { name: "a", shape: [2, 2], data: data.subarray(0, 4) },
      { name: "empty", shape: [0, 3], data: new Float32Array(0) },
      { name: "b", shape: [2], data: data.subarray(4) },
    ]);
    const bytes = await readFile(path);
    const headerBytes = Number(bytes.readBigUInt64LE());
    expect(headerBytes % 8).toBe(0);
    const text = bytes.toString("utf8", 8, 8 + headerBytes);
    expect(text).toMatch(/^\{.*\} *$/);
    expect(JSON.parse(text)).toEqual({
      __metadata__: { format: "pt" },
      a: entry([2, 2], 0, 16),
      empty: entry([0, 3], 16, 16),
      b: entry([2], 16, 24),
    });
    expect(bytes.subarray(8 + headerBytes)).toEqual(Buffer.from(floats(1, 2, 3, 4, 5, 6)));
  });

  test("gives back what was written, bit for bit, whatever the shapes", async () => {
    const shape = fc.array(fc.integer({ min: 0, max: 5 }), { maxLength: 3 });
    await fc.assert(
      fc.asyncProperty(
        fc.array(shape, { minLength: 1, maxLength: 6 }),
        fc.infiniteStream(fc.float({ noNaN: true, noDefaultInfinity: true })),
        async (shapes, values) => {
          const layout = createLayout(shapes.map((sizes, i) => ({ name: `tensor ${i} "é`, shape: sizes })));
          const flat = Float32Array.from(values.take(layout.size));
          const tensors = layout.specs.map(({ name, shape: sizes, offset, size }) => ({
            name,
            shape: sizes,
            data: flat.subarray(offset, offset + size),
          }));
          await writeSafetensors(path, tensors);
          const read = new Float32Array(layout.size).fill(NaN);
          await loadParameters(path, layout, read);
          expect(Buffer.from(read.buffer)).toEqual(Buffer.from(flat.buffer));
        },
      ),
      { numRuns: 30 },
    );
  });

  test("of half precision is read as float32", async () => {
    // 1, -2, the smallest subnormal, the largest finite; as half and as bfloat16.
    const words = Uint16Array.of(0x3c00, 0xc000, 0x0001, 0x7bff, 0x3f80, 0xc000, 0x0001, 0x7f7f);
    await assemble({ half: entry([4], 0, 8, "F16"), brain: entry([4], 8, 16, "BF16") }, new Uint8Array(words.buffer));
    const [half, brain] = [new Float32Array(4), new Float32Array(4)];
    await loadTensors(path, [
      { name: "half", shape: [4], into: half },
      { name: "brain", shape: [4], into: brain },
    ]);
    expect([...half]).toEqual([1, -2, 2 ** -24, 65504]);
    expect([...brain]).toEqual([1, -2, 2 ** -133, (2 - 2 ** -7) * 2 ** 127]);
  });

  test("of half precision is written rounded, and a number that does not fit is named", async () => {
    const data = Float32Array.of(1 + 2 ** -11, 1 + 3 * 2 ** -11, -65519, 2 ** -25, 3 * 2 ** -25);
    const read = new Float32Array(5);
    const tensor = { name: "w", shape: [5] };
    await writeSafetensors(path, [{ ...tensor, data }], "float16");
    await loadTensors(path, [{ ...tensor, into: read }]);
    expect([...read]).toEqual([1, 1 + 2 ** -9, -65504, 0, 2 ** -23]);
    await writeSafetensors(path, [{ ...tensor, data }], "bfloat16");
    await loadTensors(path, [{ ...tensor, into: read }]);
    expect([...read]).toEqual([1, 1, -65536, 2 ** -25, 3 * 2 ** -25]);
    data[2] = -65520;
    await expect(writeSafetensors(path, [{ ...tensor, data }], "float16")).rejects.toThrow(
      "element 2 of tensor w is -65520, which float16 can't hold; save as bfloat16",
    );
    data[2] = 3.4028e38;
    await expect(writeSafetensors(path, [{ ...tensor, data }], "bfloat16")).rejects.toThrow("save as float32");
    await loadTensors(path, [{ ...tensor, into: read }]); // the earlier file is whole
    expect(read[0]).toBe(1);
  });

  test("of a whole model has the norm that PyTorch computed", async () => {
    const expected = JSON.parse(await readFile(join(golden, "expected.json"), "utf8")) as {
      initial_param_norm: number;
    };
    const { layout } = await readModelConfig(golden);
    const parameters = new Float32Array(layout.size);
    await loadParameters(join(golden, "model.safetensors"), layout, parameters);
    expect(Math.abs(globalNorm(parameters) / expected.initial_param_norm - 1)).toBeLessThan(1e-8);
  });
});

describe("a damaged file is refused with both numbers:", () => {
  const refused: [string, unknown, Uint8Array, RegExp, bigint?][] = [
    ["header longer than the file", {}, floats(1), /declares a header of 99 bytes, 6 follow/, 99n],
    ["absurd header length", {}, floats(1), /18446744073709551615/, 2n ** 64n - 1n],
    ["header that is not JSON", "{nothing", floats(), /8 bytes that is not JSON/],
    ["header that is a list", [], floats(), /not a JSON object/],
    ["entry without offsets", { a: { dtype: "F32", shape: [1] } }, floats(1), /tensor a without a valid/],
    ["negative size", { a: entry([-1], 0, 4) }, floats(1), /tensor a without a valid/],
    ["unknown type", { a: entry([1], 0, 4, "F33") }, floats(1), /tensor a of unknown type F33/],
    ["type that is a property of every object", { a: entry([1], 0, 4, "constructor") }, floats(1), /unknown type/],
    ["shape that does not fit", { a: entry([3], 0, 8) }, floats(1, 2), /gives tensor a 8 bytes, .* needs 12/],
    ["overlap", { a: entry([2], 0, 8), b: entry([2], 4, 12) }, floats(1, 2, 3), /b at byte 4, which overlaps .* 8/],
    ["hole", { a: entry([1], 0, 4), b: entry([1], 8, 12) }, floats(1, 2, 3), /b at byte 8, which leaves a hole .* 4/],
    ["truncation", { a: entry([4], 0, 16) }, floats(1, 2, 3), /ends after 12 bytes of data, tensor a goes to byte 16/],
    ["trailing bytes", { a: entry([1], 0, 4) }, floats(1, 2), /8 bytes of data, its tensors take 4/],
    ["size beyond exact integers", { a: entry([2 ** 40, 2 ** 40], 0, 4) }, floats(1), /needs 4.8\d*e\+24/],
  ];
  test.each(refused)("%s", async (_, header, data, message, declared) => {
    await assemble(header, data, declared);
    expect((await refusal(openSafetensors(path))).message).toMatch(message);
  });

  test("an empty file, and one that is not there", async () => {
    await writeFile(path, "");
    expect((await refusal(openSafetensors(path))).message).toMatch(/0 bytes long/);
    expect((await refusal(openSafetensors(join(folder, "absent")))).message).toMatch(/no such file/);
    expect((await refusal(openSafetensors(folder))).message).toMatch(/not a file/);
  });

  test.each([NaN, Infinity, -Infinity])("a weight that is %d", async (value) => {
    await assemble({ a: entry([2], 0, 8), b: entry([2, 2], 8, 24) }, floats(1, 2, 3, 4, value, 6));
    const layout = createLayout([
      { name: "a", shape: [2] },
      { name: "b", shape: [2, 2] },
    ]);
    const { message } = await refusal(loadParameters(path, layout, new Float32Array(6)));
    expect(message).toContain(`holds ${value} at element 2 of tensor b`);
  });

  test("any byte changed or cut off ends in a refusal or in a whole model, never in anything else", async () => {
    const layout = createLayout([
      { name: "first.weight", shape: [3, 2] },
      { name: "second.bias", shape: [5] },
    ]);
    const whole = Float32Array.from({ length: 11 }, (_, i) => i / 4 - 1);
    await writeSafetensors(path, [
      { name: "first.weight", shape: [3, 2], data: whole.subarray(0, 6) },
      { name: "second.bias", shape: [5], data: whole.subarray(6) },
    ]);
    const good = await readFile(path);
    const damage = fc.record({
      at: fc.nat(good.length - 1),
      bits: fc.integer({ min: 1, max: 255 }),
      cut: fc.boolean(),
    });
    await fc.assert(
      fc.asyncProperty(damage, async ({ at, bits, cut }) => {
        await writeFile(path, good);
        if (cut) await truncate(path, at);
        else
          await writeFile(
            path,
            good.map((byte, i) => (i === at ? byte ^ bits : byte)),
          );
        const read = new Float32Array(layout.size);
        const error: unknown = await loadParameters(path, layout, read).then(
          () => undefined,
          (reason: unknown) => reason,
        );
        if (error !== undefined) {
          expect(error).toBeInstanceOf(RingtuneError);
          return;
        }
        expect(cut).toBe(false); // a truncation is always noticed
        // What is accepted differs from the original by one weight at most: the damage lay in data, padding or metadata.
        expect(read.filter((value, i) => value !== whole[i]).length).toBeLessThanOrEqual(1);
      }),
      { numRuns: 400 },
    );
  });
});

describe("loading a model", () => {
  const layout = createLayout([
    { name: "transformer.wte.weight", shape: [2, 2] },
    { name: "transformer.h.0.attn.c_attn.bias", shape: [1] },
    { name: "transformer.ln_f.bias", shape: [3] },
  ]);
  const sizes = { model_type: "gpt2", vocab_size: 2, n_positions: 2, n_embd: 2, n_layer: 1, n_head: 1 };
  const { files } = createModel(sizes, "the test");
  const weights = { "wte.weight": [1, 2, 3, 4], "h.0.attn.c_attn.bias": [5], "ln_f.bias": [6, 7, 8] };
  const write = (tensors: Record<string, number[]>, shapes: Record<string, number[]> = {}): Promise<void> =>
    writeSafetensors(
      path,
      Object.entries(tensors).map(([name, values]) => ({
        name,
        shape: shapes[name] ?? (name.endsWith("e.weight") || name.startsWith("lm") ? [2, 2] : [values.length]),
        data: Float32Array.from(values),
      })),
    );
  const load = async (): Promise<number[]> => {
    const into = new Float32Array(layout.size);
    await loadParameters(path, layout, into, files);
    return [...into];
  };

  test("accepts old checkpoints: no prefix, saved masks, in any order", async () => {
    const { "wte.weight": embedding, ...rest } = weights;
    await write({ ...rest, "h.0.attn.bias": [1, 1], "h.0.attn.masked_bias": [-10000], "wte.weight": embedding });
    expect(await load()).toEqual([1, 2, 3, 4, 5, 6, 7, 8]);
  });

  test("accepts a head that is tied, and refuses one that is not", async () => {
    await write({ ...weights, "lm_head.weight": [1, 2, 3, 4] });
    expect(await load()).toEqual([1, 2, 3, 4, 5, 6, 7, 8]);
    await write({ ...weights, "lm_head.weight": [1, 2, 9, 4] });
    expect((await refusal(load())).message).toMatch(/lm_head.weight that is not .*element 2/);
  });

  test("lists everything that is missing, unexpected or of another shape at once", async () => {
    const tensors = { "wte.weight": [1, 2, 3, 4], "ln_f.bias": [6, 7], "h.7.extra": [0] };
    await write(tensors, { "wte.weight": [4, 1] });
    const { message, details } = await refusal(load());
    expect(message).toContain("1 missing (transformer.h.0.attn.c_attn.bias [1])");
    expect(message).toContain("1 unexpected (h.7.extra)");
    expect(message).toContain("transformer.wte.weight is [4, 1], the config says [2, 2]");
    expect(message).toContain("transformer.ln_f.bias is [2], the config says [3]");
    expect(details).toMatchObject({ missing: 1, unexpected: 1, misshaped: 2 });
  });

  test("refuses integers where weights should be", async () => {
    await assemble({ "wte.weight": entry([2, 2], 0, 16, "I32") }, floats(1, 2, 3, 4));
    const only = [{ name: "wte.weight", shape: [2, 2], into: new Float32Array(4) }];
    expect((await refusal(loadTensors(path, only))).message).toMatch(
      /tensor wte.weight of type I32; only F32, F16, BF16/,
    );
  });
});
