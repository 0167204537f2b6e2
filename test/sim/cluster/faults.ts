// What is done to a simulated cluster, and whether it took effect: a fault has fired when something met it (a message that
// waited for a healed way, a worker that answered nonsense), not when it was asked for.

import { nextStep, totalSteps } from "../../../coordinator/core/job.ts";
import type { Cluster } from "./cluster.ts";
import type { SimulatedCoordinator } from "./coordinator.ts";
import { coordinatorName, type Way } from "./network.ts";
import type { SimulatedWorker } from "./worker.ts";

export const faultNames = [
  "death",
  "death unseen",
  "pause",
  "connection lost",
  "cut to the coordinator",
  "cut from the coordinator",
  "cut both ways",
  "cut between workers",
  "partition",
  "flipped bit",
  "nonsense gradients",
  "nonsense rows",
  "message twice",
  "message of an older generation",
  "message of a stranger",
  "coordinator stands still",
  "clock jumps",
  "coordinator dies",
  "write torn by its death",
  "store fails",
  "store is slow",
  "join",
  "drain",
  "SIGTERM",
  "scale",
  "scale to nonsense",
  "links measured",
  "disk full",
  "all are cut off",
] as const;
export type Fault = (typeof faultNames)[number];

/** Does it if it can be done now; calls `fired` when it takes effect. */
export function inflict(fault: Fault, cluster: Cluster, coordinator: SimulatedCoordinator, fired: () => void): void {
  const { random, network } = cluster;
  const { state } = coordinator;
  const alive = cluster.workers.filter((worker) => worker.alive && !worker.standsStill);
  const any = alive[random.integer(alive.length)];
  if (any === undefined) return;
  // Those that can be relied on: one always stays.
  const spared = cluster.reliable();
  const victims = alive.filter((worker) => spared.some((other) => other !== worker));
  const victim = victims[random.integer(victims.length)];
  const lastsMs = 50 * 1200 ** random.next();

  function cut(ways: readonly Way[], those: readonly SimulatedWorker[], ms = lastsMs, bitten = fired): void {
    for (const worker of those) worker.afflicted.push(fault);
    const made = network.cut(ways);
    cluster.endsAfter(ms, () => {
      if (made.bites > 0) bitten();
      made.heal();
      cluster.ring.healed();
    });
  }

  switch (fault) {
    case "death":
    case "death unseen":
      if (victim === undefined) return;
      victim.afflicted.push(fault);
      victim.die("its connection closed", fault === "death");
      return fired();
    case "pause":
      if (victim === undefined) return;
      victim.afflicted.push(fault);
      victim.pause(lastsMs);
      cluster.endsAfter(lastsMs, fired);
      return;
    case "connection lost":
      if (victim === undefined) return;
      victim.afflicted.push(fault);
      if (victim.loseConnection()) fired();
      return;
    case "cut to the coordinator":
      return victim && cut([[victim.name, coordinatorName]], [victim]);
    case "cut from the coordinator":
      return victim && cut([[coordinatorName, victim.name]], [victim]);
    case "cut both ways":
      return victim && cut(both(victim.name, coordinatorName), [victim]);
    case "cut between workers": {
      const other = victims[random.integer(victims.length)];
      if (victim === undefined || other === undefined || other === victim || spared.length < 3) return;
      const ways = both(victim.name, other.name);
      return cut(random.next() < 0.5 ? ways : ways.slice(0, 1), [victim, other]);
    }
    case "partition": {
      const rock = spared[0];
      const away = alive.filter((worker) => worker !== rock && random.next() < 0.5);
      if (rock === undefined || away.length === 0) return;
      const rest = [coordinatorName, ...alive.filter((worker) => !away.includes(worker)).map(({ name }) => name)];
      return cut(
        away.flatMap(({ name }) => rest.flatMap((other) => both(name, other))),
        away,
      );
    }
    case "flipped bit": {
      // One at a time among three that are well: the others outvote it at the next comparison.
      const well = state.members.filter(({ id, holds }) => holds && cluster.workerNamed(id).tasks.flaw === "");
      const isMember = well.some(({ id }) => victim !== undefined && cluster.workerNamed(id) === victim);
      const isOne = cluster.workers.every(({ tasks, alive }) => tasks.flaw === "" || !alive);
      if (cluster.job.verifyEvery !== 1 || well.length < 3 || !isOne || !isMember || victim === undefined) return;
      if (victim.tasks.steps >= totalSteps(cluster.job) || state.phase !== "running") return;
      victim.afflicted.push(fault);
      victim.tasks.flaw = `flipped bit of ${victim.name} after step ${victim.tasks.steps}`;
      return fired();
    }
    case "nonsense gradients":
    case "nonsense rows":
      if (victim === undefined || state.members.length < 3) return;
      victim.afflicted.push(fault);
      victim.tasks.lie = fault === "nonsense rows" ? "rows" : "gradients";
      return cluster.firesWhenLied(victim, fired);
    case "message twice": {
      const message = any.said.at(-1);
      if (message === undefined || message.kind === "join") return;
      any.say(message);
      return fired();
    }
    case "message of an older generation":
      return replay(cluster, fired);
    case "message of a stranger": {
      const message = any.said[random.integer(any.said.length)];
      if (message === undefined || message.kind === "join") return;
      coordinator.post({ kind: "said", id: "nobody", message });
      return fired();
    }
    case "coordinator stands still":
      coordinator.standStill(lastsMs);
      cluster.endsAfter(lastsMs, fired);
      return;
    case "coordinator dies":
    case "write torn by its death": {
      if (cluster.job.recoverMs === 0 || cluster.decided !== undefined) return;
      const wasWriting = cluster.kill(coordinator, 50 * 300 ** random.next());
      if (wasWriting === (fault === "write torn by its death")) fired();
      return;
    }
    case "store fails":
      if (cluster.job.recoverMs > 0) cluster.store.failNext(fired);
      return;
    case "store is slow":
      if (cluster.job.recoverMs === 0) return;
      cluster.store.slowDown(10 + random.integer(100));
      cluster.endsAfter(lastsMs, () => {
        cluster.store.slowDown(1);
        fired();
      });
      return;
    case "clock jumps":
      coordinator.jump(lastsMs);
      return fired();
    case "join":
      if (cluster.workers.length > 40) return;
      cluster.launch(1);
      return fired();
    case "drain":
    case "SIGTERM": {
      const member = state.members.find(({ id, holds }) => holds && cluster.workerNamed(id) === victim);
      if (member === undefined || victim === undefined || state.phase === "gathering") return;
      victim.afflicted.push(fault);
      if (fault === "SIGTERM") victim.askToGo("stopped by SIGTERM");
      else coordinator.post({ kind: "drain", id: member.id, reason: "asked to drain" });
      return fired();
    }
    case "scale": {
      const workers = 1 + random.integer(cluster.job.globalBatch);
      const active = [...state.members.filter(({ status }) => status !== "draining"), ...state.joining];
      const stay = active.slice(0, workers).map(({ id }) => cluster.workerNamed(id));
      if (state.phase === "gathering" || !spared.some((worker) => stay.includes(worker))) return;
      for (const { id } of active.slice(workers)) cluster.workerNamed(id).afflicted.push(fault);
      coordinator.post({ kind: "scale", workers });
      return fired();
    }
    case "scale to nonsense":
      coordinator.post({ kind: "scale", workers: random.next() < 0.5 ? 0 : cluster.job.globalBatch + 1 });
      return fired();
    case "links measured":
      coordinator.post({ kind: "measure-links" });
      return fired();
    case "disk full":
      return cluster.disk.fill(fired);
    case "all are cut off": {
      // For about as long as they are waited for. It has fired when the run is forsaken, see Cluster.
      const ways = alive.flatMap(({ name }) => both(name, coordinatorName));
      if (cluster.witness.isUnderWay) cut(ways, alive, 5000 + random.next() * 10_000, () => undefined);
      return;
    }
  }
}

function both(one: string, other: string): Way[] {
  return [
    [one, other],
    [other, one],
  ];
}

/** A worker says again what it said in a generation before: a vote for the step that is under way, as soon as it has one. */
function replay(cluster: Cluster, fired: () => void, triesLeft = 100): void {
  const { state } = cluster.coordinator ?? {};
  for (const worker of cluster.workers) {
    const old = worker.said.find(({ kind, value }) => {
      if (kind !== "reduced" || (state?.phase !== "running" && state?.phase !== "forming")) return false;
      return value.step === nextStep(cluster.job, state.committed) && value.generation < state.generation;
    });
    if (old === undefined || !worker.alive || worker.standsStill) continue;
    worker.say(old);
    return fired();
  }
  if (triesLeft > 0) cluster.timeline.after(10, () => replay(cluster, fired, triesLeft - 1));
}
