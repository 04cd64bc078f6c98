/** Ties the device, its lists, and the screens together. */
import { SyncError, type Group, type PassphraseGroup, type SyncClient } from "@0k-sync/client";
import { appUrl, relayUrl } from "./location.js";
import { awaitedGroups, currentGroup, deviceNames } from "./memory.js";
import { DeviceBook, shownName } from "./model/devices.js";
import { ListStore } from "./model/store.js";
import { offerToStartAfresh } from "./ui/afresh.js";
import { joinComparing } from "./ui/compare.js";
import { openDevices } from "./ui/devices.js";
import { confirm } from "./ui/dialog.js";
import { fill } from "./ui/dom.js";
import { openInviteDialog } from "./ui/invite.js";
import { ListScreen } from "./ui/list.js";
import { openLock } from "./ui/lock.js";
import { openRelayDrawer } from "./ui/relay-drawer.js";
import { scanInvitation } from "./ui/scan.js";
import { openSettings } from "./ui/settings.js";
import { toast, toastError } from "./ui/toast.js";
import { joiningScreen, welcomeScreen } from "./ui/welcome.js";

export class App {
  readonly #root: Element;
  readonly #sync: SyncClient;
  readonly #stores = new Map<string, ListStore>();
  readonly #listeners = new Set<() => void>();
  /** Devices that this one was asked about: the invitation tells of them. */
  readonly #welcomed = new Set<string>();
  #screen: { store: ListStore; view: ListScreen } | undefined;
  #updateQueued = false;

  constructor(root: Element, sync: SyncClient) {
    this.#root = root;
    this.#sync = sync;
    sync.on("error", (error) => this.#backgroundError(error));
    for (const event of ["online", "offline"]) addEventListener(event, () => this.#changed());
  }

  /** Shows the list of this device, or the first screen. */
  async start(invitation: string | undefined): Promise<void> {
    await Promise.all(this.#sync.groups().map((group) => this.#adopt(group)));
    if (this.#stores.size === 0 && invitation !== undefined) {
      fill(this.#root, joiningScreen());
      try {
        await this.#join(invitation);
        return;
      } catch (error) {
        toastError(error);
      }
    }
    this.#showSome();
    if (this.#stores.size > 0 && invitation !== undefined) await this.offerToJoin(invitation);
  }

  /** A link was opened while there may be a list already. */
  async offerToJoin(invitation: string): Promise<void> {
    const sure =
      this.#stores.size === 0 ||
      (await confirm({
        title: "Join another list?",
        text: "You opened an invitation to a list. Yours stays on this device; you can switch between them in the settings.",
        yes: "Join",
      }));
    if (sure) await this.#join(invitation).catch(toastError);
  }

  /** The list to show after a start or after leaving one. */
  #showSome(): void {
    const store = this.#stores.get(currentGroup.get() ?? "") ?? [...this.#stores.values()][0];
    if (store === undefined) this.#showWelcome();
    else this.#show(store);
  }

  #showWelcome(): void {
    this.#screen?.view.dispose();
    this.#screen = undefined;
    document.title = "0k list";
    const named = { start: (group: PassphraseGroup) => this.#create(group), join: (group: PassphraseGroup) => this.#join(group) };
    fill(this.#root, welcomeScreen({ create: () => this.#create(), join: (link) => this.#join(link), scan: scanInvitation, named }));
  }

  #show(store: ListStore): void {
    this.#screen?.view.dispose();
    currentGroup.set(store.group.id);
    const view = new ListScreen(store, {
      invite: () => this.#invite(store.group),
      relay: () => openRelayDrawer(store, (changed) => this.#subscribe(changed)),
      settings: () => this.#openSettings(store),
      locked: () => this.#sync.lock.enabled,
      startAfresh: () => void offerToStartAfresh(this.#stores.size - 1),
    });
    this.#screen = { store, view };
    fill(this.#root, view.element);
    if (awaitedGroups.has(store.group.id)) this.#await(store, view);
  }

  /** Shows that a joined list is still on its way, until it has arrived once. */
  #await(store: ListStore, view: ListScreen): void {
    view.restoring = true;
    store.group.ready().then(
      () => {
        awaitedGroups.delete(store.group.id);
        view.restoring = false;
      },
      // The client was closed or the list left: there is nothing to wait for on this screen.
      () => undefined,
    );
  }

  async #create(named?: PassphraseGroup): Promise<void> {
    this.#show(await this.#adopt(await this.#sync.createGroup(named)));
  }

  async #join(way: string | PassphraseGroup): Promise<void> {
    const group = typeof way === "string" ? await joinComparing((options) => this.#sync.join(way, options)) : await this.#sync.join(way);
    if (!this.#stores.has(group.id)) awaitedGroups.add(group.id);
    this.#show(await this.#adopt(group));
  }

  async #leave(store: ListStore): Promise<void> {
    try {
      await store.group.leave();
    } catch (error) {
      toastError(error);
      return;
    }
    store.stop();
    this.#stores.delete(store.group.id);
    deviceNames.forget(store.group.id);
    awaitedGroups.delete(store.group.id);
    this.#showSome();
    toast("You left the list.");
  }

  async #adopt(group: Group): Promise<ListStore> {
    const known = this.#stores.get(group.id);
    if (known !== undefined) return known;
    const store = new ListStore(group, this.#sync.deviceId, () => this.#changed(), toastError);
    this.#stores.set(group.id, store);
    group.on("status", () => this.#changed());
    this.#tellOfDevices(store);
    await store.load();
    return store;
  }

  #tellOfDevices(store: ListStore): void {
    const { group } = store;
    const book = new DeviceBook(group);
    const which = (): string => (this.#stores.size > 1 && store.title !== "" ? `“${store.title}”` : "the list");
    // Names are learned while their devices are there.
    const learn = (): void => void book.list().catch(() => undefined);
    group.on("devices", learn);
    group.on("device-joined", ({ device, name }) => {
      // To a device that has just joined all the others are new.
      if (this.#welcomed.has(device) || awaitedGroups.has(group.id)) return;
      toast(`${shownName(name ?? "")} joined ${which()}.`);
    });
    group.on("device-revoked", ({ device, by }) => {
      // The screen of a device that was removed says so, and stays.
      if (device === this.#sync.deviceId) return;
      const tell = async (): Promise<void> => {
        const whom = await book.nameOf(device);
        const who = by === this.#sync.deviceId ? "you" : await book.nameOf(by);
        toast(`${whom} was removed from ${which()} by ${who}.`);
      };
      tell().catch(toastError);
    });
    learn();
  }

  #invite(group: Group): void {
    openInviteDialog(group, appUrl, (device) => this.#welcomed.add(device));
  }

  #openSettings(store: ListStore): void {
    openSettings(this.#sync, [...this.#stores.values()], store, relayUrl, {
      select: (chosen) => this.#show(chosen),
      create: () => void this.#create().catch(toastError),
      lock: () => openLock(this.#sync.lock, () => this.#changed()),
      devices: () => openDevices(store.group, () => this.#invite(store.group)),
      leave: () => void this.#leave(store),
    });
  }

  #subscribe(changed: () => void): () => void {
    this.#listeners.add(changed);
    return () => void this.#listeners.delete(changed);
  }

  /** Redraws once a frame, however much arrives. */
  #changed(): void {
    if (this.#updateQueued) return;
    this.#updateQueued = true;
    // Frames stop in hidden pages, timers don't.
    const schedule = document.hidden ? setTimeout : requestAnimationFrame;
    schedule(() => {
      this.#updateQueued = false;
      this.#screen?.view.update();
      for (const listener of this.#listeners) listener();
    });
  }

  #backgroundError(error: SyncError): void {
    // The screen says so already, and as long as it is true.
    if (error.code === "RELAY_UNREACHABLE" || error.code === "DEVICE_REVOKED") return;
    toastError(error);
  }
}
