/** What the address bar says: an invitation to join, and where the relay is. */

const params = new URLSearchParams(location.search);

/** Where the browser keeps the lists. */
export const DATABASE = "0k-list";

/** The relay that serves this page, or `?relay=` while developing. */
export const relayUrl = params.get("relay") ?? location.origin;

/** The page that an invitation opens. */
export const appUrl = location.origin + location.pathname + (params.has("relay") ? `?${new URLSearchParams({ relay: relayUrl }).toString()}` : "");

/** The invite link in the address bar, which is removed at once: it must not stay in the history or be shared by accident. */
export function takeInviteLink(): string | undefined {
  if (!location.hash.startsWith("#0k=")) return undefined;
  const link = location.href;
  history.replaceState(history.state, "", location.pathname + location.search);
  return link;
}
