// As much of a WebAssembly assembler as the SIMD kernels here need: byte codes for one exported function over one
// imported memory. What the function computes is up to its author; nothing is validated but by the engine itself.

/** Instructions, operands first. */
export type Code = readonly number[];

// The part of the WebAssembly interface that is used here; TypeScript has it only together with the browser's.
export interface WasmMemory {
  readonly buffer: ArrayBuffer;
}
declare const WebAssembly: {
  readonly Module: new (bytes: Uint8Array) => object;
  readonly Memory: new (size: { initial: number }) => WasmMemory;
  readonly Instance: new (module: object, imports: object) => { readonly exports: Readonly<Record<string, unknown>> };
};

export const types = { i32: 0x7f, f32: 0x7d, f64: 0x7c, v128: 0x7b } as const;

/** LEB128, the variable-length integers of WebAssembly. */
export function leb(value: number): number[] {
  const bytes: number[] = [];
  do {
    const low = value & 0x7f;
    value >>>= 7;
    bytes.push(value === 0 ? low : low | 0x80);
  } while (value !== 0);
  return bytes;
}

/** A constant on the stack. Constants are signed: bit 6 of the last byte is the sign. */
export function constant(value: number): number[] {
  const bytes: number[] = [];
  for (;;) {
    const low = value & 0x7f;
    value >>= 7;
    if (value === (low & 0x40 ? -1 : 0)) return [0x41, ...bytes, low];
    bytes.push(low | 0x80);
  }
}

export const simd = (opcode: number): number[] => [0xfd, ...leb(opcode)];
export const localGet = (index: number): number[] => [0x20, ...leb(index)];
export const localSet = (index: number): number[] => [0x21, ...leb(index)];
export const localTee = (index: number): number[] => [0x22, ...leb(index)];
/** Four lanes, 16-byte offset; the address is on the stack. */
export const load = (offset: number): number[] => [...simd(0x00), 4, ...leb(offset)];
export const store = (offset: number): number[] => [...simd(0x0b), 4, ...leb(offset)];

/** Runs `body` while the byte index in local `index`, which grows by `stride`, is below local `end`; at least once. */
export function loop(body: Code, { index, end, stride }: { index: number; end: number; stride: number }): number[] {
  const advanced = [...localGet(index), ...constant(stride), 0x6a, ...localTee(index)];
  return [0x03, 0x40, ...body, ...advanced, ...localGet(end), 0x49, 0x0d, 0, 0x0b];
}

const pageBytes = 0x1_0000;

/** Zeros; the operating system gives a page its memory when it is first touched. Throws a RangeError above 4 GiB. */
export function createMemory(bytes: number): WasmMemory {
  return new WebAssembly.Memory({ initial: Math.ceil(bytes / pageBytes) });
}

export interface Assembled {
  readonly memory: ArrayBuffer;
  readonly run: (...values: number[]) => void;
}

/**
 * One function without results: `locals` are groups of [count, type], numbered after the parameters. It works on the
 * memory given, or on one of its own of so many bytes.
 */
export function assemble(parts: {
  readonly parameters: readonly number[];
  readonly locals: readonly (readonly [count: number, type: number])[];
  readonly code: Code;
  readonly memory: WasmMemory | number;
}): Assembled {
  const { parameters, locals } = parts;
  const declared = list(locals.map(([count, type]) => [...leb(count), type]));
  const code = [...declared, ...parts.code, 0x0b];
  const module = new WebAssembly.Module(
    Uint8Array.from([
      ...[0x00, 0x61, 0x73, 0x6d, 0x01, 0x00, 0x00, 0x00],
      ...section(1, list([[0x60, ...list(parameters.map((type) => [type])), 0]])),
      ...section(2, list([[...list([[0x65]]), ...list([[0x6d]]), 2, 0, 1]])), // import memory as e.m, at least one page
      ...section(3, list([[0]])),
      ...section(7, list([[...list([[0x66]]), 0, 0]])), // export the function as f
      ...section(10, list([[...leb(code.length), ...code]])),
    ]),
  );
  const memory = typeof parts.memory === "number" ? createMemory(parts.memory) : parts.memory;
  const run = new WebAssembly.Instance(module, { e: { m: memory } }).exports["f"] as Assembled["run"];
  return { memory: memory.buffer, run };
}

function list(items: readonly Code[]): number[] {
  return [...leb(items.length), ...items.flat()];
}

function section(id: number, content: Code): number[] {
  return [id, ...leb(content.length), ...content];
}
