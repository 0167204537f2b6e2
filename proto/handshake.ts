// Why a coordinator that listens does not answer: gRPC tries again without a word, so a second connection asks. Only looks.

import { connect as connectPlain, type Socket } from "node:net";
import { connect as connectTls } from "node:tls";
import { coordinatorName, type Credentials } from "../common/certificates.ts";

/** A server that refuses a certificate says so after the handshake, as TLS 1.3 has it. */
const REFUSAL_WITHIN_MS = 500;
const CONNECT_WITHIN_MS = 2000;
/** First byte of a TLS record that refuses. */
const TLS_ALERT = 21;

/**
 * The reason, if waiting longer can't help: certificates that do not fit, or only one end that has any. Undefined when
 * nobody listens (yet), or all is well.
 */
export async function diagnoseHandshake(
  address: string,
  credentials: Credentials | undefined,
): Promise<string | undefined> {
  const [, host = "", port = ""] = /^(?:dns:)?\[?(.+?)\]?:(\d+)$/.exec(address) ?? [];
  const target = { host, port: Number(port) };
  if (credentials === undefined) return plain(target);
  const { ca, certificate: cert, key } = credentials;
  const outcome = await settle(
    connectTls({ ...target, ca, cert, key, ALPNProtocols: ["h2"], servername: coordinatorName }),
    "secureConnect",
  );
  if (outcome === "open") return undefined;
  if (outcome === "shut") return refused;
  return explain(outcome);
}

/**
 * A server without TLS answers HTTP/2's own preface; one with TLS closes the connection, with or without an alert. One that
 * resets it is about to go, or a proxy for one that is not there: waiting may help.
 */
async function plain(target: { host: string; port: number }): Promise<string | undefined> {
  const socket = connectPlain(target);
  const silent = await new Promise<boolean>((resolve) => {
    let connected = false;
    socket.once("connect", () => {
      connected = true;
      socket.write("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
    });
    socket.once("data", (data: Buffer) => resolve(data[0] === TLS_ALERT));
    socket.on("error", () => resolve(false));
    socket.once("close", () => resolve(connected));
    socket.setTimeout(CONNECT_WITHIN_MS, () => resolve(false));
  });
  socket.destroy();
  return silent ? "it wants a certificate; give the folder with --certs" : undefined;
}

const refused = "it refuses our certificate; copy ca.pem, worker.pem and worker-key.pem from its folder";

/** Shut: the server let the handshake pass and closed the connection. */
type Outcome = "open" | "shut" | NodeJS.ErrnoException;

function settle(socket: Socket, ready: string): Promise<Outcome> {
  return new Promise((resolve) => {
    let isReady = false;
    const end = (outcome: Outcome): void => {
      resolve(outcome);
      socket.destroy();
    };
    socket.once(ready, () => {
      isReady = true;
      socket.setTimeout(REFUSAL_WITHIN_MS);
    });
    socket.once("error", end);
    socket.once("timeout", () => end("open"));
    socket.once("close", () => end(isReady ? "shut" : "open"));
    socket.setTimeout(CONNECT_WITHIN_MS);
  });
}

function explain({ code = "", message }: NodeJS.ErrnoException): string | undefined {
  if (code === "ERR_TLS_CERT_ALTNAME_INVALID") {
    return `what it shows is not the certificate of a coordinator (${message}); start it with the folder of ringtune certs init`;
  }
  if (code === "CERT_HAS_EXPIRED") return "its certificate has expired; make new ones: ringtune certs init";
  if (/SELF_SIGNED|UNABLE_TO_VERIFY|UNABLE_TO_GET_ISSUER|CERT_SIGNATURE_FAILURE/.test(code)) {
    return "its certificate is of another authority than ours; copy ca.pem, worker.pem and worker-key.pem from its folder";
  }
  if (/wrong version number|packet length too long|unexpected message/i.test(message)) {
    return "it speaks without TLS; start it with cluster.certs, or this worker without --certs";
  }
  if (/alert/i.test(message)) return refused;
  return undefined;
}
