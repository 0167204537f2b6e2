import { once } from "node:events";
import { createServer, type AddressInfo } from "node:net";
import { expect, test } from "vitest";
import { callAdmin } from "../../../proto/admin.ts";

test("where a coordinator was and is gone, the run is missing: whoever watches it has seen its end", async () => {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, "close");
  const address = `127.0.0.1:${port}`;
  await expect(callAdmin(address, "token").status()).rejects.toMatchObject({
    code: "run_missing",
    message: expect.stringContaining(`no coordinator answers at ${address} (`) as string,
  });
});
