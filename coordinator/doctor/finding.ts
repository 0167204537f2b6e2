// What a look at the machine or the configuration found, and how a person reads it. Nothing is looked at here.

import type { Colors } from "../cli/colors.ts";

/** ok: as it should be. warn: a run works, worse than it could. fail: a run would end with this sentence, or soon. */
export type Level = "ok" | "warn" | "fail";

export interface Finding {
  readonly level: Level;
  /** "disk", "memory": one word. */
  readonly area: string;
  /** With the numbers, and what to do if it isn't ok. */
  readonly sentence: string;
}

export const ok = (area: string, sentence: string): Finding => ({ level: "ok", area, sentence });
export const warn = (area: string, sentence: string): Finding => ({ level: "warn", area, sentence });
export const fail = (area: string, sentence: string): Finding => ({ level: "fail", area, sentence });

/** `ok    disk      12.0 GB free` */
export function formatFinding({ level, area, sentence }: Finding, colors: Colors): string {
  const paint = { ok: colors.green, warn: colors.yellow, fail: colors.red }[level];
  return `${paint(level.padEnd(4))}  ${area.padEnd(13)}  ${sentence}`;
}
