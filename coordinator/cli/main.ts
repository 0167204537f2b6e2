#!/usr/bin/env node
// The `ringtune` command. Kept thin: commands.ts knows the commands, common/command-line.ts ends with an exit code.

import { runProgram } from "../../common/command-line.ts";
import { runCommandLine } from "./commands.ts";

await runProgram("ringtune", () => runCommandLine(process.argv.slice(2)));
