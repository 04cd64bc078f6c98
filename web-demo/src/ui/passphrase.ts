/** Lists that people name: joined, or started, with a name and a passphrase. */
import { generatePassphrase, passphraseStrength, type PassphraseGroup } from "@0k-sync/client";
import { openDialog } from "./dialog.js";
import { fill, h, setText } from "./dom.js";
import { messageOf } from "./toast.js";

/** Bits at which a passphrase is taken, and the meter full. */
const ENOUGH_BITS = 60;
/** After the last key, before the passphrase is judged. */
const PAUSE_MS = 150;

export interface PassphraseActions {
  start(group: PassphraseGroup): Promise<void>;
  join(group: PassphraseGroup): Promise<void>;
}

/** Name and passphrase as two fields. */
function fields(prefix: string): { name: HTMLInputElement; passphrase: HTMLTextAreaElement; rows: HTMLElement[] } {
  const common = { class: "input", autocomplete: "off", autocapitalize: "none", spellcheck: "false", required: true };
  const name = h("input", { ...common, type: "text", id: `${prefix}-name`, maxlength: 60, "data-testid": `${prefix}-name` });
  // Shown as a whole: six words can't be typed blindly, and whoever may look over the shoulder sees the list as well.
  const passphrase = h("textarea", { ...common, rows: 2, id: `${prefix}-passphrase`, maxlength: 500, "data-testid": `${prefix}-passphrase` });
  passphrase.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || event.isComposing) return;
    event.preventDefault();
    passphrase.form?.requestSubmit();
  });
  const row = (label: string, input: HTMLElement): HTMLElement =>
    h("div", { class: "field" }, h("label", { class: "muted", for: input.id }, label), input);
  return { name, passphrase, rows: [row("Name of the list", name), row("Passphrase", passphrase)] };
}

/** Runs what a form is for, once at a time, and shows why it failed. */
function submitting(problem: HTMLElement, button: HTMLButtonElement, working: string, work: () => Promise<void>): (event: Event) => void {
  return (event) => {
    event.preventDefault();
    if (button.disabled) return;
    const before = button.textContent;
    button.disabled = true;
    button.textContent = working;
    fill(problem);
    work()
      .catch((error: unknown) => fill(problem, messageOf(error)))
      .finally(() => {
        button.textContent = before;
        button.disabled = false;
      });
  };
}

/** On the first screen. */
export function passphraseCard(actions: PassphraseActions): HTMLElement {
  const { name, passphrase, rows } = fields("named");
  const problem = h("p", { class: "field-error", role: "alert", "data-testid": "named-error" });
  const join = h("button", { class: "button", type: "submit", "data-testid": "named-join" }, "Join");
  const group = (): PassphraseGroup => ({ name: name.value, passphrase: passphrase.value });
  return h(
    "section",
    { class: "card named" },
    h("h2", {}, "Or share a name and a passphrase"),
    h("p", { class: "muted" }, "Whoever knows both can join, without another device at hand."),
    h(
      "form",
      { class: "named-form", onsubmit: submitting(problem, join, "Looking…", () => actions.join(group())) },
      ...rows,
      h(
        "div",
        { class: "named-buttons" },
        h("button", { class: "button", type: "button", "data-testid": "named-start", onclick: () => openStartDialog(actions, name.value) }, "Start one like this"),
        join,
      ),
    ),
    problem,
  );
}

/** Starts a list with a passphrase that is strong enough. */
function openStartDialog(actions: PassphraseActions, suggestedName: string): void {
  const { name, passphrase, rows } = fields("start");
  name.value = suggestedName;
  const meter = h("meter", { class: "strength", min: 0, max: ENOUGH_BITS, low: ENOUGH_BITS / 2, high: ENOUGH_BITS - 1, optimum: ENOUGH_BITS, "aria-label": "Strength" });
  const verdict = h("p", { class: "muted verdict", role: "status", "data-testid": "start-verdict" });
  const problem = h("p", { class: "field-error", role: "alert", "data-testid": "start-error" });
  const start = h("button", { class: "button primary", type: "submit", "data-testid": "start-button" }, "Start the list");

  let judged = 0;
  let pause: ReturnType<typeof setTimeout> | undefined;
  const judge = async (): Promise<void> => {
    const mine = ++judged;
    const { bits, strong, warning, suggestions } = await passphraseStrength(passphrase.value, [name.value]);
    // What was typed since is being judged now.
    if (mine !== judged) return;
    const empty = passphrase.value.trim() === "";
    meter.value = empty ? 0 : Math.min(bits, ENOUGH_BITS);
    verdict.dataset.strong = String(strong);
    const advice = [warning, ...suggestions].filter((text) => text !== null).join(" ");
    const weak = advice === "" ? "Not enough yet: five or six words that don’t belong together are." : `Too easy to guess. ${advice}`;
    setText(verdict, empty ? "The relay could try guesses, so it takes a strong one." : strong ? "Strong enough. Write it down: nobody can give it back to you." : weak);
  };
  const judgeSoon = (): void => {
    clearTimeout(pause);
    pause = setTimeout(() => void judge().catch((error: unknown) => fill(problem, messageOf(error))), PAUSE_MS);
  };
  name.addEventListener("input", judgeSoon);
  passphrase.addEventListener("input", judgeSoon);
  const suggest = async (): Promise<void> => {
    passphrase.value = await generatePassphrase();
    await judge();
  };

  const dialog = openDialog(
    { title: "Start a list with a passphrase", testid: "start-dialog", onClose: () => clearTimeout(pause) },
    h(
      "form",
      {
        class: "start-form",
        onsubmit: submitting(problem, start, "Making your list…", async () => {
          await actions.start({ name: name.value, passphrase: passphrase.value });
          dialog.close();
        }),
      },
      ...rows,
      meter,
      verdict,
      problem,
      h(
        "div",
        { class: "actions" },
        h(
          "button",
          { class: "button", type: "button", "data-testid": "start-suggest", onclick: () => void suggest().catch((error: unknown) => fill(problem, messageOf(error))) },
          "Suggest one",
        ),
        start,
      ),
    ),
  );
  judgeSoon();
}
