/** What the relay has of the list, beside what the devices read. */
import type { ReceivedBlob } from "@0k-sync/client";
import type { ListStore } from "../model/store.js";
import { openDialog } from "./dialog.js";
import { fill, h } from "./dom.js";
import { toastError } from "./toast.js";

const ROWS = 10;
const SHOWN_BYTES = 64;

/** Opens the drawer; `subscribe` tells it when the log has grown. */
export function openRelayDrawer(store: ListStore, subscribe: (changed: () => void) => () => void): void {
  const rows = h("ol", { class: "blobs" });
  let shown = -1;
  const update = async (): Promise<void> => {
    if (shown === store.position) return;
    shown = store.position;
    try {
      const page = await store.group.pull({ after: Math.max(0, shown - ROWS), limit: ROWS, sealed: true });
      fill(rows, ...[...page.blobs].reverse().map(row));
      if (page.blobs.length === 0) fill(rows, h("li", { class: "muted" }, "Nothing has been sent yet."));
    } catch (error) {
      toastError(error);
    }
  };
  const unsubscribe = subscribe(() => void update());
  openDialog(
    { title: "What the relay sees", kind: "drawer", testid: "relay-drawer", onClose: unsubscribe },
    h(
      "p",
      { class: "muted" },
      "The relay knows when a device of this list sends something and how large it is; it can't know what is in it, what the list is called, or who you are.",
    ),
    rows,
  );
  void update();
}

function row(blob: ReceivedBlob): HTMLElement {
  const sealed = blob.sealed ?? new Uint8Array();
  const time = new Date(blob.timestamp);
  return h(
    "li",
    { class: "blob", "data-testid": "relay-row" },
    h(
      "div",
      { class: "blob-side sealed" },
      h("h3", {}, "The relay", h("span", { class: "size" }, `${sealed.byteLength} bytes`)),
      h("code", { "data-testid": "sealed" }, hex(sealed)),
    ),
    h(
      "div",
      { class: "blob-side" },
      h("h3", {}, blob.own ? "This device" : "Another device", h("time", { class: "size", datetime: time.toISOString() }, time.toLocaleTimeString())),
      h("code", { "data-testid": "plain" }, blob.text()),
    ),
  );
}

function hex(bytes: Uint8Array): string {
  const shown = Array.from(bytes.subarray(0, SHOWN_BYTES), (byte) => byte.toString(16).padStart(2, "0")).join(" ");
  return bytes.byteLength > SHOWN_BYTES ? `${shown} …` : shown;
}
