// Where the package lies, whether it runs from the sources or from dist/.

import { existsSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { assert } from "./errors.ts";

function findRoot(): string {
  let folder = dirname(fileURLToPath(import.meta.url));
  while (!existsSync(join(folder, "package.json"))) {
    assert(dirname(folder) !== folder, "package.json stands above every file of the package");
    folder = dirname(folder);
  }
  return folder;
}

export const packageRoot = findRoot();

export const packageVersion = (
  JSON.parse(readFileSync(join(packageRoot, "package.json"), "utf8")) as { version: string }
).version;
