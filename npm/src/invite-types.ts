/** The types of invitations. */
import type { SyncError } from "./errors.js";
import type { Unsubscribe } from "./types.js";

/** Options of `group.createInvite()`. */
export interface InviteOptions {
  /** Page of the app that the link opens; it gets `#0k=…`. Default: this page, without query and fragment. */
  appUrl?: string | undefined;
  /**
   * "code": the invite can also be typed, as 16 letters and digits that people can read out; making it takes about a second and
   * 64 MiB. "link" (default): link and QR code only.
   */
  kind?: "link" | "code" | undefined;
  /**
   * `true`: the other device gets the group's keys only when this one says so, see the `request` event. This device has to stay open
   * until then. Default `false`: whoever has the link or the code joins at once.
   */
  confirm?: boolean | undefined;
}

/** A device that uses an invite, as it says of itself. */
export interface JoiningDevice {
  /** 64 hex digits. */
  readonly device: string;
  /** What its owner calls it. Anybody can call a device anything: compare the codes. */
  readonly deviceName: string;
  /** Six digits that the other device shows, too. If they differ, somebody else has the invitation. */
  readonly comparisonCode: string;
}

/** A device that waits to be let in. */
export interface JoinRequest extends JoiningDevice {
  /** Gives it the group's keys. */
  accept(): Promise<void>;
  /** Turns it away and ends the invite. */
  reject(): Promise<void>;
}

/** Events of an {@link Invite} and what their handlers get. The invite is watched from the first `on()` until it ends. */
export interface InviteEvents {
  /** With `confirm: true`: a device wants to join. Until it is answered, handlers that are added later get it, too. */
  request: JoinRequest;
  /** A device has joined; null if it did not say which. */
  claimed: JoiningDevice | null;
  /** It can't be used any more and nobody has joined: INVITE_EXPIRED, or INVITE_INVALID when it was withdrawn. */
  ended: SyncError;
}

/** Options of `join()`. */
export interface JoinOptions {
  /**
   * Called with six digits to compare with those on the other device: while this one waits to be let in, or once it has joined where the
   * other one does not confirm.
   */
  onComparisonCode?: ((code: string) => void) | undefined;
  /** Gives up; `join()` rejects with the signal's reason. */
  signal?: AbortSignal | undefined;
}

/** An open invitation: single use, minutes long. */
export interface Invite {
  /** To open on the other device, or to pass to `join()` there. Contains the key: treat it as a secret. */
  readonly link: string;
  /** `XXXX-XXXX-XXXX-XXXX` for `kind: "code"`, otherwise null. The same invite as the link: either is used once. Secret as well. */
  readonly code: string | null;
  /** The link as a QR code, a complete SVG document. */
  readonly qr: string;
  /** Milliseconds since 1970. */
  readonly expiresAt: number;
  /** Calls `handler` for every later event of this name, and for a `request` that waits for an answer, and starts to watch the invite. */
  on<K extends keyof InviteEvents>(event: K, handler: (value: InviteEvents[K]) => void): Unsubscribe;
  /** Makes link and code worthless from now on, and turns away whoever waits. */
  cancel(): Promise<void>;
}
