/** Frames of the camera, and what is in them. */

/** The part of the Barcode Detection API that is used. */
interface Detector {
  detect(source: HTMLVideoElement): Promise<{ rawValue: string }[]>;
}

interface NativeDetector {
  new (options: { formats: string[] }): Detector;
  getSupportedFormats(): Promise<string[]>;
}

/** Between two looks at what the camera sees. */
const LOOK_INTERVAL_MS = 120;

/** The browser's own detector, or one in WebAssembly that is loaded only here. */
async function makeDetector(): Promise<Detector> {
  const { BarcodeDetector: Native } = globalThis as { BarcodeDetector?: NativeDetector };
  if (Native !== undefined) {
    const formats = await Native.getSupportedFormats().catch((): string[] => []);
    if (formats.includes("qr_code")) return new Native({ formats: ["qr_code"] });
  }
  const [{ BarcodeDetector, prepareZXingModule }, { default: wasm }] = await Promise.all([
    import("barcode-detector/ponyfill"),
    import("zxing-wasm/reader/zxing_reader.wasm?url"),
  ]);
  // From this origin, not from the CDN that it would ask by itself.
  prepareZXingModule({ overrides: { locateFile: (path: string, prefix: string) => (path.endsWith(".wasm") ? wasm : prefix + path) } });
  return new (BarcodeDetector as unknown as NativeDetector)({ formats: ["qr_code"] });
}

/** Shows the camera in `video` and calls `found` with what QR codes say, until `signal` aborts. Rejects if there is no picture. */
export async function watchCamera(video: HTMLVideoElement, signal: AbortSignal, found: (text: string) => void): Promise<void> {
  // Undefined on pages that the browser does not trust with a camera.
  const devices = navigator.mediaDevices as MediaDevices | undefined;
  if (devices === undefined) throw new DOMException("no camera for this page", "SecurityError");
  const stream = await devices.getUserMedia({ video: { facingMode: "environment", width: { ideal: 1280 } }, audio: false });
  const stop = (): void => {
    for (const track of stream.getTracks()) track.stop();
    video.srcObject = null;
  };
  const ended = (): boolean => signal.aborted;
  if (ended()) {
    stop();
    return;
  }
  signal.addEventListener("abort", stop);
  video.srcObject = stream;
  const detector = await makeDetector();
  await video.play();
  while (!ended()) {
    const codes = video.readyState >= HTMLMediaElement.HAVE_CURRENT_DATA ? await detector.detect(video) : [];
    if (ended()) return;
    for (const { rawValue } of codes) found(rawValue);
    await new Promise((resolve) => setTimeout(resolve, LOOK_INTERVAL_MS));
  }
}

/** Why there is no picture, and what to do. */
export function cameraProblem(error: unknown): string {
  const otherwise = "Enter the code or the link instead.";
  switch (error instanceof DOMException ? error.name : "") {
    case "NotAllowedError":
      return `The browser doesn't give this page the camera. Allow it in the page's settings, next to its address. ${otherwise}`;
    case "NotFoundError":
    case "OverconstrainedError":
      return `This device has no camera. ${otherwise}`;
    case "NotReadableError":
    case "AbortError":
      return `The camera can't be used now; another app may have it. ${otherwise}`;
    case "SecurityError":
      return `Browsers offer the camera only to pages that come over https. ${otherwise}`;
    default:
      return `The camera does not work here. ${otherwise}`;
  }
}
