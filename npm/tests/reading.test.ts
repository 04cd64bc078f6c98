/** What becomes of readers when the log can't be read. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { failure } from "./fake-core.js";
import { code, opened, turn } from "./opened.js";

test('on("blob") goes on after a read that failed and may work later, is told of it once, and misses nothing', async (context) => {
  context.mock.timers.enable({ apis: ["setTimeout"] });
  const { core, client, group } = await opened();
  const seen: string[] = [];
  const errors: string[] = [];
  group.on("error", (error) => errors.push(error.code));
  const stop = group.on("blob", (blob) => seen.push(blob.text()));
  await turn();
  const pull = core.pull.bind(core);
  let asked = 0;
  core.pull = () => {
    asked++;
    return Promise.reject(failure("STORAGE_FAILED", { retryable: true }));
  };
  core.receive("1");
  await turn();
  assert.equal(asked, 1);
  context.mock.timers.tick(250);
  await turn();
  assert.equal(asked, 2);
  // Twice as long.
  context.mock.timers.tick(250);
  await turn();
  assert.equal(asked, 2);
  core.pull = pull;
  core.receive("2");
  context.mock.timers.tick(250);
  await turn();
  assert.deepEqual(seen, ["1", "2"]);
  assert.deepEqual(errors, ["STORAGE_FAILED"]);
  core.receive("3");
  await turn();
  assert.deepEqual(seen, ["1", "2", "3"]);

  // It ends while it waits, by itself or with the client.
  core.pull = () => Promise.reject(failure("STORAGE_FAILED", { retryable: true }));
  core.receive("4");
  await turn();
  stop();
  group.on("blob", (blob) => seen.push(blob.text()));
  core.receive("5");
  await turn();
  await client.close();
  core.pull = pull;
  context.mock.timers.tick(60_000);
  await turn();
  assert.deepEqual(seen, ["1", "2", "3"]);
});

test("an iterator ends with what went wrong, and so does a handler where waiting does not help", async () => {
  const { core, group } = await opened();
  const pull = core.pull.bind(core);
  core.pull = () => Promise.reject(failure("STORAGE_FAILED", { retryable: true }));
  await assert.rejects(group.blobs().next(), code("STORAGE_FAILED"));
  core.pull = () => Promise.reject(failure("UNKNOWN_GROUP"));
  const errors: string[] = [];
  group.on("error", (error) => errors.push(error.code));
  group.on("blob", () => assert.fail("it ended"));
  await turn();
  core.pull = pull;
  core.receive("1");
  await turn();
  assert.deepEqual(errors, ["UNKNOWN_GROUP"]);
});
