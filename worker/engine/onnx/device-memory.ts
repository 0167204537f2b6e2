// What stays in the memory of a GPU between the runs of an engine: copies of weights that the caller has not written
// since, and sums of gradients to which another microbatch is added. Only WebGPU: onnxruntime-node can hold no tensor on
// other devices.

import type { ParameterLayout } from "../../model/parameters.ts";
import type { Target } from "./graph.ts";
import type { Program, Slot } from "./runtime.ts";
import { traceModel } from "./tracing-backend.ts";

export type Slots = Readonly<Record<string, Slot>>;

const copied = "copy.";

/** Copies of host tensors on the device, made by a program that does nothing else. */
export class DeviceCopies {
  readonly #host: Slots;
  readonly #program: Promise<Program>;
  #device: Slots | undefined;

  /** `load` makes the program of the model that it is given, whose outputs stay on the device. */
  constructor(
    layout: ParameterLayout,
    host: Slots,
    target: Target,
    load: (model: Uint8Array, outputs: readonly string[]) => Promise<Program>,
  ) {
    this.#host = host;
    const { specs } = layout;
    const model = traceModel(target, (trace) => {
      for (const { name, shape } of specs) trace.output(copied + name, trace.input(name, shape, "float32"));
    });
    this.#program = load(
      model,
      specs.map(({ name }) => copied + name),
    );
    this.#program.catch(() => undefined); // Whoever asks for the copies is told.
  }

  /** The copies, made anew unless the host's tensors are `unchanged` since they were made. */
  async get(unchanged: boolean): Promise<Slots> {
    if (unchanged && this.#device !== undefined) return this.#device;
    const made = await (await this.#program).compute(this.#host);
    release(this.#device);
    const names = Object.entries(made).map(([name, slot]) => [name.slice(copied.length), slot] as const);
    this.#device = Object.fromEntries(names);
    return this.#device;
  }

  async close(): Promise<void> {
    release(this.#device);
    await (await this.#program.catch(() => undefined))?.close();
  }
}

/** Frees the device's memory; the slots can't be used again. */
export function release(slots: Slots | undefined): void {
  for (const slot of Object.values(slots ?? {})) slot.dispose();
}
