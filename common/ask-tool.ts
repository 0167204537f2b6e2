// Asks a program of the machine, such as nvidia-smi, what it knows: for a limited time and a limited number of bytes. What it
// says is for the caller to read.

import { spawn } from "node:child_process";

export type ToolAnswer =
  | { readonly kind: "said"; readonly stdout: string; readonly stderr: string }
  /** It is not there, fails or does not end; why, in words that begin with its name. */
  | { readonly kind: "silent"; readonly reason: string };

const MAX_BYTES = 1024 * 1024;

/** Resolves, whatever the tool does; one that hangs in its driver, where no signal reaches it, is left behind. */
export function askTool(
  name: string,
  args: readonly string[],
  { env = process.env, limitMs = 15_000 }: { readonly env?: NodeJS.ProcessEnv; readonly limitMs?: number } = {},
): Promise<ToolAnswer> {
  return new Promise((resolve) => {
    const silent = (what: string): void => {
      clearTimeout(patience);
      child.kill("SIGKILL");
      // Whatever it started must not keep this process waiting for their output.
      child.stdout.destroy();
      child.stderr.destroy();
      child.unref();
      resolve({ kind: "silent", reason: `${name} ${what}` });
    };
    const child = spawn(name, args, { env, stdio: ["ignore", "pipe", "pipe"] });
    const patience = setTimeout(() => silent(`did not answer within ${limitMs / 1000} s`), limitMs);
    const text = { stdout: "", stderr: "" };
    for (const stream of ["stdout", "stderr"] as const) {
      child[stream].setEncoding("utf8").on("data", (chunk: string) => {
        text[stream] += chunk;
        if (text[stream].length > MAX_BYTES) silent(`says more than ${MAX_BYTES} characters`);
      });
    }
    child.once("error", (error: NodeJS.ErrnoException) => {
      if (error.code === "ENOENT") silent("is not installed");
      else silent(`can't be started: ${error.message}`);
    });
    child.once("close", (code, signal) => {
      clearTimeout(patience);
      if (code === 0) return resolve({ kind: "said", ...text });
      const line = (text.stdout + text.stderr).split("\n").find((each) => each.trim() !== "");
      const how = signal === null ? `exit code ${code}` : String(signal);
      silent(`fails: ${line?.trim().slice(0, 300) ?? how}`);
    });
  });
}
