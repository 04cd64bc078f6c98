/** QR codes of invite links. Loaded only when an invite is made. */
import { renderSVG } from "uqr";

/** `text` as a QR code: black on white with a quiet zone, so that it scans on dark pages too. */
export function drawQr(text: string): string {
  return renderSVG(text, { ecc: "M", border: 2, pixelSize: 8, whiteColor: "#fff", blackColor: "#000" });
}
