/** A core of a few lines, for tests of what wraps it. One group's log, no network. */
import type { CoreBlob, CoreClient, CoreDevice, CoreError, CoreEvent, CoreInvite, CoreInviteState, CorePage, CoreStatus } from "../src/core-types.js";

export const status = (changes: Partial<CoreStatus> = {}): CoreStatus => ({
  state: "synced",
  pending: 0,
  progress: null,
  relay: null,
  relays: [],
  lastSyncedAt: null,
  error: null,
  ...changes,
});

/** A rejection as the core makes it. */
export const failure = (code: string, details: Partial<CoreError> = {}): Error =>
  Object.assign(new Error(`${code} happened`), { code, retryable: false, ...details });

export class FakeCore implements CoreClient {
  emit: (event: CoreEvent) => void = () => undefined;
  /** Replaces the next call of a method without a result of its own. */
  next: (() => Promise<void>) | undefined;
  log: CoreBlob[] = [];
  pages: { after: number; limit: number }[] = [];
  readonly #erased = new Set<string>();
  calls: string[] = [];
  /** What became of the invite. */
  invite: CoreInviteState = { state: "open" };
  inviteExpiresAt = Date.now() + 600_000;
  /** Blobs in a page, whatever the caller asks for. */
  held: { data: Uint8Array; position: number }[] = [];
  pageSize = 500;

  deviceId(): string {
    return "d1";
  }

  /** A blob arrives in the log. */
  receive(text: string, own = false): CoreBlob {
    return this.append(new TextEncoder().encode(text), own);
  }

  append(data: Uint8Array, own: boolean): CoreBlob {
    const position = this.log.length + 1;
    const blob: CoreBlob = { id: `b${position}`, position, sender: own ? "d1" : "d2", own, cursor: 0, timestamp: 0, data };
    this.log.push(blob);
    this.announce();
    return blob;
  }

  /** A blob is deleted by another device. */
  erase(id: string): void {
    this.#erased.add(id);
    const position = this.log.findIndex((blob) => blob.id === id) + 1;
    this.emit({ type: "deleted", group: "g", id, by: "d2", position, forced: false });
  }

  announce(changes: Partial<CoreStatus> = {}): void {
    const versionVector: Record<string, number> = {};
    for (const { sender } of this.log) versionVector[sender] = (versionVector[sender] ?? 0) + 1;
    this.emit({ type: "group", group: "g", status: status(changes), versionVector, position: this.log.length });
  }

  createGroup(): Promise<string> {
    this.announce();
    this.emit({ type: "group-joined", group: "g" });
    return Promise.resolve("g");
  }

  async join(link: string, joining: number): Promise<string> {
    this.emit({ type: "comparison-code", joining, code: "012345" });
    await this.#run(`join ${link}`);
    return this.createGroup();
  }

  passphraseGroup(app: string, name: string, passphrase: string, found: boolean, memory?: number): Promise<string> {
    this.calls.push(["passphraseGroup", app, name, passphrase, found, memory].join("|"));
    return this.createGroup();
  }

  cancelJoin(): Promise<void> {
    return this.#run("cancelJoin");
  }

  inviteState(lookup: string): Promise<CoreInviteState> {
    return this.#run(`inviteState ${lookup}`).then(() => this.invite);
  }

  answerInvite(lookup: string, accept: boolean): Promise<void> {
    return this.#run(`answerInvite ${lookup} ${accept}`);
  }

  push(_group: string, data: Uint8Array): Promise<{ id: string; position: number }> {
    const { id, position } = this.append(data, true);
    return Promise.resolve({ id, position });
  }

  waitPushed(_group: string, position: number): Promise<{ cursor: number }> {
    return this.#run(`waitPushed ${position}`).then(() => ({ cursor: position + 100 }));
  }

  pull(_group: string, after: number, limit: number, includeOwn: boolean): Promise<CorePage> {
    this.pages.push({ after, limit });
    const rest = this.log.filter((blob) => blob.position > after && (includeOwn || !blob.own) && !this.#erased.has(blob.id));
    const blobs = rest.slice(0, Math.min(limit, this.pageSize)).map((blob) => ({ ...blob, data: blob.data.slice() }));
    const hasMore = blobs.length < rest.length;
    const next = hasMore ? (blobs.at(-1)?.position ?? after) : this.log.length;
    return Promise.resolve({ blobs, hasMore, next });
  }

  flush(): Promise<void> {
    return this.#run("flush");
  }

  ready(): Promise<void> {
    return this.#run("ready");
  }

  createInvite(_group: string, appUrl: string | undefined, code: boolean): Promise<CoreInvite> {
    return Promise.resolve({ link: `${appUrl ?? "none"}#0k=abc`, code: code ? "7KQ2-9F3M-XW41-ZPD8" : undefined, lookup: "l1", expiresAt: this.inviteExpiresAt });
  }

  setLock(): Promise<void> {
    return this.#run("setLock");
  }

  cancelInvite(lookup: string): Promise<void> {
    return this.#run(`cancelInvite ${lookup}`);
  }

  devices(): Promise<CoreDevice[]> {
    return Promise.resolve([]);
  }

  broadcast(_group: string, data: Uint8Array): Promise<void> {
    return this.#run(`broadcast ${new TextDecoder().decode(data)}`);
  }

  provideSnapshots(_group: string, available: boolean): Promise<void> {
    return this.#run(`provideSnapshots ${available}`);
  }

  giveSnapshot(_group: string, request: number, state: Uint8Array | undefined): Promise<void> {
    return this.#run(`giveSnapshot ${request} ${state === undefined ? "nothing" : new TextDecoder().decode(state)}`);
  }

  snapshots(): Promise<{ data: Uint8Array; position: number }[]> {
    return Promise.resolve([...this.held]);
  }

  revoke(): Promise<void> {
    return this.#run("revoke");
  }

  rename(): Promise<void> {
    return this.#run("rename");
  }

  deleteBlob(_group: string, id: string, force: boolean): Promise<void> {
    return this.#run(`delete ${id} ${force}`);
  }

  leave(group: string): Promise<void> {
    this.emit({ type: "group-left", group });
    return this.#run("leave");
  }

  networkChanged(): void {
    this.calls.push("networkChanged");
  }

  close(): Promise<void> {
    return this.#run("close");
  }

  async #run(what: string): Promise<void> {
    this.calls.push(what);
    const { next } = this;
    this.next = undefined;
    await next?.();
  }
}
