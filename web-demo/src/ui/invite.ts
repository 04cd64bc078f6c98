/** "Add a device": a QR code, a short code and a link to the same invitation, and the question whether to let a device in. */
import type { Group, Invite, JoinRequest } from "@0k-sync/client";
import { comparisonCode, spaced } from "./compare.js";
import { openDialog } from "./dialog.js";
import { fill, h, icon, setText } from "./dom.js";
import { messageOf, toast } from "./toast.js";

/**
 * Opens the dialog and makes an invitation. Closing it ends the invitation: nobody could say yes any more. `asked` gets the id of each device
 * that the person is asked about.
 */
export function openInviteDialog(group: Group, appUrl: string, asked: (device: string) => void): void {
  const content = h("div", { class: "invite" });
  let invite: Invite | undefined;
  let timer: ReturnType<typeof setInterval> | undefined;
  let closed = false;

  const dialog = openDialog(
    {
      title: "Add a device",
      testid: "invite-dialog",
      onClose: () => {
        closed = true;
        clearInterval(timer);
        void invite?.cancel().catch(() => undefined);
      },
    },
    content,
  );

  const create = async (): Promise<void> => {
    clearInterval(timer);
    fill(content, h("div", { class: "spinner", "aria-hidden": "true" }), h("p", { class: "muted", role: "status" }, "Making an invitation…"));
    try {
      const previous = invite;
      invite = undefined;
      await previous?.cancel().catch(() => undefined);
      const made = await group.createInvite({ appUrl, kind: "code", confirm: true });
      if (closed) {
        await made.cancel();
        return;
      }
      invite = made;
      watch(made);
      show(made);
    } catch (error) {
      if (!closed) end(messageOf(error));
    }
  };
  /** What happens to an invitation matters for as long as it is the one that is shown. */
  const watch = (made: Invite): void => {
    made.on("request", (request) => {
      if (invite !== made) return;
      asked(request.device);
      ask(request);
    });
    made.on("claimed", (device) => {
      if (invite !== made) return;
      invite = undefined;
      toast(device === null ? "A device joined the list." : `${nameOf(device.deviceName)} joined the list (code ${spaced(device.comparisonCode)}).`);
      dialog.close();
    });
    made.on("ended", (error) => {
      if (invite === made) end(messageOf(error));
    });
  };
  const ask = (request: JoinRequest): void => {
    clearInterval(timer);
    const answer = (work: () => Promise<void>, then: () => void) => async (): Promise<void> => {
      for (const button of [yes, no]) button.disabled = true;
      try {
        await work();
        then();
      } catch (error) {
        fill(problem, messageOf(error));
        for (const button of [yes, no]) button.disabled = false;
      }
    };
    const accept = answer(() => request.accept(), () => setText(yes, "Letting it in…"));
    const reject = answer(() => request.reject(), () => end("You turned the device away, and the invitation no longer works."));
    const problem = h("p", { class: "field-error", role: "alert" });
    const no = h("button", { class: "button", type: "button", "data-testid": "invite-reject", onclick: () => void reject() }, "Turn it away");
    const yes = h("button", { class: "button primary", type: "button", "data-testid": "invite-accept", onclick: () => void accept() }, "Let it in");
    fill(
      content,
      h("p", { role: "alert", "data-testid": "invite-request" }, h("strong", {}, nameOf(request.deviceName)), " wants to join."),
      comparisonCode(request.comparisonCode),
      h("p", { class: "muted" }, "Look at that device: it must show the same code. If it doesn't, turn it away."),
      problem,
      h("div", { class: "actions" }, no, yes),
    );
  };
  const end = (why: string): void => {
    clearInterval(timer);
    invite = undefined;
    fill(
      content,
      h("p", { class: "invite-ended", role: "alert", "data-testid": "invite-ended" }, why),
      h("button", { class: "button primary", type: "button", "data-testid": "invite-new", onclick: () => void create() }, "New invitation"),
    );
  };
  const cancel = async (): Promise<void> => {
    try {
      await invite?.cancel();
      end("The invitation no longer works.");
    } catch (error) {
      toast(messageOf(error), { error: true });
    }
  };
  const show = (made: Invite): void => {
    const left = h("span", { "data-testid": "invite-expiry" });
    const tick = (): void => {
      const seconds = Math.max(0, Math.round((made.expiresAt - Date.now()) / 1000));
      if (seconds === 0) end("The invitation has expired.");
      else setText(left, `Valid for ${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, "0")}`);
    };
    fill(
      content,
      h("p", { class: "muted" }, "On the other device, scan this with the camera, type the code, or open the link. Then you are asked here before it joins."),
      h("div", { class: "qr", role: "img", "aria-label": "QR code of the link", "data-testid": "invite-qr" }, svg(made.qr)),
      made.code !== null && h("p", { class: "invite-code", "aria-label": "Code", "data-testid": "invite-code" }, made.code),
      linkRow(made.link),
      h(
        "div",
        { class: "invite-foot" },
        left,
        h("button", { class: "button quiet", type: "button", "data-testid": "invite-cancel", onclick: () => void cancel() }, "Cancel"),
        h("button", { class: "button quiet", type: "button", "data-testid": "invite-new", onclick: () => void create() }, "New one"),
      ),
    );
    tick();
    timer = setInterval(tick, 1000);
  };
  void create();
}

function linkRow(link: string): HTMLElement {
  const field = h("input", { class: "input", type: "text", readonly: true, "aria-label": "Link", "data-testid": "invite-link", onfocus: () => field.select() });
  field.value = link;
  const copy = async (): Promise<void> => {
    try {
      await navigator.clipboard.writeText(link);
      toast("Link copied");
    } catch {
      field.focus();
      toast("Copy the marked link yourself: the browser doesn't allow it here.");
    }
  };
  const share = async (): Promise<void> => {
    // Rejects when the person changes their mind.
    await navigator.share({ title: "Join my list", url: link }).catch(() => undefined);
  };
  return h(
    "div",
    { class: "row" },
    field,
    h("button", { class: "button square", type: "button", "aria-label": "Copy link", title: "Copy link", "data-testid": "invite-copy", onclick: () => void copy() }, icon("copy")),
    "share" in navigator &&
      h("button", { class: "button square", type: "button", "aria-label": "Share link", title: "Share link", "data-testid": "invite-share", onclick: () => void share() }, icon("share")),
  );
}

const nameOf = (name: string): string => (name.trim() === "" ? "A device without a name" : `“${name.trim()}”`);

const svg = (source: string): Node => document.importNode(new DOMParser().parseFromString(source, "image/svg+xml").documentElement, true);
