/** Who is there, and what devices say to each other, in a worker and without one. */
import type { GroupDevice } from "@0k-sync/client";
import { expect, test } from "../support/fixtures.js";
import { Bare } from "../support/bare.js";
import { PAGE_DIST } from "../support/paths.js";

const devices = (of: Bare): Promise<GroupDevice[]> => of.page.evaluate(() => window.zerok.harness.group.devices());

/** Collects what the others say, as texts, and how often `devices` was told. */
const listen = (at: Bare): Promise<void> =>
  at.page.evaluate(() => {
    const heard: { sender: string; text: string }[] = [];
    const told = { heard, devices: 0 };
    Object.assign(window, { told });
    const { group } = window.zerok.harness;
    group.on("broadcast", ({ sender, data }) => void heard.push({ sender, text: new TextDecoder().decode(data) }));
    group.on("devices", () => {
      told.devices++;
    });
  });

interface Told {
  heard: { sender: string; text: string }[];
  devices: number;
}

const told = (of: Bare): Promise<Told> => of.page.evaluate(() => (window as unknown as { told: Told }).told);

for (const worker of [true, false]) {
  test(`devices see who is there and hear each other (worker: ${worker})`, async ({ startRelay, device }) => {
    const relay = await startRelay({ web: PAGE_DIST });
    const a = await Bare.open(await device(), relay.url, { deviceName: "Laptop", worker });
    await a.create();
    const b = await Bare.open(await device(), relay.url, { deviceName: "Phone", worker });
    await b.join(await a.invite());
    await b.ready();
    const [first, second] = [await a.deviceId(), await b.deviceId()];
    const seenBy = async (of: Bare, id: string): Promise<{ name?: string | undefined; online?: boolean | undefined }> => {
      const found = (await devices(of)).find((each) => each.id === id);
      return { name: found?.name, online: found?.online };
    };
    for (const [of, id, name] of [
      [a, second, "Phone"],
      [b, first, "Laptop"],
      [a, first, "Laptop"],
    ] as const) {
      await expect.poll(() => seenBy(of, id)).toEqual({ name, online: true });
    }
    for (const each of await devices(a)) expect(each.lastSeen).toBeGreaterThan(Date.now() - 600_000);

    for (const each of [a, b]) await listen(each);
    await a.page.evaluate(() => window.zerok.harness.group.broadcast("I am here"));
    await expect.poll(async () => (await told(b)).heard).toEqual([{ sender: first, text: "I am here" }]);
    await b.page.evaluate(() => window.zerok.harness.group.broadcast(new Uint8Array([111, 107])));
    await expect.poll(async () => (await told(a)).heard).toEqual([{ sender: second, text: "ok" }]);
    // Nobody hears itself, and nothing of it is in a log.
    expect((await told(b)).heard).toHaveLength(1);
    await a.push("stored");
    await b.hasTexts(["stored"]);

    const refused = await a.page.evaluate(() => {
      const refusal = (data: unknown): unknown => {
        try {
          window.zerok.harness.group.broadcast(data as string);
        } catch (error) {
          return (error as { code: string }).code;
        }
        return undefined;
      };
      return [refusal("x".repeat(4096)), refusal("x".repeat(4097)), refusal(7)];
    });
    expect(refused).toEqual([undefined, "BLOB_TOO_LARGE", "INVALID_ARGUMENT"]);

    // A new name and a device that goes are told without asking.
    const before = (await told(a)).devices;
    await b.page.evaluate(() => window.zerok.harness.group.renameDevice("Kitchen"));
    await expect.poll(() => seenBy(a, second)).toEqual({ name: "Kitchen", online: true });
    expect((await told(a)).devices).toBeGreaterThan(before);
    await b.page.evaluate(() => window.zerok.harness.sync.close());
    await expect.poll(() => seenBy(a, second)).toEqual({ name: "Kitchen", online: false });
    expect((await told(a)).heard).toHaveLength(1);
  });
}
