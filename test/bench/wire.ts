// `make bench-wire`: the all-reduce between two hosts on a wire of 1 Gb/s, and which share of it is reached: this host and a network
// namespace, a cable that tc slows down, and, for latency, a proxy of TCP before each rank. For root on Linux.
//
//   node dist/test/bench/wire.js [--mb 10,25,100] [--ranks 1,2] [--delay 0,5] [--iterations 5]
//
// Bytes are counted twice: by the ranks (payload, 2(h-1)/h S for each host) and by the cable, headers and all.

import { parseArgs } from "node:util";
import { benchAllReduce, warmups } from "../../worker/bench/all-reduce.ts";
import { openLongCable } from "../support/long-cable.ts";
import { noSlowCable } from "../support/network-namespace.ts";

const { values } = parseArgs({
  options: {
    mb: { type: "string", default: "10,25,100" },
    ranks: { type: "string", default: "1,2" },
    delay: { type: "string", default: "0,5" },
    iterations: { type: "string", default: "5" },
  },
});
const numbers = (list: string): number[] => list.split(",").map(Number);
const iterations = Number(values.iterations);
const wireBytesPerSecond = 1e9 / 8;
const hosts = 2;

if (noSlowCable !== undefined) {
  console.log(`bench-wire is left out: ${noSlowCable}`);
  process.exit(0);
}

console.log(
  `1 Gb/s, medians of ${iterations}; a host's bytes: counted by its ranks, and as many by the cable per payload`,
);
console.log("ranks a host   delay       MB         ms   share of the wire   MB from a host   on the cable   path");
for (const ranksPerHost of numbers(values.ranks)) {
  for (const delayMs of numbers(values.delay)) {
    for (const mb of numbers(values.mb)) await measure(ranksPerHost, delayMs, mb);
  }
}

async function measure(ranksPerHost: number, delayMs: number, mb: number): Promise<void> {
  const proxy = new URL("../support/delay-proxy.js", import.meta.url);
  const cable = await openLongCable(proxy, { rate: "1gbit", delayMs, ranksPerHost });
  try {
    const ranks = hosts * ranksPerHost;
    const before = cable.sentBytes();
    const bench = { ranks, iterations, reach: "memory", sizesBytes: [mb * 1e6], places: cable.places } as const;
    const [row] = await benchAllReduce(bench);
    const { seconds, bytesBetweenHosts, path } = row!;
    const payload = bytesBetweenHosts / hosts;
    const share = payload / wireBytesPerSecond / seconds;
    const calls = iterations + warmups;
    const cell = (text: string, width: number): string => text.padStart(width);
    console.log(
      `${cell(String(ranksPerHost), 12)} ${cell(`${delayMs} ms`, 7)} ${cell(String(mb), 8)} ${cell((seconds * 1000).toFixed(0), 10)} ` +
        `${cell(`${(100 * share).toFixed(1)} %`, 19)} ${cell((payload / 1e6).toFixed(2), 16)} ` +
        `${cell(((cable.sentBytes() - before) / calls / payload).toFixed(3), 14)}   ${path}`,
    );
  } finally {
    cable.close();
  }
}
