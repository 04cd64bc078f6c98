//! The JavaScript objects that cross the border, and their TypeScript declarations.
//!
//! Each is built by assigning its properties in one order, which is cheaper than going through serde, and gives all
//! objects of a kind the same shape.

use js_sys::{Array, Object, Uint8Array};
use wasm_bindgen::prelude::wasm_bindgen;
use wasm_bindgen::{JsCast, JsValue};

#[wasm_bindgen(typescript_custom_section)]
const DECLARATIONS: &str = r#"
/** How a device is opened. */
export interface CoreConfig {
  relays: string[];
  name: string;
  deviceName: string;
  platform: string;
  accessToken?: string;
  storage: "indexeddb" | "memory";
  wrapKey?: CryptoKey;
}

/** A failure. Rejected promises carry an `Error` with these properties. */
export interface CoreError {
  code: string;
  message: string;
  retryable: boolean;
  retryAfterMs?: number;
  reason?: string;
}

export interface SyncStatus {
  state: "never-synced" | "restoring" | "synced" | "syncing" | "pending" | "offline" | "error";
  pending: number;
  progress: { done: number; total: number } | null;
  relay: string | null;
  relays: { url: string; connected: boolean }[];
  lastSyncedAt: number | null;
  error: CoreError | null;
}

export interface CorePushed {
  id: string;
  position: number;
}

export interface CoreBlob {
  id: string;
  position: number;
  sender: string;
  own: boolean;
  cursor: number;
  timestamp: number;
  data: Uint8Array;
  sealed?: Uint8Array;
}

/** One page of the local log; `next` is the position to continue after. */
export interface CorePage {
  blobs: CoreBlob[];
  hasMore: boolean;
  next: number;
}

export interface CoreSnapshot {
  data: Uint8Array;
  position: number;
}

export interface CoreInvite {
  link: string;
  code: string | undefined;
  lookup: string;
  expiresAt: number;
}

/** A device that uses an invite. */
export interface CoreJoiner {
  device: string;
  name: string;
  comparisonCode: string;
}

export interface CoreInviteState {
  state: "open" | "requested" | "claimed" | "over";
  joiner?: CoreJoiner;
}

export interface CoreDevice {
  id: string;
  name: string;
  platform: string;
  self: boolean;
  revoked: boolean;
  revoking: boolean;
  online: boolean;
  lastSeen: number | null;
}

/** Given to the callback in the order in which it happened, before the call that caused it resolves. */
export type CoreEvent =
  | { type: "status"; status: SyncStatus }
  | {
      type: "group";
      group: string;
      status: SyncStatus;
      versionVector: Record<string, number>;
      position: number;
      ready: boolean;
    }
  | { type: "group-joined"; group: string }
  | { type: "group-left"; group: string }
  | { type: "pushed"; group: string; id: string; position: number; cursor: number }
  | { type: "device-joined"; group: string; device: string; name?: string }
  | {
      type: "device-revoked";
      group: string;
      device: string;
      by: string;
      reason: "lost" | "decommissioned" | "compromised" | "other";
    }
  | { type: "deleted"; group: string; id: string; by: string; position: number; forced: boolean }
  | { type: "devices"; group: string }
  | { type: "broadcast"; group: string; sender: string; data: Uint8Array }
  | { type: "snapshot-wanted"; group: string; request: number; position: number }
  | { type: "snapshot"; group: string }
  | { type: "gap"; group: string; sender: string; from: number; to: number }
  | { type: "comparison-code"; joining: number; code: string }
  | { type: "error"; group?: string; error: CoreError; cursor?: number };
"#;

#[wasm_bindgen]
extern "C" {
    #[wasm_bindgen(typescript_type = "CoreConfig")]
    pub type CoreConfig;
    #[wasm_bindgen(method, getter)]
    pub fn relays(this: &CoreConfig) -> JsValue;
    #[wasm_bindgen(method, getter)]
    pub fn name(this: &CoreConfig) -> JsValue;
    #[wasm_bindgen(method, getter, js_name = deviceName)]
    pub fn device_name(this: &CoreConfig) -> JsValue;
    #[wasm_bindgen(method, getter)]
    pub fn platform(this: &CoreConfig) -> JsValue;
    #[wasm_bindgen(method, getter, js_name = accessToken)]
    pub fn access_token(this: &CoreConfig) -> JsValue;
    #[wasm_bindgen(method, getter)]
    pub fn storage(this: &CoreConfig) -> JsValue;
    #[wasm_bindgen(method, getter, js_name = wrapKey)]
    pub fn wrap_key(this: &CoreConfig) -> JsValue;

    #[wasm_bindgen(extends = js_sys::Function, typescript_type = "(event: CoreEvent) => void")]
    pub type OnEvent;

    /// An `Error`, or a plain object where an error is told rather than thrown.
    pub type CoreError;
    #[wasm_bindgen(method, setter)]
    pub fn set_code(this: &CoreError, code: &str);
    #[wasm_bindgen(method, setter)]
    pub fn set_message(this: &CoreError, message: &str);
    #[wasm_bindgen(method, setter)]
    pub fn set_retryable(this: &CoreError, retryable: bool);
    #[wasm_bindgen(method, setter, js_name = retryAfterMs)]
    pub fn set_retry_after_ms(this: &CoreError, retry_after_ms: f64);
    #[wasm_bindgen(method, setter)]
    pub fn set_reason(this: &CoreError, reason: &str);

    pub type SyncStatus;
    #[wasm_bindgen(method, setter)]
    pub fn set_state(this: &SyncStatus, state: &str);
    #[wasm_bindgen(method, setter)]
    pub fn set_pending(this: &SyncStatus, pending: f64);
    #[wasm_bindgen(method, setter)]
    pub fn set_progress(this: &SyncStatus, progress: &JsValue);
    #[wasm_bindgen(method, setter)]
    pub fn set_relay(this: &SyncStatus, relay: &JsValue);
    #[wasm_bindgen(method, setter)]
    pub fn set_relays(this: &SyncStatus, relays: &Array);
    #[wasm_bindgen(method, setter, js_name = lastSyncedAt)]
    pub fn set_last_synced_at(this: &SyncStatus, last_synced_at: &JsValue);
    #[wasm_bindgen(method, setter)]
    pub fn set_error(this: &SyncStatus, error: &JsValue);

    pub type Progress;
    #[wasm_bindgen(method, setter)]
    pub fn set_done(this: &Progress, done: f64);
    #[wasm_bindgen(method, setter)]
    pub fn set_total(this: &Progress, total: f64);

    pub type Relay;
    #[wasm_bindgen(method, setter)]
    pub fn set_url(this: &Relay, url: &str);
    #[wasm_bindgen(method, setter)]
    pub fn set_connected(this: &Relay, connected: bool);

    #[wasm_bindgen(typescript_type = "CoreDevice")]
    pub type CoreDevice;
    #[wasm_bindgen(method, setter)]
    pub fn set_id(this: &CoreDevice, id: &str);
    #[wasm_bindgen(method, setter)]
    pub fn set_name(this: &CoreDevice, name: &str);
    #[wasm_bindgen(method, setter)]
    pub fn set_platform(this: &CoreDevice, platform: &str);
    #[wasm_bindgen(method, setter)]
    pub fn set_self(this: &CoreDevice, own: bool);
    #[wasm_bindgen(method, setter)]
    pub fn set_revoked(this: &CoreDevice, revoked: bool);
    #[wasm_bindgen(method, setter)]
    pub fn set_revoking(this: &CoreDevice, revoking: bool);
    #[wasm_bindgen(method, setter)]
    pub fn set_online(this: &CoreDevice, online: bool);
    #[wasm_bindgen(method, setter, js_name = lastSeen)]
    pub fn set_last_seen(this: &CoreDevice, last_seen: &JsValue);

    #[wasm_bindgen(typescript_type = "CorePushed")]
    pub type CorePushed;
    #[wasm_bindgen(method, setter)]
    pub fn set_id(this: &CorePushed, id: &str);
    #[wasm_bindgen(method, setter)]
    pub fn set_position(this: &CorePushed, position: f64);

    #[wasm_bindgen(typescript_type = "CoreSnapshot")]
    pub type CoreSnapshot;
    #[wasm_bindgen(method, setter)]
    pub fn set_data(this: &CoreSnapshot, data: &Uint8Array);
    #[wasm_bindgen(method, setter)]
    pub fn set_position(this: &CoreSnapshot, position: f64);

    pub type CoreCursor;
    #[wasm_bindgen(method, setter)]
    pub fn set_cursor(this: &CoreCursor, cursor: f64);

    pub type CoreBlob;
    #[wasm_bindgen(method, setter)]
    pub fn set_id(this: &CoreBlob, id: &str);
    #[wasm_bindgen(method, setter)]
    pub fn set_position(this: &CoreBlob, position: f64);
    #[wasm_bindgen(method, setter)]
    pub fn set_sender(this: &CoreBlob, sender: &JsValue);
    #[wasm_bindgen(method, setter)]
    pub fn set_own(this: &CoreBlob, own: bool);
    #[wasm_bindgen(method, setter)]
    pub fn set_cursor(this: &CoreBlob, cursor: f64);
    #[wasm_bindgen(method, setter)]
    pub fn set_timestamp(this: &CoreBlob, timestamp: f64);
    #[wasm_bindgen(method, setter)]
    pub fn set_data(this: &CoreBlob, data: &Uint8Array);
    #[wasm_bindgen(method, setter)]
    pub fn set_sealed(this: &CoreBlob, sealed: &Uint8Array);

    #[wasm_bindgen(typescript_type = "CorePage")]
    pub type CorePage;
    #[wasm_bindgen(method, setter)]
    pub fn set_blobs(this: &CorePage, blobs: &Array);
    #[wasm_bindgen(method, setter, js_name = hasMore)]
    pub fn set_has_more(this: &CorePage, has_more: bool);
    #[wasm_bindgen(method, setter)]
    pub fn set_next(this: &CorePage, next: f64);

    #[wasm_bindgen(typescript_type = "CoreInvite")]
    pub type CoreInvite;
    #[wasm_bindgen(method, setter)]
    pub fn set_link(this: &CoreInvite, link: &str);
    #[wasm_bindgen(method, setter)]
    pub fn set_code(this: &CoreInvite, code: Option<String>);
    #[wasm_bindgen(method, setter)]
    pub fn set_lookup(this: &CoreInvite, lookup: &str);
    #[wasm_bindgen(method, setter, js_name = expiresAt)]
    pub fn set_expires_at(this: &CoreInvite, expires_at: f64);

    pub type CoreJoiner;
    #[wasm_bindgen(method, setter)]
    pub fn set_device(this: &CoreJoiner, device: &str);
    #[wasm_bindgen(method, setter)]
    pub fn set_name(this: &CoreJoiner, name: &str);
    #[wasm_bindgen(method, setter, js_name = comparisonCode)]
    pub fn set_comparison_code(this: &CoreJoiner, comparison_code: &str);

    #[wasm_bindgen(typescript_type = "CoreInviteState")]
    pub type CoreInviteState;
    #[wasm_bindgen(method, setter)]
    pub fn set_state(this: &CoreInviteState, state: &str);
    #[wasm_bindgen(method, setter)]
    pub fn set_joiner(this: &CoreInviteState, joiner: &CoreJoiner);

    pub type CoreEvent;
    #[wasm_bindgen(method, setter)]
    pub fn set_joining(this: &CoreEvent, joining: u32);
    #[wasm_bindgen(method, setter)]
    pub fn set_code(this: &CoreEvent, code: &str);
    #[wasm_bindgen(method, setter, js_name = type)]
    pub fn set_type(this: &CoreEvent, kind: &str);
    #[wasm_bindgen(method, setter)]
    pub fn set_group(this: &CoreEvent, group: &str);
    #[wasm_bindgen(method, setter)]
    pub fn set_status(this: &CoreEvent, status: &SyncStatus);
    #[wasm_bindgen(method, setter, js_name = versionVector)]
    pub fn set_version_vector(this: &CoreEvent, version_vector: &Object);
    #[wasm_bindgen(method, setter)]
    pub fn set_position(this: &CoreEvent, position: f64);
    #[wasm_bindgen(method, setter)]
    pub fn set_ready(this: &CoreEvent, ready: bool);
    #[wasm_bindgen(method, setter)]
    pub fn set_id(this: &CoreEvent, id: &str);
    #[wasm_bindgen(method, setter)]
    pub fn set_cursor(this: &CoreEvent, cursor: f64);
    #[wasm_bindgen(method, setter)]
    pub fn set_device(this: &CoreEvent, device: &str);
    #[wasm_bindgen(method, setter)]
    pub fn set_name(this: &CoreEvent, name: Option<&str>);
    #[wasm_bindgen(method, setter)]
    pub fn set_by(this: &CoreEvent, by: &str);
    #[wasm_bindgen(method, setter)]
    pub fn set_reason(this: &CoreEvent, reason: &str);
    #[wasm_bindgen(method, setter)]
    pub fn set_forced(this: &CoreEvent, forced: bool);
    #[wasm_bindgen(method, setter)]
    pub fn set_request(this: &CoreEvent, request: f64);
    #[wasm_bindgen(method, setter)]
    pub fn set_sender(this: &CoreEvent, sender: &str);
    #[wasm_bindgen(method, setter)]
    pub fn set_data(this: &CoreEvent, data: &Uint8Array);
    #[wasm_bindgen(method, setter)]
    pub fn set_from(this: &CoreEvent, from: f64);
    #[wasm_bindgen(method, setter)]
    pub fn set_to(this: &CoreEvent, to: f64);
    #[wasm_bindgen(method, setter)]
    pub fn set_error(this: &CoreEvent, error: &CoreError);
}

/// An object without properties, to become one of the kinds above.
pub fn empty<T: JsCast>() -> T {
    Object::new().unchecked_into()
}
