/** `open()` for every entry: checks the options, picks a thread, and puts the client together. */
import { ClientHandle } from "./api/client.js";
import { checkUnlock, openAtRest } from "./at-rest/device-lock.js";
import { relayUrls } from "./check.js";
import { invalidArgument, toSyncError } from "./convert.js";
import { openHere, type Core } from "./core.js";
import type { CoreConfig, CoreModule } from "./core-types.js";
import { defaultDeviceName, platformName } from "./device-name.js";
import { SyncError } from "./errors.js";
import { loadCore } from "./loader.js";
import { lockDatabase } from "./lock.js";
import type { OpenOptions, SyncClient } from "./types.js";
import { appId } from "./passphrase/form.js";
import { watchWakeUps } from "./wake.js";
import { openInWorker } from "./worker/bridge.js";
import type { WasmSource } from "./worker/protocol.js";

/** Where an entry gets its parts from. */
export interface Platform {
  /** The generated JavaScript around the wasm, for this thread. */
  glue(): Promise<CoreModule>;
  /** The wasm, unless the options name another. */
  wasm(): Promise<WasmSource>;
  /** Starts the bundled worker script; absent where none can be found without help. */
  startWorker?(): Worker;
  drawQr(text: string): Promise<string>;
  /** What this platform lacks and the core needs. */
  prepare?(): Promise<void>;
}

/** Makes an entry's `open`. */
export function opener(platform: Platform): (options: OpenOptions) => Promise<SyncClient> {
  return async (options) => {
    const config = toConfig(options);
    const app = appId(options.appId);
    const how = checkUnlock(options.unlock);
    requireSecureContext();
    const stores = config.storage === "indexeddb";

    let letGo: () => void = () => undefined;
    let unwatch: () => void = () => undefined;
    try {
      await platform.prepare?.();
      if (stores) letGo = await lockDatabase(config.name);
      const atRest = stores ? await openAtRest(config.name, how) : undefined;
      const client = new ClientHandle({
        appId: app,
        kept: atRest && { name: config.name, deviceName: config.deviceName, locked: atRest.locked },
        drawQr: (text) => platform.drawQr(text),
        release: () => {
          unwatch();
          letGo();
        },
      });
      client.attach(await openCore(platform, options, atRest === undefined ? config : { ...config, wrapKey: atRest.key }, client));
      unwatch = watchWakeUps(() => client.networkChanged());
      if (stores) requestPersistence();
      return client;
    } catch (error) {
      letGo();
      throw toSyncError(error);
    }
  };
}

async function openCore(
  platform: Platform,
  options: OpenOptions,
  config: CoreConfig,
  client: ClientHandle,
): Promise<Core> {
  const wasm = async (): Promise<WasmSource> => givenWasm(options) ?? (await platform.wasm());
  const worker = startWorker(platform, options);
  if (worker !== undefined) return openInWorker(worker, config, wasm(), client);
  return openHere(() => loadCore(() => platform.glue(), wasm), config, client);
}

/** The worker to use, or undefined for this thread. */
function startWorker(platform: Platform, { worker = true, workerUrl }: OpenOptions): Worker | undefined {
  if (worker === false) return undefined;
  try {
    if (typeof worker === "function") return worker();
    if (typeof Worker === "undefined") return undefined;
    if (workerUrl !== undefined) return new Worker(absolute(workerUrl, "workerUrl"), { type: "module" });
    return platform.startWorker?.();
  } catch (error) {
    if (error instanceof SyncError) throw error;
    const reason = error instanceof Error ? error.message : String(error);
    throw new SyncError(
      "WORKER_FAILED",
      "The sync worker could not be started: its script must be on the page's own origin and allowed by worker-src of the CSP.",
      { cause: error, reason },
    );
  }
}

function givenWasm({ wasm, wasmUrl }: OpenOptions): WasmSource | undefined {
  if (wasm !== undefined) return wasm;
  return wasmUrl === undefined ? undefined : absolute(wasmUrl, "wasmUrl");
}

/** Workers resolve against their own address: they get absolute URLs. */
function absolute(url: string | URL, what: string): string {
  try {
    return new URL(url, (globalThis as { location?: Location }).location?.href).href;
  } catch {
    throw invalidArgument(`${what} is not a URL.`);
  }
}

function toConfig(options: OpenOptions): CoreConfig {
  if (typeof options !== "object" || (options as unknown) === null) {
    throw invalidArgument('open() needs options, at least { relays: ["https://…"] }.');
  }
  const { name = "0k-sync", deviceName = defaultDeviceName(), accessToken } = options;
  const storage = options.storage ?? (typeof indexedDB === "undefined" ? "memory" : "indexeddb");
  for (const [what, value] of Object.entries({ name, deviceName })) {
    if (typeof value !== "string" || value.trim() === "") throw invalidArgument(`${what} must be a text that is not empty.`);
  }
  if (!["indexeddb", "memory"].includes(storage)) throw invalidArgument('storage must be "indexeddb" or "memory".');
  if (storage === "indexeddb" && typeof indexedDB === "undefined") {
    throw invalidArgument('There is no IndexedDB here; use storage: "memory".');
  }
  const config: CoreConfig = { relays: relayUrls(options.relays), name, deviceName, platform: platformName() ?? "", storage };
  if (accessToken !== undefined) config.accessToken = accessToken;
  return config;
}

function requireSecureContext(): void {
  // Undefined outside browsers, where nothing is missing.
  if ((globalThis as { isSecureContext?: boolean }).isSecureContext === false) {
    throw new SyncError(
      "INSECURE_CONTEXT",
      "Browsers offer encryption only to secure pages: open this app over https, or on localhost while developing.",
    );
  }
}

/** Asks the browser not to evict the database. It may prompt or refuse: never waited for. */
function requestPersistence(): void {
  const { navigator } = globalThis as { navigator?: { storage?: { persist?: () => Promise<boolean> } } };
  navigator?.storage?.persist?.().catch(() => undefined);
}
