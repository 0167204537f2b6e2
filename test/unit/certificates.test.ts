import { cp, mkdtemp, readdir, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { readCredentials, type Credentials } from "../../common/certificates.ts";
import { RingtuneError } from "../../common/errors.ts";
import { makeCertificates } from "../../coordinator/certs.ts";
import { openSession, serveSessions, type CoordinatorSession, type SessionServer } from "../../proto/session.ts";

let folder: string;
const made = async (name: string, options: Partial<Parameters<typeof makeCertificates>[0]> = {}): Promise<string> => {
  const path = join(folder, name);
  await makeCertificates({ folder: path, hosts: ["10.1.2.3", "gpu-box"], days: 10, ...options });
  return path;
};
let ours: string;
let others: string;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "ringtune-certs-"));
  ours = await made("ours");
  others = await made("others");
});
afterAll(() => rm(folder, { recursive: true }));

/** The error that was thrown. */
async function refusal(promise: Promise<unknown>): Promise<RingtuneError> {
  const error: unknown = await promise.then(
    () => expect.fail("was not refused"),
    (thrown: unknown) => thrown,
  );
  expect(error).toBeInstanceOf(RingtuneError);
  expect((error as RingtuneError).code).toBe("unauthenticated");
  return error as RingtuneError;
}

describe("the files of a certificate folder", () => {
  test("are made whole, with keys that only their owner can read", async () => {
    const names = ["ca", "coordinator", "worker"].flatMap((name) => [`${name}-key.pem`, `${name}.pem`]);
    expect((await readdir(ours)).sort()).toEqual(names.sort());
    for (const name of names.filter((name) => name.includes("-key"))) {
      expect((await stat(join(ours, name))).mode & 0o777, name).toBe(0o600);
    }
    for (const role of ["coordinator", "worker"] as const) await readCredentials(ours, role);
  });

  test("are not made over those of another authority", async () => {
    await expect(makeCertificates({ folder: ours, hosts: [], days: 1 })).rejects.toMatchObject({ code: "usage" });
  });

  test("are refused with the reason when they are missing, expired, early, mixed up or rubbish", async () => {
    const broken = async (name: string, change: (path: string) => Promise<void>): Promise<string> => {
      const path = join(folder, name);
      await cp(ours, path, { recursive: true });
      await change(path);
      return (await refusal(readCredentials(path, "worker"))).message;
    };
    expect(await broken("missing", (path) => rm(join(path, "worker.pem")))).toMatch(
      /worker\.pem: there is no such file/,
    );
    expect(await broken("mixed", (path) => cp(join(others, "worker.pem"), join(path, "worker.pem")))).toMatch(
      /worker\.pem was not issued by .*ca\.pem/,
    );
    expect(await broken("key", (path) => cp(join(others, "worker-key.pem"), join(path, "worker-key.pem")))).toMatch(
      /worker-key\.pem is not the key of .*worker\.pem/,
    );
    expect(await broken("rubbish", (path) => writeFile(join(path, "ca.pem"), "hello"))).toMatch(
      /ca\.pem \(5 bytes\) is not a certificate/,
    );
    const secret = await broken("rubbish-key", (path) => writeFile(join(path, "worker-key.pem"), "topsecret"));
    expect(secret).toMatch(/worker-key\.pem \(9 bytes\) is not a private key/);
    expect(secret).not.toContain("topsecret");

    const later = new Date(Date.now() + 11 * 86_400_000);
    expect((await refusal(readCredentials(ours, "worker", later))).message).toMatch(/ca\.pem expired at 20.*now/);
    const earlier = new Date(Date.now() - 86_400_000);
    expect((await refusal(readCredentials(ours, "worker", earlier))).message).toMatch(/is valid from 20.*clock/);
  });
});

describe("a session with mutual TLS", () => {
  const cleanups: (() => Promise<unknown>)[] = [];
  afterEach(async () => {
    for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
  });

  /** A coordinator that counts those who got through. */
  async function serve(credentials?: Credentials): Promise<{ server: SessionServer; accepted: () => number }> {
    let accepted = 0;
    const server = await serveSessions({
      host: "127.0.0.1",
      port: 0,
      ...(credentials === undefined ? {} : { credentials }),
      accept(session) {
        accepted += 1;
        return {
          message: () => session.send({ kind: "finish", value: { reason: "hello", drained: false } }),
          closed: () => undefined,
        };
      },
    });
    cleanups.push(() => server.close());
    return { server, accepted: () => accepted };
  }

  async function call(address: string, credentials?: Credentials): Promise<string> {
    let heard: (reason: string) => void = () => undefined;
    const answer = new Promise<string>((resolve) => (heard = resolve));
    const session: CoordinatorSession = await openSession({
      address,
      timeoutMs: 60_000,
      ...(credentials === undefined ? {} : { credentials }),
      handlers: {
        message: (message) => heard(message.kind === "finish" ? message.value.reason : message.kind),
        closed: (error) => heard(error?.message ?? "closed"),
      },
    });
    session.send({ kind: "heartbeat", value: { doing: "calling", inCollective: false, count: 0 } });
    const reason = await answer;
    await session.end();
    return reason;
  }

  test("works between ends of one authority", async () => {
    const { server } = await serve(await readCredentials(ours, "coordinator"));
    expect(await call(server.address, await readCredentials(ours, "worker"))).toBe("hello");
    expect(await call(server.address.replace("127.0.0.1", "localhost"), await readCredentials(ours, "worker"))).toBe(
      "hello",
    );
  });

  test("lets nobody in without a certificate, with one of another authority, with an expired one or one for another use", async () => {
    const { server, accepted } = await serve(await readCredentials(ours, "coordinator"));
    const worker = await readCredentials(ours, "worker");
    expect((await refusal(call(server.address))).message).toMatch(/wants a certificate; give the folder with --certs/);

    const stranger = await readCredentials(others, "worker");
    expect((await refusal(call(server.address, stranger))).message).toMatch(/its certificate is of another authority/);
    // It trusts us, but we do not know it.
    expect((await refusal(call(server.address, { ...stranger, ca: worker.ca }))).message).toMatch(
      /refuses our certificate/,
    );

    const old = await made("old", { now: new Date(Date.now() - 30 * 86_400_000), days: 10 });
    const then = new Date(Date.now() - 25 * 86_400_000);
    const expired = await serve(await readCredentials(old, "coordinator", then));
    expect((await refusal(call(expired.server.address, await readCredentials(old, "worker", then)))).message).toMatch(
      /its certificate has expired/,
    );
    const coordinator = await readCredentials(ours, "coordinator");
    expect((await refusal(call(server.address, coordinator))).message).toMatch(/refuses our certificate/);
    expect([accepted(), expired.accepted()]).toEqual([0, 0]);
  });

  test("is refused when the coordinator has no certificate, or one for another host", async () => {
    const { server } = await serve();
    const worker = await readCredentials(ours, "worker");
    expect((await refusal(call(server.address, worker))).message).toMatch(/speaks without TLS/);
    const secure = await serve(await readCredentials(ours, "coordinator"));
    const elsewhere = secure.server.address.replace("127.0.0.1", "127.0.0.2");
    // Nobody listens there: that is another sentence.
    await expect(
      openSession({
        address: elsewhere,
        timeoutMs: 700,
        credentials: worker,
        handlers: { message: () => undefined, closed: () => undefined },
      }),
    ).rejects.toMatchObject({ code: "timed_out" });
  });
});
