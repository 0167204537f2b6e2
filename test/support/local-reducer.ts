// A reducer without a thread of its own, over any endpoint: messages take a turn of the event loop each way.

import type { CollectiveEndpoint } from "../../worker/collective/collective.ts";
import { createClient, type ReducerClient } from "../../worker/train/overlap/reducer-client.ts";
import { createReducer } from "../../worker/train/overlap/reducer.ts";

export function localReducer(endpoint: CollectiveEndpoint): ReducerClient {
  const { hear, ...client } = createClient((message) => void setImmediate(() => reducer(message)));
  const reducer = createReducer(endpoint, (answer) => void setImmediate(() => hear(answer)));
  hear({ kind: "opened", address: endpoint.address });
  return { ...client, close: () => endpoint.close() };
}
