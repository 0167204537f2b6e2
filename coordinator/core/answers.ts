// What workers say, and what follows from it.

import { assertNever, type ErrorCode } from "../../common/errors.ts";
import { metricsOf, sumCounts, type PredictionCounts } from "../../common/evaluation/scoring.ts";
import type { FromWorker } from "../../proto/messages.ts";
import { measure, rebalance } from "./balance.ts";
import { finishStep, finishValidation, saveAndFinish } from "./completion.ts";
import type { Draft } from "./draft.ts";
import { findDiverged, heal, redo } from "./divergence.ts";
import { batchOf, nextStep, positionAfter, reducedBytes, validatesAfter } from "./job.ts";
import { leaseOf, settle } from "./ledger.ts";
import { changeMembers, drain } from "./leaving.ts";
import { compareClock, noteLinks } from "./measuring.ts";
import { lost } from "./membership.ts";
import { beginProgram, validationShards } from "./program.ts";
import { goOn, holdsBack, isSaving, notWritten, wrote } from "./saving.ts";
import { learningRateAt } from "./schedule.ts";
import type { EvaluatedShard, Member } from "./state.ts";
import { blamed, busBandwidth, judge, mean, slowest } from "./votes.ts";

/** Failures that every other worker would meet too: they end the run instead of costing one worker. */
const fatalCodes: ReadonlySet<string> = new Set<ErrorCode>([
  "config_invalid",
  "data_invalid",
  "tokenizer_invalid",
  "checkpoint_invalid",
  "model_mismatch",
  "engine_unavailable",
  "no_device",
  "not_finite",
  "disk_failed",
]);

/** A broken ring is news of a lost worker, as a rule: so long is its stream given to close and name it. */
const INTERRUPTION_GRACE_MS = 1000;

export function said(draft: Draft, member: Member, message: FromWorker): void {
  const { state } = draft;
  switch (message.kind) {
    case "heartbeat":
      member.doing = message.value.doing;
      member.inCollective = message.value.inCollective;
      return;
    case "failed": {
      const { code, message: sentence } = message.value;
      if (!fatalCodes.has(code)) return lost(draft, [member.id], sentence);
      return draft.fail(code as ErrorCode, `${draft.nameOf(member)}: ${sentence}`);
    }
    case "saved":
      return wrote(draft, member.id, message.value);
    case "notSaved":
      return notWritten(draft, member.id, message.value);
    case "join":
      return;
    case "clock":
      return compareClock(draft, member, message.value);
    case "prepared":
      member.device = message.value.gpuUuid;
      if (refuseSharers(draft)) return;
      member.ready = true;
      draft.because(`worker ${member.id} is ready and joins after step ${nextStep(draft.job, state.committed)}`);
      return;
    case "leaving":
      return drain(draft, member.id, message.value.reason);
    case "formed":
    case "reduced":
    case "applied":
    case "evaluated":
    case "interrupted":
      // Of a generation that is over: whatever it was, it has been planned anew.
      if (message.value.generation !== state.generation && message.kind !== "applied") return;
      break;
    default:
      assertNever(message);
  }
  switch (message.kind) {
    case "formed":
      return hasFormed(draft, member, message.value);
    case "reduced":
      return hasReduced(draft, member, message.value);
    case "applied":
      return hasApplied(draft, member, message.value);
    case "evaluated":
      return hasEvaluated(draft, member, message.value);
    case "interrupted":
      return wasInterrupted(draft, member, message.value.reason);
    default:
      assertNever(message);
  }
}

function hasFormed(draft: Draft, member: Member, formed: Extract<FromWorker, { kind: "formed" }>["value"]): void {
  const { state } = draft;
  if (state.phase !== "forming") return;
  if (formed.step !== state.committed) {
    const reason = `its weights contain ${formed.step} steps, not ${state.committed}`;
    draft.effects.push({ kind: "dismiss", to: member.id, code: "protocol_mismatch", reason });
    return lost(draft, [member.id], reason);
  }
  state.formed[member.id] = formed.digest;
  member.device = formed.gpuUuid;
  noteLinks(draft, member, formed.links);
  if (!state.members.every(({ id }) => id in state.formed)) return;
  const isFirst = !state.established;
  const witnesses = state.members.filter(({ holds }) => holds || isFirst);
  for (const each of state.members) each.holds = true;
  state.established = true;
  findDiverged(draft, state.formed, state.committed, witnesses);
  if (state.members.some(({ holds }) => !holds)) return heal(draft);
  if (refuseSharers(draft)) return;
  state.phase = "running";
  state.parameters = formed.parameters;
  draft.waitAgain();
  draft.because(
    `generation ${state.generation} is formed: ${state.members.length} workers hold step ${state.committed}`,
  );
  if (state.stopping !== null || state.enough !== null) return saveAndFinish(draft);
  if (isFirst) {
    state.lastStepEndMs = draft.nowMs;
    draft.effects.push(...beginProgram(draft.job, state));
  }
  // What those that were quicker have said meanwhile.
  goOn(draft);
}

/**
 * Several workers on one GPU are slower than one, and a mistake of whoever started them: all but the first are sent away.
 * Workers of a CPU share it. True if somebody had to go.
 */
function refuseSharers(draft: Draft): boolean {
  const { job, state } = draft;
  if (job.sharesDevices) return false;
  const owners = new Map<string, Member>();
  const refused: Member[] = [];
  for (const member of [...state.members, ...state.joining]) {
    const owner = owners.get(member.device);
    if (member.device === "") continue;
    if (owner === undefined) owners.set(member.device, member);
    else refused.push(member);
  }
  for (const member of refused) {
    const { id, pid, device } = member;
    const owner = owners.get(device)!;
    const both = `worker ${owner.id} (pid ${owner.pid}) computes on GPU ${device} of host ${owner.host}, and worker ${id} (pid ${pid}) claims it too`;
    const reason = `${both}; start one worker for each GPU, with CUDA_VISIBLE_DEVICES, or set cluster.share_devices`;
    draft.because(reason);
    draft.effects.push({ kind: "dismiss", to: id, code: "no_device", reason });
  }
  if (refused.length === 0) return false;
  const ids = refused.map(({ id }) => id);
  lost(draft, ids, "its GPU is taken");
  return true;
}

function hasReduced(draft: Draft, member: Member, reduced: Extract<FromWorker, { kind: "reduced" }>["value"]): void {
  const { job, state } = draft;
  const next = nextStep(job, state.committed);
  if (!["forming", "running"].includes(state.phase) || reduced.step !== next || state.enough !== null) return;
  const { rows } = leaseOf(state.ledger, member.id, next);
  if (reduced.rows !== rows) {
    const reason = `it has reduced ${reduced.rows} rows of step ${next}, and ${rows} were leased to it`;
    draft.effects.push({ kind: "dismiss", to: member.id, code: "protocol_mismatch", reason });
    return lost(draft, [member.id], reason);
  }
  state.votes[member.id] = {
    lossSum: reduced.lossSum,
    tokens: reduced.tokens,
    gradientNorm: reduced.gradientNorm,
    digest: reduced.digest,
    dataSeconds: reduced.times?.dataSeconds ?? 0,
    computeSeconds: reduced.times?.computeSeconds ?? 0,
    allReduceSeconds: reduced.times?.allReduceSeconds ?? 0,
    collectiveSeconds: reduced.times?.collectiveSeconds ?? 0,
    bytesSent: reduced.bytesSent,
    bytesBetweenHosts: reduced.bytesBetweenHosts,
    notFiniteRows: reduced.notFiniteRows,
    notFiniteTensors: reduced.notFiniteTensors,
    sampleDigest: reduced.sampleDigest,
  };
  commitWhenReduced(draft);
}

/** Commits the next step if all members have reduced it, and nothing has to come first. */
export function commitWhenReduced(draft: Draft): void {
  const { job, state } = draft;
  const next = nextStep(job, state.committed);
  const [first] = state.members;
  if (state.phase !== "running" || state.stopping !== null || state.enough !== null || first === undefined) return;
  if (!state.members.every(({ id }) => id in state.votes) || holdsBack(draft)) return;
  // Of one that is not finite, which waits for a checkpoint: every other one was complete before the votes.
  if (validatesAfter(job, state.committed) && state.validated < state.committed) return;
  const votes = state.members.flatMap(({ id }) => state.votes[id] ?? []);

  const batch = batchOf(job, next);
  const shards = state.members.map(({ id }) => leaseOf(state.ledger, id, next));
  const verdict = judge(votes, {
    nameOf: (rank) => draft.nameOf(state.members[rank] ?? first),
    shards,
    skipsOverflow: job.skipsOverflow,
  });
  if (verdict.kind === "digest" || verdict.kind === "not-finite") {
    const reason = `step ${next} is not committed: ${verdict.sentence}`;
    if (verdict.kind === "digest") return redo(draft, verdict.ranks, reason);
    // The weights before this step are good, and the writers of their checkpoint are all there.
    if (isSaving(state)) return draft.because(`${reason}; the run ends when the checkpoint under way is written`);
    return draft.fail("not_finite", reason, { part: "training", positions: verdict.positions });
  }
  const tokens = votes.reduce((sum, vote) => sum + vote.tokens, 0);
  const digests = votes.map(({ sampleDigest }) => sampleDigest);
  settle(state.ledger, next, batch, digests);
  const { duplicated, lost: missing } = state.ledger.counts;
  if (duplicated + missing > 0) {
    return draft.fail(
      "internal",
      `step ${next} is not committed: ${duplicated} samples would count twice and ${missing} not at all`,
    );
  }
  measure(state.members, votes, shards);
  const taken = next - state.committed;
  state.committed = next;
  state.attempts = 0;
  state.complaints = {};
  state.votes = {};
  state.reduction = { generation: state.generation, step: next, digest: votes[0]?.digest ?? "" };
  state.applying = {
    slowest: {
      data: slowest(votes, "dataSeconds"),
      compute: slowest(votes, "computeSeconds"),
      allReduce: slowest(votes, "allReduceSeconds"),
    },
    sinceMs: draft.nowMs,
    pending: state.members.map(({ id }) => id),
    digests: {},
    record: {
      kind: "step",
      step: next,
      epoch: positionAfter(job, next) / job.samplesPerEpoch,
      loss: votes.reduce((sum, vote) => sum + vote.lossSum, 0) / tokens,
      learningRate: learningRateAt(next - 1, job.schedule),
      gradientNorm: votes[0]?.gradientNorm ?? 0,
      samples: batch.rows,
      ledger: state.ledger.counts,
      tokens,
      allReduceBytes: votes.reduce((sum, vote) => sum + vote.bytesSent, 0),
      bytesBetweenHosts: votes.reduce((sum, vote) => sum + vote.bytesBetweenHosts, 0),
      busBandwidth: busBandwidth(state.parameters * reducedBytes(job), votes),
      worldSize: state.members.length,
      generation: state.generation,
      timeMs: Math.round(draft.nowMs),
      ...(taken > 1 ? { steps: taken } : {}),
      ...(verdict.kind === "skip" ? { skipped: true } : {}),
    },
  };
  for (const { id } of state.members) {
    draft.effects.push({ kind: "commit", to: id, generation: state.generation, step: next });
  }
  draft.because(`step ${next} is committed: all ${votes.length} workers have reduced it`);
  draft.waitAgain();
  if (changeMembers(draft)) return;
  rebalance(draft);
  draft.planAhead();
}

function hasApplied(draft: Draft, member: Member, applied: { step: number; digest: string }): void {
  const { applying } = draft.state;
  if (applying === null || applied.step !== applying.record.step) return;
  applying.pending = applying.pending.filter((id) => id !== member.id);
  if (applied.digest !== "") applying.digests[member.id] = applied.digest;
  finishStep(draft);
  const { phase, members } = draft.state;
  if (phase === "running" && members.some(({ holds }) => !holds)) heal(draft);
}

function hasEvaluated(
  draft: Draft,
  member: Member,
  evaluated: Extract<FromWorker, { kind: "evaluated" }>["value"],
): void {
  const { state } = draft;
  if (evaluated.step !== state.committed || state.validated >= evaluated.step) return;
  state.validating ??= { sums: {}, sinceMs: draft.nowMs };
  const { lossSum, tokens, notFiniteRows, counts } = evaluated;
  state.validating.sums[member.id] = { lossSum, tokens, notFiniteRows, counts };
  endValidation(draft);
}

/** Once all members have validated the committed step, the validation is recorded, or ends the run. */
export function endValidation(draft: Draft): void {
  const { job, state } = draft;
  if (state.phase !== "running" || state.validating === null) return;
  const { sums: found, sinceMs } = state.validating;
  if (!state.members.every(({ id }) => id in found)) return;
  const step = state.committed;
  const sums = state.members.flatMap(({ id }) => found[id] ?? []);
  const loss = mean(sums);
  const tokens = sums.reduce((total, sum) => total + sum.tokens, 0);
  if (!Number.isFinite(loss)) {
    const positions = blamed(sums, validationShards(job, sums.length));
    const what = `the validation after step ${step} has loss ${loss} over ${tokens} tokens`;
    const share = positions.length === 0 ? "" : `, in ${positions.length} of ${job.validationSequences} samples`;
    const sentence = `${what}${share}; lower train.learning_rate, or look at the data`;
    // The weights of earlier checkpoints are good, and their writers are all there.
    if (state.saves.some((save) => save.step < step))
      return draft.because(`${sentence}; the run ends when the checkpoint under way is written`);
    return draft.fail("not_finite", sentence, { part: "validation", positions });
  }
  finishValidation(draft, {
    kind: "validation",
    step,
    loss,
    perplexity: Math.exp(loss),
    tokens,
    seconds: (draft.nowMs - (sinceMs ?? draft.nowMs)) / 1000,
    timeMs: Math.round(draft.nowMs),
    ...(job.scoring === null ? {} : { metrics: metricsOf(sumCounts(countsOf(sums), job.scoring), job.scoring) }),
  });
}

/** A worker without a row of the validation has counted nothing. */
function countsOf(sums: readonly EvaluatedShard[]): PredictionCounts[] {
  return sums.flatMap(({ counts }) => counts ?? []);
}

function wasInterrupted(draft: Draft, member: Member, reason: string): void {
  const { state } = draft;
  if (state.interrupted !== null) return;
  // A break goes round the ring: who says so first is next to it.
  state.complaints[member.id] = (state.complaints[member.id] ?? 0) + 1;
  state.interrupted = `${draft.nameOf(member)}: ${reason}`;
  state.deadlineMs = draft.nowMs + INTERRUPTION_GRACE_MS;
  draft.because(`the ring broke: ${state.interrupted}`);
}
