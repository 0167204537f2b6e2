// `make bench-recovery` alone; `make bench` calls the same.

import { benchRecovery } from "./recovery.ts";

await benchRecovery(process.env["RINGTUNE_PEERS"] || undefined);
