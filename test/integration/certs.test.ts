import { join } from "node:path";
import { expect, test } from "vitest";
import { finish, readSteps, smallRun, start } from "../support/cli.ts";

test("a run with certificates trains, and lets in no worker that has none or those of another cluster", async () => {
  const small = await smallRun();
  const [ours, others] = [join(small.folder, "certs"), join(small.folder, "others")];
  for (const folder of [ours, others]) {
    const made = await finish(["certs", "init", folder]);
    expect(made, made.stderr).toMatchObject({ code: 0 });
    expect(made.stdout).toContain(`${join(folder, "worker-key.pem")}  (secret)`);
  }
  const coordinator = start([
    ...["coordinator", small.config, "--set", `cluster.certs=${ours}`],
    ...["--set", "cluster.workers=2", "--set", "checkpoint.name=secure"],
  ]);
  const [, address, token, certs] = await coordinator.waitFor(/--coordinator (\S+) --token-file (\S+) --certs (\S+)/);
  expect(certs).toBe(ours);
  const join2 = ["worker", "--coordinator", address!, "--token-file", token!];
  const without = await finish(join2);
  expect(without).toMatchObject({ code: 4 });
  expect(without.stderr).toMatch(/wants a certificate; give the folder with --certs/);
  const strange = await finish([...join2, "--certs", others]);
  expect(strange).toMatchObject({ code: 4 });
  expect(strange.stderr).toMatch(/its certificate is of another authority/);

  const workers = [1, 2].map(() => start([...join2, "--certs", ours]));
  const result = await coordinator.finished;
  expect(result, result.stderr).toMatchObject({ code: 0 });
  for (const worker of workers) expect(await worker.finished).toMatchObject({ code: 0 });
  expect((await readSteps(join(small.folder, "runs/secure"))).length).toBe(20);

  const again = await finish(["certs", "init", ours]);
  expect(again.stderr).toMatch(/has a certificate authority already/);
});

test("workers that train starts itself have its certificates", async () => {
  const small = await smallRun({ steps: 4, warmup_steps: 0 });
  const certs = join(small.folder, "certs");
  expect(await finish(["certs", "init", certs])).toMatchObject({ code: 0 });
  const result = await finish(["train", small.config, "--workers", "2", "--set", `cluster.certs=${certs}`]);
  expect(result, result.stderr).toMatchObject({ code: 0 });
  const missing = await finish(["train", small.config, "--set", "cluster.certs=/nowhere"]);
  expect(missing.stderr).toMatch(
    /cannot read \/nowhere\/ca\.pem: there is no such file; make new ones: ringtune certs/,
  );
});
