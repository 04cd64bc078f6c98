/** The one form of names and passphrases, so that devices and keyboards agree on what was typed. */
import { invalidArgument } from "../convert.js";

/** A group as an app names it. */
export interface NamedGroup {
  name: string;
  passphrase: string;
}

/** Unicode NFKC; white space between words is one space, and there is none around; capitals stay. */
export function oneForm(text: string): string {
  return text
    .normalize("NFKC")
    .replaceAll(/\p{White_Space}+/gu, " ")
    .replaceAll(/^ | $/g, "");
}

/** Name and passphrase in their one form. */
export function namedGroup(group: unknown, what: string): NamedGroup {
  const { name, passphrase } = (group ?? {}) as Partial<Record<keyof NamedGroup, unknown>>;
  if (typeof name !== "string" || typeof passphrase !== "string" || oneForm(name) === "" || oneForm(passphrase) === "") {
    throw invalidArgument(`${what} needs a name and a passphrase: { name: "family", passphrase: "…" }.`);
  }
  return { name: oneForm(name), passphrase: oneForm(passphrase) };
}

/** The app that a group's name belongs to. */
export function appId(value: unknown): string {
  if (value === undefined) return "0k-sync";
  if (typeof value === "string" && /^[!-~]{1,64}$/.test(value)) return value;
  throw invalidArgument("appId must have 1 to 64 visible ASCII characters, for example \"notes.example.com\".");
}
