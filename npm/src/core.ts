/** The core as the API sees it, wherever it runs. */
import { closedError, describeTrap, isTrap, toSyncError } from "./convert.js";
import type { CoreClient, CoreConfig, CoreEvent, CoreModule } from "./core-types.js";
import type { SyncError } from "./errors.js";
import type { CoreArgs, CoreMethod, CoreResult } from "./worker/protocol.js";

/** What a core tells its owner. */
export interface CoreHandlers {
  /** Called synchronously, in order; must not throw and must not call the core. */
  event(event: CoreEvent): void;
  /** The core is gone without `close()`. Every call rejects from now on. */
  died(error: SyncError): void;
}

/** One open device, in a worker or on this thread. */
export interface Core {
  readonly deviceId: string;
  /** Rejects with SyncError only. Arrays in `owned` are not used by the caller afterwards and may be moved. */
  call<M extends CoreMethod>(method: M, args: CoreArgs<M>, owned?: readonly Uint8Array[]): Promise<CoreResult<M>>;
  networkChanged(): void;
  close(): Promise<void>;
}

/** Opens a core on this thread. */
export async function openHere(
  load: () => Promise<CoreModule["CoreClient"]>,
  config: CoreConfig,
  handlers: CoreHandlers,
): Promise<Core> {
  const core = await load();
  try {
    return new LocalCore(await core.open(config, (event) => handlers.event(event)), handlers);
  } catch (error) {
    throw toSyncError(error);
  }
}

class LocalCore implements Core {
  readonly deviceId: string;
  readonly #client: CoreClient;
  readonly #handlers: CoreHandlers;
  readonly #pending = new Set<(error: SyncError) => void>();
  #ended: SyncError | undefined;

  constructor(client: CoreClient, handlers: CoreHandlers) {
    this.#client = client;
    this.#handlers = handlers;
    this.deviceId = client.deviceId();
  }

  call<M extends CoreMethod>(method: M, args: CoreArgs<M>): Promise<CoreResult<M>> {
    if (this.#ended !== undefined) return Promise.reject(this.#ended);
    const run = this.#client[method].bind(this.#client) as (...args: CoreArgs<M>) => Promise<CoreResult<M>>;
    return new Promise((resolve, reject) => {
      this.#pending.add(reject);
      run(...args)
        .then(resolve, (error: unknown) => {
          if (isTrap(error)) this.#trapped(error);
          reject(this.#ended ?? toSyncError(error));
        })
        .finally(() => this.#pending.delete(reject));
    });
  }

  networkChanged(): void {
    if (this.#ended === undefined) this.#client.networkChanged();
  }

  async close(): Promise<void> {
    if (this.#ended !== undefined) return;
    try {
      await this.call("close", []);
    } finally {
      this.#end(closedError());
    }
  }

  #trapped(error: WebAssembly.RuntimeError): void {
    if (this.#ended !== undefined) return;
    const failure = toSyncError(describeTrap(error));
    this.#end(failure);
    this.#handlers.died(failure);
  }

  #end(reason: SyncError): void {
    this.#ended ??= reason;
    const waiting = [...this.#pending];
    this.#pending.clear();
    for (const reject of waiting) reject(reason);
  }
}
