/** Public statuses from the core's. */
import { toSyncError } from "../convert.js";
import type { CoreStatus } from "../core-types.js";
import type { SyncError } from "../errors.js";
import type { SyncStatus } from "../types.js";

/** Before the core has said anything. */
export const initialStatus: SyncStatus = freeze({
  state: "never-synced",
  pending: 0,
  progress: null,
  relay: null,
  relays: [],
  lastSyncedAt: null,
  error: null,
});

/** The public form of a core status; `group` marks its error. */
export function toStatus(status: CoreStatus, group?: string): SyncStatus {
  return freeze({
    ...status,
    error: status.error === null ? null : toSyncError(status.error, { group }),
  });
}

/** The status of something whose core died. */
export const failedStatus = (last: SyncStatus, error: SyncError): SyncStatus =>
  freeze({
    ...last,
    state: "error",
    relay: null,
    progress: null,
    relays: last.relays.map(({ url }) => ({ url, connected: false })),
    error,
  });

/** Whether an app could not tell the two apart. */
export function sameStatus(a: SyncStatus, b: SyncStatus): boolean {
  return (
    a.state === b.state &&
    a.pending === b.pending &&
    a.relay === b.relay &&
    a.lastSyncedAt === b.lastSyncedAt &&
    a.progress?.done === b.progress?.done &&
    a.progress?.total === b.progress?.total &&
    a.error?.code === b.error?.code &&
    a.error?.message === b.error?.message &&
    a.relays.length === b.relays.length &&
    a.relays.every((relay, i) => relay.url === b.relays[i]?.url && relay.connected === b.relays[i].connected)
  );
}

function freeze(status: SyncStatus): SyncStatus {
  status.relays.forEach((relay) => Object.freeze(relay));
  Object.freeze(status.relays);
  if (status.progress !== null) Object.freeze(status.progress);
  return Object.freeze(status);
}
