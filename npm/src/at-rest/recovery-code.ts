/** The code that opens a lock without its passkey: random, so it needs no slow key derivation. */
import { SyncError } from "../errors.js";

/** Crockford's base 32: no letter looks like a digit. */
const ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ";
/** Five bits each: 140 bits. */
const CHARACTERS = 28;
const GROUP = 4;

/** A new code, as people are to see it: seven groups of four. */
export function newRecoveryCode(): string {
  const random = crypto.getRandomValues(new Uint8Array(CHARACTERS));
  // 256 is a multiple of 32: each character is as likely as the others.
  const characters = Array.from(random, (byte) => ALPHABET.charAt(byte % ALPHABET.length)).join("");
  return (characters.match(new RegExp(`.{${GROUP}}`, "g")) ?? []).join("-");
}

/** A code as people type it, in its one form: case, spaces and dashes don't matter, and O is 0, I and L are 1. */
export function parseRecoveryCode(text: unknown): string {
  const typed = typeof text === "string" ? text : "";
  const code = typed.toUpperCase().replaceAll(/[\s\p{Dash}]/gu, "").replaceAll("O", "0").replaceAll(/[IL]/g, "1");
  if (new RegExp(`^[${ALPHABET}]{${CHARACTERS}}$`).test(code)) return code;
  throw new SyncError(
    "UNLOCK_FAILED",
    `This is not a recovery code: it has ${CHARACTERS} letters and digits, in groups of ${GROUP}. Copy it completely.`,
  );
}
