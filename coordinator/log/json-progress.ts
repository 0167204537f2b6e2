// The progress of a run as JSON, a line each: for programs that collect the output of many processes. What a person reads is
// progress.ts.

import type { LogLine, Place } from "../../common/log-line.ts";
import { formatStep, formatValidation, type Progress } from "../progress.ts";

/** Lines as in the run's log; those about steps and validations carry the record too. */
export function createJsonProgress(stream: { write(text: string): unknown }, nowMs = Date.now): Progress {
  let job = "";
  let place = (): Pick<Place, "generation" | "step"> => ({ generation: 0, step: 0 });
  let totalSteps: number | undefined;

  function write(message: string, more: object = {}): void {
    const { generation, step } = place();
    const time = new Date(nowMs()).toISOString();
    const line: LogLine = { time, level: "info", job, generation, step, message };
    stream.write(`${JSON.stringify({ ...line, ...more })}\n`);
  }

  return {
    locate(name, now) {
      job = name;
      place = now;
    },
    setTotalSteps(steps) {
      totalSteps = steps;
    },
    record(record) {
      const { step } = record;
      if (record.kind === "validation") return write(formatValidation(record, { totalSteps }), { step, record });
      write(formatStep(record, { totalSteps, secondsPerStep: undefined }), { step, record });
    },
    checkpoint: (step, path) => write(`saved step ${step} to ${path}`, { checkpoint: step }),
    notice: (line) => write(line.trim()),
    decided(reason) {
      if (reason !== "") write(reason);
    },
    data: () => undefined,
    end: () => undefined,
  };
}
