/** Which passphrases are taken. A relay can try guesses on what it sees of a group, so weak ones are not. */
import { invalidArgument } from "../convert.js";
import { SyncError } from "../errors.js";
import type { PassphraseStrength } from "../types.js";
import { namedGroup, oneForm, type NamedGroup } from "./form.js";

/** Bits that a group's passphrase has at least. */
const MIN_BITS = 60;
/** The estimate gives no character more than a factor of ten: anything shorter stays below {@link MIN_BITS}. */
const MIN_LENGTH = 19;
const ADVICE = "Take five or six words that don't belong together, or generatePassphrase().";

export async function passphraseStrength(passphrase: string, about: readonly string[] = []): Promise<PassphraseStrength> {
  if (typeof passphrase !== "string") throw invalidArgument("passphraseStrength() needs a passphrase.");
  const text = oneForm(passphrase);
  const { judge } = await import("./judge.js");
  const { bits, warning, suggestions } = judge(text, about.map(oneForm));
  const strong = bits >= MIN_BITS && text.length >= MIN_LENGTH;
  return { bits: Math.floor(bits), strong, warning: strong ? null : warning, suggestions: strong ? [] : suggestions };
}

/** What a group is founded with. Rejects with WEAK_PASSPHRASE. */
export async function toFound(group: unknown, app: string): Promise<NamedGroup> {
  const named = namedGroup(group, "createGroup()");
  const { bits, strong, warning, suggestions } = await passphraseStrength(named.passphrase, [named.name, app]);
  if (!strong) {
    const said = [warning, ...suggestions, ADVICE].filter((text) => text !== null).join(" ");
    throw new SyncError("WEAK_PASSPHRASE", `This passphrase can be guessed: about ${bits} of ${MIN_BITS} bits. ${said}`, {
      reason: warning ?? "too-short",
    });
  }
  return named;
}

/**
 * What a group is joined with. Its founder's passphrase was judged; judging it again could only shut out a device whose
 * judge knows more words. What nobody can have founded a group with is not shown to a relay.
 */
export function toJoin(group: unknown): NamedGroup {
  const named = namedGroup(group, "join()");
  if (named.passphrase.length < MIN_LENGTH) {
    const text = `No group has a passphrase of less than ${MIN_LENGTH} characters: a part of this one is missing.`;
    throw new SyncError("WEAK_PASSPHRASE", text, { reason: "too-short" });
  }
  return named;
}
