// Where each named tensor lives in the flat float32 buffers of parameters, gradients and optimizer state.

export interface ParameterSpec {
  /** Hugging Face's name, such as "transformer.h.0.attn.c_attn.weight". */
  readonly name: string;
  readonly shape: readonly number[];
  /** First element in the flat buffer. */
  readonly offset: number;
  /** Number of elements. */
  readonly size: number;
}

export interface ParameterLayout {
  readonly specs: readonly ParameterSpec[];
  /** Elements of the flat buffer. */
  readonly size: number;
}

/** Lays tensors out one after another, in the order given. */
export function createLayout(tensors: Iterable<{ name: string; shape: readonly number[] }>): ParameterLayout {
  const specs: ParameterSpec[] = [];
  let offset = 0;
  for (const { name, shape } of tensors) {
    const size = shape.reduce((product, dimension) => product * dimension, 1);
    specs.push({ name, shape, offset, size });
    offset += size;
  }
  return { specs, size: offset };
}

/** The layouts of the parameters that `trained` chooses and of the others, each with offsets of its own. */
export function splitLayout(
  layout: ParameterLayout,
  trained: (name: string) => boolean,
): { readonly trainable: ParameterLayout; readonly frozen: ParameterLayout } {
  const part = (wanted: boolean): ParameterLayout =>
    createLayout(layout.specs.filter(({ name }) => trained(name) === wanted));
  return { trainable: part(true), frozen: part(false) };
}

/** A view (not a copy) of one tensor in a flat buffer. */
export function viewOf(flat: Float32Array, spec: ParameterSpec): Float32Array {
  return flat.subarray(spec.offset, spec.offset + spec.size);
}
