/** An invite that this device made: watched for as long as somebody listens, and answered. */
import { SyncError } from "../errors.js";
import { toSyncError } from "../convert.js";
import type { Core } from "../core.js";
import type { CoreInvite, CoreJoiner } from "../core-types.js";
import type { Invite, InviteEvents, JoiningDevice, JoinRequest, Unsubscribe } from "../types.js";
import { Emitter, run } from "./events.js";

/** Between two looks: relays answer one request a second of an address, which both devices may share. */
const LOOK_INTERVAL_MS = 2_000;

/** An {@link Invite}. */
export class InviteHandle implements Invite {
  readonly link: string;
  readonly code: string | null;
  readonly qr: string;
  readonly expiresAt: number;
  readonly #lookup: string;
  readonly #core: () => Core;
  readonly #events = new Emitter<InviteEvents>({ request: new Set(), claimed: new Set(), ended: new Set() });
  #timer: ReturnType<typeof setTimeout> | undefined;
  #watching = false;
  #over = false;
  /** The device that was told of in `request`. */
  #requested: string | undefined;
  /** What it was told with, until it is answered. */
  #unanswered: JoinRequest | undefined;

  constructor(made: CoreInvite, qr: string, core: () => Core) {
    this.link = made.link;
    this.code = made.code ?? null;
    this.qr = qr;
    this.expiresAt = made.expiresAt;
    this.#lookup = made.lookup;
    this.#core = core;
  }

  on<K extends keyof InviteEvents>(event: K, handler: (value: InviteEvents[K]) => void): Unsubscribe {
    const stop = this.#events.on(event, handler);
    let listens = true;
    const request = this.#unanswered;
    if (event === "request" && request !== undefined) {
      // It came before this handler, and comes only once.
      queueMicrotask(() => {
        if (listens && this.#unanswered === request) void run(() => (handler as (value: JoinRequest) => void)(request));
      });
    }
    if (!this.#watching && !this.#over) {
      this.#watching = true;
      void this.#look();
    }
    return () => {
      listens = false;
      stop();
    };
  }

  async cancel(): Promise<void> {
    await this.#core().call("cancelInvite", [this.#lookup]);
    this.#end();
  }

  async #answer(accept: boolean): Promise<void> {
    await this.#core().call("answerInvite", [this.#lookup, accept]);
    this.#unanswered = undefined;
    if (!accept) this.#end();
  }

  async #look(): Promise<void> {
    clearTimeout(this.#timer);
    try {
      const { state, joiner } = await this.#core().call("inviteState", [this.#lookup]);
      if (this.#over) return;
      if (state === "claimed") {
        this.#end();
        this.#events.emit("claimed", joiner === undefined ? null : joining(joiner));
      } else if (state === "over") {
        this.#end();
        this.#events.emit("ended", this.#whyEnded());
      } else if (state === "requested" && joiner !== undefined && joiner.device !== this.#requested) {
        this.#requested = joiner.device;
        this.#unanswered = {
          ...joining(joiner),
          accept: async () => {
            await this.#answer(true);
            void this.#look();
          },
          reject: async () => this.#answer(false),
        };
        this.#events.emit("request", this.#unanswered);
      }
    } catch (error) {
      const failure = toSyncError(error);
      // The network may come back before the invite ends.
      if (!failure.retryable || Date.now() >= this.expiresAt) {
        if (this.#over) return;
        this.#end();
        this.#events.emit("ended", Date.now() >= this.expiresAt ? this.#whyEnded() : failure);
      }
    }
    if (!this.#over) this.#timer = setTimeout(() => void this.#look(), LOOK_INTERVAL_MS);
  }

  #end(): void {
    this.#over = true;
    this.#unanswered = undefined;
    clearTimeout(this.#timer);
  }

  #whyEnded(): SyncError {
    if (Date.now() >= this.expiresAt) return new SyncError("INVITE_EXPIRED", "The invitation has expired; make another one.");
    const text = this.#requested === undefined ? "The invitation was withdrawn." : "The other device has given up.";
    return new SyncError("INVITE_INVALID", `${text} Make another one.`, { reason: "cancelled" });
  }
}

const joining = ({ device, name, comparisonCode }: CoreJoiner): JoiningDevice => ({ device, deviceName: name, comparisonCode });
