import { expect, test } from "vitest";
import { completeHosts, parseHostFile, parseHosts } from "../../../coordinator/launch/host-list.ts";

test("hosts have names or addresses, users, and workers behind a colon", () => {
  expect(parseHosts("a, b:8,alice@gpu-1.example:4,10.0.0.5,[fe80::1%eth0]:2,")).toEqual([
    { host: "a", slots: undefined },
    { host: "b", slots: 8 },
    { host: "alice@gpu-1.example", slots: 4 },
    { host: "10.0.0.5", slots: undefined },
    { host: "fe80::1%eth0", slots: 2 },
  ]);
});

test("a hostfile has a host in each line, as MPI writes them", () => {
  const text = "# the cluster\na slots=4\n\nb:8  # the big one\n  c  \nd slots = 2\n";
  expect(parseHostFile(text, "hosts")).toEqual([
    { host: "a", slots: 4 },
    { host: "b", slots: 8 },
    { host: "c", slots: undefined },
    { host: "d", slots: 2 },
  ]);
});

test("--slots is for those that do not say how many", () => {
  expect(completeHosts(parseHosts("a,b:8"), 4)).toEqual([
    { host: "a", slots: 4 },
    { host: "b", slots: 8 },
  ]);
  expect(completeHosts(parseHosts("a"), undefined)).toEqual([{ host: "a", slots: undefined }]);
});

test.each([
  // ssh would take it for an option, and this one runs a program here.
  ["-oProxyCommand=id", /"-oProxyCommand=id" is no host/],
  ["a b", /"a b" is no host/],
  ["a:0", /a can't have 0 workers; give 1 to 1024/],
  ["a:x", /"a:x" is no host/],
  ["a;id", /"a;id" is no host/],
  ["$(id)", /is no host/],
  ["fe80::1", /"fe80::1" is no host; .*\[fe80::1\]:8/],
])("%j is refused", (text, problem) => {
  expect(() => parseHosts(text)).toThrow(problem);
});

test("a hostfile names the line that is wrong", () => {
  expect(() => parseHostFile("a\nb slots=many\n", "hosts")).toThrow(/^hosts line 2: /);
});

test("no host, and one that is named twice, are refused", () => {
  expect(() => completeHosts([], 8)).toThrow(/^name at least one host/);
  expect(() => completeHosts(parseHosts("a,b,a:2"), 8)).toThrow(/^host a is named twice/);
});
