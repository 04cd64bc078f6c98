/** The first screen: there is no list on this device yet. */
import { fill, h, icon } from "./dom.js";
import { passphraseCard, type PassphraseActions } from "./passphrase.js";
import { messageOf } from "./toast.js";

export interface WelcomeActions {
  create(): Promise<void>;
  join(invitation: string): Promise<void>;
  /** Reads an invitation with the camera; undefined if nothing was read. */
  scan(): Promise<string | undefined>;
  named: PassphraseActions;
}

/** `joining` is a link that was opened: it is shown at work instead of asking for one. */
export function welcomeScreen(actions: WelcomeActions): HTMLElement {
  const problem = h("p", { class: "field-error", id: "join-error", role: "alert", "data-testid": "join-error" });
  const input = h("input", {
    class: "input",
    id: "join-link",
    name: "link",
    type: "text",
    placeholder: "Code or link",
    autocomplete: "off",
    autocapitalize: "characters",
    spellcheck: "false",
    "aria-describedby": "join-error",
    "data-testid": "join-input",
  });
  const joinButton = h("button", { class: "button", type: "submit", "data-testid": "join-button" }, "Join");
  const scanButton = h("button", { class: "button wide", type: "button", "data-testid": "scan-button" }, icon("camera"), "Scan its QR code");
  const startButton = h("button", { class: "button primary wide", type: "button", "data-testid": "new-list" }, "Start a new list");

  const run = async (button: HTMLButtonElement, working: string, work: () => Promise<void>): Promise<void> => {
    const before = [...button.childNodes];
    for (const each of [joinButton, scanButton, startButton]) each.disabled = true;
    button.textContent = working;
    fill(problem);
    try {
      await work();
    } catch (error) {
      fill(problem, messageOf(error));
    } finally {
      fill(button, ...before);
      for (const each of [joinButton, scanButton, startButton]) each.disabled = false;
    }
  };
  startButton.addEventListener("click", () => void run(startButton, "Making your list…", () => actions.create()));
  const scan = async (): Promise<void> => {
    const link = await actions.scan();
    if (link === undefined) input.focus();
    else await run(scanButton, "Joining…", () => actions.join(link));
  };
  scanButton.addEventListener("click", () => void scan());
  const submit = (event: Event): void => {
    event.preventDefault();
    void run(joinButton, "Joining…", () => actions.join(input.value));
  };

  return h(
    "main",
    { class: "welcome" },
    h(
      "div",
      { class: "hero" },
      h("img", { class: "logo", src: "/icon.svg", alt: "", width: 64, height: 64 }),
      h("h1", {}, "One list, all your devices"),
      h("p", { class: "lead" }, "Works offline. Encrypted before it leaves this device: the relay in between carries your list without being able to read it."),
    ),
    h(
      "section",
      { class: "card" },
      h("h2", {}, "New here?"),
      h("p", { class: "muted" }, "No account. The list starts on this device; add others whenever you like."),
      startButton,
    ),
    h(
      "section",
      { class: "card" },
      h("h2", {}, "Join from another device"),
      h("p", { class: "muted" }, "On the device that has the list choose “Add a device”. Then, here:"),
      scanButton,
      h("label", { class: "muted", for: "join-link" }, "Or enter the code or the link:"),
      h("form", { class: "row", onsubmit: submit }, input, joinButton),
      problem,
    ),
    passphraseCard(actions.named),
  );
}

/** While a link that was opened is being used. */
export function joiningScreen(): HTMLElement {
  return h(
    "main",
    { class: "centred", "data-testid": "joining" },
    h("div", { class: "spinner", "aria-hidden": "true" }),
    h("h1", {}, "Joining the list…"),
    h("p", { class: "muted", role: "status" }, "Asking the relay for the invitation."),
  );
}

/** Nothing can go on; says why and offers to try again. */
export function fatalScreen(title: string, text: string, again: () => void): HTMLElement {
  return h(
    "main",
    { class: "centred", role: "alert", "data-testid": "fatal" },
    h("img", { class: "logo", src: "/icon.svg", alt: "", width: 64, height: 64 }),
    h("h1", {}, title),
    h("p", { class: "muted" }, text),
    h("button", { class: "button primary", type: "button", onclick: again }, "Try again"),
  );
}
