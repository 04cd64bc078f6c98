/** Modal dialogs on the platform's own <dialog>: focus is trapped and given back, Escape closes. */
import { h, icon } from "./dom.js";
import { hostToasts } from "./toast.js";

interface DialogOptions {
  title: string;
  /** Adds a class for another shape, such as the drawer. */
  kind?: string;
  testid?: string;
  onClose?: () => void;
}

/** Shows a dialog with a heading and a close button. */
export function openDialog(options: DialogOptions, ...children: (Node | string)[]): HTMLDialogElement {
  const id = `dialog-${crypto.randomUUID()}`;
  const close = (): void => dialog.close();
  const dialog = h(
    "dialog",
    { class: `dialog ${options.kind ?? ""}`, "aria-labelledby": id, "data-testid": options.testid },
    h(
      "div",
      { class: "dialog-body" },
      h(
        "header",
        { class: "dialog-header" },
        h("h2", { id, tabindex: -1, autofocus: true }, options.title),
        h("button", { class: "icon-button", type: "button", "aria-label": "Close", "data-testid": "dialog-close", onclick: close }, icon("close")),
      ),
      ...children,
    ),
  );
  dialog.addEventListener("close", () => {
    hostToasts();
    dialog.remove();
    options.onClose?.();
  });
  // A click on the backdrop hits the dialog itself, one inside hits its body.
  dialog.addEventListener("click", (event) => {
    if (event.target === dialog) close();
  });
  document.body.append(dialog);
  dialog.showModal();
  hostToasts();
  return dialog;
}

/** Asks before something that can't be undone. */
export function confirm(question: { title: string; text: string; yes: string; danger?: boolean }): Promise<boolean> {
  return new Promise((resolve) => {
    let answer = false;
    const decide = (value: boolean) => (): void => {
      answer = value;
      dialog.close();
    };
    const dialog = openDialog(
      { title: question.title, kind: "confirm", testid: "confirm", onClose: () => resolve(answer) },
      h("p", {}, question.text),
      h(
        "div",
        { class: "actions" },
        h("button", { class: "button", type: "button", "data-testid": "confirm-no", onclick: decide(false) }, "Cancel"),
        h(
          "button",
          { class: question.danger === true ? "button danger" : "button primary", type: "button", "data-testid": "confirm-yes", onclick: decide(true) },
          question.yes,
        ),
      ),
    );
  });
}
