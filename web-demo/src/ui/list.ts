/** The list screen. */
import type { SyncStatus } from "@0k-sync/client";
import type { Item } from "../model/list.js";
import type { ListStore } from "../model/store.js";
import { createBadge } from "./badge.js";
import { fill, h, icon, setText } from "./dom.js";
import { ItemRow, type ItemActions } from "./item.js";
import { toast } from "./toast.js";

export interface ListActions {
  invite(): void;
  relay(): void;
  settings(): void;
  /** What the list says must not get into the browser's history. */
  locked(): boolean;
  /** This device was removed from the list: the way out. */
  startAfresh(): void;
}

/** How long "getting your list" may take before the screen says what to look at. */
const PATIENCE_MS = 12_000;
/** Shorter interruptions, such as the one at start, are not worth a banner. */
const OFFLINE_GRACE_MS = 1_500;

export class ListScreen {
  readonly element: HTMLElement;
  readonly #store: ListStore;
  readonly #rows = new Map<string, ItemRow>();
  readonly #badge = createBadge();
  readonly #title = h("input", { class: "title", type: "text", maxlength: 80, placeholder: "Our list", "aria-label": "Name of the list", "data-testid": "title" });
  readonly #count = h("p", { class: "count muted", "data-testid": "count" });
  readonly #items = h("ul", { class: "items", "aria-label": "Items" });
  readonly #below = h("div", { class: "below" });
  readonly #banner = h("div", { class: "banner", role: "status", "data-testid": "offline-banner", hidden: true });
  /** What a device that was removed can't do. Fields in it stay readable when it is disabled. */
  readonly #editing: HTMLFieldSetElement;
  readonly #inviteButton: HTMLElement;
  readonly #composerForm = this.#composer();
  readonly #removed: HTMLElement;
  readonly #startAfresh: () => void;
  readonly #locked: () => boolean;
  readonly #itemActions: ItemActions;
  #restoring = false;
  #slow = false;
  #shown = "";
  #slowTimer: ReturnType<typeof setTimeout> | undefined;
  #bannerTimer: ReturnType<typeof setTimeout> | undefined;

  constructor(store: ListStore, actions: ListActions) {
    this.#store = store;
    this.#itemActions = {
      toggle: (id, done) => store.update(id, { done }),
      edit: (id, text) => store.update(id, { text }),
      remove: (id) => this.#remove(id),
    };
    this.#title.addEventListener("change", () => store.rename(this.#title.value.trim()));
    this.#title.addEventListener("keydown", (event) => {
      if (event.key === "Enter") this.#title.blur();
    });
    this.#editing = h("fieldset", { class: "editing", "aria-label": "The list" }, this.#composerForm, this.#items, this.#below);
    this.#inviteButton = h("button", { class: "button primary", type: "button", "data-testid": "invite-button", onclick: () => actions.invite() }, icon("device"), "Add a device");
    this.#removed = h("div", { role: "alert" });
    this.#startAfresh = () => actions.startAfresh();
    this.#locked = () => actions.locked();
    this.element = h(
      "div",
      { class: "page" },
      h(
        "header",
        { class: "top" },
        h("div", { class: "brand" }, h("img", { src: "/icon.svg", alt: "", width: 28, height: 28 }), h("span", {}, "0k list")),
        this.#badge.element,
        h(
          "nav",
          { class: "tools", "aria-label": "List" },
          tool("eye", "What the relay sees", "relay-open", () => actions.relay()),
          tool("more", "Settings", "settings-button", () => actions.settings()),
        ),
      ),
      this.#removed,
      this.#banner,
      h(
        "main",
        { class: "list" },
        h(
          "div",
          { class: "list-head" },
          h("h1", {}, this.#title),
          this.#inviteButton,
          this.#count,
        ),
        this.#editing,
      ),
    );
    this.update();
  }

  /** Until it is false again, an empty list says that it is on its way instead of looking final. */
  set restoring(value: boolean) {
    this.#restoring = value;
    this.#slow = false;
    clearTimeout(this.#slowTimer);
    if (value) {
      this.#slowTimer = setTimeout(() => {
        this.#slow = true;
        this.update();
      }, PATIENCE_MS);
    }
    this.update();
  }

  /** Brings everything up to date with the store and the group. */
  update(): void {
    const { status } = this.#store.group;
    this.#badge.show(status);
    this.#showBanner(status);
    this.#showRemoved(isRemoved(status));
    if (document.activeElement !== this.#title && this.#title.value !== this.#store.title) this.#title.value = this.#store.title;
    document.title = this.#store.title === "" || this.#locked() ? "0k list" : `${this.#store.title} · 0k list`;
    const items = this.#store.items();
    this.#showItems(items);
    this.#showBelow(items, status);
  }

  dispose(): void {
    clearTimeout(this.#slowTimer);
    clearTimeout(this.#bannerTimer);
  }

  #composer(): HTMLElement {
    const input = h("input", {
      class: "input",
      type: "text",
      name: "item",
      maxlength: 500,
      placeholder: "Add an item",
      "aria-label": "Add an item",
      autocomplete: "off",
      enterkeyhint: "done",
      "data-testid": "add-input",
    });
    const submit = (event: Event): void => {
      event.preventDefault();
      const text = input.value.trim();
      if (text === "") return;
      this.#store.add(text);
      input.value = "";
      input.focus();
    };
    return h(
      "form",
      { class: "composer", onsubmit: submit },
      input,
      h("button", { class: "button square", type: "submit", "aria-label": "Add", "data-testid": "add-button" }, icon("plus")),
    );
  }

  #showItems(items: Item[]): void {
    const present = new Set(items.map(({ id }) => id));
    for (const [id, row] of this.#rows) {
      if (present.has(id)) continue;
      row.element.remove();
      this.#rows.delete(id);
    }
    let next = this.#items.firstElementChild;
    for (const item of items) {
      const existing = this.#rows.get(item.id);
      const row = existing ?? new ItemRow(item, this.#itemActions);
      if (existing === undefined) this.#rows.set(item.id, row);
      else row.show(item);
      // Moving an element costs it its focus: only those that stand elsewhere.
      if (row.element === next) next = next.nextElementSibling;
      else this.#items.insertBefore(row.element, next);
    }
    this.#items.hidden = items.length === 0;
  }

  #showBelow(items: Item[], { state, progress }: SyncStatus): void {
    const done = items.filter((item) => item.done);
    setText(this.#count, items.length === 0 ? "" : `${done.length} of ${items.length} done`);
    const waiting = this.#restoring ? `${state} ${String(progress?.done)} ${String(progress?.total)} ${String(this.#slow)}` : "";
    const key = `${items.length} ${done.length} ${waiting}`;
    // Rebuilt only when it would look different: it holds focus and live regions.
    if (key === this.#shown) return;
    this.#shown = key;
    fill(
      this.#below,
      this.#restoring && this.#restoringNote(state, progress, items.length > 0),
      !this.#restoring && items.length === 0 && emptyNote(),
      done.length > 0 &&
        h("button", { class: "button quiet", type: "button", "data-testid": "clear-done", onclick: () => this.#clearDone(done) }, done.length === 1 ? "Remove the ticked item" : `Remove ${done.length} ticked items`),
    );
  }

  #restoringNote(state: SyncStatus["state"], progress: SyncStatus["progress"], more: boolean): HTMLElement {
    const offline = state === "offline" || !navigator.onLine;
    const hint = offline
      ? "You're offline. It arrives as soon as there is a connection."
      : this.#slow
        ? "This takes longer than usual. Check the connection, and that the device that invited this one was online after the invitation."
        : "It is decrypted here, on this device.";
    return h(
      "div",
      { class: "note", role: "status", "data-testid": "restoring" },
      offline ? icon("offline") : h("div", { class: "spinner", "aria-hidden": "true" }),
      h("h2", {}, more ? "Getting the rest of your list…" : "Getting your list…"),
      progress !== null && h("progress", { value: progress.done, max: Math.max(progress.total, 1), "aria-label": "Progress" }),
      h("p", { class: "muted" }, hint),
    );
  }

  /** Says that this device is out. What it has stays readable; changes would go nowhere. */
  #showRemoved(removed: boolean): void {
    if (removed === this.#editing.disabled) return;
    this.#editing.disabled = removed;
    this.#composerForm.hidden = removed;
    this.#inviteButton.hidden = removed;
    this.#title.readOnly = removed;
    fill(
      this.#removed,
      removed &&
        h(
          "section",
          { class: "removed", "data-testid": "removed-notice" },
          h("h2", {}, "This device was removed from the list"),
          h("p", {}, "What it had is still here to read. It gets nothing new, and changes can’t be made here any more."),
          h("p", {}, "To be in the list again, let this device start afresh: that clears everything this site keeps here. Then ask somebody in the list for a new invitation."),
          h("button", { class: "button danger", type: "button", "data-testid": "start-afresh", onclick: () => this.#startAfresh() }, "Start afresh…"),
        ),
    );
  }

  #showBanner(status: SyncStatus): void {
    const { state, pending } = status;
    const offline = (state === "offline" || !navigator.onLine) && !isRemoved(status);
    if (!offline) {
      clearTimeout(this.#bannerTimer);
      this.#bannerTimer = undefined;
      this.#banner.hidden = true;
      return;
    }
    const where = navigator.onLine ? "The relay can't be reached." : "You're offline.";
    const kept = pending > 0 ? `${pending === 1 ? "One change is" : `${pending} changes are`} kept here and sent later.` : "Changes are kept here and sent later.";
    const show = (): void => {
      this.#banner.hidden = false;
    };
    if (this.#banner.textContent !== `${where} ${kept}`) fill(this.#banner, icon("offline"), h("span", {}, `${where} ${kept}`));
    if (!navigator.onLine) show();
    else this.#bannerTimer ??= setTimeout(show, OFFLINE_GRACE_MS);
  }

  #remove(id: string): void {
    const row = this.#rows.get(id)?.element;
    const neighbour = row?.nextElementSibling ?? row?.previousElementSibling;
    const text = this.#store.items().find((item) => item.id === id)?.text ?? "";
    this.#store.update(id, { deleted: true });
    // Focus would fall back to the page's start.
    const focus = neighbour?.querySelector<HTMLElement>(".item-delete") ?? this.element.querySelector<HTMLElement>(".composer .input");
    focus?.focus({ preventScroll: true });
    toast(`Deleted “${shorten(text)}”`, { action: { label: "Undo", run: () => this.#store.update(id, { deleted: false }) } });
  }

  #clearDone(done: Item[]): void {
    for (const { id } of done) this.#store.update(id, { deleted: true });
    toast(done.length === 1 ? "Removed one item" : `Removed ${done.length} items`, {
      action: { label: "Undo", run: () => done.forEach(({ id }) => this.#store.update(id, { deleted: false })) },
    });
  }
}

const isRemoved = ({ error }: SyncStatus): boolean => error?.code === "DEVICE_REVOKED";

function tool(name: "eye" | "more", label: string, testid: string, run: () => void): HTMLElement {
  return h("button", { class: "icon-button", type: "button", "aria-label": label, title: label, "data-testid": testid, onclick: run }, icon(name));
}

const emptyNote = (): HTMLElement =>
  h("div", { class: "note", "data-testid": "empty" }, h("h2", {}, "Nothing here yet"), h("p", { class: "muted" }, "Add the first item above, or add a device to share the list."));

const shorten = (text: string): string => (text.length > 32 ? `${text.slice(0, 31)}…` : text);
