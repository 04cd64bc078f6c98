/** Settings: which list, which devices, which relay; leaving. */
import type { SyncClient } from "@0k-sync/client";
import type { ListStore } from "../model/store.js";
import { confirm, openDialog } from "./dialog.js";
import { h, icon } from "./dom.js";

export interface SettingsActions {
  select(store: ListStore): void;
  create(): void;
  devices(): void;
  lock(): void;
  leave(): void;
}

export function openSettings(sync: SyncClient, stores: ListStore[], current: ListStore, relay: string, actions: SettingsActions): void {
  const then = (run: () => void) => (): void => {
    dialog.close();
    run();
  };
  const leave = async (): Promise<void> => {
    dialog.close();
    const unsent = current.group.pending;
    const sure = await confirm({
      title: "Leave this list?",
      text:
        (unsent > 0 ? `${unsent === 1 ? "One change has" : `${unsent} changes have`} not been sent yet and will be lost. ` : "") +
        "It is removed from this device. Other devices keep it; to come back you need a new invitation.",
      yes: "Leave list",
      danger: true,
    });
    if (sure) actions.leave();
  };
  const { status } = current.group;
  const dialog = openDialog(
    { title: "Settings", testid: "settings" },
    h("h3", {}, stores.length > 1 ? "Lists on this device" : "List"),
    h("ul", { class: "choices" }, ...stores.map((store) => choice(store, store === current, then(() => actions.select(store))))),
    h("button", { class: "button quiet", type: "button", "data-testid": "another-list", onclick: then(() => actions.create()) }, "Start another list"),
    h("h3", {}, "Sharing"),
    h(
      "div",
      { class: "choices" },
      h(
        "button",
        { class: "choice", type: "button", "data-testid": "devices-button", onclick: then(() => actions.devices()) },
        h("span", {}, "Devices of this list"),
        icon("forward"),
      ),
    ),
    h("h3", {}, "This device"),
    h(
      "div",
      { class: "choices" },
      h(
        "button",
        { class: "choice", type: "button", "data-testid": "lock-button", onclick: then(() => actions.lock()) },
        h("span", {}, "Lock"),
        h("span", { class: "muted", "data-testid": "lock-state" }, sync.lock.enabled ? "On" : "Off"),
      ),
    ),
    h("h3", {}, "Sync"),
    h(
      "dl",
      { class: "facts" },
      h("dt", {}, "This device"),
      h("dd", { title: sync.deviceId }, h("code", { "data-testid": "device-id" }, sync.deviceId.slice(0, 8))),
      h("dt", {}, "Relay"),
      h("dd", { "data-testid": "relay-url" }, status.relay ?? relay),
      h("dt", {}, "Last synced"),
      h("dd", {}, status.lastSyncedAt === null ? "not yet" : new Date(status.lastSyncedAt).toLocaleString()),
      status.error !== null && h("dt", {}, "Problem"),
      status.error !== null && h("dd", { class: "problem" }, status.error.message),
    ),
    h("div", { class: "actions" }, h("button", { class: "button danger", type: "button", "data-testid": "leave", onclick: () => void leave() }, "Leave list")),
  );
}

function choice(store: ListStore, current: boolean, select: () => void): HTMLElement {
  const count = store.items().length;
  return h(
    "li",
    {},
    h(
      "button",
      { class: "choice", type: "button", "aria-current": current ? "true" : undefined, "data-testid": "list-choice", onclick: select },
      h("span", {}, store.title === "" ? "Our list" : store.title),
      h("span", { class: "muted" }, count === 1 ? "1 item" : `${count} items`),
    ),
  );
}
