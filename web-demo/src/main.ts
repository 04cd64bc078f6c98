import { open, SyncError, type SyncClient, type Unlock } from "@0k-sync/client";
import { App } from "./app.js";
import { DATABASE, relayUrl, takeInviteLink } from "./location.js";
import { keepOffline } from "./service-worker.js";
import "./styles/base.css";
import "./styles/welcome.css";
import "./styles/list.css";
import "./styles/dialog.css";
import "./styles/devices.css";
import "./styles/toast.css";
import { clearIfAsked } from "./ui/afresh.js";
import { fill } from "./ui/dom.js";
import { unlockScreen } from "./ui/lock.js";
import { messageOf } from "./ui/toast.js";
import { fatalScreen } from "./ui/welcome.js";

const root = document.querySelector("#app") ?? document.body;

const openDevice = (unlock?: Unlock): Promise<SyncClient> => open({ relays: [relayUrl], name: DATABASE, appId: "0k-list", unlock });

async function run(sync: SyncClient, invitation: string | undefined): Promise<void> {
  const app = new App(root, sync);
  await app.start(invitation);
  // A link that is opened in a tab that is already here changes only the fragment.
  addEventListener("hashchange", () => {
    const link = takeInviteLink();
    if (link !== undefined) void app.offerToJoin(link);
  });
  // The core is gone and can't come back by itself: a fresh start can.
  sync.on("error", ({ code, message }) => {
    if (code === "WORKER_FAILED") fill(root, fatalScreen("Sync stopped", message, () => location.reload()));
  });
}

/** Opens this device and shows the app; `invitation` is kept over a failed start. */
async function start(invitation: string | undefined): Promise<void> {
  try {
    await clearIfAsked();
    await run(await openDevice(), invitation);
  } catch (error) {
    if (error instanceof SyncError && error.code === "LOCKED") {
      fill(root, unlockScreen(error, async (how) => run(await openDevice(how), invitation)));
      return;
    }
    const title = error instanceof SyncError && error.code === "ALREADY_OPEN" ? "Open in another tab" : "The list can't be opened";
    fill(root, fatalScreen(title, messageOf(error), () => void start(invitation)));
  }
}

keepOffline();
void start(takeInviteLink());
