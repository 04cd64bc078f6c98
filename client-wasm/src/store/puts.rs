//! From a batch to requests.

use js_sys::Uint8Array;
use wasm_bindgen::JsValue;
use zerok_sync_client::store::StoreError;
use zerok_sync_shared::codec;
use zerok_sync_shared::store::{Batch, Write};

use super::layout::{self, GROUPS, LOG, MEMBERSHIPS, SENT, SentMark, UNSENT};
use super::transaction::{Writing, failed};
use super::wrapping::{Place, Wrapping};

/// What each write of a batch puts into its object store. Before the transaction, which would end while a secret is wrapped.
pub(super) async fn prepare(batch: &Batch, keys: &Wrapping) -> Result<Vec<JsValue>, StoreError> {
    let mut values = Vec::with_capacity(batch.writes.len());
    for write in &batch.writes {
        values.push(match write {
            Write::State { state, .. } => bytes(&codec::to_bytes(state.as_ref())),
            Write::Membership { group, membership } => keys
                .wrap(
                    Place::Membership(*group),
                    &codec::to_bytes(membership.as_ref()),
                )
                .await?
                .into(),
            Write::Append { record, .. } | Write::Replace { record, .. } => {
                bytes(&codec::to_bytes(record))
            }
            Write::Sent {
                position,
                cursor,
                timestamp,
                ..
            } => SentMark {
                position: *position,
                cursor: *cursor,
                timestamp: *timestamp,
            }
            .pack()
            .into(),
            Write::Remove { .. } => JsValue::UNDEFINED,
        });
    }
    Ok(values)
}

/// Issues everything that the batch asks for; their results are the transaction's.
pub(super) fn issue(
    writing: &Writing,
    batch: &Batch,
    values: &[JsValue],
) -> Result<(), StoreError> {
    let (groups, log) = (writing.store(GROUPS)?, writing.store(LOG)?);
    let memberships = writing.store(MEMBERSHIPS)?;
    let (unsent, sent) = (writing.store(UNSENT)?, writing.store(SENT)?);
    let issue = |(write, value): (&Write, &JsValue)| -> Result<(), JsValue> {
        match write {
            Write::State { group, .. } => {
                groups.put_with_key(value, &layout::group_key(*group))?;
            }
            Write::Membership { group, .. } => {
                memberships.put_with_key(value, &layout::group_key(*group))?;
            }
            // What a relay said of a record lies beside it, and stays.
            Write::Append {
                group,
                record,
                unsent: waits,
            }
            | Write::Replace {
                group,
                record,
                unsent: waits,
            } => {
                let key = layout::log_key(*group, record.position);
                log.put_with_key(value, &key)?;
                if *waits {
                    unsent.put_with_key(&JsValue::from_f64(record.payload.len() as f64), &key)?;
                }
            }
            Write::Sent {
                group, position, ..
            } => {
                let key = layout::log_key(*group, *position);
                sent.put_with_key(value, &key)?;
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
    let mut puts = batch.writes.iter().zip(values);
    puts.try_for_each(issue).map_err(failed)
}

fn bytes(bytes: &[u8]) -> JsValue {
    Uint8Array::from(bytes).into()
}
