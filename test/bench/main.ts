// `make bench`: every benchmark that has a peer, one after another. Not a test: nothing here passes or fails.

import { benchRecovery } from "./recovery.ts";
import { benchTrainStep } from "./train-step.ts";

const peers = process.env["RINGTUNE_PEERS"] || undefined;
await benchTrainStep(peers);
await benchRecovery(peers);
