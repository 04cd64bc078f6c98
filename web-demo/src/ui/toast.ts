/** Short messages at the bottom. Errors are announced at once, others when there is time. */
import { h, icon } from "./dom.js";

const SHOWN_MS = 6_000;
const MAX_TOASTS = 3;

const polite = h("div", { class: "toasts", role: "status", "aria-live": "polite" });
const urgent = h("div", { class: "toasts", role: "alert" });
const host = h("div", { class: "toast-host" }, urgent, polite);
const showing = new Map<string, () => void>();

/** An action offered with a message. */
export interface ToastAction {
  label: string;
  run(): void;
}

/** Shows a message; the same one twice at a time is shown once. */
export function toast(message: string, options: { error?: boolean; action?: ToastAction; stays?: boolean } = {}): void {
  hostToasts();
  showing.get(message)?.();
  const { action } = options;
  const dismiss = (): void => {
    element.remove();
    showing.delete(message);
    clearTimeout(timer);
  };
  const act = (): void => {
    dismiss();
    action?.run();
  };
  const element = h(
    "div",
    { class: options.error === true ? "toast toast-error" : "toast", "data-testid": "toast" },
    h("span", {}, message),
    action &&
      h("button", { class: "toast-action", type: "button", onclick: act }, action.label),
    h("button", { class: "icon-button", type: "button", "aria-label": "Dismiss", onclick: dismiss }, icon("close")),
  );
  const timer = options.stays === true ? undefined : setTimeout(dismiss, SHOWN_MS);
  showing.set(message, dismiss);
  const list = options.error === true ? urgent : polite;
  list.append(element);
  while (list.childElementCount > MAX_TOASTS) list.firstElementChild?.remove();
}

/** Puts the messages where they can be seen and reached: inside a modal dialog everything else is inert. */
export function hostToasts(): void {
  const parent = [...document.querySelectorAll("dialog[open]")].at(-1) ?? document.body;
  if (host.parentNode !== parent) parent.append(host);
}

/** Shows what went wrong, in the words of the package. */
export function toastError(error: unknown): void {
  toast(messageOf(error), { error: true });
}

/** The package's messages are clauses; people read sentences. URLs at the start stay as they are. */
export function messageOf(error: unknown): string {
  if (!(error instanceof Error) || error.message === "") return "Something went wrong.";
  const text = error.message;
  const sentence = /^https?:/.test(text) ? text : text.charAt(0).toUpperCase() + text.slice(1);
  return /[.!?]$/.test(sentence) ? sentence : `${sentence}.`;
}
