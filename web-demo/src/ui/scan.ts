/** Reads the QR code of an invitation with the camera. */
import { cameraProblem, watchCamera } from "./camera.js";
import { openDialog } from "./dialog.js";
import { fill, h, setText } from "./dom.js";

/** The link, or undefined if the person would rather not. */
export function scanInvitation(): Promise<string | undefined> {
  return new Promise((resolve) => {
    const ending = new AbortController();
    let link: string | undefined;
    const video = h("video", { class: "camera", playsinline: true, muted: true, "aria-label": "What the camera sees", "data-testid": "camera" });
    // The attribute alone counts only for markup.
    video.muted = true;
    const hint = h("p", { class: "muted", role: "status", "data-testid": "scan-hint" }, "Starting the camera…");
    const content = h("div", { class: "scan" }, h("div", { class: "viewfinder" }, video), hint);
    const close = (): void => dialog.close();
    const dialog = openDialog(
      {
        title: "Scan the QR code",
        testid: "scan-dialog",
        onClose: () => {
          ending.abort();
          resolve(link);
        },
      },
      content,
      h("div", { class: "actions" }, h("button", { class: "button", type: "button", "data-testid": "scan-type", onclick: close }, "Type it instead")),
    );
    video.addEventListener("playing", () => setText(hint, "Point the camera at the QR code that “Add a device” shows on the other device."));
    const found = (text: string): void => {
      if (!text.includes("#0k=")) {
        setText(hint, "This QR code is not an invitation. Choose “Add a device” on the other device, and scan what it shows.");
        return;
      }
      link = text;
      dialog.close();
    };
    watchCamera(video, ending.signal, found).catch((error: unknown) => {
      if (ending.signal.aborted) return;
      ending.abort();
      fill(content, h("p", { class: "problem", role: "alert", "data-testid": "scan-problem" }, cameraProblem(error)));
    });
  });
}
