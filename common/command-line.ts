// Command lines that say in one sentence what is wrong with them, and the one place where a program's errors end.
// Every program of the project goes through here: `ringtune` itself and the worker's programs. No command is defined
// here, and commander is imported nowhere else.

import { Command, CommanderError, InvalidArgumentError, Option } from "commander";
import { describeError, exitCodeOf, RingtuneError } from "./errors.ts";

/** The library that reads command lines, for all programs. */
export { Command, InvalidArgumentError, Option };

/**
 * Makes a command and its subcommands strict: whatever is wrong with the arguments becomes a RingtuneError `usage` of one
 * sentence, with the nearest option, and nothing is printed for it. Call when all options are declared.
 */
export function makeStrict(command: Command): Command {
  command
    .allowExcessArguments(false)
    .showHelpAfterError(false)
    .configureOutput({ outputError: () => undefined })
    .exitOverride((error) => {
      throw isDone(error) ? error : usageError(error, command);
    });
  for (const inner of command.commands) makeStrict(inner);
  return command;
}

/** Runs a program to its exit code. `name` stands before every error: "ringtune". Sets process.exitCode. */
export async function runProgram(name: string, main: () => Promise<number | void>): Promise<void> {
  // Whoever read the output has gone (`| head`): that is no reason to stop, nor to complain.
  for (const stream of [process.stdout, process.stderr]) {
    stream.on("error", (error: NodeJS.ErrnoException) => {
      if (error.code !== "EPIPE") process.exit(1);
    });
  }
  const fail = (error: unknown): number => {
    process.stderr.write(formatFailure(name, error, process.env["RINGTUNE_DEBUG"] === "1"));
    return exitCodeOf(error);
  };
  process.on("uncaughtException", (error) => process.exit(fail(error)));
  let code: number;
  try {
    code = (await main()) ?? 0;
  } catch (error) {
    if (error instanceof CommanderError) code = error.exitCode === 0 ? 0 : 2;
    else code = fail(error);
  }
  process.exitCode = code;
  // Everything is closed by now. Should something be forgotten, the program ends all the same.
  setTimeout(() => process.exit(code), 2000).unref();
}

/** What a user reads of an error: its sentence; the stack only when `debug`, or when a bug needs one. */
export function formatFailure(name: string, error: unknown, debug: boolean): string {
  const known = error instanceof RingtuneError && error.code !== "internal";
  const lines = [`${name}: ${describeError(error)}`];
  if (!(error instanceof RingtuneError)) {
    lines.push(`${name}: this is a bug in Ringtune; RINGTUNE_DEBUG=1 shows where it happened`);
  }
  if (debug && error instanceof Error) {
    lines.push(error.stack ?? "");
    for (let cause = error.cause; cause instanceof Error; cause = cause.cause) lines.push(`caused by ${cause.stack}`);
  } else if (error instanceof RingtuneError && !known) lines.push(`${name}: RINGTUNE_DEBUG=1 shows more`);
  return `${lines.join("\n")}\n`;
}

/** For options that count: whole numbers of at least `least`. */
export function wholeNumber(least: number): (value: string) => number {
  return (value) => {
    const number = Number(value);
    if (/^\s*$/.test(value) || !Number.isSafeInteger(number) || number < least) {
      throw new InvalidArgumentError(`Give a whole number of at least ${least}.`);
    }
    return number;
  };
}

/** For options that may be given several times. */
export function collect(value: string, previous: readonly string[]): string[] {
  return [...previous, value];
}

/** Help and version were printed as asked for. */
function isDone(error: CommanderError): boolean {
  return ["commander.helpDisplayed", "commander.help", "commander.version"].includes(error.code);
}

function usageError(error: CommanderError, command: Command): RingtuneError {
  let path = command.name();
  for (let parent = command.parent; parent; parent = parent.parent) path = `${parent.name()} ${path}`;
  const sentence = error.message
    .replace(/^error: /, "")
    .replace(/\n\(Did you mean (one of )?(.*)\?\)$/s, (_, several: string | undefined, names: string) =>
      several ? `; did you mean one of ${names}?` : `; did you mean ${names}?`,
    )
    .replace(/\. ([A-Za-z])(?=[a-z]* )/, (_, letter: string) => `; ${letter.toLowerCase()}`)
    .replace(/\.$/, "");
  return new RingtuneError("usage", `${sentence} (see ${path} --help)`, { details: { command: path } });
}
