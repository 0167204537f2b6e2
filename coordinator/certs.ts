// A small certificate authority for one cluster: `ringtune certs init`. The only file that imports @peculiar/x509.
// It makes files and uses none of them; who may read a key is the file system's business (mode 0600).

import "reflect-metadata"; // before x509, whose containers need it
import {
  X509CertificateGenerator,
  BasicConstraintsExtension,
  ExtendedKeyUsage,
  ExtendedKeyUsageExtension,
  KeyUsageFlags,
  KeyUsagesExtension,
  PemConverter,
  SubjectAlternativeNameExtension,
  type X509Certificate,
} from "@peculiar/x509";
import { randomBytes, webcrypto } from "node:crypto";
import { mkdir, readdir } from "node:fs/promises";
import { isIP } from "node:net";
import { hostname } from "node:os";
import { join } from "node:path";
import { writeFileAtomic } from "../common/atomic-file.ts";
import { coordinatorName } from "../common/certificates.ts";
import { RingtuneError } from "../common/errors.ts";

export interface CertificateOptions {
  /** Created; must not hold an authority already. */
  readonly folder: string;
  /** Names and addresses by which browsers and Prometheus call the coordinator, beside those of this host. */
  readonly hosts: readonly string[];
  readonly days: number;
  readonly now?: Date;
}

/** Paths that were written, the secret ones marked. */
export interface WrittenFile {
  readonly path: string;
  readonly secret: boolean;
}

const algorithm = { name: "ECDSA", namedCurve: "P-256", hash: "SHA-256" } as const;
const dayMs = 86_400_000;
/** Clocks of a cluster may differ; what is made now is valid since then. */
const leewayMs = 3_600_000;

/**
 * Makes an authority, and a certificate each for the coordinator and the workers.
 * Throws RingtuneError `usage` when the folder has an authority: workers that hold its certificates would be locked out.
 */
export async function makeCertificates(options: CertificateOptions): Promise<WrittenFile[]> {
  const { folder, now = new Date() } = options;
  await mkdir(folder, { recursive: true, mode: 0o700 });
  if ((await readdir(folder)).includes("ca.pem")) {
    throw new RingtuneError(
      "usage",
      `${folder} has a certificate authority already, and its workers would no longer be let in; use another folder, or remove this one`,
    );
  }
  const valid = {
    notBefore: new Date(now.getTime() - leewayMs),
    notAfter: new Date(now.getTime() + options.days * dayMs),
  };
  const authority = await newKeys();
  const ca = await X509CertificateGenerator.createSelfSigned({
    ...valid,
    serialNumber: serialNumber(),
    name: "CN=Ringtune cluster authority",
    keys: authority,
    signingAlgorithm: algorithm,
    extensions: [
      new BasicConstraintsExtension(true, 0, true),
      new KeyUsagesExtension(KeyUsageFlags.keyCertSign | KeyUsageFlags.cRLSign, true),
    ],
  });
  const issue = async (name: string, usage: ExtendedKeyUsage, hosts: readonly string[]): Promise<Pair> => {
    const keys = await newKeys();
    const certificate = await X509CertificateGenerator.create({
      ...valid,
      serialNumber: serialNumber(),
      subject: `CN=Ringtune ${name}`,
      issuer: ca.subject,
      publicKey: keys.publicKey,
      signingKey: authority.privateKey,
      signingAlgorithm: algorithm,
      extensions: [
        new BasicConstraintsExtension(false, undefined, true),
        new KeyUsagesExtension(KeyUsageFlags.digitalSignature, true),
        new ExtendedKeyUsageExtension([usage], true),
        ...(hosts.length === 0 ? [] : [new SubjectAlternativeNameExtension(hosts.map(generalName))]),
      ],
    });
    return { name, certificate, key: keys.privateKey };
  };
  const names = [...new Set([coordinatorName, "localhost", "127.0.0.1", "::1", hostname(), ...options.hosts])];
  return write(folder, [
    await issue("coordinator", ExtendedKeyUsage.serverAuth, names),
    await issue("worker", ExtendedKeyUsage.clientAuth, []),
    // Last, so that a folder with ca.pem is whole.
    { name: "ca", certificate: ca, key: authority.privateKey },
  ]);
}

interface Pair {
  readonly name: string;
  readonly certificate: X509Certificate;
  readonly key: webcrypto.CryptoKey;
}

async function write(folder: string, pairs: readonly Pair[]): Promise<WrittenFile[]> {
  const files: WrittenFile[] = [];
  for (const { name, certificate, key } of pairs) {
    const secret = join(folder, `${name}-key.pem`);
    const pkcs8 = await webcrypto.subtle.exportKey("pkcs8", key);
    await writeFileAtomic(secret, `${PemConverter.encode(pkcs8, "PRIVATE KEY")}\n`, { mode: 0o600 });
    const open = join(folder, `${name}.pem`);
    await writeFileAtomic(open, `${certificate.toString("pem")}\n`);
    files.push({ path: open, secret: false }, { path: secret, secret: true });
  }
  return files;
}

function newKeys(): Promise<webcrypto.CryptoKeyPair> {
  return webcrypto.subtle.generateKey(algorithm, true, ["sign", "verify"]);
}

function generalName(value: string): { type: "ip" | "dns"; value: string } {
  return { type: isIP(value) === 0 ? "dns" : "ip", value };
}

/** 16 random bytes, positive as RFC 5280 wants it. */
function serialNumber(): string {
  const bytes = randomBytes(16);
  bytes[0] = (bytes[0]! & 0x7f) | 0x01;
  return bytes.toString("hex");
}
