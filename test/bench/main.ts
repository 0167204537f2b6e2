// `make bench`: every benchmark that has a peer, one after another. Not a test: nothing here passes or fails.

import { benchTrainStep } from "./train-step.ts";

const peers = process.env["RINGTUNE_PEERS"];
await benchTrainStep(peers === "" ? undefined : peers);
