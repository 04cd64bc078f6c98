/** Every failure has its code, and costs nothing else. */
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { expect, test } from "../support/fixtures.js";
import { Bare, pairBare } from "../support/bare.js";
import { sql } from "../support/database.js";
import { truncated, withWrongKey } from "../support/invites.js";
import { PAGE_DIST } from "../support/paths.js";

const MEBIBYTE = 1024 * 1024;

test("a blob of exactly 1 MiB arrives; one byte more is refused before anything is stored", async ({ startRelay, device }) => {
  const relay = await startRelay({ web: PAGE_DIST });
  const [a, b] = await pairBare(relay.url, await device(), await device());
  const push = (bytes: number): Promise<unknown> =>
    a.page.evaluate((length) => {
      const data = new Uint8Array(length).map((_, i) => i * 7);
      return window.zerok.harness.refusal(() => window.zerok.harness.group.push(data));
    }, bytes);
  expect(await push(MEBIBYTE + 1)).toMatchObject({ code: "BLOB_TOO_LARGE", retryable: false });
  expect(await a.texts()).toEqual([]);
  expect(await push(MEBIBYTE)).toBeUndefined();
  const arrived = (): Promise<number[]> =>
    b.page.evaluate(async () => {
      const log = await window.zerok.harness.log();
      return log.map(({ data }) => (data.every((byte, i) => byte === ((i * 7) & 255)) ? data.length : -1));
    });
  await expect.poll(arrived).toEqual([MEBIBYTE]);
});

test("wrong arguments are refused with INVALID_ARGUMENT", async ({ startRelay, device }) => {
  const relay = await startRelay({ web: PAGE_DIST });
  const a = await Bare.visit(await device(), relay.url);
  for (const options of [{ relays: [] }, {}, { relays: ["ftp://x"] }, { relays: ["not a url"] }, { relays: [relay.url], name: " " }, { relays: [relay.url], storage: "disk" }]) {
    expect((await a.refusedOpen(options))?.code, JSON.stringify(options)).toBe("INVALID_ARGUMENT");
  }
  await a.open({ relays: [relay.url] });
  await a.create();
  const codes = await a.page.evaluate(async () => {
    const { harness } = window.zerok;
    const { group } = harness;
    const calls = [
      () => group.push(7 as unknown as string),
      () => group.push("x", { ttl: 0 }),
      () => group.push("x", { until: "moon" as "relay" }),
      () => group.pull({ limit: 0 }),
      () => group.pull({ after: -1 }),
      () => group.createInvite({ appUrl: "javascript:alert(1)" }),
      () => group.createInvite({ kind: "qr" as "link" }),
      () => group.flush({ timeout: -1 }),
    ];
    const found: unknown[] = [];
    for (const call of calls) found.push((await harness.refusal(call))?.code);
    return found;
  });
  expect(codes).toEqual(Array(codes.length).fill("INVALID_ARGUMENT"));
  expect(await a.texts()).toEqual([]);
});

test("invites that can't be used say INVITE_INVALID or INVITE_EXPIRED", async ({ startRelay, device }) => {
  const relay = await startRelay({ web: PAGE_DIST });
  const a = await Bare.open(await device(), relay.url);
  await a.create();
  const b = await Bare.open(await device(), relay.url);
  const link = await a.invite();
  for (const bad of ["", "x", `${relay.url}/#0k=`, truncated(link), withWrongKey(link)]) {
    expect((await b.refusedJoin(bad))?.code, bad).toBe("INVITE_INVALID");
  }
  sql(relay.database, "UPDATE invites SET expires_at = 1");
  expect((await b.refusedJoin(link))?.code).toBe("INVITE_EXPIRED");
  await b.join(await a.invite());
  expect(await b.page.evaluate(() => window.zerok.harness.sync.groups().length)).toBe(1);
});

test("after close every call rejects with CLOSED, and iterators end", async ({ startRelay, device }) => {
  const relay = await startRelay({ web: PAGE_DIST });
  const a = await Bare.open(await device(), relay.url);
  await a.create();
  await a.push("one");
  const found = await a.page.evaluate(async () => {
    const { harness } = window.zerok;
    const { sync, group } = harness;
    const seen: string[] = [];
    const reading = (async () => {
      for await (const blob of group.blobs()) seen.push(blob.text());
    })();
    while (seen.length === 0) await new Promise((resolve) => requestAnimationFrame(resolve));
    await sync.close();
    await reading;
    await sync.close();
    const calls = [() => group.push("x"), () => group.pull(), () => group.flush(), () => sync.createGroup(), () => group.createInvite()];
    const codes: unknown[] = [];
    for (const call of calls) codes.push((await harness.refusal(call))?.code);
    return codes;
  });
  expect(found).toEqual(Array(found.length).fill("CLOSED"));
});

test("flush, ready and push time out without a network and lose nothing", async ({ startRelay, device }) => {
  const relay = await startRelay({ web: PAGE_DIST });
  const first = await device();
  const [a, b] = await pairBare(relay.url, first, await device());
  await first.offline(true);
  const found = await a.page.evaluate(async () => {
    const { harness } = window.zerok;
    const { group } = harness;
    await group.push("one");
    return [
      await harness.refusal(() => group.flush({ timeout: 200 })),
      await harness.refusal(() => group.push("two", { until: "relay", timeout: 200 })),
    ];
  });
  for (const refusal of found) expect(refusal).toMatchObject({ code: "TIMEOUT", retryable: true });
  expect(await a.page.evaluate(() => window.zerok.harness.group.pending)).toBe(2);
  await first.offline(false);
  await b.hasTexts(["one", "two"]);
  await a.flush();
  expect(await a.page.evaluate(() => window.zerok.harness.group.pending)).toBe(0);
});

test("a second tab is told ALREADY_OPEN, and gets its turn when the first is gone", async ({ startRelay, device }) => {
  const relay = await startRelay({ web: PAGE_DIST });
  const phone = await device();
  const first = await Bare.open(phone, relay.url);
  await first.create();
  await first.push("one");
  const second = await Bare.visit(phone, relay.url);
  expect(await second.refusedOpen({ relays: [relay.url] })).toMatchObject({ code: "ALREADY_OPEN", retryable: true });
  // The first goes on as if nothing had happened.
  await first.push("two");
  await first.page.close();
  await second.open({ relays: [relay.url] });
  expect(await second.texts()).toEqual(["one", "two"]);
});

test("a URL that is not a relay is reported as RELAY_UNREACHABLE, and pushes wait", async ({ startRelay, device }) => {
  const relay = await startRelay({ web: PAGE_DIST });
  const server = createServer((_, response) => response.writeHead(404, { "access-control-allow-origin": "*" }).end("not here"));
  await new Promise<void>((resolve) => void server.listen(0, "127.0.0.1", resolve));
  try {
    const wrong = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
    const a = await Bare.visit(await device(), relay.url);
    await a.open({ relays: [wrong] });
    await a.create();
    await a.push("waits");
    await expect.poll(() => a.page.evaluate(() => window.zerok.harness.sync.status.error?.code)).toBe("RELAY_UNREACHABLE");
    await expect.poll(() => a.told("client", "error")).toContainEqual(expect.objectContaining({ code: "RELAY_UNREACHABLE", retryable: true }));
    expect(await a.state()).toBe("offline");
    const refused = await a.page.evaluate(() => window.zerok.harness.refusal(() => window.zerok.harness.group.createInvite()));
    expect(refused?.code).toBe("RELAY_UNREACHABLE");
    expect(await a.texts()).toEqual(["waits"]);
    expect(await a.page.evaluate(() => window.zerok.harness.group.pending)).toBe(1);
  } finally {
    server.close();
    server.closeAllConnections();
  }
});
