/** Keeps the app itself on this device, so that it starts without a network. */
import { registerSW } from "virtual:pwa-register";
import { toast } from "./ui/toast.js";

export function keepOffline(): void {
  if (!("serviceWorker" in navigator) || import.meta.env.DEV) return;
  const update = registerSW({
    onNeedRefresh() {
      toast("A new version is ready.", { stays: true, action: { label: "Reload", run: () => void update(true) } });
    },
  });
  void navigator.serviceWorker.ready.then(() => {
    document.documentElement.dataset.offlineReady = "true";
  });
}
