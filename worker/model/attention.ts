// Attention (Vaswani et al., 2017) with a closed-form gradient: causal or over all tokens that are not padding, and with
// fewer heads for keys and values than for queries. Queries, keys and values come from the models; nothing is learned here.
//
//     P = softmax(scale q k' + mask)    o = P v
//     dv = P' do    dS = P * (do v' - rowsum(do * o))    dq = scale dS k    dk = scale dS' q
//
// With dropout, K being what is kept times 1 / (1 - rate), o = (K * P) v, dv = (K * P)' do and
// dS = P * (K * do v' - rowsum(do * o)), since the sum over a row of P * K * do v' is that of do * o again.
//
// What the causal mask hides is not computed either, up to the size of a block: 4 blocks do 10 of 16 parts of the work.
//
//     queries 0..127    ##              ## keys that the block computes
//           128..255    ####
//           256..383    ######
//           384..511    ########

import { keepWhere, scaledMatMul } from "./kernels.ts";
import { differentiable } from "./nn.ts";
import { tf } from "./tf.ts";

type Tensor = tf.Tensor;

export interface AttentionShape {
  readonly rows: number;
  readonly length: number;
  readonly heads: number;
  /** Heads of keys and values; query head i uses head floor(i * keyHeads / heads) (Ainslie et al., 2023). */
  readonly keyHeads?: number;
  /** Factor on the scores, usually 1 / sqrt(head width). */
  readonly scale: number;
  /** Of the probabilities; left out, all are kept. */
  readonly dropout?: AttentionDropout | undefined;
}

export interface AttentionDropout {
  /** Factor on what is kept. */
  readonly scale: number;
  /** What to keep of the probabilities [rows * keyHeads, ...] of the queries from `start` on, as bool. */
  readonly mask: (start: number, shape: readonly number[]) => Tensor;
}

/** Queries are computed in blocks, each with the keys up to its end only: four blocks, or fewer if they get too small. */
const maximumBlocks = 4;
const minimumBlock = 64;

/**
 * Attention in which a token sees itself and what is before it, of `qkv` [tokens, 3 * width] (queries, keys, values
 * beside one another): [tokens, width]. Packed and unpacked in one pass each.
 */
export function packedCausalAttention(qkv: Tensor, shape: AttentionShape): Tensor {
  const { rows, length, heads } = shape;
  const width = qkv.shape[1]! / 3;
  const head = width / heads;
  const core = attentionCore(shape, head);
  return differentiable(
    [qkv],
    (save) => {
      const packed = tf.transpose(tf.reshape(qkv, [rows, length, 3, heads, head]), [2, 0, 3, 1, 4]);
      const [q, k, v] = tf.split(packed, 3, 0).map((part) => tf.reshape(part, [rows * heads, length, head]));
      const { result, probabilities } = core.forward(q!, k!, v!);
      save([q!, k!, v!, result, ...probabilities]);
      return result;
    },
    (dy, saved) => {
      const packed = tf.reshape(tf.concat(core.backward(dy, saved), 0), [3, rows, heads, length, head]);
      return [tf.reshape(tf.transpose(packed, [1, 3, 0, 2, 4]), [rows * length, 3 * width])];
    },
  );
}

/**
 * Attention of queries q [tokens, heads * head] to keys and values k, v [tokens, keyHeads * head]:
 * [tokens, heads * head]. Causal, unless there is a `keyBias` [rows, 1, length] that is added to the scores of every
 * query: 0 for tokens, very negative for padding (see `paddingBias`).
 */
export function attention(q: Tensor, k: Tensor, v: Tensor, shape: AttentionShape, keyBias?: Tensor): Tensor {
  const { rows, length, heads, keyHeads = heads } = shape;
  const head = q.shape[1]! / heads;
  const core = attentionCore(shape, head, keyBias);
  const toHeads = (x: Tensor, count: number): Tensor =>
    tf.transpose(tf.reshape(x, [rows, length, count, head]), [0, 2, 1, 3]);
  const fromHeads = (x: Tensor, count: number): Tensor =>
    tf.reshape(tf.transpose(tf.reshape(x, [rows, count, length, head]), [0, 2, 1, 3]), [rows * length, count * head]);
  return differentiable(
    [q, k, v],
    (save) => {
      const queries = tf.reshape(toHeads(q, heads), core.queryShape);
      const [keys, values] = [k, v].map((x) => tf.reshape(toHeads(x, keyHeads), [rows * keyHeads, length, head]));
      const { result, probabilities } = core.forward(queries, keys!, values!);
      save([queries, keys!, values!, result, ...probabilities]);
      return result;
    },
    (dy, saved) => {
      const [dq, dk, dv] = core.backward(dy, saved);
      return [fromHeads(dq, heads), fromHeads(dk, keyHeads), fromHeads(dv, keyHeads)];
    },
  );
}

/** The `keyBias` of a mask [rows * length] that is 1 for tokens and 0 for padding. */
export function paddingBias(mask: Tensor, rows: number, length: number): Tensor {
  return tf.mul(tf.sub(tf.reshape(mask, [rows, 1, length]), 1), hidden);
}

const hidden = 1e9;

/**
 * Keys and values are [groups, length, head] with groups = rows * keyHeads. The `share` query heads of a group are
 * computed as one matrix, so that keys and values are not repeated: queries are [groups, share, length, head], or
 * [groups, length, head] where share is 1.
 */
function attentionCore(
  { rows, length, heads, keyHeads = heads, scale, dropout }: AttentionShape,
  head: number,
  bias?: Tensor,
) {
  const groups = rows * keyHeads;
  const share = heads / keyHeads;
  const queryShape = share === 1 ? [groups, length, head] : [groups, share, length, head];
  const size = bias === undefined ? Math.max(minimumBlock, Math.ceil(length / maximumBlocks)) : length;
  const starts = Array.from({ length: Math.ceil(length / size) }, (_, i) => i * size);
  const blocks = starts.map((start) => ({ start, end: Math.min(start + size, length) }));
  const whole = (start: number, end: number): boolean => start === 0 && end === length;
  const reshaped = (x: Tensor, shape: number[]): Tensor => (share === 1 ? x : tf.reshape(x, shape));

  /** The first `end` keys or values. */
  const keysUntil = (x: Tensor, end: number): Tensor =>
    end === length ? x : tf.slice(x, [0, 0, 0], [groups, end, -1]);
  /** Queries (or what belongs to them) of one block as matrices [groups, share * (end - start), ...]. */
  const block = (x: Tensor, start: number, end: number): Tensor => {
    const last = x.shape.at(-1)!;
    const begin = share === 1 ? [0, start, 0] : [0, 0, start, 0];
    const sizes = share === 1 ? [groups, end - start, last] : [groups, share, end - start, last];
    const part = whole(start, end) ? x : tf.slice(x, begin, sizes);
    return reshaped(part, [groups, share * (end - start), last]);
  };
  /** The blocks one after another again, as the queries are. */
  const joined = (parts: Tensor[]): Tensor => {
    const each = parts.map((part) => reshaped(part, [groups, share, part.shape[1]! / share, head]));
    return each.length === 1 ? each[0]! : tf.concat(each, share === 1 ? 1 : 2);
  };
  /** Adds up parts that cover the first keys only. */
  const total = (parts: Tensor[]): Tensor => {
    if (parts.length === 1) return parts[0]!;
    return tf.addN(parts.map((part) => tf.pad(part, [[0, 0], [0, length - part.shape[1]!], [0, 0]]))); // prettier-ignore
  };
  const probabilitiesOf = (scores: Tensor, start: number, end: number): Tensor => {
    const shape = scores.shape;
    if (bias === undefined) {
      const each = reshaped(scores, [groups, share, end - start, end]);
      return reshaped(tf.softmax(tf.add(each, causalMask(start, end))), shape);
    }
    return tf.reshape(tf.softmax(tf.add(tf.reshape(scores, [rows, heads * length, length]), bias)), shape);
  };

  /** p x, or p' x, of the probabilities that are kept. */
  const weigh = (p: Tensor, mask: Tensor | undefined, x: Tensor, transpose = false): Tensor =>
    mask === undefined || dropout === undefined
      ? tf.matMul(p, x, transpose, false)
      : scaledMatMul(keepWhere(p, mask), x, dropout.scale, transpose, false);

  return {
    queryShape,

    /** `probabilities` are what backward needs: those of each block, and with dropout its masks behind them. */
    forward(q: Tensor, k: Tensor, v: Tensor): { result: Tensor; probabilities: Tensor[] } {
      const probabilities = blocks.map(({ start, end }) => {
        const scores = scaledMatMul(block(q, start, end), keysUntil(k, end), scale, false, true);
        return probabilitiesOf(scores, start, end);
      });
      const masks =
        dropout === undefined ? [] : blocks.map(({ start }, i) => dropout.mask(start, probabilities[i]!.shape));
      const o = joined(blocks.map(({ end }, i) => weigh(probabilities[i]!, masks[i], keysUntil(v, end))));
      const merged = tf.transpose(tf.reshape(o, [rows, heads, length, head]), [0, 2, 1, 3]);
      return { result: tf.reshape(merged, [rows * length, heads * head]), probabilities: [...probabilities, ...masks] };
    },

    /** `dy` is [tokens, heads * head], `saved` are queries, keys, values, result and probabilities. */
    backward(dy: Tensor, saved: Tensor[]): [dq: Tensor, dk: Tensor, dv: Tensor] {
      const [q, k, v, o, ...probabilities] = saved as [Tensor, Tensor, Tensor, Tensor, ...Tensor[]];
      const split = tf.reshape(dy, [rows, length, heads, head]);
      const dO = tf.reshape(tf.transpose(split, [0, 2, 1, 3]), queryShape);
      const products = tf.reshape(tf.mul(dy, o), [rows, length, heads, head]);
      const rowSums = tf.reshape(tf.transpose(tf.sum(products, -1), [0, 2, 1]), queryShape.with(-1, 1));
      const parts = blocks.map(({ start, end }, i) => {
        const [p, dOi, qi] = [probabilities[i]!, block(dO, start, end), block(q, start, end)];
        const mask = probabilities[blocks.length + i];
        const dKept = scaledMatMul(dOi, keysUntil(v, end), dropout?.scale ?? 1, false, true);
        const dP = mask === undefined ? dKept : keepWhere(dKept, mask);
        const dS = tf.mul(p, tf.sub(dP, block(rowSums, start, end)));
        return {
          dq: scaledMatMul(dS, keysUntil(k, end), scale),
          dk: scaledMatMul(dS, qi, scale, true, false),
          dv: weigh(p, mask, dOi, true),
        };
      });
      const dq = joined(parts.map((part) => part.dq));
      return [dq, total(parts.map((part) => part.dk)), total(parts.map((part) => part.dv))];
    },
  };
}

/** [end - start, end]: 0 where a query of start..end-1 may look, very negative where it may not. */
function causalMask(start: number, end: number): Tensor {
  const mask = new Float32Array((end - start) * end);
  for (let query = start; query < end; query++)
    mask.fill(-hidden, (query - start) * end + query + 1, (query - start + 1) * end);
  return tf.tensor(mask, [end - start, end]);
}
