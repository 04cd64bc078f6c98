/** Asks before another device is removed, and for the reason. */
import type { GroupDevice, RevocationReason } from "@0k-sync/client";
import { shownName } from "../model/devices.js";
import { openDialog } from "./dialog.js";
import { h } from "./dom.js";

const REASONS: readonly (readonly [RevocationReason, string])[] = [
  ["lost", "It is lost"],
  ["decommissioned", "It isn’t used any more"],
  ["compromised", "Somebody else may have it"],
];

/** The reason, or undefined if it stays. */
export function askToRemove(device: GroupDevice): Promise<RevocationReason | undefined> {
  return new Promise((resolve) => {
    let answer: RevocationReason | undefined;
    let chosen: RevocationReason = "lost";
    const close = (): void => dialog.close();
    const submit = (event: Event): void => {
      event.preventDefault();
      answer = chosen;
      dialog.close();
    };
    const dialog = openDialog(
      { title: `Remove ${shownName(device.name)}?`, kind: "confirm", testid: "remove-device", onClose: () => resolve(answer) },
      h(
        "ul",
        { class: "meaning" },
        h("li", {}, "What it already has, it keeps."),
        h("li", {}, "It gets nothing that is added or changed from now on."),
        h("li", {}, "It can’t come back as the same device. A passphrase of the list stops working; new devices need an invitation."),
      ),
      h("p", { class: "offline-note", "data-testid": "remove-offline", hidden: navigator.onLine }, "You’re offline: it is removed as soon as there is a connection."),
      h(
        "form",
        { class: "remove-form", onsubmit: submit },
        h(
          "fieldset",
          { class: "reasons" },
          h("legend", {}, "Why?"),
          ...REASONS.map(([reason, text]) =>
            h(
              "label",
              { class: "reason" },
              h("input", { type: "radio", name: "reason", value: reason, checked: reason === chosen, "data-testid": `reason-${reason}`, onchange: () => (chosen = reason) }),
              text,
            ),
          ),
        ),
        h(
          "div",
          { class: "actions" },
          h("button", { class: "button", type: "button", "data-testid": "remove-no", onclick: close }, "Cancel"),
          h("button", { class: "button danger", type: "submit", "data-testid": "remove-yes" }, "Remove device"),
        ),
      ),
    );
  });
}
