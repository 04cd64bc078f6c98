/** The sync state in a word, and in a colour and shape for who doesn't read it. */
import type { SyncStatus } from "@0k-sync/client";
import { h, setText } from "./dom.js";

/** A badge and the function that brings it up to date. */
export function createBadge(): { element: HTMLElement; show(status: SyncStatus): void } {
  const label = h("span", { class: "badge-label" });
  const element = h("div", { class: "badge", role: "status", "data-testid": "badge" }, h("span", { class: "badge-dot", "aria-hidden": "true" }), label);
  return {
    element,
    show(status) {
      element.dataset.state = status.state;
      element.title = status.error?.message ?? "";
      setText(label, words(status));
    },
  };
}

function words(status: SyncStatus): string {
  const { state, pending, progress, error } = status;
  switch (state) {
    case "synced":
      return "Synced";
    case "syncing":
      return "Syncing…";
    case "pending":
      return pending > 0 ? `Sending ${pending}…` : "Syncing…";
    case "offline":
      return pending > 0 ? `Offline · ${pending} to send` : "Offline";
    case "never-synced":
      return "Not synced yet";
    case "restoring":
      return progress === null ? "Getting your list…" : `Getting ${progress.done} of ${progress.total}`;
    case "error":
      return error?.code === "DEVICE_REVOKED" ? "Removed" : "Sync problem";
  }
}
