import { readFile } from "node:fs/promises";
import { describe, expect, test } from "vitest";
import { collect, Command, formatFailure, makeStrict, wholeNumber } from "../../../common/command-line.ts";
import { RingtuneError } from "../../../common/errors.ts";

/** What `bake pie ...args` throws, or what its action was given. */
async function bake(...args: string[]): Promise<unknown> {
  let given: unknown;
  const program = new Command("bake");
  program
    .command("pie")
    .argument("<fruit>")
    .option("--minutes <n>", "how long", wholeNumber(1), 40)
    .option("--spice <name>", "repeatable", collect, [])
    .action((fruit: string, options: object) => {
      given = { fruit, ...options };
    });
  try {
    await makeStrict(program).parseAsync(args, { from: "user" });
    return given;
  } catch (error) {
    return error;
  }
}

describe("a strict command", () => {
  test("reads what is right", async () => {
    expect(await bake("pie", "apple", "--minutes", "30", "--spice", "clove", "--spice", "mace")).toEqual({
      fruit: "apple",
      minutes: 30,
      spice: ["clove", "mace"],
    });
  });

  test.each([
    [["pie"], "missing required argument 'fruit' (see bake pie --help)"],
    [["pie", "apple", "pear"], "too many arguments for 'pie'; expected 1 argument but got 2 (see bake pie --help)"],
    [["pie", "apple", "--minuets", "3"], "unknown option '--minuets'; did you mean --minutes? (see bake pie --help)"],
    [["pie", "apple", "--minutes"], "option '--minutes <n>' argument missing (see bake pie --help)"],
    [["pei"], "unknown command 'pei'; did you mean pie? (see bake --help)"],
    ...["x", "0", "1.5", "", " ", "1e400", "-1"].map((value) => [
      ["pie", "apple", "--minutes", value],
      `option '--minutes <n>' argument '${value}' is invalid; give a whole number of at least 1 (see bake pie --help)`,
    ]),
  ] as [string[], string][])("%j: one sentence", async (args, message) => {
    const error = await bake(...args);
    expect(error).toBeInstanceOf(RingtuneError);
    expect(error).toMatchObject({ code: "usage", message });
  });
});

describe("what a user reads of an error", () => {
  test("is the sentence alone when the cause is known", () => {
    expect(formatFailure("ringtune", new RingtuneError("no_device", "no device; add one"), false)).toBe(
      "ringtune: no device; add one\n",
    );
  });

  test("admits a bug, without the stack", () => {
    const text = formatFailure("ringtune", new TypeError("x is not a function"), false);
    expect(text).toContain("ringtune: x is not a function\nringtune: this is a bug in Ringtune");
    expect(text).not.toContain("    at ");
    expect(formatFailure("ringtune", "a text", false)).toContain("ringtune: a text\n");
  });

  test("has the stack and the causes when they are asked for", () => {
    const cause = new Error("underneath");
    const text = formatFailure("ringtune", new RingtuneError("disk_failed", "on top", { cause }), true);
    expect(text).toMatch(/on top[\s\S]* {4}at [\s\S]*caused by Error: underneath[\s\S]* {4}at /);
  });
});

test("help and mistakes are answered without loading more than the command line itself", async () => {
  const seen = new Set<string>();
  const packages = new Set<string>();
  const visit = async (file: URL): Promise<void> => {
    if (seen.has(file.pathname)) return;
    seen.add(file.pathname);
    const source = await readFile(file, "utf8");
    for (const [, clause = "", from = ""] of source.matchAll(/^(?:import|export)\b(?:([^;"]*?) from)? "([^"]+)";/gm)) {
      if (/^ type\b/.test(clause)) continue;
      if (from.startsWith(".")) await visit(new URL(from, file));
      else if (!from.startsWith("node:")) packages.add(from);
    }
  };
  await visit(new URL("../../../coordinator/cli/main.ts", import.meta.url));
  expect([...packages]).toEqual(["commander"]);
  expect(seen.size).toBeLessThan(10);
});
