// The thread of reducer.ts: binds its end of the ring, says where, and does what it is told. Its other end is
// overlapping-exchange.ts.

import { parentPort, workerData } from "node:worker_threads";
import { createCollectiveEndpoint, type CollectiveEndpointOptions } from "../../collective/zeromq.ts";
import { plain } from "../../control/thread.ts";
import { createReducer, type FromReducer, type ToReducer } from "./reducer.ts";

const port = parentPort;
if (port !== null) {
  const answer = (message: FromReducer): void => {
    if (message.kind === "closed") port.close();
    else port.postMessage(message);
  };
  createCollectiveEndpoint(workerData as CollectiveEndpointOptions).then(
    (endpoint) => {
      const reducer = createReducer(endpoint, answer);
      port.on("message", (message: ToReducer) => reducer(message));
      answer({ kind: "opened", address: endpoint.address });
    },
    (error: unknown) => answer({ kind: "failed", error: plain(error) }),
  );
}
