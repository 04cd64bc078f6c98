/** Devices that know each other, and one that is removed, through a real relay. */
import type { GroupDevice } from "@0k-sync/client";
import { expect, test, type Device } from "../support/fixtures.js";
import { Bare } from "../support/bare.js";
import { PAGE_DIST } from "../support/paths.js";

/** Three devices in one group that know each other's names. */
async function three(url: string, device: () => Promise<Device>): Promise<[Bare, Bare, Bare]> {
  const a = await Bare.open(await device(), url, { deviceName: "Laptop" });
  await a.create();
  const others: Bare[] = [];
  for (const deviceName of ["Phone", "Tablet"]) {
    const other = await Bare.open(await device(), url, { deviceName });
    await other.join(await a.invite());
    await other.ready();
    others.push(other);
  }
  const [b, c] = others as [Bare, Bare];
  for (const each of [a, b, c]) await hasNames(each, ["Laptop", "Phone", "Tablet"]);
  return [a, b, c];
}

const devices = (of: Bare): Promise<GroupDevice[]> => of.page.evaluate(() => window.zerok.harness.group.devices());

async function hasNames(of: Bare, names: string[]): Promise<void> {
  await expect.poll(async () => (await devices(of)).map(({ name }) => name).sort()).toEqual([...names].sort());
}

const revoke = (by: Bare, id: string, reason: "lost" | "compromised", until: "local" | "relay" = "relay"): Promise<void> =>
  by.page.evaluate(([given, why, when]) => window.zerok.harness.group.revokeDevice(given, { reason: why, until: when }), [id, reason, until] as const);

const refusedPush = (of: Bare): Promise<string | undefined> =>
  of.page.evaluate(async () => (await window.zerok.harness.refusal(() => window.zerok.harness.group.push("late")))?.code);

const problem = (of: Bare): Promise<[string, string | undefined]> =>
  of.page.evaluate(() => {
    const { state, error } = window.zerok.harness.group.status;
    return [state, error?.code];
  });

test("devices see each other's names, and a new name arrives", async ({ startRelay, device }) => {
  const relay = await startRelay({ web: PAGE_DIST });
  const [a, b, c] = await three(relay.url, device);
  const seen = await devices(a);
  expect(seen.filter(({ self }) => self)).toEqual([expect.objectContaining({ id: await a.deviceId(), name: "Laptop", revoked: false, revoking: false })]);
  expect(seen.every(({ platform }) => platform === "Linux")).toBe(true);
  // The one that comes last tells the others how it is called.
  await expect.poll(() => a.told("group", "device-joined")).toContainEqual({ device: await c.deviceId(), name: "Tablet" });

  await b.page.evaluate(() => window.zerok.harness.group.renameDevice("Kitchen"));
  for (const each of [a, b, c]) await hasNames(each, ["Laptop", "Kitchen", "Tablet"]);
  await b.page.reload();
  await b.page.waitForFunction(() => "zerok" in window);
  // What it was called when it was opened first does not come back.
  await b.open({ relays: [relay.url], deviceName: "Phone" });
  await b.push("still me");
  await a.hasTexts(["still me"]);
  for (const each of [a, b]) await hasNames(each, ["Laptop", "Kitchen", "Tablet"]);
});

test("a removed device is told and gets nothing newer, and the others go on", async ({ startRelay, device }) => {
  const relay = await startRelay({ web: PAGE_DIST });
  const [a, b, c] = await three(relay.url, device);
  await a.push("a1");
  await c.push("c1");
  for (const each of [a, b, c]) await each.hasTexts(["a1", "c1"]);

  const [by, gone] = [await a.deviceId(), await c.deviceId()];
  await revoke(a, gone, "compromised");
  const told = { device: gone, by, reason: "compromised" };
  for (const each of [a, b, c]) await expect.poll(() => each.told("group", "device-revoked")).toEqual([told]);
  await expect.poll(() => problem(c)).toEqual(["error", "DEVICE_REVOKED"]);
  expect(await refusedPush(c)).toBe("DEVICE_REVOKED");
  for (const each of [a, b]) {
    await expect.poll(async () => (await devices(each)).filter(({ revoked }) => revoked).map(({ id }) => id)).toEqual([gone]);
  }

  // Both ways, with the new keys, and without a word of it in the others' errors.
  await a.push("a2");
  await b.push("b2");
  const all = ["a1", "c1", "a2", "b2"];
  for (const each of [a, b]) {
    await each.hasTexts(all);
    await each.isState("synced");
    expect(await each.told("group", "error")).toEqual([]);
  }

  // Started again it knows that it is out, without having to ask.
  await c.page.reload();
  await c.page.waitForFunction(() => "zerok" in window);
  await c.open({ relays: [relay.url] });
  await expect.poll(() => problem(c)).toEqual(["error", "DEVICE_REVOKED"]);
  expect(await refusedPush(c)).toBe("DEVICE_REVOKED");
  expect((await devices(c)).filter(({ self, revoked }) => self && revoked)).toHaveLength(1);
  // The others are served meanwhile, so that what could have reached it would have.
  await b.push("b3");
  await a.hasTexts([...all, "b3"]);
  expect((await c.texts()).sort()).toEqual(["a1", "c1"]);
  // It was told once.
  expect(await c.told("group", "device-revoked")).toEqual([]);
});

test("a device that is removed offline is out before anything else is sent", async ({ startRelay, device }) => {
  const relay = await startRelay({ web: PAGE_DIST });
  const [a, b, c] = await three(relay.url, device);
  await relay.stop();
  for (const each of [a, b, c]) await each.isState("offline");
  const gone = await c.deviceId();
  await revoke(a, gone, "lost", "local");
  expect((await devices(a)).find(({ id }) => id === gone)).toMatchObject({ revoked: false, revoking: true });
  await a.push("not for the lost one");
  await relay.start();
  await b.hasTexts(["not for the lost one"]);
  await expect.poll(() => problem(c)).toEqual(["error", "DEVICE_REVOKED"]);
  expect(await c.texts()).toEqual([]);
  expect((await devices(a)).find(({ id }) => id === gone)).toMatchObject({ revoked: true, revoking: false });
});

test("what can't be removed is refused", async ({ startRelay, device }) => {
  const relay = await startRelay({ web: PAGE_DIST });
  const a = await Bare.open(await device(), relay.url);
  await a.create();
  const codes = await a.page.evaluate(async () => {
    const { harness } = window.zerok;
    const found: (string | undefined)[] = [];
    for (const id of [harness.sync.deviceId, "f".repeat(64), "Tablet"]) found.push((await harness.refusal(() => harness.group.revokeDevice(id)))?.code);
    found.push((await harness.refusal(() => harness.group.renameDevice("")))?.code);
    return found;
  });
  // A device removes itself with leave().
  expect(codes).toEqual(["INVALID_ARGUMENT", "NOT_FOUND", "INVALID_ARGUMENT", "INVALID_ARGUMENT"]);
});
