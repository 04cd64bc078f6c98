/** Draws the icons in public/: a ring and a tick, as SVG and as PNGs without any image library. */
import { writeFileSync } from "node:fs";
import { deflateSync } from "node:zlib";

const out = new URL("../public/", import.meta.url);
const background = [11, 110, 84];
const foreground = [255, 255, 255];
// In a square of side 1: the ring, and the corners of the tick.
const ring = { x: 0.5, y: 0.5, r: 0.29, width: 0.075 };
const tick = [
  [0.385, 0.51],
  [0.465, 0.59],
  [0.625, 0.415],
];

const path = tick.map(([x, y], i) => `${i === 0 ? "M" : "L"}${x * 512} ${y * 512}`).join("");
writeFileSync(
  new URL("icon.svg", out),
  `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 512 512"><rect width="512" height="512" rx="116" fill="#0b6e54"/>` +
    `<g fill="none" stroke="#fff" stroke-width="${ring.width * 512}" stroke-linecap="round" stroke-linejoin="round">` +
    `<circle cx="256" cy="256" r="${ring.r * 512}"/><path d="${path}"/></g></svg>\n`,
);
for (const [name, size, radius, scale] of [
  ["icon-192.png", 192, 0.226, 1],
  ["icon-512.png", 512, 0.226, 1],
  ["icon-maskable-512.png", 512, 0, 0.86],
  ["apple-touch-icon.png", 180, 0, 1],
]) {
  writeFileSync(new URL(name, out), png(size, (x, y) => colour(x, y, 1 / size, radius, scale)));
}
console.log("icons written");

/** Colour and opacity at a point; edges are softened over `pixel`. */
function colour(x, y, pixel, radius, scale) {
  const [u, v] = [(x - 0.5) / scale + 0.5, (y - 0.5) / scale + 0.5];
  const toRing = Math.abs(Math.hypot(u - ring.x, v - ring.y) - ring.r);
  const toTick = Math.min(toSegment(u, v, tick[0], tick[1]), toSegment(u, v, tick[1], tick[2]));
  const ink = coverage((Math.min(toRing, toTick) - ring.width / 2) * scale, pixel);
  const mixed = background.map((c, i) => Math.round(c + (foreground[i] - c) * ink));
  const [qx, qy] = [Math.abs(x - 0.5) - 0.5 + radius, Math.abs(y - 0.5) - 0.5 + radius];
  const toEdge = Math.hypot(Math.max(qx, 0), Math.max(qy, 0)) + Math.min(Math.max(qx, qy), 0) - radius;
  return [...mixed, Math.round(255 * (radius === 0 ? 1 : coverage(toEdge, pixel)))];
}

function coverage(distance, pixel) {
  return Math.min(1, Math.max(0, 0.5 - distance / pixel));
}

function toSegment(x, y, [ax, ay], [bx, by]) {
  const t = Math.min(1, Math.max(0, ((x - ax) * (bx - ax) + (y - ay) * (by - ay)) / ((bx - ax) ** 2 + (by - ay) ** 2)));
  return Math.hypot(x - ax - t * (bx - ax), y - ay - t * (by - ay));
}

function png(size, at) {
  const rows = [];
  for (let y = 0; y < size; y++) {
    rows.push(0);
    for (let x = 0; x < size; x++) rows.push(...at((x + 0.5) / size, (y + 0.5) / size));
  }
  const header = Buffer.alloc(13);
  header.writeUInt32BE(size, 0);
  header.writeUInt32BE(size, 4);
  header.set([8, 6, 0, 0, 0], 8);
  return Buffer.concat([
    Buffer.from([137, 80, 78, 71, 13, 10, 26, 10]),
    chunk("IHDR", header),
    chunk("IDAT", deflateSync(Buffer.from(rows), { level: 9 })),
    chunk("IEND", Buffer.alloc(0)),
  ]);
}

function chunk(type, data) {
  const body = Buffer.concat([Buffer.from(type, "latin1"), data]);
  const framed = Buffer.alloc(body.length + 8);
  framed.writeUInt32BE(data.length, 0);
  body.copy(framed, 4);
  framed.writeUInt32BE(crc32(body), body.length + 4);
  return framed;
}

function crc32(data) {
  let crc = ~0;
  for (const byte of data) {
    crc ^= byte;
    for (let bit = 0; bit < 8; bit++) crc = (crc >>> 1) ^ (crc & 1 ? 0xedb88320 : 0);
  }
  return ~crc >>> 0;
}
