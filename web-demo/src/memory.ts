/** What this device remembers besides the lists: nothing secret. */

const CURRENT = "0k-list.current";
const AWAITED = "0k-list.awaited";

/** The list that was shown last, by group id. */
export const currentGroup = {
  get: (): string | null => read(CURRENT),
  set: (id: string): void => write(CURRENT, id),
};

/** Lists that were joined and have not arrived completely yet. */
export const awaitedGroups = {
  has: (id: string): boolean => ids().includes(id),
  add: (id: string): void => write(AWAITED, [...new Set([...ids(), id])].join(" ")),
  delete: (id: string): void => write(AWAITED, ids().filter((other) => other !== id).join(" ")),
};

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
