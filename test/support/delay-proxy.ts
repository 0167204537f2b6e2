// A program that stands before a TCP port and passes on what comes some milliseconds later, each way, at any rate: a long cable.
// Its parent sends it a target for each port, and is told where it stands.
//
//   delay-proxy.js MILLISECONDS

import { once } from "node:events";
import { connect, createServer, type AddressInfo, type Socket } from "node:net";

export interface Target {
  readonly host: string;
  readonly port: number;
}

export interface Standing {
  /** The target's port, and the proxy's own on the same address. */
  readonly before: number;
  readonly port: number;
}

const delayMs = Number(process.argv[2]);
/** More than a rank may have under way. */
const mostUnderWayBytes = 64 * 1024 * 1024;

process.on("message", ({ host, port }: Target) => {
  const server = createServer({ noDelay: true }, (client) => {
    const onward = connect({ host, port, noDelay: true });
    pass(client, onward);
    pass(onward, client);
  });
  server.listen(0, host);
  void once(server, "listening").then(() => {
    const standing: Standing = { before: port, port: (server.address() as AddressInfo).port };
    process.send!(standing);
  });
});
process.on("disconnect", () => process.exit(0));
process.send!("ready");

function pass(from: Socket, to: Socket): void {
  let underWay = 0;
  const later = (act: () => void): void => void setTimeout(act, delayMs);
  from.on("data", (bytes: Buffer) => {
    underWay += bytes.byteLength;
    if (underWay > mostUnderWayBytes) from.pause();
    later(() => {
      underWay -= bytes.byteLength;
      if (underWay <= mostUnderWayBytes) from.resume();
      if (!to.destroyed) to.write(bytes);
    });
  });
  from.on("close", () => later(() => to.destroy()));
  from.on("error", () => undefined);
}
