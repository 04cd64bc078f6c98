/** The six digits that two people compare when one device lets another one in. */
import type { Group, JoinOptions } from "@0k-sync/client";
import { openDialog } from "./dialog.js";
import { h } from "./dom.js";
import { toast } from "./toast.js";

/** Where nobody has to say yes, joining ends right after the code is known: that is not worth a dialog. */
const AT_ONCE_MS = 300;

/** Digits as people read them out. */
export const spaced = (code: string): string => `${code.slice(0, 3)} ${code.slice(3)}`;

/** The digits, large. */
export function comparisonCode(code: string): HTMLElement {
  return h("p", { class: "comparison-code", "aria-label": `Comparison code ${code.replaceAll(/\d/g, "$& ").trim()}`, "data-testid": "comparison-code" }, spaced(code));
}

/** Joins, and shows what to compare for as long as the other device thinks about it. */
export async function joinComparing(join: (options: JoinOptions) => Promise<Group>): Promise<Group> {
  const giveUp = new AbortController();
  let shown: { code: string; timer: ReturnType<typeof setTimeout> } | undefined;
  let dialog: HTMLDialogElement | undefined;
  let done = false;
  const show = (code: string): void => {
    dialog = openDialog(
      {
        title: "Compare the codes",
        testid: "join-waiting",
        onClose: () => {
          if (!done) giveUp.abort(new Error("You stopped joining"));
        },
      },
      h("p", { class: "muted" }, "The other device has to let this one in. Both must show this code; if they differ, somebody else has the invitation."),
      comparisonCode(code),
      h("p", { class: "waiting muted", role: "status" }, h("span", { class: "spinner small", "aria-hidden": "true" }), "Waiting for “Let it in” on the other device…"),
      h("div", { class: "actions" }, h("button", { class: "button", type: "button", "data-testid": "join-give-up", onclick: () => dialog?.close() }, "Stop")),
    );
  };
  try {
    const group = await join({
      onComparisonCode: (code) => {
        shown = { code, timer: setTimeout(() => show(code), AT_ONCE_MS) };
      },
      signal: giveUp.signal,
    });
    done = true;
    if (dialog === undefined && shown !== undefined) toast(`Joined. The device that invited you shows ${spaced(shown.code)}, too.`);
    return group;
  } finally {
    done = true;
    clearTimeout(shown?.timer);
    dialog?.close();
  }
}
