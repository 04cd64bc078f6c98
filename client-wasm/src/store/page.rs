//! Reading a log in pages whose size in bytes is not known before they are read.

use js_sys::{Array, Uint8Array};
use wasm_bindgen::JsCast;
use zerok_sync_client::store::StoreError;
use zerok_sync_shared::codec;
use zerok_sync_shared::ids::GroupId;
use zerok_sync_shared::store::LogRecord;

use super::layout::{self, LOG, SENT, SentMark};
use super::transaction::{Reading, answer};
use super::unreadable;

/// Records that are fetched first. They may be of the largest size, so this is some 8 MiB at worst.
const FIRST_CHUNK: u32 = 8;
/// Most records that are fetched at once, when those before were small enough for that many to fit the page.
const LARGEST_CHUNK: u32 = 64;

/// Like `Store::read`.
pub(super) async fn read(
    reading: &Reading,
    group: GroupId,
    mut after: u64,
    max_records: usize,
    max_bytes: usize,
) -> Result<Vec<LogRecord>, StoreError> {
    let (log, sent) = (reading.store(LOG)?, reading.store(SENT)?);
    let mut page: Vec<LogRecord> = Vec::new();
    let mut room = max_bytes;
    let mut chunk = FIRST_CHUNK;
    loop {
        let wanted = chunk.min(u32::try_from(max_records - page.len()).unwrap_or(u32::MAX));
        let Some(range) = layout::log_range_after(group, after)?.filter(|_| wanted > 0) else {
            return Ok(page);
        };
        let records = answer(log.get_all_with_key_and_limit(&range, wanted))?;
        // At most one per record, so the same number covers the chunk.
        let marks = answer(sent.get_all_with_key_and_limit(&range, wanted))?;
        let (records, marks) = (
            records.await?.unchecked_into::<Array>(),
            marks.await?.unchecked_into::<Array>(),
        );
        let marks = marks
            .iter()
            .map(|mark| SentMark::read(&mark))
            .collect::<Result<Vec<_>, _>>()?;

        let mut largest = 1;
        for value in records.iter() {
            let mut record: LogRecord =
                codec::from_bytes(&Uint8Array::new(&value).to_vec()).map_err(unreadable)?;
            let length = record.payload.len();
            if length > room && !page.is_empty() {
                return Ok(page);
            }
            room = room.saturating_sub(length);
            largest = largest.max(length);
            after = record.position;
            if let Ok(at) = marks.binary_search_by_key(&record.position, |mark| mark.position) {
                record.cursor = marks[at].cursor;
                record.timestamp = marks[at].timestamp;
            }
            page.push(record);
        }
        if records.length() < wanted || room == 0 {
            return Ok(page);
        }
        let fitting = u32::try_from(room / largest).unwrap_or(u32::MAX);
        chunk = fitting.clamp(1, (chunk * 2).min(LARGEST_CHUNK));
    }
}
