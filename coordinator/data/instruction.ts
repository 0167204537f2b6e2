// Instruction data: prompts with answers, of which only the answers are trained. Three forms: alpaca, messages (a
// conversation, all of whose answers are trained) and completion. What is trained is known by its place, never by its id, so
// that the end of text is learned also where it is the padding token.
//
//   tokens     p p p a a a eos        prompt, answer, end of text
//   inputs     p p p a a a            targets are shifted by one
//   targets    . . a a a eos
//
// Too long: the prompt loses its beginning (but for the tokens that the tokenizer puts first); an answer is trained whole
// or not at all, and a sample whose last answer does not fit is dropped.

import type { Config } from "../../common/config/schema.ts";
import { prefixOf } from "../../common/sequence-template.ts";
import type { Tokenizer } from "../../common/tokenizer.ts";
import {
  chatTemplateOf,
  createChatTemplate,
  defaultChatTemplate,
  inert,
  specialsPattern,
  type ChatTemplate,
  type Message,
} from "./chat-template.ts";
import { kindOf } from "./jsonl.ts";
import { listIn, RecordProblem, textIn, type DataRecord } from "./records.ts";
import type { Dropped, MadeSample, SampleMaker } from "./sample-maker.ts";
import { ignoredTarget } from "./samples.ts";

export type InstructionFormat = Exclude<Config["data"]["format"], "auto">;

export type InstructionExample =
  | { readonly kind: "pair"; readonly prompt: string; readonly answer: string }
  | { readonly kind: "messages"; readonly messages: readonly Message[] };

const fieldsOf: Readonly<Record<InstructionFormat, readonly string[]>> = {
  messages: ["messages"],
  alpaca: ["instruction", "output"],
  completion: ["prompt", "completion"],
};

/** The form whose fields the line has. Throws RecordProblem when it has those of none. */
export function detectFormat({ value }: DataRecord): InstructionFormat {
  const formats = Object.keys(fieldsOf) as InstructionFormat[];
  const found = formats.find((format) => fieldsOf[format].every((field) => Object.hasOwn(value, field)));
  if (found !== undefined) return found;
  const wanted = formats.map((format) => `${format} has ${fieldsOf[format].join(" and ")}`).join(", ");
  const has = Object.keys(value).slice(0, 6).join(", ") || "no fields";
  throw new RecordProblem(`it is of no known form: ${wanted}; this line has ${has}`);
}

/** The prompt of Stanford Alpaca (Taori et al., 2023). */
export function alpacaPrompt(instruction: string, input: string): string {
  const task = `### Instruction:\n${instruction}\n\n`;
  if (input === "") {
    return `Below is an instruction that describes a task. Write a response that appropriately completes the request.\n\n${task}### Response:`;
  }
  return `Below is an instruction that describes a task, paired with an input that provides further context. Write a response that appropriately completes the request.\n\n${task}### Input:\n${input}\n\n### Response:`;
}

export function createInstruction(format: InstructionFormat): SampleMaker<InstructionExample> {
  let chat: { readonly tokenizer: Tokenizer; readonly template: ChatTemplate } | undefined;
  const templateFor = (tokenizer: Tokenizer): ChatTemplate => {
    if (chat?.tokenizer !== tokenizer) chat = { tokenizer, template: readTemplate(tokenizer) };
    return chat.template;
  };
  return {
    targetsPerRow: "tokens",
    causal: true,
    key: ["instruction", format],
    read: (record) => readExample(record, format),
    label: () => undefined,
    texts: (example) =>
      example.kind === "pair" ? [example.prompt + example.answer] : example.messages.map(({ content }) => content),
    make(example, tokenizer, longest) {
      const tokens =
        example.kind === "pair"
          ? pairTokens(example, tokenizer)
          : chatTokens(example, tokenizer, templateFor(tokenizer));
      return fit(tokens, longest);
    },
  };
}

/** tokenizer_config.json with the chat template that was used, for whoever talks to the model later. */
export function withChatTemplate(configJson: string): string {
  const config = JSON.parse(configJson) as Record<string, unknown>;
  if (chatTemplateOf(config) !== undefined) return configJson;
  return `${JSON.stringify({ ...config, chat_template: defaultChatTemplate }, null, 2)}\n`;
}

function readExample(record: DataRecord, format: InstructionFormat): InstructionExample {
  switch (format) {
    case "alpaca": {
      const input = Object.hasOwn(record.value, "input") ? textIn(record, "input") : "";
      return pairOf(alpacaPrompt(textIn(record, "instruction"), input), textIn(record, "output"));
    }
    case "completion":
      return pairOf(textIn(record, "prompt"), textIn(record, "completion"));
    case "messages": {
      const messages = listIn(record, "messages").map(messageOf);
      if (messages.some(({ role }) => role === "assistant")) return { kind: "messages", messages };
      throw new RecordProblem(`"messages" has ${messages.length} messages and no answer of the assistant`);
    }
  }
}

function pairOf(prompt: string, answer: string): InstructionExample {
  return { kind: "pair", prompt, answer };
}

function messageOf(value: unknown, i: number): Message {
  const { role, content } = (typeof value === "object" && value !== null ? value : {}) as Record<string, unknown>;
  if (typeof role !== "string") {
    throw new RecordProblem(`message ${i} has ${kindOf(role)} as role, instead of user, assistant or system`);
  }
  if (typeof content === "string") return { role, content: content.replaceAll("\r\n", "\n") };
  throw new RecordProblem(`message ${i} has ${kindOf(content)} as content, instead of a string`);
}

function readTemplate(tokenizer: Tokenizer): ChatTemplate {
  const config = JSON.parse(tokenizer.configJson ?? "{}") as Record<string, unknown>;
  const specials = [...tokenizer.specials.keys()];
  const { eosToken } = tokenizer;
  return createChatTemplate(chatTemplateOf(config) ?? defaultChatTemplate, config, { eosToken, specials });
}

interface TrainedTokens {
  readonly ids: number[];
  /** Whether each is a part of an answer. */
  readonly trained: boolean[];
  /** So many at the beginning stay when the prompt is cut. */
  readonly pinned: number;
}

function pairTokens({ prompt, answer }: { prompt: string; answer: string }, tokenizer: Tokenizer): TrainedTokens {
  const prefix = prefixOf(tokenizer.template);
  const before = [...prefix, ...tokenizer.encode(prompt)];
  // An answer to nothing begins as a document does.
  if (before.length === 0) before.push(tokenizer.eosId);
  const after = answer === "" ? [] : [...tokenizer.encode(answer), tokenizer.eosId];
  return {
    ids: [...before, ...after],
    trained: [...before.map(() => false), ...after.map(() => true)],
    pinned: prefix.length,
  };
}

/** An answer is trained up to the special token that ends it; the last gets the end of text if the template ends it with none. */
function chatTokens(
  { messages }: { messages: readonly Message[] },
  tokenizer: Tokenizer,
  template: ChatTemplate,
): TrainedTokens {
  const ids: number[] = [];
  const trained: boolean[] = [];
  const push = (some: readonly number[], isTrained: boolean): void => {
    for (const id of some) {
      ids.push(id);
      trained.push(isTrained);
    }
  };
  const stretches = template(messages);
  const specials = new Set(tokenizer.specials.values());
  const lastAnswer = stretches.findLastIndex(({ isAnswer }) => isAnswer);
  let openAnswer = false;
  for (const [i, { text, isAnswer }] of stretches.entries()) {
    if (i > lastAnswer + 1) break;
    const tokens = encodeMarked(text, tokenizer);
    const endAt = openAnswer ? tokens.findIndex((id) => specials.has(id)) + 1 : 0;
    // White space in front of the token that ends the answer belongs to it; other text means that there is no such token.
    const isEnd = endAt > 0 && tokenizer.decode(tokens.slice(0, endAt - 1)).trim() === "";
    push(tokens.slice(0, isEnd ? endAt : 0), true);
    if (i === lastAnswer + 1) {
      if (!isEnd) push([tokenizer.eosId], true);
      return { ids, trained, pinned: pinnedOf(ids, tokenizer) };
    }
    push(tokens.slice(isEnd ? endAt : 0), isAnswer);
    openAnswer = isAnswer;
  }
  push([tokenizer.eosId], true);
  return { ids, trained, pinned: pinnedOf(ids, tokenizer) };
}

function pinnedOf(ids: readonly number[], { template }: Tokenizer): number {
  const prefix = prefixOf(template);
  return prefix.every((id, i) => ids[i] === id) ? prefix.length : 0;
}

/** Ids of a rendered text: names of special tokens are special tokens, unless `inert` stands inside. */
export function encodeMarked(text: string, tokenizer: Tokenizer): number[] {
  const { specials } = tokenizer;
  if (specials.size === 0) return tokenizer.encode(text.replaceAll(inert, ""));
  const parts = text.split(new RegExp(`(${specialsPattern([...specials.keys()])})`));
  return parts.flatMap((part) => {
    const id = specials.get(part);
    return id === undefined ? tokenizer.encode(part.replaceAll(inert, "")) : [id];
  });
}

function fit({ ids, trained, pinned }: TrainedTokens, longest: number): MadeSample | Dropped {
  const lastTrained = trained.lastIndexOf(true);
  if (lastTrained === -1) return "empty";
  const total = lastTrained + 1;
  const cut = Math.max(0, total - 1 - longest);
  const first = pinned + cut;
  const lastAnswer = trained.lastIndexOf(false, lastTrained) + 1;
  if (cut > 0 && lastAnswer <= first) return "too long";
  const isTrained = trained.slice(0, total);
  // An answer whose beginning is cut away is not trained.
  if (cut > 0) for (let at = first; at < total && isTrained[at] === true; at++) isTrained[at] = false;
  const kept = [...ids.keys()].slice(0, total).filter((at) => at < pinned || at >= first);
  const targets = kept.slice(1).map((at) => (isTrained[at] === true ? (ids[at] ?? ignoredTarget) : ignoredTarget));
  return { ids: kept.slice(0, -1).map((at) => ids[at] ?? 0), targets, truncated: cut > 0 };
}
