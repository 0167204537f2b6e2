// `cluster.store`: where the coordinator keeps what it must not forget.

import { z } from "zod";
import { oneWeek, upTo } from "./bounds.ts";

export const store = z
  .discriminatedUnion("kind", [
    z.strictObject({
      kind: z
        .literal("embedded")
        .optional()
        .default("embedded")
        .describe(
          "embedded: LevelDB in the run directory, for one coordinator. etcd: for several, one of which leads while the others stand by; they need the same configuration, checkpoint.name and run directory (shared storage).",
        ),
    }),
    z.strictObject({
      kind: z.literal("etcd"),
      endpoints: z
        .array(z.string().min(1))
        .min(1)
        .describe('Members of etcd: ["https://etcd-0:2379", ...]; http only on loopback.'),
      prefix: z
        .string()
        .max(200)
        .regex(/^[A-Za-z0-9][A-Za-z0-9._-]*$/)
        .default("ringtune")
        .describe("First part of every key; the second is checkpoint.name, so that runs of other names do not meet."),
      lease_s: upTo(60)
        .default(2)
        .describe(
          "Seconds after which a coordinator that does not answer is replaced (one whose process has ended is replaced at once). etcd makes it at least one and a half times its election timeout, 2 s unless configured.",
        ),
      timeout_s: z
        .number()
        .min(1)
        .max(oneWeek)
        .default(60)
        .describe("Longest that training waits for etcd when it does not answer, before the run stops with the cause."),
      certs: z
        .string()
        .min(1)
        .optional()
        .describe(
          "Folder with ca.pem, the authority of etcd's certificates, and client.pem and client-key.pem if etcd asks for them. Left out: the system's authorities.",
        ),
      username: z.string().min(1).optional().describe("User of etcd. Left out: none."),
      password_file: z.string().min(1).optional().describe("File with the password of username, and nothing else."),
    }),
  ])
  .describe("What the coordinator must not forget, and where it keeps it; see docs/elasticity.md.");
