/** Terminals and a browser in one group. */
import { join } from "node:path";
import { expect, test } from "../support/fixtures.js";
import { Bare } from "../support/bare.js";
import { PAGE_DIST } from "../support/paths.js";
import { Terminal } from "../support/terminal.js";

test("two terminals and a browser are in one group, whoever invited whom", async ({ startRelay, device, folder }) => {
  const relay = await startRelay({ web: PAGE_DIST });
  const phone = await device();
  const [laptop, server] = [new Terminal(join(folder, "laptop")), new Terminal(join(folder, "server"))];

  await laptop.run("init", "--name", "laptop", "--relay", relay.url);
  const [invite] = await laptop.run("pair", "--create", "--app-url", relay.url);
  const page = await Bare.open(phone, relay.url);
  await page.join(String(invite?.link));
  await page.ready();

  await server.run("init", "--name", "server");
  await server.run("pair", "--join", await page.invite());

  server.follow();
  try {
    await laptop.run("push", "from the laptop");
    await page.push("from the page");
    await page.flush();
    // While another process follows, on the same device.
    await server.run("push", "from the server");

    const texts = ["from the laptop", "from the page", "from the server"];
    await page.hasTexts(texts);
    await expect.poll(async () => (await laptop.texts()).sort()).toEqual([...texts].sort());
    await expect.poll(() => server.followed.map((line) => line.text).sort()).toEqual([...texts].sort());

    // Without a network at one end and without a relay for all.
    await phone.offline(true);
    await page.push("from the offline page");
    await relay.kill();
    expect(await laptop.code("push", "queued", "--timeout", "1")).toBe(3);
    await relay.start();
    await phone.offline(false);
    texts.push("from the offline page");
    await page.hasTexts(texts);
    await laptop.run("push", "at last", "--timeout", "60");
    texts.push("queued", "at last");
    await page.hasTexts(texts);
    await expect.poll(() => server.followed.map((line) => line.text).sort()).toEqual([...texts].sort());
  } finally {
    expect(await server.stopFollowing()).toBe(0);
  }
});
