/** Moments at which connections may have died without notice. */

/** Calls `changed` whenever the page comes back or the network does. Returns a function that ends that. */
export function watchWakeUps(changed: () => void): () => void {
  if (typeof document === "undefined" || typeof window === "undefined") return () => undefined;
  const visible = (): void => {
    if (document.visibilityState === "visible") changed();
  };
  document.addEventListener("visibilitychange", visible);
  document.addEventListener("resume", changed);
  window.addEventListener("pageshow", changed);
  window.addEventListener("online", changed);
  window.addEventListener("offline", changed);
  return () => {
    document.removeEventListener("visibilitychange", visible);
    document.removeEventListener("resume", changed);
    window.removeEventListener("pageshow", changed);
    window.removeEventListener("online", changed);
    window.removeEventListener("offline", changed);
  };
}
