// The workers of a run: how many, and the sites where this process starts them, which are this host or others over ssh.
// Workers that are started by hand have none.

import { readCredentials, type Credentials } from "../common/certificates.ts";
import { planDevices } from "./devices.ts";
import { openHere } from "./launch/here.ts";
import { openHosts } from "./launch/hosts.ts";
import type { Site } from "./launch/site.ts";
import type { OnClose, RunOptions } from "./run.ts";

export interface Crew {
  readonly workers: number;
  readonly sites: readonly Site[];
}

/** Before the data is prepared, so that hosts that do not answer are known at once. Throws as openHosts does. */
export async function openCrew(
  { config, launch, hosts, progress, signal }: RunOptions,
  run: string,
  onClose: OnClose,
): Promise<Crew> {
  if (hosts === undefined) {
    const devices = await planDevices(config, launch);
    devices.notices.forEach((notice) => progress.notice(notice));
    return { workers: devices.workers, sites: launch ? [openHere(devices)] : [] };
  }
  const sites = await openHosts(hosts, config, run, { notice: (line) => progress.notice(line), signal });
  sites.forEach((site) => onClose(() => site.close()));
  const { workers } = config.cluster;
  const wanted = workers === "auto" ? sites.reduce((sum, { slots }) => sum + slots, 0) : workers;
  const { global_batch: batch } = config.train;
  if (wanted <= batch) return { workers: wanted, sites };
  progress.notice(`using ${batch} of ${wanted} workers: train.global_batch ${batch} has no sequence for more`);
  return { workers: batch, sites };
}

/** What the workers that this process starts show; they need no folder of their own. */
export async function credentialsOfWorkers(certs: string | undefined): Promise<{ credentials?: Credentials }> {
  return certs === undefined ? {} : { credentials: await readCredentials(certs, "worker") };
}
