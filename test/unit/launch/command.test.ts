// The command line that goes over ssh, read back by a real shell.

import { execFileSync } from "node:child_process";
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { exitCodes, quote, remoteCommand, wordsOf } from "../../../coordinator/launch/command.ts";
import { temporaryFolder } from "../../support/cli.ts";

const awkward = [
  "plain-1.2_3",
  "",
  "two words",
  "it's",
  `"double"`,
  "$HOME `id` $(id)",
  "line\nbreak\ttab",
  "back\\slash\\",
  "a;b&c|d<e>f(g)h*i?j[k]l{m}n!o#p~q",
  "-n",
  "ünï ✓",
];

test("every word arrives at the other shell as it was", () => {
  const script = `printf '%s\\0' ${awkward.map(quote).join(" ")}`;
  expect(execFileSync("sh", ["-c", script]).toString().split("\0").slice(0, -1)).toEqual(awkward);
});

test("the directory and the program may be called anything", async () => {
  const directory = join(await temporaryFolder(), "a $HOME 'folder'\n\"here\"");
  await mkdir(directory);
  const script = "it's `main`.js";
  await writeFile(join(directory, script), "");
  const command = remoteCommand({ directory, words: ["echo", script] });
  expect(execFileSync("sh", ["-c", command]).toString()).toBe(`${script} host\n`);
});

test.each([
  [{ directory: "/does/not/exist", words: ["ringtune"] }, exitCodes.noDirectory],
  [{ directory: "/", words: ["echo", "/does/not/exist.js"] }, exitCodes.noProgram],
  [{ directory: "/", words: ["/does/not/exist"] }, 127],
])("what is missing has its own exit code: %j", (program, code) => {
  const run = (): void => void execFileSync("sh", ["-c", remoteCommand(program)], { stdio: "ignore" });
  expect(run).toThrow(expect.objectContaining({ status: code }) as Error);
});

describe("the words of --ssh", () => {
  test.each([
    ["ssh", ["ssh"]],
    ["  ssh -p 2222  -i key ", ["ssh", "-p", "2222", "-i", "key"]],
    [
      `ssh -i '/my keys/id' -o "ProxyCommand=nc \\"%h\\" %p"`,
      ["ssh", "-i", "/my keys/id", "-o", 'ProxyCommand=nc "%h" %p'],
    ],
    ["a\\ b c''d", ["a b", "cd"]],
    ["''", [""]],
    ["", []],
  ])("%j", (text, words) => {
    expect(wordsOf(text)).toEqual(words);
  });

  test.each(["ssh 'open", 'ssh "open', "ssh \\"])("%j is not closed", (text) => {
    expect(wordsOf(text)).toBeUndefined();
  });
});
