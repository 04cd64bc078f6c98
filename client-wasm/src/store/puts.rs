//! From a batch to requests.

use js_sys::Uint8Array;
use wasm_bindgen::JsValue;
use zerok_sync_client::store::StoreError;
use zerok_sync_shared::codec;
use zerok_sync_shared::store::{Batch, Write};

use super::layout::{self, GROUPS, LOG, MEMBERSHIPS, SENT, SentMark, UNSENT};
use super::transaction::{Writing, failed};

/// Issues everything that the batch asks for; their results are the transaction's.
pub(super) fn issue(writing: &Writing, batch: &Batch) -> Result<(), StoreError> {
    let (groups, log) = (writing.store(GROUPS)?, writing.store(LOG)?);
    let memberships = writing.store(MEMBERSHIPS)?;
    let (unsent, sent) = (writing.store(UNSENT)?, writing.store(SENT)?);
    let issue = |write: &Write| -> Result<(), JsValue> {
        match write {
            Write::State { group, state } => {
                groups.put_with_key(
                    &bytes(&codec::to_bytes(state.as_ref())),
                    &layout::group_key(*group),
                )?;
            }
            Write::Membership { group, membership } => {
                memberships.put_with_key(
                    &bytes(&codec::to_bytes(membership.as_ref())),
                    &layout::group_key(*group),
                )?;
            }
            Write::Append {
                group,
                record,
                unsent: waits,
            } => {
                let key = layout::log_key(*group, record.position);
                log.put_with_key(&bytes(&codec::to_bytes(record)), &key)?;
                if *waits {
                    unsent.put_with_key(&JsValue::from_f64(record.payload.len() as f64), &key)?;
                }
            }
            Write::Sent {
                group,
                position,
                cursor,
                timestamp,
            } => {
                let key = layout::log_key(*group, *position);
                let mark = SentMark {
                    position: *position,
                    cursor: *cursor,
                    timestamp: *timestamp,
                };
                sent.put_with_key(&mark.pack(), &key)?;
                unsent.delete(&key)?;
            }
            Write::Remove { group } => {
                let key = layout::group_key(*group);
                groups.delete(&key)?;
                memberships.delete(&key)?;
                let range = layout::log_range(*group)?;
                for store in [&log, &unsent, &sent] {
                    store.delete(&range)?;
                }
            }
        }
        Ok(())
    };
    batch.writes.iter().try_for_each(issue).map_err(failed)
}

fn bytes(bytes: &[u8]) -> Uint8Array {
    Uint8Array::from(bytes)
}
