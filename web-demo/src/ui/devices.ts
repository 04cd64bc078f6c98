/** "Devices": who is in the list and who is there now, what this device is called, and removing another one. */
import type { Group, GroupDevice } from "@0k-sync/client";
import { DeviceBook, presenceOf, shownName } from "../model/devices.js";
import { openDialog } from "./dialog.js";
import { fill, h, icon, setText } from "./dom.js";
import { askToRemove } from "./remove-device.js";
import { messageOf, toast } from "./toast.js";

const MAX_NAME_CHARS = 40;

/** Opens the page; `invite` is where more devices come from. */
export function openDevices(group: Group, invite: () => void): void {
  const book = new DeviceBook(group);
  const own = h("p", { class: "muted device-id", "data-testid": "own-device" });
  const rename = renameForm(group);
  const others = h("ul", { class: "devices", "data-testid": "other-devices" });
  const gone = h("section", { class: "devices-gone", hidden: true });
  const look = (): void => void update().catch((error: unknown) => toast(messageOf(error), { error: true }));
  const network = new AbortController();
  for (const event of ["online", "offline"]) addEventListener(event, look, { signal: network.signal });
  const unsubscribe = [group.on("devices", look), group.on("status", look), () => network.abort()];
  let shown = "";
  const dialog = openDialog(
    { title: "Devices", testid: "devices", onClose: () => unsubscribe.forEach((end) => end()) },
    h("section", { class: "own-device" }, rename.element, own),
    h("h3", {}, "Other devices"),
    others,
    gone,
    h(
      "div",
      { class: "actions" },
      h(
        "button",
        {
          class: "button",
          type: "button",
          "data-testid": "devices-invite",
          hidden: group.status.error?.code === "DEVICE_REVOKED",
          onclick: () => {
            dialog.close();
            invite();
          },
        },
        icon("device"),
        "Add a device",
      ),
    ),
  );

  const update = async (): Promise<void> => {
    const devices = await book.list();
    // Rebuilt only when it would look different: it holds focus.
    const key = JSON.stringify([devices, navigator.onLine, group.status.error?.code]);
    if (key === shown) return;
    shown = key;
    const [self, rest] = [devices.find((device) => device.self), devices.filter((device) => !device.self)];
    const out = self?.revoked === true;
    if (self !== undefined) {
      setText(own, out ? "This device was removed from the list" : ["This device", ...facts(self)].join(" · "));
      rename.show(self.name, !out);
    }
    const [removed, members] = [rest.filter((device) => device.revoked), rest.filter((device) => !device.revoked)];
    const focused = others.contains(document.activeElement);
    fill(others, ...members.map((device) => row(device, !out && (() => void remove(device)))));
    if (members.length === 0) fill(others, h("li", { class: "muted device-none" }, "There is no other device in the list."));
    gone.hidden = removed.length === 0;
    fill(gone, h("h3", {}, "Removed"), h("ul", { class: "devices" }, ...removed.map((device) => row(device, false))));
    if (focused) dialog.querySelector<HTMLElement>("h2")?.focus();
  };
  const remove = async (device: GroupDevice): Promise<void> => {
    const reason = await askToRemove(device);
    if (reason === undefined) return;
    try {
      await group.revokeDevice(device.id, { reason });
      await update();
    } catch (error) {
      toast(messageOf(error), { error: true });
    }
  };
  look();
}

function row(device: GroupDevice, remove: false | (() => void)): HTMLElement {
  const name = shownName(device.name);
  return h(
    "li",
    { class: device.revoked ? "device device-out" : "device", "data-testid": "device", "data-id": device.id },
    icon(/iphone|ipad|android/i.test(device.platform) ? "device" : "laptop"),
    h(
      "div",
      { class: "device-text" },
      h("span", { class: "device-name", "data-testid": "device-name" }, name),
      h("span", { class: "muted device-id" }, facts(device).join(" · ")),
      !device.revoked && presence(device),
    ),
    device.revoking && !device.revoked
      ? h("span", { class: "device-state", "data-testid": "device-state" }, navigator.onLine ? "Being removed…" : "Being removed when there is a connection…")
      : device.revoked
        ? h("span", { class: "device-state", "data-testid": "device-state" }, "Removed")
        : remove !== false && h("button", { class: "button danger", type: "button", "aria-label": `Remove ${name}`, "data-testid": "device-remove", onclick: remove }, "Remove"),
  );
}

/** Whether it is there, or when it was there last. */
function presence(device: GroupDevice): HTMLElement | false {
  const text = presenceOf(device, Date.now());
  return text !== "" && h("span", { class: device.online ? "device-presence device-here" : "device-presence", "data-testid": "device-presence" }, text);
}

/** What tells two devices of one name apart. */
const facts = ({ id, platform }: GroupDevice): string[] => [platform.trim().slice(0, MAX_NAME_CHARS), id.slice(0, 8)].filter((text) => text !== "");

/** The name of this device; what is being typed is never overwritten. */
function renameForm(group: Group): { element: HTMLElement; show(name: string, editable: boolean): void } {
  const input = h("input", { class: "input", id: "device-name", type: "text", maxlength: MAX_NAME_CHARS, autocomplete: "off", required: true, "data-testid": "device-rename" });
  const save = h("button", { class: "button", type: "submit", "data-testid": "device-rename-save" }, "Save");
  let current: string | undefined;
  const submit = async (event: Event): Promise<void> => {
    event.preventDefault();
    const name = input.value.trim();
    if (name === "" || name === current) return;
    save.disabled = true;
    try {
      await group.renameDevice(name);
      current = name;
      input.value = name;
      toast(`This device is called “${name}” now.`);
    } catch (error) {
      toast(messageOf(error), { error: true });
    } finally {
      save.disabled = false;
    }
  };
  const element = h(
    "form",
    { class: "field", onsubmit: (event) => void submit(event) },
    h("label", { for: "device-name" }, h("h3", {}, "Name of this device")),
    h("div", { class: "row" }, input, save),
  );
  return {
    element,
    show(name, editable) {
      if (input.value === (current ?? "")) input.value = name;
      current = name;
      input.readOnly = !editable;
      save.hidden = !editable;
    },
  };
}
