import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { createServer } from "node:net";
import { test } from "node:test";
import { NodeWebSocket } from "../src/node-websocket.js";

/** A server that sends its handshake and a first message "hi" in one packet. */
async function eagerServer(): Promise<{ url: string; close: () => void }> {
  const server = createServer((socket) => {
    socket.once("data", (request) => {
      const key = /sec-websocket-key: (.+)\r\n/i.exec(request.toString())?.[1] ?? "";
      const accept = createHash("sha1").update(`${key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`).digest("base64");
      const head = `HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ${accept}\r\n\r\n`;
      socket.write(Buffer.concat([Buffer.from(head), Buffer.from([0x81, 2]), Buffer.from("hi")]));
    });
    socket.on("error", () => undefined);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const address = server.address();
  assert(typeof address === "object" && address !== null);
  return { url: `ws://127.0.0.1:${address.port}`, close: () => server.close() };
}

test("a message that arrives with the handshake waits for who listens after open", async () => {
  const server = await eagerServer();
  const socket = new NodeWebSocket(server.url);
  await new Promise((resolve) => {
    socket.onopen = resolve;
  });
  // As a wasm core does it: a few promises later.
  for (let i = 0; i < 10; i++) await Promise.resolve();
  const message = await new Promise((resolve) => {
    socket.onmessage = ({ data }) => resolve(data);
  });
  assert.equal(message, "hi");
  socket.terminate();
  server.close();
});
