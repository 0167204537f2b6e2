// What a worker must show to be let in, as whoever starts it hands it over: one line of JSON on the worker's standard
// input, because arguments and files are for others to see. Reading certificate files is certificates.ts.

import { z } from "zod";
import type { Credentials } from "./certificates.ts";
import { RingtuneError } from "./errors.ts";

export interface Secrets {
  readonly joinToken: string;
  /** For mutual TLS, if the coordinator speaks it. */
  readonly credentials?: Credentials;
}

/** A token and three PEM texts are 3 KB. */
export const MAX_SECRETS_BYTES = 64 * 1024;

/** The form in which secrets travel. */
export const secretsSchema = z.object({
  joinToken: z.string(),
  credentials: z.object({ ca: z.string(), certificate: z.string(), key: z.string() }).optional(),
});
export type SecretsText = z.infer<typeof secretsSchema>;

export function toText({ joinToken, credentials }: Secrets): SecretsText {
  if (credentials === undefined) return { joinToken };
  const { ca, certificate, key } = credentials;
  return {
    joinToken,
    credentials: { ca: ca.toString(), certificate: certificate.toString(), key: key.toString() },
  };
}

export function fromText({ joinToken, credentials }: SecretsText): Secrets {
  if (credentials === undefined) return { joinToken };
  const { ca, certificate, key } = credentials;
  return {
    joinToken,
    credentials: { ca: Buffer.from(ca), certificate: Buffer.from(certificate), key: Buffer.from(key) },
  };
}

/** Reads the line. Throws RingtuneError `usage` when it is something else; nothing of it is quoted. */
export async function readSecrets(input: AsyncIterable<Buffer | string>): Promise<Secrets> {
  let text = "";
  for await (const chunk of input) {
    text += chunk.toString();
    if (text.includes("\n") || text.length > MAX_SECRETS_BYTES) break;
  }
  const [line = ""] = text.split("\n");
  try {
    return fromText(secretsSchema.parse(JSON.parse(line)));
  } catch {
    const sentence = `standard input (${text.length} characters) does not begin with a line of secrets; leave --secrets to the program that starts workers, and use --token-file`;
    throw new RingtuneError("usage", sentence);
  }
}
