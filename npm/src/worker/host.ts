/** The worker's half of the bridge: runs one core and serves it over a port. */
import { describeError, describeTrap, isTrap } from "../convert.js";
import type { CoreBlob, CoreClient, CoreConfig, CoreEvent, CoreModule } from "../core-types.js";
import { SyncError } from "../errors.js";
import { transferables, type FromWorker, type Port, type ToWorker, type WasmSource } from "./protocol.js";

/** Makes the core available; in the real worker this instantiates the wasm. */
export type ProvideCore = (wasm: WasmSource) => Promise<CoreModule["CoreClient"]>;

/** Serves a core on `port` from now on. Returns a function that reports a failure nobody awaits. */
export function serve(port: Port, provide: ProvideCore): (error: unknown) => void {
  let client: CoreClient | undefined;

  const send = (message: FromWorker, transfer: Transferable[] = []): void => port.postMessage(message, transfer);
  const reportUnhandled = (error: unknown): void => {
    // A trap leaves the wasm instance in an undefined state; anything else is only worth an event.
    if (isTrap(error)) send({ type: "fatal", error: describeTrap(error) });
    else send({ type: "event", event: { type: "error", error: describeError(error) } });
  };
  const answer = (id: number, work: Promise<unknown>): void => {
    work.then(
      (value) => send({ type: "reply", id, ok: true, value }, transferables(arraysOf(value))),
      (error: unknown) => {
        if (isTrap(error)) send({ type: "fatal", error: describeTrap(error) });
        else send({ type: "reply", id, ok: false, error: describeError(error) });
      },
    );
  };

  const open = async (config: CoreConfig, wasm: WasmSource): Promise<string> => {
    const core = await provide(wasm);
    client = await core.open(config, (event: CoreEvent) => send({ type: "event", event }));
    return client.deviceId();
  };

  const receive = (message: ToWorker): void => {
    switch (message.type) {
      case "open":
        answer(message.id, open(message.config, message.wasm));
        break;
      case "call":
        answer(message.id, call(client, message));
        break;
      case "notify":
        client?.networkChanged();
        break;
    }
  };
  port.addEventListener("message", (event) => receive(event.data as ToWorker));
  send({ type: "started" });
  return reportUnhandled;
}

async function call(client: CoreClient | undefined, { method, args }: ToWorker & { type: "call" }): Promise<unknown> {
  if (client === undefined) throw new SyncError("CLOSED", "The sync core is not open.");
  // The types of `args` are checked where the bridge is called.
  const run = client[method].bind(client) as (...args: unknown[]) => Promise<unknown>;
  return run(...args);
}

/** Arrays of a reply; the core made them for this reply alone. */
function* arraysOf(value: unknown): Iterable<Uint8Array | undefined> {
  if (typeof value !== "object" || value === null || !("blobs" in value)) return;
  for (const blob of value.blobs as CoreBlob[]) {
    yield blob.data;
    yield blob.sealed;
  }
}
