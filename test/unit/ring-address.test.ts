import { networkInterfaces } from "node:os";
import { expect, test } from "vitest";
import { chooseRingAddress } from "../../worker/ring-address.ts";

const { signal } = new AbortController();
const defaults = { hasCertificates: false, insecure: false, timeoutMs: 0, signal };
const choose = (options: Partial<Parameters<typeof chooseRingAddress>[0]> & { coordinator: string }) =>
  chooseRingAddress({ ...defaults, ...options });

/** An address of this machine that others reach, if there is one. */
const own = Object.values(networkInterfaces())
  .flat()
  .find((each) => each?.family === "IPv4" && !each.internal)?.address;

test("the ring of a coordinator on loopback is on loopback", async () => {
  for (const coordinator of ["127.0.0.1:1", "127.0.0.9:1"]) {
    expect((await choose({ coordinator })).host).toMatch(/^127\./);
  }
  expect(await choose({ coordinator: "127.0.0.1:1", advertise: "other" })).toMatchObject({ advertisedHost: "other" });
});

test("beyond loopback a ring needs certificates, or to be told", async () => {
  await expect(choose({ coordinator: "127.0.0.1:1", host: "0.0.0.0" })).rejects.toMatchObject({
    code: "usage",
    message: expect.stringMatching(/the ring at 0\.0\.0\.0 are beyond loopback.*--certs, or with --insecure/) as string,
  });
  for (const allowed of [{ insecure: true }, { hasCertificates: true }]) {
    expect(await choose({ coordinator: "127.0.0.1:1", host: "0.0.0.0", ...allowed })).toEqual({
      host: "0.0.0.0",
      advertisedHost: "127.0.0.1",
    });
  }
});

test.skipIf(own === undefined)("the ring is where this host reaches the coordinator from", async () => {
  const coordinator = `${own}:7447`;
  await expect(choose({ coordinator })).rejects.toThrow(`the coordinator at ${coordinator} and the ring at ${own}`);
  // Nor does the token go there in the clear, wherever the ring is.
  await expect(choose({ coordinator, host: "127.0.0.1" })).rejects.toThrow(/beyond loopback/);
  expect(await choose({ coordinator, hasCertificates: true })).toEqual({ host: own, advertisedHost: own });
  expect(await choose({ coordinator, host: "0.0.0.0", hasCertificates: true })).toEqual({
    host: "0.0.0.0",
    advertisedHost: own,
  });
});

test("a name that nobody knows is named", async () => {
  await expect(choose({ coordinator: "no-such-host.invalid:1" })).rejects.toMatchObject({
    code: "timed_out",
    message: expect.stringMatching(/^no way to the coordinator at no-such-host\.invalid:1 after 0 ms: /) as string,
  });
});
