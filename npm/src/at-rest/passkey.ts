/**
 * A secret from a passkey: WebAuthn's PRF. No server is asked; the passkey proves nothing to anybody, it only gives the same 32 bytes
 * for the same salt, after its user was verified.
 */
import { SyncError } from "../errors.js";

/** A passkey, and what it gave. */
export interface PasskeySecret {
  id: Uint8Array<ArrayBuffer>;
  secret: Uint8Array<ArrayBuffer>;
}

/** ES256, EdDSA, RS256: whatever the authenticator has, nobody checks a signature. */
const ALGORITHMS = [-7, -8, -257];
const CHALLENGE_BYTES = 32;
const SECRET_BYTES = 32;

/** Whether asking for a passkey makes sense here. Only the passkey itself shows whether it can do it. */
export async function passkeysSupported(): Promise<boolean> {
  const type = (globalThis as { PublicKeyCredential?: typeof PublicKeyCredential }).PublicKeyCredential;
  if (type === undefined || container() === undefined) return false;
  try {
    // Older browsers can't say; some have it nevertheless.
    const can = await (type as Partial<typeof PublicKeyCredential>).getClientCapabilities?.();
    return can?.["extension:prf"] !== false;
  } catch {
    return true;
  }
}

/** Makes a passkey for this device, in place of an earlier one for it, and lets it give the secret of `salt`. Shows the browser's dialog. */
export async function makePasskey(device: Uint8Array<ArrayBuffer>, name: string, salt: Uint8Array<ArrayBuffer>): Promise<PasskeySecret> {
  const create = (prf: AuthenticationExtensionsPRFInputs): Promise<PublicKeyCredential> =>
    ask((credentials) =>
      credentials.create({
        publicKey: {
          rp: { name: location.hostname },
          user: { id: device, name, displayName: name },
          challenge: random(CHALLENGE_BYTES),
          pubKeyCredParams: ALGORITHMS.map((alg) => ({ type: "public-key", alg })),
          authenticatorSelection: { residentKey: "preferred", userVerification: "required" },
          extensions: { prf },
        },
      }),
    );
  let passkey: PublicKeyCredential;
  try {
    passkey = await create({ eval: { first: salt } });
  } catch (error) {
    // Some authenticators give the secret only later, and refuse to be asked for it now.
    if (error instanceof SyncError && error.code !== "PASSKEY_UNSUPPORTED") throw error;
    passkey = await create({});
  }
  const { prf } = passkey.getClientExtensionResults();
  const id = new Uint8Array(passkey.rawId);
  if (prf?.results?.first !== undefined) return { id, secret: taken(prf.results.first) };
  if (prf?.enabled !== true) throw unsupported("This passkey can't lock data: its authenticator or the browser lacks PRF.");
  return { id, secret: await usePasskey(id, salt) };
}

/** What a passkey gives for a salt. Shows the browser's dialog. */
export async function usePasskey(id: Uint8Array<ArrayBuffer>, salt: Uint8Array<ArrayBuffer>): Promise<Uint8Array<ArrayBuffer>> {
  const passkey = await ask((credentials) =>
    credentials.get({
      publicKey: {
        challenge: random(CHALLENGE_BYTES),
        allowCredentials: [{ type: "public-key", id }],
        userVerification: "required",
        extensions: { prf: { eval: { first: salt } } },
      },
    }),
  );
  const secret = passkey.getClientExtensionResults().prf?.results?.first;
  if (secret === undefined) throw unsupported("The passkey gave no secret: its authenticator or the browser lacks PRF.");
  return taken(secret);
}

const random = (bytes: number): Uint8Array<ArrayBuffer> => crypto.getRandomValues(new Uint8Array(bytes));

const container = (): CredentialsContainer | undefined =>
  (globalThis as { navigator?: { credentials?: CredentialsContainer } }).navigator?.credentials;

function taken(secret: BufferSource): Uint8Array<ArrayBuffer> {
  const bytes = ArrayBuffer.isView(secret) ? new Uint8Array(secret.buffer, secret.byteOffset, secret.byteLength) : new Uint8Array(secret);
  if (bytes.byteLength !== SECRET_BYTES) throw unsupported("The passkey gave a secret of another length than WebAuthn says.");
  return bytes;
}

async function ask(call: (credentials: CredentialsContainer) => Promise<Credential | null>): Promise<PublicKeyCredential> {
  const credentials = container();
  if (credentials === undefined || typeof PublicKeyCredential === "undefined") throw unsupported("There are no passkeys here.");
  let credential: Credential | null;
  try {
    credential = await call(credentials);
  } catch (error) {
    throw refused(error);
  }
  if (credential instanceof PublicKeyCredential) return credential;
  throw unsupported("The browser gave no passkey.");
}

function refused(error: unknown): SyncError {
  const { name, message } = error instanceof Error ? error : { name: "", message: String(error) };
  const details = { cause: error, reason: `${name}: ${message}` };
  // Browsers don't tell these apart, so that pages can't find out which passkeys a person has.
  if (name === "NotAllowedError" || name === "AbortError") {
    return new SyncError(
      "PASSKEY_CANCELLED",
      "The passkey was not used: it was cancelled, took too long, or is not on this device. Try again, or use the recovery code.",
      { ...details, retryable: true },
    );
  }
  return unsupported(
    name === "SecurityError"
      ? "Passkeys need a page with a domain of its own (or localhost), not an IP address."
      : "This passkey can't lock data: the authenticator or the browser refused it.",
    details,
  );
}

const unsupported = (message: string, details: { cause?: unknown; reason?: string } = {}): SyncError =>
  new SyncError("PASSKEY_UNSUPPORTED", `${message} A recovery code works everywhere.`, details);
