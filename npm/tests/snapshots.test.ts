/** When an app is asked for its state, and how it takes the one of another device. */
import assert from "node:assert/strict";
import { test, type TestContext } from "node:test";
import type { BlobsOptions, Group, Snapshot } from "../src/types.js";
import type { FakeCore } from "./fake-core.js";
import { code, opened, turn } from "./opened.js";

/** A group, and a clock that only the test moves. */
class Setup {
  readonly errors: string[] = [];
  readonly #t: TestContext;
  readonly core: FakeCore;
  readonly group: Group;

  private constructor(t: TestContext, core: FakeCore, group: Group) {
    this.#t = t;
    this.core = core;
    this.group = group;
    group.on("error", (error) => void this.errors.push(error.code));
  }

  static async make(t: TestContext): Promise<Setup> {
    t.mock.timers.enable({ apis: ["setTimeout", "Date"] });
    const { core, group } = await opened();
    return new Setup(t, core, group);
  }

  /** The core asks, and looks at once and after a while. */
  async want(request: number): Promise<string[]> {
    this.core.emit({ type: "snapshot-wanted", group: "g", request, position: this.core.log.length });
    await turn();
    return this.given();
  }

  /** What the core has been given, after a few more looks. */
  async given(ms = 200): Promise<string[]> {
    for (let passed = 0; passed < ms; passed += 50) {
      this.#t.mock.timers.tick(50);
      await turn();
    }
    const gives = "giveSnapshot ";
    return this.core.calls.filter((call) => call.startsWith(gives)).map((call) => call.slice(gives.length));
  }

  /** An app that reads like most. */
  read(options?: BlobsOptions): string[] {
    const texts: string[] = [];
    void (async () => {
      for await (const blob of this.group.blobs(options)) texts.push(blob.text());
    })();
    return texts;
  }
}

const state = ({ position }: { position: number }): string => `state at ${position}`;
const gate = (): { opened: Promise<void>; open: () => void } => {
  let open = (): void => undefined;
  const opened = new Promise<void>((resolve) => (open = resolve));
  return { opened, open };
};

test("a snapshot is asked for once an iterator has handed everything out, and given or not", async (t) => {
  const app = await Setup.make(t);
  const off = app.group.onSnapshot(state);
  assert.ok(app.core.calls.includes("provideSnapshots true"));
  assert.throws(() => app.group.onSnapshot(7 as unknown as () => string), code("INVALID_ARGUMENT"));
  assert.throws(() => app.group.onSnapshot(state, { reached: 7 as unknown as () => number }), code("INVALID_ARGUMENT"));
  const iterator = app.group.blobs();
  app.core.receive("one");
  assert.deepEqual(await app.want(1), [], "the iterator has not taken it");
  await iterator.next();
  const second = iterator.next();
  assert.deepEqual(await app.given(), ["1 state at 1"]);
  await iterator.return?.();
  await second;

  app.read();
  app.group.onSnapshot(() => new Uint8Array(16 * 1024 * 1024 + 1));
  assert.equal((await app.want(2)).at(-1), "2 nothing");
  assert.deepEqual(app.errors, ["BLOB_TOO_LARGE"]);
  off();
  assert.ok(!app.core.calls.includes("provideSnapshots false"), "another provider has taken its place");
});

test("before an app reads, its state is not asked for", async (t) => {
  const app = await Setup.make(t);
  app.core.receive("one");
  app.group.onSnapshot(state);
  assert.deepEqual(await app.want(1), []);
  app.read();
  assert.deepEqual(await app.given(), ["1 state at 1"]);
});

test("an app that nothing shows to have the log gives nothing, and is told so", async (t) => {
  const app = await Setup.make(t);
  let asked = 0;
  app.group.onSnapshot(() => {
    asked += 1;
    return "empty";
  });
  app.core.receive("one");
  await app.group.pull();
  assert.deepEqual(await app.want(1), []);
  assert.deepEqual(await app.given(120_000), ["1 nothing"]);
  assert.deepEqual([asked, app.errors], [0, ["SNAPSHOT_NOT_GIVEN"]]);
});

test("an app that reads in its own way says how far it is", async (t) => {
  const app = await Setup.make(t);
  let reached: unknown = 0;
  app.group.onSnapshot(state, { reached: () => Promise.resolve(reached as number) });
  app.core.receive("one");
  app.core.receive("two");
  // Somebody who looks at the end of the log has not got the rest.
  app.read({ after: 1 });
  assert.deepEqual(await app.want(1), []);
  reached = 1;
  assert.deepEqual(await app.given(), []);
  reached = 2;
  assert.deepEqual(await app.given(), ["1 state at 2"]);
  reached = undefined;
  assert.equal((await app.want(2)).at(-1), "2 nothing");
  assert.deepEqual(app.errors, ["INVALID_ARGUMENT"]);
});

test("a request that is followed by another one is not answered", async (t) => {
  const app = await Setup.make(t);
  let asked = 0;
  app.group.onSnapshot(() => `answer ${(asked += 1)}`);
  await app.want(1);
  await app.want(2);
  app.read();
  assert.deepEqual(await app.given(), ["2 answer 1"]);
});

test("handlers count from the beginning of the log on, and what they return is waited for", async (t) => {
  const app = await Setup.make(t);
  const applied = gate();
  const off = app.group.on("blob", () => applied.opened);
  app.core.receive("one");
  app.group.onSnapshot(state);
  assert.deepEqual(await app.want(1), [], "the handler is at work");
  applied.open();
  assert.deepEqual(await app.given(), ["1 state at 1"]);

  // One that takes its place has what it had.
  off();
  const again = app.group.on("blob", () => undefined);
  app.core.receive("two");
  assert.equal((await app.want(2)).at(-1), "2 state at 2");

  again();
  app.core.receive("nobody hears it");
  app.group.on("blob", () => undefined);
  assert.equal((await app.want(3)).at(-1), "2 state at 2", "the handler lacks what came before it");
  app.read();
  assert.equal((await app.given()).at(-1), "3 state at 3");
});

test("a snapshot that is held must have been read, whether it is from before or has just come", async (t) => {
  const app = await Setup.make(t);
  app.core.held = [{ data: new Uint8Array([7]), position: 0 }];
  app.read();
  app.group.onSnapshot(state);
  assert.deepEqual(await app.want(1), []);
  await app.group.snapshots();
  assert.deepEqual(await app.given(), ["1 state at 0"]);

  app.core.emit({ type: "snapshot", group: "g" });
  assert.equal((await app.want(2)).at(-1), "1 state at 0", "nobody has heard of it");
  assert.equal((await app.group.snapshots())[0]?.data[0], 7);
  assert.equal((await app.given()).at(-1), "2 state at 0");

  const imported = gate();
  app.group.on("snapshot", () => imported.opened);
  app.core.emit({ type: "snapshot", group: "g" });
  assert.equal((await app.want(3)).at(-1), "2 state at 0", "the handler is at work");
  imported.open();
  assert.equal((await app.given()).at(-1), "3 state at 0");
});

test("the newest of several is not all of them", async (t) => {
  const app = await Setup.make(t);
  const older = { data: new Uint8Array([7]), position: 0 };
  app.core.held = [older];
  app.read();
  app.group.onSnapshot(state);
  app.group.on("snapshot", () => undefined);
  app.core.held = [older, { data: new Uint8Array([8]), position: 0 }];
  app.core.emit({ type: "snapshot", group: "g" });
  assert.deepEqual(await app.want(1), [], "the older one is from before the app started");
  assert.equal((await app.group.snapshots()).length, 2);
  assert.deepEqual(await app.given(), ["1 state at 0"]);
});

test("reading a snapshot that was replaced meanwhile is not enough", async (t) => {
  const app = await Setup.make(t);
  app.read();
  app.group.onSnapshot(state);
  const slow = gate();
  const snapshots = app.core.snapshots.bind(app.core);
  app.core.snapshots = async () => {
    const held = await snapshots();
    await slow.opened;
    return held;
  };
  const first = app.group.snapshots();
  app.core.snapshots = snapshots;
  app.core.held = [{ data: new Uint8Array([8]), position: 0 }];
  app.core.emit({ type: "snapshot", group: "g" });
  slow.open();
  assert.deepEqual(await first, []);
  assert.deepEqual(await app.want(1), []);
  await app.group.snapshots();
  assert.deepEqual(await app.given(), ["1 state at 0"]);
});

test("what stands in for the beginning of the log is as good as the beginning", async (t) => {
  const app = await Setup.make(t);
  app.core.receive("one");
  app.core.held = [{ data: new Uint8Array([7]), position: 1 }];
  app.group.on("blob", () => undefined);
  app.group.onSnapshot(state);
  assert.deepEqual(await app.want(1), []);
  await app.group.snapshots();
  assert.deepEqual(await app.given(), ["1 state at 1"]);
});

test("a state is not given while the app is at work with a deletion", async (t) => {
  const app = await Setup.make(t);
  app.read();
  app.group.onSnapshot(state);
  const removed = gate();
  app.group.on("deleted", () => removed.opened);
  app.core.emit({ type: "deleted", group: "g", id: "b1", by: "d2", position: 1, forced: false });
  assert.deepEqual(await app.want(1), []);
  removed.open();
  assert.deepEqual(await app.given(), ["1 state at 0"]);
});

test("a snapshot of another device is told, and kept", async (t) => {
  const { core, group } = await Setup.make(t);
  assert.deepEqual(await group.snapshots(), []);
  core.held = [{ data: new Uint8Array([7]), position: 3 }];
  const told: Snapshot[] = [];
  group.on("snapshot", (snapshot) => void told.push(snapshot));
  core.emit({ type: "snapshot", group: "g" });
  await turn();
  assert.deepEqual(told, [{ data: new Uint8Array([7]), position: 3 }]);
  assert.equal((await group.snapshots())[0]?.position, 3);
});
