// The files of a certificate folder, as `ringtune certs init` makes it, and what is wrong with them. Reading only; making
// them is coordinator/certs.ts, using them is proto/session.ts.
//
//     certs/
//       ca.pem, ca-key.pem                      the authority; its key stays where it was made
//       coordinator.pem, coordinator-key.pem    shows hosts what they call
//       worker.pem, worker-key.pem              lets a worker in

import { createPrivateKey, X509Certificate, type KeyObject } from "node:crypto";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { diskReason } from "./disk-error.ts";
import { describeError, RingtuneError } from "./errors.ts";

/**
 * The name that a coordinator's certificate has, whatever it is called by: the authority is this cluster's alone, and
 * gives it to nobody else.
 */
export const coordinatorName = "coordinator.ringtune.internal";

export type Role = "coordinator" | "worker";

/** PEM texts of one end of a connection whose ends both show a certificate of the same authority. */
export interface Credentials {
  readonly ca: Buffer;
  readonly certificate: Buffer;
  readonly key: Buffer;
}

/**
 * What `role` needs of a certificate folder. Throws RingtuneError `unauthenticated` when a file is missing, is no
 * certificate, has expired or belongs to another authority or key.
 */
export async function readCredentials(folder: string, role: Role, now: Date = new Date()): Promise<Credentials> {
  // One after another, so that of several files that are missing the same one is always named.
  const ca = await read(folder, "ca.pem");
  const certificate = await read(folder, `${role}.pem`);
  const key = await read(folder, `${role}-key.pem`);
  const authority = parse(ca, join(folder, "ca.pem"));
  const path = join(folder, `${role}.pem`);
  const own = parse(certificate, path);
  for (const [where, cert] of [
    [join(folder, "ca.pem"), authority],
    [path, own],
  ] as const) {
    const [from, to] = [new Date(cert.validFrom), new Date(cert.validTo)];
    if (now > to) throw refused(`${where} expired at ${to.toISOString()}, it is ${now.toISOString()} now; ${renew}`);
    if (now < from) {
      throw refused(
        `${where} is valid from ${from.toISOString()} on, it is ${now.toISOString()} now; is this clock right?`,
      );
    }
  }
  if (!own.verify(authority.publicKey)) {
    throw refused(`${path} was not issued by ${join(folder, "ca.pem")}; copy both from the same folder`);
  }
  if (!own.checkPrivateKey(parseKey(key, join(folder, `${role}-key.pem`)))) {
    throw refused(`${join(folder, `${role}-key.pem`)} is not the key of ${path}; copy both from the same folder`);
  }
  return { ca, certificate, key };
}

const renew = "make new ones: ringtune certs init";

async function read(folder: string, name: string): Promise<Buffer> {
  const path = join(folder, name);
  try {
    return await readFile(path);
  } catch (cause) {
    const { code } = cause as NodeJS.ErrnoException;
    const why = code === "ENOENT" ? `there is no such file; ${renew}` : (diskReason(cause) ?? describeError(cause));
    throw refused(`cannot read ${path}: ${why}`, cause);
  }
}

function parse(pem: Buffer, path: string): X509Certificate {
  try {
    return new X509Certificate(pem);
  } catch (cause) {
    throw refused(`${path} (${pem.length} bytes) is not a certificate in PEM; ${renew}`, cause);
  }
}

function parseKey(pem: Buffer, path: string): KeyObject {
  try {
    return createPrivateKey(pem);
  } catch (cause) {
    // Nothing of the file is quoted: it is a secret.
    throw refused(`${path} (${pem.length} bytes) is not a private key in PEM; ${renew}`, cause);
  }
}

function refused(message: string, cause?: unknown): RingtuneError {
  return new RingtuneError("unauthenticated", message, cause === undefined ? {} : { cause });
}
