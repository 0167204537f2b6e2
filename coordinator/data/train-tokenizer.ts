// `ringtune tokenizer train`: a tokenizer from all the documents of some sources, for several runs to share through
// tokenizer.from. Arguments are read by the command line; nothing is cached.

import { mkdir, stat } from "node:fs/promises";
import { join } from "node:path";
import { writeFileAtomic } from "../../common/atomic-file.ts";
import { RingtuneError } from "../../common/errors.ts";
import { parseTokenizer } from "../../common/tokenizer.ts";
import { trainBpe, type ModelSide } from "./bpe.ts";
import { textsOf } from "./document.ts";
import { loadDocuments } from "./documents.ts";
import { describeTrained, newTokenizerConfig } from "./obtain-tokenizer.ts";
import type { ProgressOptions } from "./progress.ts";

export interface TrainTokenizerOptions extends ProgressOptions {
  /** As data.source of a config: "sotu", or paths. */
  readonly sources: readonly string[];
  /** Field of a JSONL line that holds the text; "text" if left out. */
  readonly textField?: string | undefined;
  readonly vocabSize: number;
  /** What the tokenizer is for; left out: a decoder. */
  readonly side?: ModelSide | undefined;
  /** Folder for tokenizer.json and tokenizer_config.json; made if it is not there. */
  readonly out: string;
  /** Replace the files that are there. */
  readonly force?: boolean | undefined;
  /** Longest sequence, noted for other programs; 1024 if left out. */
  readonly modelMaxLength?: number | undefined;
  readonly onNotice: (line: string) => void;
}

/**
 * Trains, writes both files, and returns the path of tokenizer.json and the size of the vocabulary.
 * @throws RingtuneError usage when a file is there and `force` is not set; data_invalid, tokenizer_invalid, disk_failed
 */
export async function trainTokenizerCommand(
  options: TrainTokenizerOptions,
): Promise<{ path: string; vocabSize: number }> {
  const { sources, textField = "text", out, onNotice, signal, vocabSize: wanted, modelMaxLength = 1024 } = options;
  const path = join(out, "tokenizer.json");
  const configPath = join(out, "tokenizer_config.json");
  if (options.force !== true) for (const file of [path, configPath]) await refuseExisting(file);

  const documents = await loadDocuments({ source: sources, text_field: textField }, { onNotice, signal });
  const startMs = performance.now();
  const { json, vocabSize } = await trainBpe(textsOf(documents), options);
  const { eosToken } = parseTokenizer({ json, source: "just trained" });
  await mkdir(out, { recursive: true }).catch((cause: unknown) => {
    const code = (cause as NodeJS.ErrnoException).code ?? "unknown error";
    throw new RingtuneError("disk_failed", `cannot make the folder ${out}: ${code}; give another one`, { cause });
  });
  await writeFileAtomic(configPath, newTokenizerConfig(eosToken, modelMaxLength, options.side ?? "decoder"));
  await writeFileAtomic(path, json);
  const seconds = ((performance.now() - startMs) / 1000).toFixed(1);
  onNotice(describeTrained(vocabSize, wanted, `trained on ${documents.length} documents in ${seconds} s`));
  return { path, vocabSize };
}

async function refuseExisting(file: string): Promise<void> {
  if ((await stat(file).catch(() => undefined)) === undefined) return;
  throw new RingtuneError("usage", `${file} exists and is not replaced; pass --force, or give another folder`, {
    details: { file },
  });
}
