/** The lock of this device: turning it on and off, and the screen of a device that is locked. */
import { SyncError, type DeviceLock, type Unlock } from "@0k-sync/client";
import { offerToStartAfresh } from "./afresh.js";
import { openDialog } from "./dialog.js";
import { fill, h } from "./dom.js";
import { messageOf, toast } from "./toast.js";

/** The dialog was closed before the code was written down. */
class NotWrittenDown extends Error {}

/** In the settings: what the lock is, and a button for it. `changed` is called when it was turned on or off. */
export function openLock(lock: DeviceLock, changed: () => void): void {
  let giveUp: () => void = () => undefined;
  const body = h("div", { class: "lock" });
  const dialog = openDialog({ title: "Lock this device", testid: "lock-dialog", onClose: () => giveUp() }, body);

  const askToWriteDown = (code: string): Promise<void> =>
    new Promise((resolve, reject) => {
      giveUp = () => reject(new NotWrittenDown());
      const copy = (): void => {
        navigator.clipboard.writeText(code).then(
          () => toast("Copied."),
          () => toast("The browser did not let us copy it.", { error: true }),
        );
      };
      const done = h("button", { class: "button primary", type: "button", "data-testid": "lock-written", onclick: () => resolve() }, "I have written it down");
      fill(
        body,
        h("p", {}, "This code opens the list if the passkey is lost. It is shown this once; nobody can give it back to you."),
        h("p", { class: "recovery-code", "data-testid": "recovery-code" }, code),
        h("div", { class: "actions" }, h("button", { class: "button", type: "button", onclick: copy }, "Copy"), done),
      );
      done.focus();
    });
  const enable = async (passkey: boolean): Promise<void> => {
    try {
      await lock.enable({ passkey, onRecoveryCode: askToWriteDown });
      dialog.close();
      changed();
      toast("Locked from now on, whenever the app is closed.");
    } catch (error) {
      if (error instanceof NotWrittenDown) return;
      show(messageOf(error));
    }
  };
  const disable = async (): Promise<void> => {
    try {
      await lock.disable();
      dialog.close();
      changed();
      toast("The lock is off.");
    } catch (error) {
      show(messageOf(error));
    }
  };
  const button = (kind: string, testid: string, label: string, onclick: () => void): HTMLElement =>
    h("button", { class: `button ${kind}`, type: "button", "data-testid": testid, onclick }, label);
  const show = (problem: string | undefined): void => {
    giveUp = () => undefined;
    fill(
      body,
      lock.enabled
        ? h("p", {}, "It is on: when the app is closed, nobody can read the list on this device without the passkey or the recovery code.")
        : h("p", {}, "The app asks for your fingerprint, face or PIN whenever it starts. Until then, nobody can read the list on this device, even with a copy of all its files."),
      problem !== undefined && h("p", { class: "field-error", role: "alert", "data-testid": "lock-error" }, problem),
      lock.enabled
        ? h("div", { class: "actions" }, button("danger", "lock-off", "Turn off", () => void disable()), button("primary", "lock-now", "Lock now", () => location.reload()))
        : h(
            "div",
            { class: "actions" },
            button("", "lock-by-code", "Use a code only", () => void enable(false)),
            button("primary", "lock-on", "Lock with a passkey", () => void enable(true)),
          ),
    );
  };
  show(undefined);
}

/** Instead of the app, until `unlock` succeeds. */
export function unlockScreen({ ways = [] }: SyncError, unlock: (how: Unlock) => Promise<void>): HTMLElement {
  const problem = h("p", { class: "field-error", id: "unlock-error", role: "alert", "data-testid": "unlock-error" });
  const input = h("input", {
    class: "input",
    id: "unlock-code",
    type: "text",
    autocomplete: "off",
    autocapitalize: "characters",
    spellcheck: "false",
    required: true,
    "aria-describedby": "unlock-error",
    "data-testid": "unlock-code",
  });
  const byPasskey = h("button", { class: "button primary wide", type: "button", "data-testid": "unlock-passkey" }, "Unlock with your passkey");
  const byCode = h("button", { class: "button", type: "submit", "data-testid": "unlock-button" }, "Unlock");
  const run = async (how: Unlock): Promise<void> => {
    for (const each of [byPasskey, byCode]) each.disabled = true;
    fill(problem);
    try {
      await unlock(how);
    } catch (error) {
      fill(problem, messageOf(error));
    } finally {
      for (const each of [byPasskey, byCode]) each.disabled = false;
    }
  };
  byPasskey.addEventListener("click", () => void run({ passkey: true }));
  const submit = (event: Event): void => {
    event.preventDefault();
    void run({ recoveryCode: input.value });
  };
  return h(
    "main",
    { class: "centred unlock", "data-testid": "locked" },
    h("img", { class: "logo", src: "/icon.svg", alt: "", width: 64, height: 64 }),
    h("h1", {}, "Locked"),
    ways.includes("passkey") && byPasskey,
    h("label", { class: "muted", for: "unlock-code" }, ways.includes("passkey") ? "Or enter the recovery code:" : "Enter the recovery code:"),
    h("form", { class: "row", onsubmit: submit }, input, byCode),
    problem,
    h("button", { class: "button quiet", type: "button", "data-testid": "unlock-afresh", onclick: () => void offerToStartAfresh(0) }, "Neither of them left?"),
  );
}
