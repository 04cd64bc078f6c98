/** What this device remembers besides the lists: nothing secret. */

const CURRENT = "0k-list.current";
const AWAITED = "0k-list.awaited";
const AFRESH = "0k-list.afresh";
const NAMES = "0k-list.device-names";

/** Names that are remembered; the oldest are forgotten. */
const MAX_NAMES = 500;

/** The list that was shown last, by group id. */
export const currentGroup = {
  get: (): string | null => read(CURRENT),
  set: (id: string): void => write(CURRENT, id),
};

/** Whether everything is to be cleared at the next start. */
export const afresh = {
  get: (): string | null => read(AFRESH),
  set: (value: "yes"): void => write(AFRESH, value),
};

/** Lists that were joined and have not arrived completely yet. */
export const awaitedGroups = {
  has: (id: string): boolean => ids().includes(id),
  add: (id: string): void => write(AWAITED, [...new Set([...ids(), id])].join(" ")),
  delete: (id: string): void => write(AWAITED, ids().filter((other) => other !== id).join(" ")),
};

/** What devices were called last, by group and device. */
export const deviceNames = {
  get: (group: string, device: string): string | undefined => names().find(([key]) => key === `${group}/${device}`)?.[1],
  set: (group: string, device: string, name: string): void => {
    const key = `${group}/${device}`;
    const others = names().filter(([other]) => other !== key);
    write(NAMES, JSON.stringify([...others, [key, name]].slice(-MAX_NAMES)));
  },
  forget: (group: string): void => write(NAMES, JSON.stringify(names().filter(([key]) => !key.startsWith(`${group}/`)))),
};

/** Forgets everything that is remembered here. */
export function forgetAll(): void {
  for (const key of [CURRENT, AWAITED, AFRESH, NAMES]) remove(key);
}

function names(): [string, string][] {
  try {
    const value: unknown = JSON.parse(read(NAMES) ?? "[]");
    return Array.isArray(value) ? (value as [string, string][]) : [];
  } catch {
    return [];
  }
}

const ids = (): string[] => (read(AWAITED) ?? "").split(" ").filter((id) => id !== "");

// Storage may be forbidden; then the first list is shown, and nothing is awaited after a reload.
function read(key: string): string | null {
  try {
    return localStorage.getItem(key);
  } catch {
    return null;
  }
}

function write(key: string, value: string): void {
  try {
    localStorage.setItem(key, value);
  } catch {
    // See above.
  }
}

function remove(key: string): void {
  try {
    localStorage.removeItem(key);
  } catch {
    // See above.
  }
}
