// One writer per run directory: a lock file that names its process. A lock whose process is gone is taken over.
// Not a lock between hosts: one that another host holds is never taken over, only named.

import { createHash, randomBytes } from "node:crypto";
import { link, open, readFile, rename, rm, writeFile } from "node:fs/promises";
import { hostname } from "node:os";
import { basename, dirname, join } from "node:path";
import { z } from "zod";
import { RingtuneError } from "../../common/errors.ts";
import { diskError } from "../../common/disk-error.ts";

const holderSchema = z.object({
  pid: z.int().min(1),
  host: z.string(),
  /** When the process started, in the kernel's own count, so that a reused pid is not taken for it. Null where unknown. */
  started: z.string().nullable(),
  since: z.string(),
});

type Holder = z.infer<typeof holderSchema>;

export interface Lock {
  /** Lets go; does nothing when the lock is no longer ours. */
  release(): Promise<void>;
}

/**
 * Takes the lock file at `path` for this process. `what` names the thing locked in messages.
 * Throws `run_exists` with the pid (and host) of a holder that lives.
 */
export async function acquireLock(path: string, what: string): Promise<Lock> {
  const text = await lockText();
  for (let attempt = 0; attempt < 10; attempt++) {
    if (await createExclusive(path, text)) return { release: () => release(path, text) };
    const held = await readFile(path, "utf8").catch(() => undefined);
    if (held === undefined) continue;
    await assertGone(held, path, what);
    if (await succeed(path, held, text, what)) return { release: () => release(path, text) };
  }
  throw new RingtuneError("disk_failed", `can't take the lock ${path}; other processes keep taking it, try again`);
}

/** Throws `run_exists` as acquireLock does when somebody who lives holds the lock, and takes nothing. */
export async function assertNotHeld(path: string, what: string): Promise<void> {
  const held = await readFile(path, "utf8").catch(() => undefined);
  if (held !== undefined) await assertGone(held, path, what);
}

/** Takes the lock whoever holds it, for a caller that knows otherwise that the holder writes no more. */
export async function seizeLock(path: string): Promise<Lock> {
  const text = await lockText();
  await replace(path, text);
  return { release: () => release(path, text) };
}

async function lockText(): Promise<string> {
  const { pid } = process;
  const holder: Holder = { pid, host: hostname(), started: await startOf(pid), since: new Date().toISOString() };
  return `${JSON.stringify({ ...holder, nonce: randomBytes(8).toString("hex") })}\n`;
}

/** A write in two parts would show a reader an empty lock; a link shows a whole one or none. */
async function createExclusive(path: string, text: string): Promise<boolean> {
  const temporary = hiddenBeside(path);
  try {
    const file = await open(temporary, "wx");
    try {
      await file.writeFile(text);
    } finally {
      await file.close();
    }
    await link(temporary, path);
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "EEXIST") return false;
    throw diskError(`can't write the lock ${path}`, error);
  } finally {
    await rm(temporary, { force: true }).catch(() => undefined);
  }
}

/**
 * Replaces a lock whose holder is gone. Of all who saw the same stale text one creates its successor file, and only
 * that one renames over the lock; a successor that died before it could has a successor in turn. The files stay until
 * the run's leftovers are removed, when the stale text is nowhere any more. False when the lock changed meanwhile.
 */
async function succeed(path: string, stale: string, text: string, what: string): Promise<boolean> {
  let chain = stale;
  for (;;) {
    const digest = createHash("sha256").update(chain).digest("hex").slice(0, 16);
    const successor = join(dirname(path), `.${basename(path)}.after-${digest}.tmp`);
    if (await createExclusive(successor, text)) break;
    const other = await readFile(successor, "utf8").catch(() => undefined);
    if (other === undefined) return false;
    await assertGone(other, path, what);
    chain += other;
  }
  if ((await readFile(path, "utf8").catch(() => undefined)) !== stale) return false;
  await replace(path, text);
  return true;
}

async function replace(path: string, text: string): Promise<void> {
  const temporary = hiddenBeside(path);
  try {
    await writeFile(temporary, text, { flag: "wx" });
    await rename(temporary, path);
  } catch (error) {
    throw diskError(`can't take the lock ${path} over`, error);
  }
}

async function assertGone(held: string, path: string, what: string): Promise<void> {
  const holder = parseHolder(held);
  if (holder && (await isAlive(holder))) throw inUse(path, what, holder);
}

async function release(path: string, text: string): Promise<void> {
  const held = await readFile(path, "utf8").catch(() => undefined);
  if (held === text) await rm(path, { force: true });
}

function hiddenBeside(path: string): string {
  return join(dirname(path), `.${basename(path)}.${process.pid}.${randomBytes(4).toString("hex")}.tmp`);
}

function parseHolder(text: string): Holder | undefined {
  try {
    return holderSchema.safeParse(JSON.parse(text)).data;
  } catch {
    return undefined;
  }
}

async function isAlive({ pid, host, started }: Holder): Promise<boolean> {
  if (host !== hostname()) return true;
  try {
    process.kill(pid, 0);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ESRCH") return false;
  }
  const now = await startOf(pid);
  return started === null || now === null || now === started;
}

/** Boot and start time of a process where /proc tells, else null. */
async function startOf(pid: number): Promise<string | null> {
  try {
    const [boot, stat] = await Promise.all([
      readFile("/proc/sys/kernel/random/boot_id", "utf8"),
      readFile(`/proc/${pid}/stat`, "utf8"),
    ]);
    // Field 22; the name in field 2 may hold spaces and brackets, so count from its end.
    const ticks = stat.slice(stat.lastIndexOf(")") + 2).split(" ")[19];
    return ticks === undefined ? null : `${boot.trim()}/${ticks}`;
  } catch {
    return null;
  }
}

function inUse(path: string, what: string, { pid, host, since }: Holder): RingtuneError {
  const elsewhere = host !== hostname();
  const who = elsewhere ? `process ${pid} on ${host}` : `process ${pid}`;
  const then = elsewhere ? `stop it, or remove ${path} if it is gone` : "stop it first, or train into another run";
  return new RingtuneError("run_exists", `${what} is being written by ${who} since ${since}; ${then}`, {
    details: { pid, host, since, path },
  });
}
