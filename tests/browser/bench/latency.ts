/** From `push` in one browser to `blobs()` in the other, beside a bare iroh echo through the same relay in the same browsers. */
import { median, percentile, profiled, report, short, Stage } from "./setup.js";

const ROUNDS = 12;
const PUSHES = 50;
const WARM_UP = 50;

export async function latency(): Promise<boolean> {
  const stage = await Stage.set();
  try {
    const { url } = stage.relay;
    const [a, b] = [await stage.page(), await stage.page()];
    for (const page of [a, b]) await page.evaluate((relay) => window.zerok.harness.open({ relays: [relay] }), url);
    await a.evaluate(() => window.zerok.harness.create());
    const link = await a.evaluate(async () => (await window.zerok.harness.group.createInvite()).link);
    await b.evaluate((given) => window.zerok.harness.join(given), link);
    for (const page of [a, b]) await page.evaluate(() => window.zerok.bench.watch(window.zerok.harness.group));
    const server = await b.evaluate((relay) => window.zerok.bench.serveEcho(relay), url);
    await a.evaluate(([relay, id]) => window.zerok.bench.connectEcho(relay, id), [url, server] as const);

    const number = { next: 0 };
    // Both ways in turn: should the clocks of the two browsers differ, that cancels out.
    const push = async (from: typeof a, to: typeof a): Promise<{ delivered: number; resolved: number }> => {
      const n = number.next++;
      const { at, resolved } = await from.evaluate((given) => window.zerok.bench.push(window.zerok.harness.group, given), n);
      const delivered = await to.evaluate((given) => window.zerok.bench.deliveredAt(given), n);
      return { delivered: delivered - at, resolved: resolved - at };
    };
    const [there, back, local, echo]: number[][] = [[], [], [], []];
    const round = async (count: number): Promise<void> => {
      for (let n = 0; n < count; n++) {
        const [forth, home] = [await push(a, b), await push(b, a)];
        there?.push(forth.delivered);
        back?.push(home.delivered);
        local?.push(forth.resolved, home.resolved);
      }
      echo?.push(...(await a.evaluate((given) => window.zerok.bench.echo(given), count)));
    };
    await round(WARM_UP);
    for (const list of [there, back, local, echo]) list?.splice(0);
    for (let n = 0; n < ROUNDS; n++) await round(PUSHES);

    if (there === undefined || back === undefined || local === undefined || echo === undefined) throw new Error("no values");
    const delivered = there.map((each, i) => (each + (back[i] ?? Number.NaN)) / 2);
    const both = [...there, ...back];
    const measured = median(both) / median(echo);
    const met = await report("browser-latency", {
      name: "push to delivery, to an iroh echo",
      goal: 2,
      measured,
      unit: "×",
      details: {
        explanation:
          "p50 of push in one browser to blobs() in the other, divided by p50 of the round trip of a bare iroh echo; 1 KiB each. " +
          "A push passes browser, relay, browser, with a durable commit at each; an echo browser, relay, browser and back, with none.",
        pushes: both.length,
        push_ms: { p50: short(median(both)), p90: short(percentile(both, 0.9)), p99: short(percentile(both, 0.99)) },
        push_mean_of_both_ways_ms: { p50: short(median(delivered)), p99: short(percentile(delivered, 0.99)) },
        one_way_ms: { there_p50: short(median(there)), back_p50: short(median(back)) },
        durable_on_sender_ms: { p50: short(median(local)), p99: short(percentile(local, 0.99)) },
        echoes: echo.length,
        echo_round_trip_ms: { p50: short(median(echo)), p99: short(percentile(echo, 0.99)) },
      },
    });
    if (!met) await profiled(b, "browser-latency", () => round(PUSHES));
    return met;
  } finally {
    await stage.close();
  }
}
