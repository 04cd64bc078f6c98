/** What devices send each other: one small JSON object per change. */

/** Replaces an item as a whole. The highest stamp wins; `by` breaks ties. */
export interface SetItem {
  t: "set";
  id: string;
  text: string;
  done: boolean;
  deleted: boolean;
  at: number;
  by: string;
}

/** Replaces the name of the list. */
export interface SetTitle {
  t: "title";
  text: string;
  at: number;
  by: string;
}

export type Op = SetItem | SetTitle;

/** The op in a blob, or undefined: newer versions of the app may send others. */
export function parseOp(text: string): Op | undefined {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return undefined;
  }
  if (typeof value !== "object" || value === null) return undefined;
  const op = value as Partial<Record<string, unknown>>;
  if (typeof op.text !== "string" || typeof op.by !== "string" || !Number.isSafeInteger(op.at)) return undefined;
  if (op.t === "title") return value as SetTitle;
  const isItem = typeof op.id === "string" && typeof op.done === "boolean" && typeof op.deleted === "boolean";
  return op.t === "set" && isItem ? (value as SetItem) : undefined;
}

/** Whether `a` wins over `b`. */
export const isNewer = (a: { at: number; by: string }, b: { at: number; by: string }): boolean =>
  a.at > b.at || (a.at === b.at && a.by > b.by);
