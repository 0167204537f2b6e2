// A tokenizer of a few whole words, whose ids a test can write down. Not trained, not fast.

import { parseTokenizer, type Tokenizer } from "../../common/tokenizer.ts";

export interface WordTokenizerOptions {
  /** Ids 0, 1, 2 and so on. */
  readonly specials: readonly string[];
  /** The ids behind those of the specials; "##x" continues a word. The first is for words that are unknown. */
  readonly words: readonly string[];
  readonly config?: Readonly<Record<string, unknown>>;
  readonly postProcessor?: unknown;
}

/** WordPiece over words that white space and punctuation separate, lower case as it comes. */
export function wordTokenizer({ specials, words, config, postProcessor = null }: WordTokenizerOptions): Tokenizer {
  const tokens = [...specials, ...words];
  const flags = { single_word: false, lstrip: false, rstrip: false, normalized: false, special: true };
  const definition = {
    added_tokens: specials.map((content, id) => ({ id, content, ...flags })),
    normalizer: null,
    pre_tokenizer: { type: "BertPreTokenizer" },
    post_processor: postProcessor,
    decoder: { type: "WordPiece", prefix: "##", cleanup: false },
    model: {
      type: "WordPiece",
      vocab: Object.fromEntries(tokens.map((token, id) => [token, id])),
      unk_token: words[0],
      continuing_subword_prefix: "##",
      max_input_chars_per_word: 100,
    },
  };
  const configJson = config === undefined ? undefined : JSON.stringify(config);
  return parseTokenizer({ json: JSON.stringify(definition), configJson, source: "the test's tokenizer" });
}
