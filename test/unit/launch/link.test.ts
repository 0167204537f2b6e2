// What is said of a host that can't take part: a fake ssh that hangs, refuses, or finds another Ringtune.

import { hostname } from "node:os";
import { expect, test } from "vitest";
import { packageVersion } from "../../../common/package-root.ts";
import { openLink, type Link } from "../../../coordinator/launch/link.ts";
import { fakeSsh } from "../../support/fake-ssh.ts";

const cpus = { engine: "onnx", device: "cpu", shareDevices: false } as const;
const prepare = { kind: "prepare", run: "/", ...cpus, globalBatch: 8, slots: 2 } as const;
const program = { directory: "/", words: ["sh", "/dev/null"] };

async function open(script: string, change: Partial<Parameters<typeof openLink>[0]> = {}): Promise<Link> {
  const { path } = await fakeSsh({ b: script });
  return openLink({
    ...{ ...program, host: "b", ssh: [path], timeoutMs: 60_000, prepare },
    report: () => undefined,
    lost: () => undefined,
    ...change,
  });
}

const hello = (version: string): string => `echo '${JSON.stringify({ kind: "hello", launch: 1, version, host: "b" })}'`;
const ready = `${hello(packageVersion)}; read order; echo '{"kind":"prepared","slots":2,"notices":[]}'`;

test("a host that is ready, whatever its login says before", async () => {
  const link = await open(`echo 'Welcome to b'; echo '{"kind":"hello"}'; ${ready}; cat; exit 0`);
  expect(link.slots).toBe(2);
  await link.close();
});

test.each([
  ["exec sleep 600", { timeoutMs: 300 }, "unavailable", /^host b did not answer within 0\.3 s$/],
  [
    "echo 'Enter passphrase:' >&2; exec sleep 600",
    { timeoutMs: 3000 },
    "unavailable",
    /^host b did not answer within 3 s \(it said: Enter passphrase:\)$/,
  ],
  [
    `${hello(packageVersion)}; exec sleep 600`,
    { timeoutMs: 3000 },
    "unavailable",
    /^host b answered, and did not look at its devices within 3 s$/,
  ],
  [
    "echo 'b: Permission denied (publickey,password).' >&2; exit 255",
    {},
    "unauthenticated",
    /^host b refused this user's key after \d+\.\d s: b: Permission denied \(publickey,password\)\.; try: /,
  ],
  [
    "echo 'Host key verification failed.' >&2; exit 255",
    {},
    "unauthenticated",
    /^host b has a host key that ssh does not know: Host key verification failed\.; log in once by hand/,
  ],
  [
    "echo 'ssh: Could not resolve hostname b: Name or service not known' >&2; exit 255",
    {},
    "unavailable",
    /^host b is a name that ssh can't resolve: /,
  ],
  [
    "echo 'ssh: connect to host b port 22: Connection refused' >&2; exit 255",
    {},
    "unavailable",
    /^host b can't be reached by ssh after \d+\.\d s: ssh: connect to host b port 22: Connection refused$/,
  ],
  ["true", { directory: "/no/such" }, "engine_unavailable", /^host b has no directory \/no\/such: .*; name another/],
  ["true", { words: ["sh", "/no/main.js"] }, "engine_unavailable", /^host b has no Ringtune at \/no\/main\.js; /],
  ["true", { words: ["/no/node"] }, "engine_unavailable", /^host b can't run \/no\/node: .*not found; /],
  [
    `${hello("0.0.1")}; exec sleep 600`,
    {},
    "protocol_mismatch",
    `host b has Ringtune 0.0.1 (launch 1) at /dev/null, and this host ${packageVersion} (launch 1); install the same on both`,
  ],
  [
    `echo 'ringtune: unknown command "host"' >&2; exit 2`,
    {},
    "protocol_mismatch",
    /^host b has another Ringtune at \/dev\/null, which does not know this order: ringtune: unknown command "host"/,
  ],
  [
    `${hello(packageVersion)}; read order; echo '{"kind":"unfit","reason":"does not see the run directory /r"}'; exec sleep 600`,
    {},
    "engine_unavailable",
    "host b does not see the run directory /r",
  ],
  ["kill -9 $$", {}, "unavailable", /^host b could not be started after \d+\.\d s: ssh was killed by SIGKILL$/],
])("%s", async (script, change, code, message) => {
  const failure: unknown = await open(script, change).catch((error: unknown) => error);
  const expected: unknown = typeof message === "string" ? message : expect.stringMatching(message);
  expect(failure).toMatchObject({ code, message: expected });
});

test("an ssh that is not installed is named", async () => {
  await expect(open("true", { ssh: ["/no/ssh"] })).rejects.toThrow(/^host b .*\/no\/ssh can't be started here: /);
});

test("a connection that ends later is told once, with ssh's own words", async () => {
  const lost = new Promise<string>((resolve) => {
    void open(`${ready}; read signal; echo 'Connection to b closed by remote host.' >&2; exit 255`, {
      lost: resolve,
    }).then((link) => link.send({ kind: "alive" }));
  });
  expect(await lost).toBe("ssh ended with exit code 255: Connection to b closed by remote host.");
});

test("nothing of a host is waited for any longer when the user stops", async () => {
  const stop = new AbortController();
  const opening = open("exec sleep 600", { signal: stop.signal });
  stop.abort(new Error(`stopped on ${hostname()}`));
  await expect(opening).rejects.toThrow(/^stopped on /);
});
