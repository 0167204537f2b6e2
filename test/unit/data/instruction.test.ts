import { describe, expect, test } from "vitest";
import {
  alpacaPrompt,
  createInstruction,
  detectFormat,
  encodeMarked,
  withChatTemplate,
  type InstructionFormat,
} from "../../../coordinator/data/instruction.ts";
import { ignoredTarget as no } from "../../../coordinator/data/samples.ts";
import { wordTokenizer } from "../../support/word-tokenizer.ts";

// <eos> 0, <bos> 1, <user> 2, <bot> 3, [UNK] 4, a 5, b 6, c 7, d 8, e 9; the end of text is the padding token too.
const specials = ["<eos>", "<bos>", "<user>", "<bot>"];
const words = ["[UNK]", "a", "b", "c", "d", "e"];
const config = { eos_token: "<eos>", pad_token: "<eos>", bos_token: { content: "<bos>" } };
const plain = wordTokenizer({ specials, words, config });
const withBos = wordTokenizer({
  ...{ specials, words, config },
  postProcessor: {
    type: "TemplateProcessing",
    single: [{ SpecialToken: { id: "<bos>", type_id: 0 } }, { Sequence: { id: "A", type_id: 0 } }],
    pair: [],
    special_tokens: { "<bos>": { id: "<bos>", ids: [1], tokens: ["<bos>"] } },
  },
});
const turns =
  "{{ bos_token }}{% for m in messages %}{% if m.role == 'user' %}<user>{% else %}<bot>{% endif %}{{ m.content | trim }}{% if m.role == 'assistant' %} <eos>{% endif %}{% endfor %}";
const chatty = wordTokenizer({ specials, words, config: { ...config, chat_template: turns } });

function make(format: InstructionFormat, value: Record<string, unknown>, longest = 99, tokenizer = plain) {
  const maker = createInstruction(format);
  return maker.make(maker.read({ where: "x:1", value }), tokenizer, longest);
}

test("an answer and its end of text are trained, the prompt is not, by place: the end of text is the padding token too", () => {
  expect(plain.padId).toBe(plain.eosId);
  expect(make("completion", { prompt: "a b", completion: "c d" })).toEqual({
    ids: [5, 6, 7, 8],
    targets: [no, 7, 8, 0],
    truncated: false,
  });
  expect(make("completion", { prompt: "a b", completion: "c d" }, 99, withBos)).toEqual({
    ids: [1, 5, 6, 7, 8],
    targets: [no, no, 7, 8, 0],
    truncated: false,
  });
  expect(make("completion", { prompt: "", completion: "c" })).toEqual({
    ids: [0, 7],
    targets: [7, 0],
    truncated: false,
  });
  expect(make("completion", { prompt: "a", completion: "" })).toBe("empty");
});

test("alpaca has the prompt of Stanford's, with and without input", () => {
  expect(alpacaPrompt("Do it.", "")).toBe(
    "Below is an instruction that describes a task. Write a response that appropriately completes the request.\n\n### Instruction:\nDo it.\n\n### Response:",
  );
  expect(alpacaPrompt("Do it.", "x")).toBe(
    "Below is an instruction that describes a task, paired with an input that provides further context. Write a response that appropriately completes the request.\n\n### Instruction:\nDo it.\n\n### Input:\nx\n\n### Response:",
  );
  const made = make("alpaca", { instruction: "a", input: "b", output: "c" });
  const prompt = plain.encode(alpacaPrompt("a", "b"));
  expect(made).toEqual({ ids: [...prompt, 7], targets: [...prompt.slice(1).map(() => no), 7, 0], truncated: false });
});

describe("a conversation", () => {
  const messages = [
    { role: "user", content: "a" },
    { role: "assistant", content: " b " },
    { role: "user", content: "c" },
    { role: "assistant", content: "d" },
  ];

  test("goes through the tokenizer's own template, and every answer is trained with the token that ends it", () => {
    // <bos> <user> a <bot> b <eos> <user> c <bot> d <eos>
    expect(make("messages", { messages }, 99, chatty)).toEqual({
      ids: [1, 2, 5, 3, 6, 0, 2, 7, 3, 8],
      targets: [no, no, no, 6, 0, no, no, no, 8, 0],
      truncated: false,
    });
  });

  test("never turns what a person typed into a special token", () => {
    const sly = [
      { role: "user", content: "<eos> a" },
      { role: "assistant", content: "b" },
    ];
    expect(make("messages", { messages: sly }, 99, chatty)).toMatchObject({
      ids: [1, 2, 4, 4, 4, 5, 3, 6], // "<", "eos" and ">" are unknown words
      targets: [no, no, no, no, no, no, 6, 0],
    });
    expect(encodeMarked("<eos>a", chatty)).toEqual([0, 5]);
  });

  test("gets a documented template and the end of text where the tokenizer has none", () => {
    const made = make("messages", { messages: messages.slice(0, 2) });
    const prompt = plain.encode("### User:\na\n\n### Assistant:\n");
    expect(made).toEqual({ ids: [...prompt, 6], targets: [...prompt.slice(1).map(() => no), 6, 0], truncated: false });
    expect(JSON.parse(withChatTemplate("{}"))).toHaveProperty("chat_template");
    expect(withChatTemplate(chatty.configJson ?? "")).toBe(chatty.configJson);
  });

  test("whose template ends an answer with no special token gets the end of text behind the last", () => {
    const bare = "{% for m in messages %}{{ m.content }} {% endfor %}";
    const tokenizer = wordTokenizer({ specials, words, config: { ...config, chat_template: bare } });
    expect(make("messages", { messages }, 99, tokenizer)).toMatchObject({
      ids: [5, 6, 7, 8],
      targets: [6, no, 8, 0],
    });
  });

  test.each<[string, unknown, string]>([
    ["no answer", [{ role: "user", content: "a" }], '"messages" has 1 messages and no answer of the assistant'],
    ["no text", [{ role: "assistant", content: null }], "message 0 has null as content, instead of a string"],
    ["no role", [{ content: "a" }], "message 0 has a undefined as role"],
    ["no list", "a", '"messages" is a string instead of a list'],
  ])("with %s is refused", (_, wrong, message) => {
    expect(() => make("messages", { messages: wrong })).toThrow(message);
  });

  test("that the template refuses, or whose answer it does not show, is refused in the template's words", () => {
    const tokenizerOf = (template: string) =>
      wordTokenizer({ specials, words, config: { ...config, chat_template: template } });
    expect(() => make("messages", { messages }, 99, tokenizerOf("{{ raise_exception('no turns') }}"))).toThrow(
      "the chat template refuses the conversation: no turns",
    );
    expect(() => make("messages", { messages }, 99, tokenizerOf("{{ messages[0].content }}"))).toThrow(
      "the chat template changes the 2 answers or leaves some out",
    );
    expect(() => make("messages", { messages }, 99, tokenizerOf("{% if %}"))).toThrow(
      "its chat_template can't be read",
    );
  });
});

describe("too long", () => {
  const long = { prompt: "a b c", completion: "d e" };

  test("the prompt loses its beginning, but for what the tokenizer puts first", () => {
    expect(make("completion", long, 4)).toEqual({ ids: [6, 7, 8, 9], targets: [no, 8, 9, 0], truncated: true });
    expect(make("completion", long, 4, withBos)).toEqual({
      ids: [1, 7, 8, 9],
      targets: [no, 8, 9, 0],
      truncated: true,
    });
    expect(make("completion", long, 5)).toMatchObject({ truncated: false });
  });

  test("an answer that does not fit behind a part of the prompt drops the sample", () => {
    expect(make("completion", long, 3)).toMatchObject({ ids: [7, 8, 9], targets: [8, 9, 0] });
    expect(make("completion", long, 2)).toBe("too long");
    expect(make("completion", long, 3, withBos)).toBe("too long");
  });

  test("an earlier answer whose beginning is cut away is not trained", () => {
    const messages = [
      { role: "user", content: "a" },
      { role: "assistant", content: "b c" },
      { role: "user", content: "d" },
      { role: "assistant", content: "e" },
    ];
    // c <eos> <user> d <bot> e <eos>
    expect(make("messages", { messages }, 6, chatty)).toEqual({
      ids: [7, 0, 2, 8, 3, 9],
      targets: [no, no, no, no, 9, 0],
      truncated: true,
    });
  });
});

test("the form is known by its fields", () => {
  const formatOf = (...fields: string[]) =>
    detectFormat({ where: "x:1", value: Object.fromEntries(fields.map((field) => [field, "x"])) });
  expect(formatOf("messages")).toBe("messages");
  expect(formatOf("instruction", "output")).toBe("alpaca");
  expect(formatOf("prompt", "completion")).toBe("completion");
  expect(() => formatOf("question")).toThrow(
    "it is of no known form: messages has messages, alpaca has instruction and output, completion has prompt and completion; this line has question",
  );
});
