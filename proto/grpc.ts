// gRPC and the services of the protocol: the only file that imports gRPC. What travels over it is session.ts (workers) and
// admin.ts (people).

import grpc from "@grpc/grpc-js";
import protoLoader from "@grpc/proto-loader";
import { join } from "node:path";
import { RingtuneError } from "../common/errors.ts";
import { packageRoot } from "../common/package-root.ts";
import type { ProtoGrpcType } from "./gen/coordinator.ts";
import { CODE_KEY, errorFromStatus, statusCodeOf } from "./status.ts";

export { grpc };

// What gRPC would print to stderr is said by the error that follows; GRPC_VERBOSITY=ERROR brings it back.
if (process.env["GRPC_VERBOSITY"] === undefined) grpc.setLogVerbosity(grpc.logVerbosity.NONE);

const definition = protoLoader.loadSync(join(packageRoot, "proto/ringtune/v1/coordinator.proto"), {
  longs: Number,
  enums: String,
  defaults: true,
  oneofs: true,
});

export const { Coordinator, Admin } = (grpc.loadPackageDefinition(definition) as unknown as ProtoGrpcType).ringtune.v1;

/** Our error as a call's status: the code travels beside it. */
export function statusOf(error: RingtuneError): { code: number; details: string; metadata: grpc.Metadata } {
  const metadata = new grpc.Metadata();
  metadata.set(CODE_KEY, error.code);
  return { code: statusCodeOf(error.code), details: error.message, metadata };
}

/** The error behind a status; without a code of ours it is gRPC that speaks, and `lost` is what that means. */
export function errorOf(status: grpc.StatusObject, lost: RingtuneError): RingtuneError {
  const code = status.metadata.get(CODE_KEY)[0]?.toString();
  return code === undefined ? lost : errorFromStatus(status.details, code);
}

/** Resolves with the port. Throws `address_in_use`. */
export function bindServer(
  server: grpc.Server,
  where: { host: string; port: number; setting: string; credentials?: grpc.ServerCredentials },
): Promise<number> {
  const { host, port, setting, credentials = grpc.ServerCredentials.createInsecure() } = where;
  return new Promise((resolve, reject) => {
    server.bindAsync(`${host}:${port}`, credentials, (cause, bound) => {
      if (cause === null) resolve(bound);
      else reject(cannotListen({ host, port, setting }, cause));
    });
  });
}

/** `setting` is what names the port. */
export function cannotListen(where: { host: string; port: number; setting: string }, cause: Error): RingtuneError {
  const { host, port, setting } = where;
  const isTaken = /EADDRINUSE|No address added/.test(cause.message);
  const why = isTaken ? `the port is in use; choose another with ${setting}, or 0 for a free one` : cause.message;
  const code = isTaken ? "address_in_use" : "internal";
  return new RingtuneError(code, `cannot listen on ${host}:${port}: ${why}`, { cause });
}
