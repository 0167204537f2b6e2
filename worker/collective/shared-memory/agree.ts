// How the ranks of a host come to share memory: each tells where its own is, maps that of the others, and tells whether it
// could. Only if all could is it used; otherwise all know the same reason. The telling is an all-gather over the ring.

import { describeError } from "../../../common/errors.ts";
import type { SharedFile, SharedMemory, SharedWorld } from "./shared-memory.ts";

/** Of every rank, in the all-gather: a JSON text, zero-padded. A multiple of 64. */
const recordBytes = 512;

type Told = { readonly file: SharedFile } | { readonly problem: string } | { readonly mapped: true };

/** The shared memory of all ranks, or why it is not used. Rejects only if `gather` does. */
export async function agreeOnMemory(
  memory: SharedMemory,
  { rank, worldSize }: { rank: number; worldSize: number },
  gather: (records: Uint8Array) => Promise<void>,
): Promise<{ readonly world: SharedWorld } | { readonly problem: string }> {
  const exchange = async (told: Told): Promise<Told[]> => {
    const records = new Uint8Array(worldSize * recordBytes);
    new TextEncoder().encodeInto(JSON.stringify(told), records.subarray(rank * recordBytes, (rank + 1) * recordBytes));
    await gather(records);
    return Array.from({ length: worldSize }, (_, index) => read(records, index));
  };
  const files = await exchange(attempt(() => ({ file: memory.open() })));
  let world: SharedWorld | undefined;
  const answers = await exchange(
    attempt(() => {
      world = memory.join(files.map(fileOf), rank);
      return { mapped: true };
    }),
  );
  const problem = problemIn(files) ?? problemIn(answers);
  return world === undefined || problem !== undefined ? { problem: problem ?? "a rank gave no reason" } : { world };
}

function attempt(act: () => Told): Told {
  try {
    return act();
  } catch (error) {
    return { problem: describeError(error).slice(0, 200) };
  }
}

function fileOf(told: Told): SharedFile {
  if ("file" in told) return told.file;
  throw new Error("a rank has none");
}

function problemIn(told: readonly Told[]): string | undefined {
  const rank = told.findIndex((each) => "problem" in each);
  return rank < 0 ? undefined : `rank ${rank}: ${(told[rank] as { problem: string }).problem}`;
}

function read(records: Uint8Array, rank: number): Told {
  const text = new TextDecoder().decode(records.subarray(rank * recordBytes, (rank + 1) * recordBytes));
  try {
    return JSON.parse(text.replace(/\0+$/, "")) as Told;
  } catch {
    return { problem: "what it told is not readable" };
  }
}
