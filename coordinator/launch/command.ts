// The command that ssh runs on a host, with exact quoting, and what its exit codes mean. Nothing secret is in it: the
// command line of ssh, and of the shell that it starts, is for everybody to see.

/** Of the command itself, from the numbers that neither shells nor Ringtune use. */
export const exitCodes = { noDirectory: 71, noProgram: 72 } as const;

export interface RemoteProgram {
  /** Working directory on the host. */
  readonly directory: string;
  /** Words before `host`: ["/usr/bin/node", "/opt/ringtune/dist/coordinator/cli/main.js"], or ["ringtune"]. */
  readonly words: readonly string[];
}

/** For the login shell of the user on the host, which is one that reads quotes as sh does. */
export function remoteCommand({ directory, words }: RemoteProgram): string {
  const { noDirectory, noProgram } = exitCodes;
  // Node says of an absent file what it says of an error in one.
  const [, script] = words;
  const look = script === undefined ? [] : [`test -e ${quote(script)} || exit ${noProgram}`];
  return [`cd ${quote(directory)} || exit ${noDirectory}`, ...look, `exec ${words.map(quote).join(" ")} host`].join(
    "; ",
  );
}

/** One word of a POSIX shell, whatever is in it. */
export function quote(word: string): string {
  return /^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", `'\\''`)}'`;
}

/**
 * The words of a command as a POSIX shell would divide it, with quotes and backslashes and without expansions. Undefined when
 * a quote is not closed.
 */
export function wordsOf(text: string): string[] | undefined {
  const pieces = /\\([^])|'([^']*)'|"((?:[^"\\]|\\[^])*)"|(\s+)|([^\s'"\\]+)|([^])/gy;
  const words: string[] = [];
  let word: string | undefined;
  for (const [, escaped, single, double, space, plain, stray] of text.matchAll(pieces)) {
    if (stray !== undefined) return undefined;
    if (space === undefined) {
      word = (word ?? "") + (escaped ?? single ?? double?.replace(/\\(["\\$`])/g, "$1") ?? plain ?? "");
    } else if (word !== undefined) {
      words.push(word);
      word = undefined;
    }
  }
  return word === undefined ? words : [...words, word];
}
