// One line of a run's log: what happened, when, and where in the run. Machines read it as JSON, people as text. Who writes and
// who reads it is elsewhere.

import { z } from "zod";

export const levels = ["info", "warn", "error"] as const;

export const logLineSchema = z.object({
  /** ISO 8601, UTC. */
  time: z.string(),
  level: z.enum(levels),
  /** Name of the run. */
  job: z.string(),
  /** Of the membership; 0 before the first. */
  generation: z.number(),
  /** Committed optimizer steps. */
  step: z.number(),
  /** Whom it is about; absent when it is the coordinator's own. */
  worker: z.string().optional(),
  /** Of that worker in this generation; absent when it has none. */
  rank: z.number().optional(),
  message: z.string(),
  /** In what a worker prints: the coordinator's log has this line too. */
  told: z.literal(true).optional(),
});

export type LogLine = z.infer<typeof logLineSchema>;
export type Level = LogLine["level"];

/** Where in the run something happens. */
export interface Place {
  readonly generation: number;
  readonly step: number;
  /** Undefined for a worker that is in no generation. */
  rankOf(worker: string): number | undefined;
}

/** `04:12:33 generation 2 step 41  w1 (rank 1)  the ring broke` */
export function formatLine({ time, level, generation, step, worker, rank, message }: LogLine): string {
  const who = worker === undefined ? "coordinator" : `${worker}${rank === undefined ? "" : ` (rank ${rank})`}`;
  const tone = level === "info" ? "" : `${level}: `;
  return `${time.slice(11, 19)}  generation ${generation}, step ${step}  ${who}  ${tone}${message}`;
}
