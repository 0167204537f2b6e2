// Text from tokens that come one at a time, for generation: a character of several bytes may span several tokens,
// and is shown only when it is whole. Knows nothing of models or terminals.

import type { Tokenizer } from "./tokenizer.ts";

/** What it gives, joined, is `decode` of all the tokens. */
export interface TextStream {
  /** The text that `id` completes: empty while a character is still incomplete. */
  push(id: number): string;
  /** What was held back. */
  end(): string;
}

/**
 * Incomplete characters decode to U+FFFD, so the run of them that a text ends in is held back until it is followed
 * by something else. The tokens given before stay as context, because some decoders treat the first
 * token of a text differently; a push costs as much as decoding the last few tokens.
 */
export function createTextStream(tokenizer: Pick<Tokenizer, "decode">): TextStream {
  let tokens: number[] = [];
  let context = 0; // tokens at the head that were given in full
  let given = 0; // characters of decode(tokens)
  const take = (text: string, end: number): string => {
    const news = text.slice(given, end);
    given = Math.max(given, end);
    return news;
  };
  return {
    push(id) {
      tokens.push(id);
      const text = tokenizer.decode(tokens);
      const end = text.length - (/\ufffd+$/.exec(text)?.[0].length ?? 0);
      const news = take(text, end);
      if (end === text.length) {
        tokens = tokens.slice(context);
        context = tokens.length;
        given = tokenizer.decode(tokens).length;
      }
      return news;
    },
    end() {
      const text = tokenizer.decode(tokens);
      return take(text, text.length);
    },
  };
}
