//! How the values of a row are read and bound.

use sqlx::Row as _;
use sqlx::sqlite::SqliteRow;
use zerok_sync_shared::ids::BlobId;
use zerok_sync_shared::message::Mark;
use zerok_sync_shared::time::Timestamp;

use crate::storage::StorageError;

/// SQLite's integers are signed; ours beyond that range mean "as large as can be".
pub(super) fn int(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

pub(super) fn number(row: &SqliteRow, column: usize) -> Result<u64, StorageError> {
    let value: i64 = row.try_get(column)?;
    u64::try_from(value).map_err(|_| StorageError("a number is negative".into()))
}

pub(super) fn bytes<const N: usize>(
    row: &SqliteRow,
    column: usize,
) -> Result<[u8; N], StorageError> {
    let value: &[u8] = row.try_get(column)?;
    value
        .try_into()
        .map_err(|_| StorageError("a byte string has a wrong length".into()))
}

/// A row of cursor, id and timestamp.
pub(super) fn mark(row: &SqliteRow) -> Result<Mark, StorageError> {
    Ok(Mark {
        cursor: number(row, 0)?,
        blob_id: BlobId(bytes(row, 1)?),
        timestamp: Timestamp(number(row, 2)?),
    })
}

/// A JSON array of hex strings, with which one prepared statement asks for any number of ids.
pub(super) fn json_hex<'a>(ids: impl Iterator<Item = &'a [u8]>) -> String {
    let mut json = String::from("[");
    for id in ids {
        if json.len() > 1 {
            json.push(',');
        }
        json.push('"');
        data_encoding::HEXLOWER.encode_append(id, &mut json);
        json.push('"');
    }
    json.push(']');
    json
}
