/** Groups by name and passphrase, as an app makes and joins them. */
import { expect, test } from "../support/fixtures.js";
import { Bare } from "../support/bare.js";
import { PAGE_DIST } from "../support/paths.js";

const FAMILY = { name: "family", passphrase: "gravel ozone cactus tidal mustard plywood" };

/** Whether the page itself, not its worker, has loaded such a file. */
async function loaded({ page }: Bare, file: RegExp): Promise<boolean> {
  const names = await page.evaluate(() => performance.getEntriesByType("resource").map(({ name }) => name));
  return names.some((name) => file.test(name));
}

/** How the browser tells its memory, for pages that are opened from now on. */
const MEMORY = [0.5, 1, 8];

test("pages join by name and passphrase, whatever memory the founder had, and derive nothing on their own thread", async ({ startRelay, device }) => {
  const relay = await startRelay({ web: PAGE_DIST });
  for (const [index, memory] of MEMORY.entries()) {
    const group = { ...FAMILY, name: `family ${index}` };
    const small = await device();
    await small.context.addInitScript((gib) => Object.defineProperty(Navigator.prototype, "deviceMemory", { value: gib }), memory);
    const [a, b] = [await Bare.open(small, relay.url), await Bare.open(await device(), relay.url)];
    await a.page.evaluate(async (named) => {
      const { harness } = window.zerok;
      harness.use(await harness.sync.createGroup(named));
    }, group);
    await a.push("from the founder");
    await b.page.evaluate(async (named) => {
      const { harness } = window.zerok;
      harness.use(await harness.sync.join(named));
    }, group);
    await b.hasTexts(["from the founder"]);
    for (const page of [a, b]) expect(await loaded(page, /core.*\.(js|wasm)/), "what derives keys is not on the page's thread").toBe(false);
  }
});

test("founding twice is joining, and what is wrong is told apart", async ({ startRelay, device }) => {
  const relay = await startRelay({ web: PAGE_DIST });
  const [a, b] = [await Bare.open(await device(), relay.url), await Bare.open(await device(), relay.url)];
  const create = (page: Bare): Promise<string> =>
    page.page.evaluate(async (named) => (await window.zerok.harness.sync.createGroup(named)).id, FAMILY);
  const refused = (page: Bare, way: "createGroup" | "join", passphrase: string): Promise<string | undefined> =>
    page.page.evaluate(
      async ([way, passphrase]) => {
        const { harness } = window.zerok;
        const refusal = await harness.refusal(() => harness.sync[way]({ name: "family", passphrase }));
        return refusal?.code;
      },
      [way, passphrase] as const,
    );
  expect(await refused(b, "join", FAMILY.passphrase)).toBe("GROUP_NOT_FOUND");
  const id = await create(a);
  expect(await create(b)).toBe(id);
  expect(await create(b)).toBe(id);
  expect(await refused(b, "join", FAMILY.passphrase.toUpperCase())).toBe("GROUP_NOT_FOUND");
  expect(await refused(b, "join", "gravel ozone")).toBe("WEAK_PASSPHRASE");
  expect(await refused(b, "createGroup", "correct horse")).toBe("WEAK_PASSPHRASE");
  await relay.kill();
  expect(await refused(b, "createGroup", "another passphrase of several strong words")).toBe("RELAY_UNREACHABLE");
});

test("the judge of passphrases is loaded only where one is chosen", async ({ startRelay, device }) => {
  const relay = await startRelay({ web: PAGE_DIST });
  const a = await Bare.open(await device(), relay.url);
  await a.page.evaluate(async (named) => {
    const { harness } = window.zerok;
    await harness.refusal(() => harness.sync.join(named));
  }, FAMILY);
  expect(await loaded(a, /judge/)).toBe(false);
  await a.page.evaluate((named) => window.zerok.harness.sync.createGroup(named).then(() => undefined), FAMILY);
  expect(await loaded(a, /judge/)).toBe(true);
});
