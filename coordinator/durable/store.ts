// What a coordinator must not forget, kept where a crash does not reach it: a DurableStore, over a medium that keeps texts
// by key (LevelDB, etcd, memory). Facts are kept by name, each at its last value; an entry is the facts that changed, and a
// medium writes it whole or not at all. It knows no meaning of any fact: those are chosen in core/durable.ts.
//
//     head       17 {"by":"9f2c41d0","facts":{"generation":3,"committed":17}}    the last entry, and which one last wrote each
//     committed  17 6031                                                         entry and value, behind a checksum
//
// There is no log of entries and no snapshot of its own: both media are logs with snapshots inside (LevelDB's log and
// tables, etcd's raft), and a second one on top would double every write. What a log is checked for is checked by the
// head: a lost entry leaves a fact that is older than the head says.

import { randomBytes } from "node:crypto";
import { crc32 } from "node:zlib";
import { assert, RingtuneError } from "../../common/errors.ts";

export type Json = string | number | boolean | null | readonly Json[] | { readonly [key: string]: Json };

/** Plain JSON by name. Numbers may be infinite or NaN too: losses are. */
export type Facts = Readonly<Record<string, Json>>;

export interface DurableStore {
  /** Everything appended so far; undefined when nothing was. Before the first append. Throws `checkpoint_invalid`. */
  load(): Promise<Facts | undefined>;
  /**
   * Resolves when these facts, and all of the calls before, are on stable storage; calls that wait for the same write
   * become one entry. Rejects when that failed, and so does every later call, with the same cause: what of a failed entry
   * is there, is there whole.
   */
  append(changes: Facts): Promise<void>;
  /** False while another coordinator may lead: what is to leave waits for an append, of nothing if nothing has changed. */
  holds(): boolean;
  /** Waits for the write under way; what is appended later is refused. */
  close(): Promise<void>;
}

/** Texts by key, on stable storage. */
export interface Medium {
  /** What to look at, in sentences: "runs/a/durable". */
  readonly name: string;
  readAll(): Promise<ReadonlyMap<string, string>>;
  /** All of them or none, also when the process or the machine dies; called one at a time. */
  write(values: ReadonlyMap<string, string>): Promise<void>;
  /** Left out by media that one coordinator has to itself. */
  holds?(): boolean;
  close(): Promise<void>;
}

/** The key of the last entry's number. Its text is another in every entry, and in those of other stores. */
export const headKey = "head";

export function createDurableStore(medium: Medium): DurableStore {
  /** The last entry, and the one that last wrote each fact. */
  let entry: number | undefined;
  let writtenBy: Record<string, number> = {};
  let waiting: { readonly texts: Map<string, string>; readonly done: Promise<void> } | undefined;
  let last: Promise<void> = Promise.resolve();
  let closed = false;
  const by = randomBytes(4).toString("hex");

  async function write(texts: ReadonlyMap<string, string>): Promise<void> {
    waiting = undefined;
    assert(entry !== undefined, "a durable store is loaded before it is written");
    entry++;
    for (const name of texts.keys()) writtenBy[name] = entry;
    const values = new Map([[headKey, seal(entry, JSON.stringify({ by, facts: writtenBy }))]]);
    for (const [name, text] of texts) values.set(keyOf(name), seal(entry, text));
    await medium.write(values);
  }

  return {
    async load() {
      const texts = await medium.readAll();
      const head = texts.get(headKey);
      if (head === undefined && texts.size === 0) {
        entry = 0;
        return undefined;
      }
      const { number, text } = unseal(medium.name, headKey, head);
      writtenBy = (JSON.parse(text) as { facts: Record<string, number> }).facts;
      entry = number;
      return readFacts(medium.name, texts, writtenBy);
    },
    append(changes) {
      if (closed) return Promise.reject(new RingtuneError("cancelled", `${medium.name} is closed`));
      const texts = waiting?.texts ?? new Map<string, string>();
      for (const [name, value] of Object.entries(changes)) texts.set(name, format(value));
      if (waiting === undefined) {
        waiting = { texts, done: last.then(() => write(texts)) };
        last = waiting.done;
      }
      return waiting.done;
    },
    holds: () => medium.holds?.() ?? true,
    async close() {
      closed = true;
      await last.catch(() => undefined);
      await medium.close();
    },
  };
}

function readFacts(where: string, texts: ReadonlyMap<string, string>, writtenBy: Record<string, number>): Facts {
  const facts: Record<string, Json> = {};
  for (const [name, expected] of Object.entries(writtenBy)) {
    const { number, text } = unseal(where, keyOf(name), texts.get(keyOf(name)));
    if (number !== expected) {
      throw damaged(where, `${name} was last written by entry ${expected}, and what is there is of entry ${number}`);
    }
    facts[name] = parse(text);
  }
  return facts;
}

function keyOf(name: string): string {
  return `fact/${name}`;
}

/** "3a1f00c2 17 TEXT" */
function seal(entry: number, text: string): string {
  const body = `${entry} ${text}`;
  return `${checksum(body)} ${body}`;
}

function unseal(where: string, key: string, sealed: string | undefined): { number: number; text: string } {
  if (sealed === undefined) throw damaged(where, `${key} is missing`);
  const [, said, body = "", number] = /^([0-9a-f]{8}) ((\d+) [^]*)$/.exec(sealed) ?? [];
  const found = checksum(body);
  if (said === undefined)
    throw damaged(where, `${key} is no entry: it begins with ${JSON.stringify(sealed.slice(0, 40))}`);
  if (found !== said) throw damaged(where, `the checksum of ${key} is ${said}, its bytes give ${found}`);
  return { number: Number(number), text: body.slice(body.indexOf(" ") + 1) };
}

function checksum(text: string): string {
  return crc32(text).toString(16).padStart(8, "0");
}

export function damaged(where: string, what: string): RingtuneError {
  return new RingtuneError("checkpoint_invalid", `what the coordinator kept in ${where} was damaged: ${what}`);
}

/** JSON, and the numbers that it lacks. */
function format(value: Json): string {
  return JSON.stringify(value, (_, inner: unknown) =>
    typeof inner === "number" && !Number.isFinite(inner) ? { "\u0000number": String(inner) } : inner,
  );
}

function parse(text: string): Json {
  return JSON.parse(text, (_, inner: unknown) => {
    const special = (inner as { "\u0000number"?: string } | null)?.["\u0000number"];
    return special === undefined ? inner : Number(special);
  }) as Json;
}
