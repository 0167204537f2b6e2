// Preloaded into a program by a test (cli.ts): the program stops itself, as SIGSTOP does, as soon as it has printed what the
// environment names. Processes that it starts know nothing of it.

export const PAUSE_AT = "RINGTUNE_TEST_PAUSE_AT";

const { [PAUSE_AT]: source } = process.env;
if (source !== undefined) {
  delete process.env[PAUSE_AT];
  let pattern: RegExp | undefined = new RegExp(source);
  const write = process.stdout.write.bind(process.stdout);
  process.stdout.write = ((...printed: Parameters<typeof write>) => {
    const hasRoom = write(...printed);
    if (pattern?.test(String(printed[0])) === true) {
      pattern = undefined;
      // When all of it is on its way to the reader.
      write("", () => process.kill(process.pid, "SIGSTOP"));
    }
    return hasRoom;
  }) as typeof process.stdout.write;
}
