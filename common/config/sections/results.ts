// `checkpoint` and `metrics`: where results go, and who may read them.

import { z } from "zod";
import { oneWeek, upTo } from "./bounds.ts";

export const checkpoint = z
  .strictObject({
    dir: z.string().min(1).default("runs").describe("Folder of run directories."),
    name: z
      .string()
      .max(200)
      .regex(/^[A-Za-z0-9][A-Za-z0-9._-]*$/)
      .optional()
      .describe(
        "Name of the run directory: letters, digits, dots, dashes and underscores. Left out: one with the date.",
      ),
    every: z.int().min(0).default(200).describe("Steps between checkpoints; 0 writes one at the end only."),
    keep: upTo(1_000_000).default(2).describe("Newest checkpoints to keep."),
    writers: z
      .enum(["host", "all", "one"])
      .default("host")
      .describe(
        "Who writes a checkpoint, each a part of about the same size: the workers on the host of rank 0, all (on every host the run directory is the same, shared storage), or rank 0 alone.",
      ),
    retry_s: z
      .number()
      .min(0)
      .max(oneWeek)
      .default(600)
      .describe(
        "A checkpoint that can't be written is given up and said, and training goes on; but the last one, and with train.early_stopping those of validations, are tried again for so many seconds.",
      ),
  })
  .describe("Where results go.");

export const metrics = z
  .strictObject({
    enabled: z.boolean().default(true).describe("Whether to serve /metrics at all."),
    host: z
      .string()
      .min(1)
      .default("127.0.0.1")
      .describe("Address that serves /metrics. Beyond loopback metrics.certs and metrics.basic_auth are needed."),
    port: z.int().min(0).max(65535).default(9464).describe("Port that serves /metrics; 0 takes a free one."),
    certs: z
      .string()
      .min(1)
      .optional()
      .describe(
        "Certificate folder, as `ringtune certs init` makes it, to serve /metrics over TLS with the coordinator's certificate.",
      ),
    basic_auth: z
      .strictObject({
        username: z
          .string()
          .regex(/^[^:]+$/)
          .default("prometheus")
          .describe("User name, without a colon."),
        password_file: z
          .string()
          .min(1)
          .describe("File with the password, and nothing else; Prometheus's password_file can be the same."),
      })
      .optional()
      .describe("Who may read /metrics, with HTTP's basic authentication. Left out: everybody who reaches the port."),
    insecure: z.boolean().default(false).describe("Serve /metrics beyond loopback without TLS or without a password."),
  })
  .describe("Prometheus.");
