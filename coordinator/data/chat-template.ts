// A conversation as the text that a chat model reads, by the template of its tokenizer_config.json: the one file that knows
// @huggingface/jinja. Marks where answers begin and end, and keeps the names of special tokens that a person typed apart
// from those that the template writes. Nothing here tokenises.
//
// Marks are Unicode's noncharacters, which no text may contain. They go around the visible part of a text, so that a
// template that trims white space trims what it would trim without them.

import { Template } from "@huggingface/jinja";
import { describeError } from "../../common/errors.ts";
import { invalidTokenizer, nameOf } from "../../common/tokenizer-definition.ts";
import { RecordProblem } from "./records.ts";

export interface Message {
  readonly role: string;
  readonly content: string;
}

/** A stretch of the rendered text. */
export interface Stretch {
  /** With `inert` inside the names of special tokens that a person typed. */
  readonly text: string;
  /** Whether an answer: the assistant's text without what stands around it. */
  readonly isAnswer: boolean;
}

export type ChatTemplate = (messages: readonly Message[]) => Stretch[];

const begin = "\uFDD1";
const end = "\uFDD2";
/** Stands inside the name of a special token that is ordinary text. */
export const inert = "\uFDD0";

/**
 * The template of a tokenizer without one: "### User:", the text, an empty line, "### Assistant:", the answer and the end of
 * text, and so on, for any roles.
 */
export const defaultChatTemplate = [
  "{% for message in messages %}",
  "### {{ message['role'] | capitalize }}:\n{{ message['content'] }}",
  "{% if message['role'] == 'assistant' %}{{ eos_token }}{% endif %}\n\n",
  "{% endfor %}",
  "{% if add_generation_prompt %}### Assistant:\n{% endif %}",
].join("");

/** A template may write today's date; samples must be the same on every day. The name is one that the library leaves free. */
const fixedDate = { ringtune_date: () => "26 Jul 2024" };

/** chat_template of a tokenizer_config.json: a text, or the one called "default" of several. */
export function chatTemplateOf(config: Readonly<Record<string, unknown>>): string | undefined {
  const { chat_template: given } = config;
  if (!Array.isArray(given)) return typeof given === "string" ? given : undefined;
  const named = given as { name?: unknown; template?: unknown }[];
  const { template } = named.find(({ name }) => name === "default") ?? {};
  return typeof template === "string" ? template : undefined;
}

/**
 * `config` is tokenizer_config.json, which names the special tokens; `specials` are the names of those that there are.
 * Throws RingtuneError `tokenizer_invalid` for a template that is none. What it returns throws RecordProblem for a
 * conversation that the template refuses, or whose answers it does not show.
 */
export function createChatTemplate(
  source: string,
  config: Readonly<Record<string, unknown>>,
  { eosToken, specials }: { readonly eosToken: string; readonly specials: readonly string[] },
): ChatTemplate {
  let template: Template;
  try {
    template = new Template(source.replaceAll("strftime_now", "ringtune_date"));
  } catch (error) {
    throw invalidTokenizer("tokenizer_config.json", `its chat_template can't be read: ${describeError(error)}`);
  }
  const tokens = Object.fromEntries(
    Object.entries(config).flatMap(([key, value]) => {
      const name = key.endsWith("_token") ? nameOf(value) : undefined;
      return name === undefined ? [] : [[key, name]];
    }),
  );
  const context = { eos_token: eosToken, ...tokens, add_generation_prompt: false };
  const defused = createDefuser(specials);
  return (messages) => {
    const marked = messages.map(({ role, content }) => {
      const text = defused(content.replace(/[\uFDD0-\uFDD2]/g, ""));
      return { role, content: role === "assistant" ? mark(text) : text };
    });
    let rendered: string;
    try {
      rendered = template.render({ ...context, ...fixedDate, messages: marked });
    } catch (error) {
      throw new RecordProblem(`the chat template refuses the conversation: ${describeError(error)}`);
    }
    return split(rendered, messages.filter(({ role }) => role === "assistant").length);
  };
}

function mark(text: string): string {
  const [, before = "", visible = "", after = ""] = /^(\s*)([^]*?)(\s*)$/.exec(text) ?? [];
  return `${before}${begin}${visible}${end}${after}`;
}

function createDefuser(specials: readonly string[]): (text: string) => string {
  if (specials.length === 0) return (text) => text;
  const names = new RegExp(specialsPattern(specials), "g");
  return (text) => text.replace(names, (name) => name.slice(0, 1) + inert + name.slice(1));
}

/** An expression for any of `specials`, the longest first. */
export function specialsPattern(specials: readonly string[]): string {
  const longestFirst = [...specials].sort((a, b) => b.length - a.length);
  return longestFirst.map((name) => name.replace(/[.*+?^${}()|[\]\\]/g, "\\$&")).join("|");
}

function split(rendered: string, answers: number): Stretch[] {
  const stretches: Stretch[] = [];
  let found = 0;
  for (const [i, part] of rendered.split(begin).entries()) {
    const [first = "", ...rest] = part.split(end);
    if (i > 0) found++;
    if ((i === 0) !== (rest.length === 0) || rest.length > 1) found = NaN;
    stretches.push({ text: first, isAnswer: i > 0 });
    if (i > 0) stretches.push({ text: rest.join(""), isAnswer: false });
  }
  if (found === answers) return stretches.filter(({ text, isAnswer }) => isAnswer || text !== "");
  throw new RecordProblem(
    `the chat template changes the ${answers} answers or leaves some out, so it can't be seen what to train`,
  );
}
