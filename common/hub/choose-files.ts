// Which files of a repository a run needs, by their names: the config, the tokenizer and safetensors; nothing of the other
// formats that repositories hold beside them.

export const tokenizerFiles = ["tokenizer.json", "tokenizer_config.json"] as const;
const modelFile = "model.safetensors";
export const indexFile = "model.safetensors.index.json";
/** What other tools want beside a tokenizer, or a model: small, and copied along. */
const companions = [
  "special_tokens_map.json",
  "added_tokens.json",
  "generation_config.json",
  "chat_template.jinja",
  "vocab.json",
  "vocab.txt",
  "merges.txt",
];

/** What is asked of a repository. */
export type Need = "model" | "tokenizer";

/** The files, or why there are none, in words that follow "the repository ...". */
export type Choice = { readonly files: readonly string[] } | { readonly refused: string };

/**
 * `names` are the files at the repository's root. Shards are not among the files: the index, which is, names them.
 */
export function chooseFiles(names: readonly string[], need: Need): Choice {
  const there = new Set(names);
  const some = (wanted: readonly string[]): string[] => wanted.filter((name) => there.has(name));
  const texts = some([...tokenizerFiles, ...companions]);
  if (need === "tokenizer") {
    return there.has("tokenizer.json")
      ? { files: texts }
      : { refused: `has no tokenizer.json, only ${listed(names)}; take a tokenizer that has one` };
  }
  const weights = there.has(modelFile) ? [modelFile] : some([indexFile]);
  if (weights.length === 0) return { refused: whyNoWeights(names) };
  if (!there.has("config.json")) return { refused: "has no config.json, which says what kind of model it is" };
  return { files: ["config.json", ...texts, ...weights] };
}

function whyNoWeights(names: readonly string[]): string {
  if (names.includes("adapter_config.json")) {
    return "holds an adapter and no model; train from its base model, or merge the two first";
  }
  const other = names.find((name) => /\.(bin|h5|msgpack|ckpt\..*|gguf|onnx|pt|pth)$/.test(name));
  if (other === undefined) return `has no model.safetensors, only ${listed(names)}`;
  return (
    `holds its weights as ${other} and not as model.safetensors, and Ringtune reads safetensors only; look for a ` +
    `revision that has them (often refs/pr/1), or convert it: transformers' save_pretrained writes them`
  );
}

function listed(names: readonly string[]): string {
  if (names.length === 0) return "no files";
  return `${names.slice(0, 5).join(", ")}${names.length > 5 ? ` and ${names.length - 5} more` : ""}`;
}

/** The shards that an index (parsed) names; undefined when it names none. */
export function shardsOf(index: unknown): string[] | undefined {
  const map = (index as { weight_map?: unknown } | null)?.weight_map;
  if (typeof map !== "object" || map === null) return undefined;
  const shards = new Set(Object.values(map));
  const isName = (name: unknown): name is string => typeof name === "string" && /^[\w.-]+\.safetensors$/.test(name);
  return shards.size > 0 && [...shards].every(isName) ? ([...shards] as string[]).sort() : undefined;
}
