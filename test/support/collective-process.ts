// Ranks as processes of their own (collective-worker.ts), and orders to all of them. dist/ must be built.

import { fork, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { packageRoot } from "../../common/package-root.ts";
import type { Place } from "../../worker/bench/all-reduce.ts";
import type { Reach } from "../../worker/collective/address.ts";
import type { Answer, Order } from "./collective-worker.ts";

const script = join(packageRoot, "dist/test/support/collective-worker.js");

export class RankProcess {
  readonly child: ChildProcess;
  address = "";

  constructor(reach: Reach, { host, prefix = [] }: Place = { host: "127.0.0.1" }) {
    const [command = process.execPath, ...rest] = [...prefix, process.execPath];
    this.child = fork(script, [reach, host], { execPath: command, execArgv: rest });
  }

  async ready(): Promise<void> {
    const answer = await this.answer();
    this.address = answer.kind === "ready" ? answer.address : "";
  }

  async answer(): Promise<Answer> {
    const listening = new AbortController();
    const { signal } = listening;
    const ended = once(this.child, "exit", { signal }).then(([code]) => {
      throw new Error(`a rank ended with ${code} instead of answering`);
    });
    const answered = once(this.child, "message", { signal }).then(([message]) => message as Answer);
    try {
      return await Promise.race([answered, ended]);
    } finally {
      listening.abort();
      await Promise.allSettled([answered, ended]);
    }
  }

  async obey(order: Order): Promise<Answer> {
    const answer = this.answer();
    this.child.send(order);
    return answer;
  }
}

export async function formRing(ranks: readonly RankProcess[], generation: number): Promise<void> {
  const endpoints = ranks.map((rank) => rank.address);
  await Promise.all(ranks.map((rank, i) => rank.obey({ kind: "form", generation, rank: i, endpoints })));
}

export async function all(ranks: readonly RankProcess[], order: Order): Promise<Answer[]> {
  return Promise.all(ranks.map((rank) => rank.obey(order)));
}

export function digestsOf(answers: readonly Answer[]): Set<string> {
  return new Set(answers.map((answer) => (answer.kind === "done" ? answer.digest : JSON.stringify(answer))));
}
