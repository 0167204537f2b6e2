// Where a config.json of Hugging Face says how much is dropped in training. A run's own rate is written there, so that the
// model, its checkpoints and whoever goes on with them agree.

const keys: Readonly<Record<string, readonly string[]>> = {
  gpt2: ["embd_pdrop", "attn_pdrop", "resid_pdrop"],
  llama: ["attention_dropout"],
  mistral: ["attention_dropout"],
  qwen2: ["attention_dropout"],
  bert: ["hidden_dropout_prob", "attention_probs_dropout_prob", "classifier_dropout"],
  roberta: ["hidden_dropout_prob", "attention_probs_dropout_prob", "classifier_dropout"],
  "xlm-roberta": ["hidden_dropout_prob", "attention_probs_dropout_prob", "classifier_dropout"],
  distilbert: ["dropout", "attention_dropout", "seq_classif_dropout"],
};

type Json = Readonly<Record<string, unknown>>;

/** `json` with `rate` wherever a model of its model_type drops something. */
export function withDropout<T extends object>(json: T, rate: number): T {
  const { model_type: type } = json as Json;
  const named = (typeof type === "string" ? keys[type] : undefined) ?? [];
  return { ...json, ...Object.fromEntries(named.map((key) => [key, rate])) };
}

/** What is dropped, for people: "attn_pdrop 0.1, resid_pdrop 0.1"; empty when nothing is. */
export function describeDropout(json: object): string {
  const { model_type: type } = json as Json;
  const named = (typeof type === "string" ? keys[type] : undefined) ?? [];
  const rates = named.map((key) => [key, (json as Json)[key]] as const);
  return rates.flatMap(([key, rate]) => (typeof rate === "number" && rate > 0 ? `${key} ${rate}` : [])).join(", ");
}
