/** The QR code of an invitation is read by a camera, from a film that Chromium takes for one. */
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { expect, test } from "../support/fixtures.js";
import { Demo } from "../support/demo.js";
import { DEMO_DIST } from "../support/paths.js";

/** What a camera in front of the invitation would see, as a JPEG. */
async function photograph(host: Demo): Promise<Buffer> {
  const url = await host.page.getByTestId("invite-qr").locator("svg").evaluate(async (svg) => {
    const image = new Image();
    image.src = `data:image/svg+xml,${encodeURIComponent(new XMLSerializer().serializeToString(svg))}`;
    await image.decode();
    const canvas = document.createElement("canvas");
    [canvas.width, canvas.height] = [640, 480];
    const context = canvas.getContext("2d");
    if (context === null) throw new Error("no canvas");
    context.fillStyle = "#887766";
    context.fillRect(0, 0, 640, 480);
    // Held a little askew, in a room that is not white.
    context.translate(320, 240);
    context.rotate(0.12);
    context.fillStyle = "#f4f4f0";
    context.fillRect(-190, -190, 380, 380);
    context.drawImage(image, -175, -175, 350, 350);
    return canvas.toDataURL("image/jpeg", 0.9);
  });
  return Buffer.from(url.split(",")[1] ?? "", "base64");
}

test("a device joins by scanning the code, without typing anything", async ({ startRelay, device, folder }) => {
  const relay = await startRelay({ web: DEMO_DIST });
  const a = await Demo.open(await device(), relay.url);
  await a.startList();
  await a.add("milk");
  await a.invite();
  const film = join(folder, "film.mjpeg");
  await writeFile(film, await photograph(a));
  const phone = await device({
    viewport: { width: 390, height: 844 },
    args: ["--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream", `--use-file-for-fake-video-capture=${film}`],
  });
  const b = await Demo.open(phone, relay.url);
  const elsewhere: string[] = [];
  b.page.on("request", (request) => {
    if (new URL(request.url()).origin !== new URL(relay.url).origin && request.url().startsWith("http")) elsewhere.push(request.url());
  });
  await b.page.getByTestId("scan-button").click();
  await b.hasItems(["milk"]);
  // The decoder comes from where the app comes from.
  expect(elsewhere).toEqual([]);
});

test("without a camera the other ways are named", async ({ startRelay, device }) => {
  const relay = await startRelay({ web: DEMO_DIST });
  const b = await Demo.open(await device(), relay.url);
  await b.page.getByTestId("scan-button").click();
  await expect(b.page.getByTestId("scan-problem")).toHaveText(/enter the code or the link instead/i);
  await b.page.getByTestId("scan-type").click();
  await expect(b.page.getByTestId("join-input")).toBeFocused();
});
