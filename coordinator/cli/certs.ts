// `ringtune certs init`: certificates for workers on other hosts.

import { collect, Command, wholeNumber } from "../../common/command-line.ts";
import { makeCertificates } from "../certs.ts";

interface Options {
  readonly host: readonly string[];
  readonly days: number;
}

export function buildCertsCommand(): Command {
  const command = new Command("certs").description("make certificates for workers on other hosts");
  command
    .command("init")
    .description("make a certificate authority for one cluster, and certificates for its coordinator and workers")
    .argument("[folder]", "folder to make", "certs")
    .option(
      "--host <name>",
      "name or address by which Prometheus calls the coordinator, if not this host's (repeatable)",
      collect,
      [],
    )
    .option("--days <n>", "how long the certificates are valid", wholeNumber(1), 825)
    .action(async (folder: string, { host, days }: Options) => {
      const files = await makeCertificates({ folder, hosts: host, days });
      const lines = files.map(({ path, secret }) => `  ${path}${secret ? "  (secret)" : ""}`);
      process.stdout.write(
        [
          ...lines,
          `coordinator: cluster.certs: ${folder}`,
          `workers:     copy ca.pem, worker.pem and worker-key.pem to each host, and start them with --certs FOLDER`,
          "",
        ].join("\n"),
      );
    });
  return command;
}
