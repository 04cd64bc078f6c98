/** A client with one group on a {@link FakeCore}. */
import { ClientHandle } from "../src/api/client.js";
import { openHere } from "../src/core.js";
import { SyncError } from "../src/errors.js";
import type { Group } from "../src/types.js";
import { FakeCore } from "./fake-core.js";

const draw = (text: string): Promise<string> => Promise.resolve(`<svg>${text}</svg>`);

export async function opened(drawQr = draw): Promise<{ core: FakeCore; client: ClientHandle; group: Group; released: () => number }> {
  const core = new FakeCore();
  let releases = 0;
  const client = new ClientHandle({ appId: "app", drawQr, release: () => (releases += 1) });
  const provide = {
    open: (_config: unknown, onEvent: FakeCore["emit"]) => {
      core.emit = onEvent;
      return Promise.resolve(core);
    },
  };
  const config = { relays: ["https://relay.test"], name: "t", deviceName: "t", platform: "t", storage: "memory" as const };
  client.attach(await openHere(() => Promise.resolve(provide), config, client));
  return { core, client, group: await client.createGroup(), released: () => releases };
}

export const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));
export const code = (expected: string) => (error: unknown) => error instanceof SyncError && error.code === expected;
