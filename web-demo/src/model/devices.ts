/** The devices of a list, with the names that they had. */
import type { Group, GroupDevice } from "@0k-sync/client";
import { deviceNames } from "../memory.js";

const MAX_SHOWN_CHARS = 40;

export class DeviceBook {
  readonly #group: Group;

  constructor(group: Group) {
    this.#group = group;
  }

  /** This device, then the others by name, then those that were removed. */
  async list(): Promise<GroupDevice[]> {
    const devices = (await this.#group.devices()).map((device) => this.#named(device));
    const rank = ({ self, revoked }: GroupDevice): number => (self ? 0 : revoked ? 2 : 1);
    return devices.sort((a, b) => rank(a) - rank(b) || a.name.localeCompare(b.name) || (a.id < b.id ? -1 : 1));
  }

  /** What to call a device in a sentence. */
  async nameOf(id: string): Promise<string> {
    const found = (await this.list()).find((device) => device.id === id);
    return shownName(found?.name ?? "");
  }

  /** With a device goes its name: it is kept here, so that people see who was removed. */
  #named(device: GroupDevice): GroupDevice {
    const known = deviceNames.get(this.#group.id, device.id);
    if (device.name === "") return { ...device, name: known ?? "" };
    if (device.name !== known) deviceNames.set(this.#group.id, device.id, device.name);
    return device;
  }
}

const TIME = { hour: "2-digit", minute: "2-digit" } as const;
const DAY = { day: "numeric", month: "short" } as const;

/** What to say of when a device is there; nothing if nobody knows. */
export function presenceOf({ online, lastSeen }: GroupDevice, now: number): string {
  if (online) return "Here now";
  if (lastSeen === null) return "";
  const [at, today] = [new Date(lastSeen), new Date(now)];
  if (at.toDateString() === today.toDateString()) return `Last here today at ${at.toLocaleTimeString(undefined, TIME)}`;
  const year = at.getFullYear() === today.getFullYear() ? {} : ({ year: "numeric" } as const);
  return `Last here on ${at.toLocaleDateString(undefined, { ...DAY, ...year })} at ${at.toLocaleTimeString(undefined, TIME)}`;
}

/** Devices call themselves what they like. */
export function shownName(name: string): string {
  const text = name.trim();
  if (text === "") return "A device without a name";
  return text.length > MAX_SHOWN_CHARS ? `${text.slice(0, MAX_SHOWN_CHARS - 1)}…` : text;
}
