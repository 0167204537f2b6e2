// What travels between `ringtune launch` and `ringtune host` over ssh: lines of JSON, orders on standard input, reports on
// standard output. A line has a largest size. The login's own chatter before the first report is no line of ours.

import { z } from "zod";
import { levels } from "../../common/log-line.ts";
import { secretsSchema } from "../../common/secrets.ts";

/** Raised whenever a line changes its meaning. Beside it both sides must be the same version of Ringtune. */
export const LAUNCH_VERSION = 1;

/** Secrets and arguments are a few KB. */
export const MAX_LINE_BYTES = 256 * 1024;

/** The launcher says so often that it is there. */
export const ALIVE_EVERY_MS = 10_000;
/** A host that has heard nothing for so long ends its workers. */
export const SILENCE_MS = 60_000;
/** Workers that are to leave because nobody is there any more have so long. */
export const LEAVE_MS = 10_000;

export const orderSchema = z.discriminatedUnion("kind", [
  z.object({
    kind: z.literal("prepare"),
    /** Run directory of the coordinator, which workers write checkpoints into. */
    run: z.string(),
    /** Of the configuration. */
    engine: z.enum(["onnx", "tfjs"]),
    device: z.string(),
    shareDevices: z.boolean(),
    globalBatch: z.int().min(1),
    /** Workers to have room for; left out: one for each device. */
    slots: z.int().min(1).optional(),
  }),
  z.object({
    kind: z.literal("start"),
    id: z.string(),
    /** Tells processes of the same worker apart. */
    number: z.int(),
    index: z.int().min(0),
    arguments: z.array(z.string()),
    secrets: secretsSchema,
  }),
  z.object({ kind: z.literal("signal"), number: z.int(), signal: z.enum(["SIGTERM", "SIGKILL"]) }),
  z.object({ kind: z.literal("alive") }),
]);
export type Order = z.infer<typeof orderSchema>;

export const reportSchema = z.discriminatedUnion("kind", [
  z.object({
    kind: z.literal("hello"),
    launch: z.int(),
    version: z.string(),
    host: z.string(),
    /** The address that the launcher's connection comes from, as sshd tells it. */
    caller: z.string().optional(),
  }),
  z.object({ kind: z.literal("prepared"), slots: z.int().min(1), notices: z.array(z.string()) }),
  /** In words, without the host's name. */
  z.object({ kind: z.literal("unfit"), reason: z.string() }),
  z.object({ kind: z.literal("line"), number: z.int(), level: z.enum(levels), message: z.string() }),
  z.object({ kind: z.literal("started"), number: z.int(), pid: z.int() }),
  z.object({
    kind: z.literal("ended"),
    number: z.int(),
    code: z.int().nullable(),
    signal: z.string().nullable(),
    words: z.string().optional(),
  }),
]);
export type Report = z.infer<typeof reportSchema>;

export function writeLine(stream: NodeJS.WritableStream, line: Order | Report): void {
  stream.write(`${JSON.stringify(line)}\n`);
}

/** Calls back with each line of a stream; what is longer than a line may be is cut off, and so is no JSON. */
export function eachLine(stream: NodeJS.ReadableStream, onLine: (line: string) => void): void {
  let rest = "";
  stream.setEncoding("utf8");
  stream.on("data", (chunk: string) => {
    const lines = (rest + chunk).split("\n");
    rest = (lines.pop() ?? "").slice(0, MAX_LINE_BYTES);
    lines.forEach((line) => onLine(line));
  });
  stream.on("end", () => {
    if (rest !== "") onLine(rest);
  });
}

/** Undefined for what is no such line. */
export function parseLine<S extends z.ZodType>(schema: S, line: string): z.infer<S> | undefined {
  try {
    return schema.safeParse(JSON.parse(line)).data;
  } catch {
    return undefined;
  }
}
