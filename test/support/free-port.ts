// A port for a program that can't take port 0 itself.

import { once } from "node:events";
import { createServer } from "node:net";

/** Below those that systems give to who asks for any, so that nobody is given it between this call and its use. */
const [lowest, highest] = [12_000, 32_000];

/** Free on loopback a moment ago. */
export async function freePort(): Promise<number> {
  for (;;) {
    const port = lowest + Math.floor(Math.random() * (highest - lowest));
    const server = createServer().listen(port, "127.0.0.1");
    const isFree = await once(server, "listening").then(
      () => true,
      () => false,
    );
    if (!isFree) continue;
    server.close();
    await once(server, "close");
    return port;
  }
}
