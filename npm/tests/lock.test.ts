import assert from "node:assert/strict";
import { afterEach, test } from "node:test";
import { checkUnlock } from "../src/at-rest/device-lock.js";
import { newSalt, NewLock, readLock, unwrap } from "../src/at-rest/lock-record.js";
import { makePasskey, passkeysSupported, usePasskey } from "../src/at-rest/passkey.js";
import { newRecoveryCode, parseRecoveryCode } from "../src/at-rest/recovery-code.js";
import { SyncError } from "../src/errors.js";

const code = (expected: string) => (error: unknown) => error instanceof SyncError && error.code === expected;
const bytes = (value: number, length = 32): Uint8Array<ArrayBuffer> => new Uint8Array(length).fill(value);

test("recovery codes are random, and read as people type them", () => {
  const codes = Array.from({ length: 200 }, newRecoveryCode);
  assert.equal(new Set(codes).size, 200);
  // All 32 characters are used.
  assert.equal(new Set(codes.join("").replaceAll("-", "")).size, 32);
  assert.equal(parseRecoveryCode("oil0-abcd 1234\u20115678\n9ABC DEFG-HJKM "), "0110ABCD123456789ABCDEFGHJKM");
  for (const given of codes) assert.equal(parseRecoveryCode(given.toLowerCase()), given.replaceAll("-", ""));
  for (const wrong of ["", "ABCD", `${codes[0] ?? ""}0`, (codes[0] ?? "").replace(/.$/, "U"), undefined, 7]) {
    assert.throws(() => parseRecoveryCode(wrong), code("UNLOCK_FAILED"));
  }
});

test("a lock opens with its own secret, in its own way and with its own salt, and the key stays inside", async () => {
  const lock = await NewLock.make();
  const wrapped = await lock.wrap("recovery", newSalt(), bytes(1));
  const key = await unwrap("recovery", wrapped, bytes(1));
  assert.equal(key?.extractable, false);
  assert.equal(await unwrap("recovery", wrapped, bytes(2)), undefined);
  assert.equal(await unwrap("passkey", wrapped, bytes(1)), undefined);
  assert.equal(await unwrap("recovery", { ...wrapped, salt: newSalt() }, bytes(1)), undefined);
  assert.equal(await unwrap("recovery", { ...wrapped, key: bytes(0, 48) }, bytes(1)), undefined);
  const secret = bytes(1);
  await unwrap("recovery", wrapped, secret);
  assert.deepEqual(secret, bytes(0));

  // Two ways, one key.
  const other = await unwrap("passkey", await lock.wrap("passkey", newSalt(), bytes(3)), bytes(3));
  const algorithm = { name: "AES-GCM", iv: bytes(0, 12) };
  assert.ok(other);
  assert.deepEqual(await crypto.subtle.decrypt(algorithm, other, await crypto.subtle.encrypt(algorithm, key, bytes(9))), bytes(9).buffer);
});

test("a lock of a newer version is left alone", () => {
  assert.throws(() => readLock({ version: 2 }), code("STORAGE_FAILED"));
  assert.throws(() => readLock(null), code("STORAGE_FAILED"));
});

test("unlock takes one way", () => {
  assert.equal(checkUnlock(undefined), undefined);
  assert.deepEqual(checkUnlock({ passkey: true }), { passkey: true });
  for (const wrong of [null, {}, { passkey: false }, { recoveryCode: 1 }, { passkey: true, recoveryCode: "x" }]) {
    assert.throws(() => checkUnlock(wrong), code("INVALID_ARGUMENT"));
  }
});

class FakeCredential {
  readonly rawId = bytes(5, 16).buffer;
  readonly #prf: unknown;
  constructor(prf: unknown) {
    this.#prf = prf;
  }
  getClientExtensionResults(): unknown {
    return { prf: this.#prf };
  }
}

type Ask = (options: { publicKey: { extensions: { prf: { eval?: { first: unknown } } } } }) => Promise<unknown>;

/** A browser whose authenticator answers like this. */
function browser(create: Ask, get: Ask = () => Promise.reject(new Error("not asked"))): void {
  Object.defineProperty(globalThis, "PublicKeyCredential", { value: FakeCredential, configurable: true });
  Object.defineProperty(globalThis, "navigator", { value: { credentials: { create, get } }, configurable: true });
  Object.defineProperty(globalThis, "location", { value: { hostname: "app.test" }, configurable: true });
}

const before = Object.getOwnPropertyDescriptor(globalThis, "navigator");
afterEach(() => {
  Reflect.deleteProperty(globalThis, "PublicKeyCredential");
  Reflect.deleteProperty(globalThis, "navigator");
  Reflect.deleteProperty(globalThis, "location");
  if (before !== undefined) Object.defineProperty(globalThis, "navigator", before);
});

const make = (): ReturnType<typeof makePasskey> => makePasskey(bytes(1), "Laptop", bytes(2));
const secret = { results: { first: bytes(7).buffer } };

test("a passkey that gives its secret at once is asked once", async () => {
  browser(({ publicKey }) => {
    assert.deepEqual(publicKey.extensions.prf.eval?.first, bytes(2));
    return Promise.resolve(new FakeCredential({ enabled: true, ...secret }));
  });
  assert.deepEqual(await make(), { id: bytes(5, 16), secret: bytes(7) });
});

test("one that gives it only later is asked again, and one that can't be asked while it is made is made without", async () => {
  browser(
    ({ publicKey }) =>
      publicKey.extensions.prf.eval === undefined
        ? Promise.resolve(new FakeCredential({ enabled: true }))
        : Promise.reject(new DOMException("not while it is made", "NotSupportedError")),
    () => Promise.resolve(new FakeCredential(secret)),
  );
  assert.deepEqual((await make()).secret, bytes(7));
});

test("what goes wrong with a passkey has a code, and nobody is asked twice who said no", async () => {
  let asked = 0;
  const fail = (name: string) => (): Promise<never> => {
    asked++;
    return Promise.reject(new DOMException("no", name));
  };
  browser(fail("NotAllowedError"), fail("NotAllowedError"));
  await assert.rejects(make(), code("PASSKEY_CANCELLED"));
  assert.equal(asked, 1);
  await assert.rejects(usePasskey(bytes(5), bytes(2)), code("PASSKEY_CANCELLED"));

  browser(fail("SecurityError"));
  await assert.rejects(make(), (error) => code("PASSKEY_UNSUPPORTED")(error) && (error as SyncError).message.includes("domain"));
  for (const prf of [undefined, {}, { enabled: false }]) {
    browser(() => Promise.resolve(new FakeCredential(prf)));
    await assert.rejects(make(), code("PASSKEY_UNSUPPORTED"));
  }
  browser(() => Promise.resolve(new FakeCredential({ results: { first: bytes(7, 16) } })));
  await assert.rejects(make(), code("PASSKEY_UNSUPPORTED"));
  browser(() => Promise.resolve(null));
  await assert.rejects(make(), code("PASSKEY_UNSUPPORTED"));
});

test("without passkeys they are not supported", async () => {
  assert.equal(await passkeysSupported(), false);
  await assert.rejects(make(), code("PASSKEY_UNSUPPORTED"));
  browser(() => Promise.resolve(null));
  assert.equal(await passkeysSupported(), true);
  Object.assign(FakeCredential, { getClientCapabilities: () => Promise.resolve({ "extension:prf": false }) });
  assert.equal(await passkeysSupported(), false);
  Reflect.deleteProperty(FakeCredential, "getClientCapabilities");
});
