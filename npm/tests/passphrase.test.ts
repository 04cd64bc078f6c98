import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { ClientHandle } from "../src/api/client.js";
import { openHere } from "../src/core.js";
import type { CoreModule } from "../src/core-types.js";
import { SyncError } from "../src/errors.js";
import { appId, oneForm } from "../src/passphrase/form.js";
import { generatePassphrase } from "../src/passphrase/generate.js";
import { passphraseStrength } from "../src/passphrase/strength.js";
import { words } from "../src/passphrase/words.js";
import { FakeCore } from "./fake-core.js";

const STRONG = "gravel ozone cactus tidal mustard plywood";
const code = (expected: string) => (error: unknown) => error instanceof SyncError && error.code === expected;

async function client(): Promise<{ core: FakeCore; client: ClientHandle }> {
  const core = new FakeCore();
  const client = new ClientHandle({ appId: "notes", drawQr: (text) => Promise.resolve(text), release: () => undefined });
  const provide = {
    open: (_config: unknown, onEvent: FakeCore["emit"]) => {
      core.emit = onEvent;
      return Promise.resolve(core);
    },
  } as unknown as CoreModule["CoreClient"];
  client.attach(await openHere(() => Promise.resolve(provide), {} as never, client));
  return { core, client };
}

test("what people type has one form", () => {
  const vectors = JSON.parse(readFileSync("../shared/vectors/passphrase-forms.json", "utf8")) as { typed: string; form: string }[];
  for (const { typed, form } of vectors) {
    assert.equal(oneForm(typed), form, JSON.stringify(typed));
    assert.equal(oneForm(form), form, "twice is the same as once");
  }
});

test("a group is founded and joined with both in their one form", async () => {
  const { core, client: sync } = await client();
  await sync.createGroup({ name: " Fami\u00adly  1 ", passphrase: `  ${STRONG.replaceAll(" ", "  ")}` });
  await sync.join({ name: "family", passphrase: STRONG });
  assert.deepEqual(core.calls, [`passphraseGroup|notes|Fami\u00adly 1|${STRONG}|true|`, `passphraseGroup|notes|family|${STRONG}|false|`]);
});

test("a browser that tells its memory passes it on", async () => {
  const { core, client: sync } = await client();
  Object.defineProperty(globalThis, "navigator", { value: { deviceMemory: 0.5 }, configurable: true });
  try {
    await sync.createGroup({ name: "family", passphrase: STRONG });
  } finally {
    Reflect.deleteProperty(globalThis, "navigator");
  }
  assert.match(core.calls[0] ?? "", /\|0\.5$/);
});

test("weak passphrases never reach the core", async () => {
  const { core, client: sync } = await client();
  const weak = ["hunter2", "correcthorsebatterystaple", "password password password password", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "qwertyuiopasdfghjklzxcvbnm"];
  for (const passphrase of weak) {
    await assert.rejects(sync.createGroup({ name: "family", passphrase }), code("WEAK_PASSPHRASE"), passphrase);
  }
  const name = "the knights of the round table";
  await assert.rejects(sync.createGroup({ name, passphrase: name }), code("WEAK_PASSPHRASE"), "the group's name");
  await assert.rejects(sync.join({ name: "family", passphrase: "eighteen charactrs" }), code("WEAK_PASSPHRASE"));
  for (const group of [{}, { name: "family" }, { name: " ", passphrase: STRONG }, { name: "family", passphrase: "\t" }, { name: 1, passphrase: STRONG }]) {
    await assert.rejects(sync.createGroup(group as never), code("INVALID_ARGUMENT"));
    await assert.rejects(sync.join(group as never), code("INVALID_ARGUMENT"));
  }
  await assert.rejects(sync.join(null as never), code("INVALID_ARGUMENT"));
  assert.deepEqual(core.calls, []);
});

test("the refusal says what is wrong and what helps", async () => {
  const { client: sync } = await client();
  const refused: unknown = await sync.createGroup({ name: "family", passphrase: "abcabcabcabcabcabcabcabc" }).catch((error: unknown) => error);
  assert.ok(refused instanceof SyncError);
  assert.match(refused.message, /of 60 bits.*Repeated.*generatePassphrase/);
  assert.match(refused.reason ?? "", /Repeated/);
});

test("what is shorter than any accepted passphrase is below the bound by the estimate itself", async () => {
  for (const passphrase of ["xK9#mQ2$vL7pR4!tWz", "\u9ed1\u767d\u6728\u6c34\u706b\u571f\u91d1\u65e5\u6708\u5c71\u5ddd\u7530\u53e3\u624b\u8db3\u8033\u76ee\u9f3b"]) {
    assert.equal(passphrase.length, 18);
    assert.ok((await passphraseStrength(passphrase)).bits < 60, passphrase);
  }
});

test("generated passphrases are six words of the list, and strong", async () => {
  assert.equal(words.length, 7776);
  assert.equal(new Set(words).size, 7776);
  assert.equal(words[0], "abacus");
  assert.equal(words.at(-1), "zoom");
  const seen = new Set<string>();
  for (let at = 0; at < 50; at++) {
    const passphrase = await generatePassphrase();
    const parts = passphrase.split(" ");
    assert.equal(parts.length, 6);
    for (const part of parts) {
      assert.ok(words.includes(part), part);
      seen.add(part);
    }
    assert.equal(oneForm(passphrase), passphrase);
    const { strong, warning, suggestions } = await passphraseStrength(passphrase);
    assert.deepEqual({ strong, warning, suggestions }, { strong: true, warning: null, suggestions: [] }, passphrase);
  }
  assert.ok(seen.size > 200);
});

test("an app id is a short ASCII text", () => {
  assert.equal(appId(undefined), "0k-sync");
  assert.equal(appId("notes.example"), "notes.example");
  for (const wrong of ["", "two words", "ä", "x".repeat(65), 5, null]) assert.throws(() => appId(wrong), code("INVALID_ARGUMENT"));
});
