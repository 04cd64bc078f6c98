import assert from "node:assert/strict";
import { test } from "node:test";
import type { ClientHandle } from "../src/api/client.js";
import { SyncError } from "../src/errors.js";
import type { Invite, JoiningDevice, JoinRequest } from "../src/types.js";
import { type FakeCore, failure } from "./fake-core.js";
import { opened, turn } from "./opened.js";

async function invited(): Promise<{ core: FakeCore; client: ClientHandle; invite: Invite }> {
  const { core, client, group } = await opened();
  return { core, client, invite: await group.createInvite({ confirm: true }) };
}

const joiner = { device: "d2", name: "Phone", comparisonCode: "012345" };
const told = { device: "d2", deviceName: "Phone", comparisonCode: "012345" };
const looks = (core: FakeCore): number => core.calls.filter((call) => call.startsWith("inviteState")).length;

test("an invite is looked at from the first listener on until it ends", async (context) => {
  context.mock.timers.enable({ apis: ["setTimeout"] });
  const { core, invite } = await invited();
  await turn();
  assert.equal(looks(core), 0);
  const claimed: (JoiningDevice | null)[] = [];
  invite.on("claimed", (device) => claimed.push(device));
  invite.on("request", () => assert.fail("nobody asked"));
  await turn();
  assert.equal(looks(core), 1);
  core.invite = { state: "claimed", joiner };
  context.mock.timers.tick(2_000);
  await turn();
  assert.deepEqual(claimed, [told]);
  context.mock.timers.tick(20_000);
  await turn();
  assert.equal(looks(core), 2);
});

test("a device that waits is told of once, and is let in or turned away", async (context) => {
  context.mock.timers.enable({ apis: ["setTimeout"] });
  for (const accept of [true, false]) {
    const { core, invite } = await invited();
    core.invite = { state: "requested", joiner };
    const requests: JoinRequest[] = [];
    const ended: SyncError[] = [];
    invite.on("request", (request) => requests.push(request));
    invite.on("ended", (error) => ended.push(error));
    await turn();
    context.mock.timers.tick(2_000);
    await turn();
    assert.equal(requests.length, 1);
    const [request] = requests;
    assert.deepEqual({ ...request, accept: 0, reject: 0 }, { ...told, accept: 0, reject: 0 });
    await (accept ? request?.accept() : request?.reject());
    assert(core.calls.includes(`answerInvite l1 ${accept}`));
    assert.deepEqual(ended, []);
  }
});

test("a device that waits is told of to every handler that comes before it is answered", async (context) => {
  context.mock.timers.enable({ apis: ["setTimeout"] });
  const { core, invite } = await invited();
  core.invite = { state: "requested", joiner };
  invite.on("ended", () => assert.fail("it goes on"));
  await turn();
  const told: JoinRequest[] = [];
  const stop = invite.on("request", () => assert.fail("it does not listen any more"));
  stop();
  invite.on("request", (request) => told.push(request));
  invite.on("request", (request) => told.push(request));
  await turn();
  assert.equal(told.length, 2);
  // An answer that did not get through leaves it as it was.
  core.next = () => Promise.reject(failure("RELAY_UNREACHABLE", { retryable: true }));
  await assert.rejects(async () => told[0]?.accept());
  invite.on("request", (request) => told.push(request));
  await turn();
  assert.equal(told.length, 3);
  await told[2]?.accept();
  invite.on("request", () => assert.fail("it was answered"));
  context.mock.timers.tick(2_000);
  await turn();
  assert.equal(told.length, 3);
});

test("an invite that ends unused says why", async (context) => {
  context.mock.timers.enable({ apis: ["setTimeout", "Date"] });
  const { core, invite } = await invited();
  const ended: string[] = [];
  invite.on("ended", (error) => ended.push(error.code));
  await turn();
  core.next = () => Promise.reject(failure("RELAY_UNREACHABLE", { retryable: true }));
  context.mock.timers.tick(2_000);
  await turn();
  assert.equal(ended.length, 0);
  core.invite = { state: "over" };
  context.mock.timers.tick(2_000);
  await turn();
  assert.deepEqual(ended, ["INVITE_INVALID"]);

  const late = await invited();
  late.core.invite = { state: "over" };
  context.mock.timers.setTime(late.invite.expiresAt);
  late.invite.on("ended", (error) => ended.push(error.code));
  await turn();
  assert.deepEqual(ended, ["INVITE_INVALID", "INVITE_EXPIRED"]);
});

test("who joins gets the comparison code, and can give up", async () => {
  const { core, client } = await invited();
  const codes: string[] = [];
  await client.join("https://app.test/#0k=abc", { onComparisonCode: (code) => codes.push(code) });
  assert.deepEqual(codes, ["012345"]);

  const giveUp = new AbortController();
  let end: (error: Error) => void = () => undefined;
  core.next = () => new Promise((_, reject) => (end = reject));
  const joining = client.join("https://app.test/#0k=abc", { signal: giveUp.signal });
  await turn();
  const reason = new Error("never mind");
  giveUp.abort(reason);
  end(failure("CANCELLED"));
  await assert.rejects(joining, reason);
  assert(core.calls.includes("cancelJoin"));
  await assert.rejects(client.join("https://app.test/#0k=abc", { signal: AbortSignal.abort(reason) }), reason);
});
