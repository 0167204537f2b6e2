// The special tokens that an encoder sees around a text or a pair of texts, as the post-processor of a tokenizer.json says
// ("[CLS] A [SEP]"), and a text fitted into them. It does not tokenise: texts come as ids.

/** A special token, or the place of a text; both of a token type. */
export type TemplatePiece =
  | { readonly kind: "special"; readonly id: number; readonly type: number }
  | { readonly kind: "text"; readonly of: "a" | "b"; readonly type: number };

export interface SequenceTemplate {
  readonly single: readonly TemplatePiece[];
  readonly pair: readonly TemplatePiece[];
}

export interface FilledTemplate {
  readonly ids: number[];
  /** 0 or 1 for each id. */
  readonly types: number[];
  /** Tokens that were left out. */
  readonly cut: number;
}

const text = (of: "a" | "b", type: number): TemplatePiece => ({ kind: "text", of, type });
const special = (id: number, type: number): TemplatePiece => ({ kind: "special", id, type });

/** "cls A sep", "cls A sep B sep" with the second text and what follows it of type 1, as BERT has it. */
export function bertTemplate(cls: number, sep: number): SequenceTemplate {
  const single = [special(cls, 0), text("a", 0), special(sep, 0)];
  return { single, pair: [...single, text("b", 1), special(sep, 1)] };
}

/** The template of a post_processor; undefined for one that adds no tokens, or of a kind that is not known. */
export function readTemplate(postProcessor: unknown): SequenceTemplate | undefined {
  const { type, cls, sep, processors, single, pair, special_tokens: tokens } = recordOf(postProcessor);
  const idOf = (token: unknown): number | undefined => {
    const id: unknown = Array.isArray(token) ? token[1] : undefined;
    return typeof id === "number" ? id : undefined;
  };
  const [first, last] = [idOf(cls), idOf(sep)];
  if (type === "BertProcessing" && first !== undefined && last !== undefined) return bertTemplate(first, last);
  if (type === "RobertaProcessing" && first !== undefined && last !== undefined) {
    const around = (of: "a" | "b", begin: number): TemplatePiece[] => [
      special(begin, 0),
      text(of, 0),
      special(last, 0),
    ];
    return { single: around("a", first), pair: [...around("a", first), ...around("b", last)] };
  }
  if (type === "TemplateProcessing") {
    const names = recordOf(tokens);
    return { single: piecesOf(single, names), pair: piecesOf(pair, names) };
  }
  if (type !== "Sequence" || !Array.isArray(processors)) return undefined;
  return processors.map(readTemplate).find((template) => template !== undefined);
}

/** Special tokens in front of a text: what a decoder's tokenizer puts before every prompt. */
export function prefixOf(template: SequenceTemplate | undefined): number[] {
  const pieces = template?.single ?? [];
  const end = pieces.findIndex(({ kind }) => kind === "text");
  return pieces.slice(0, Math.max(end, 0)).flatMap((piece) => (piece.kind === "special" ? [piece.id] : []));
}

/** How many of `pieces` are special tokens. */
export function specialCount(pieces: readonly TemplatePiece[]): number {
  return pieces.filter(({ kind }) => kind === "special").length;
}

/**
 * `a` (and `b`) in their places, at most `longest` ids: texts lose their ends, of two the longer one first, so that both
 * keep as much as they can. The special tokens always stay.
 */
export function fillTemplate(
  template: SequenceTemplate,
  longest: number,
  a: readonly number[],
  b?: readonly number[],
): FilledTemplate {
  const pieces = b === undefined ? template.single : template.pair;
  const room = Math.max(0, longest - specialCount(pieces));
  const other = b ?? [];
  const half = Math.floor(room / 2);
  const keptB = Math.min(other.length, Math.max(half, room - a.length));
  const keptA = Math.min(a.length, room - keptB);
  const ids: number[] = [];
  const types: number[] = [];
  for (const piece of pieces) {
    const part = piece.kind === "special" ? [piece.id] : piece.of === "a" ? a.slice(0, keptA) : other.slice(0, keptB);
    for (const id of part) {
      ids.push(id);
      types.push(piece.type);
    }
  }
  return { ids, types, cut: a.length - keptA + other.length - keptB };
}

function piecesOf(list: unknown, tokens: Record<string, unknown>): TemplatePiece[] {
  if (!Array.isArray(list)) return [];
  return list.flatMap((item): TemplatePiece[] => {
    const { SpecialToken, Sequence } = recordOf(item);
    const { id, type_id: type } = recordOf(SpecialToken ?? Sequence);
    const kind = type === 1 ? 1 : 0;
    if (Sequence !== undefined) return [text(id === "B" ? "b" : "a", kind)];
    const { ids } = recordOf(typeof id === "string" ? tokens[id] : undefined);
    return Array.isArray(ids) ? ids.flatMap((one) => (typeof one === "number" ? [special(one, kind)] : [])) : [];
  });
}

function recordOf(value: unknown): Record<string, unknown> {
  return typeof value === "object" && value !== null ? (value as Record<string, unknown>) : {};
}
