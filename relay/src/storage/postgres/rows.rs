//! How the values of a row are read and bound.

use sqlx::Row as _;
use sqlx::postgres::PgRow;
use zerok_sync_shared::ids::BlobId;
use zerok_sync_shared::message::Mark;
use zerok_sync_shared::time::Timestamp;

/// PostgreSQL's integers are signed; ours beyond that range mean "as large as can be".
pub(super) fn int(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

pub(super) fn number(row: &PgRow, column: usize) -> Result<u64, sqlx::Error> {
    let value: i64 = row.try_get(column)?;
    u64::try_from(value).map_err(|_| wrong("a number is negative"))
}

pub(super) fn bytes<const N: usize>(row: &PgRow, column: usize) -> Result<[u8; N], sqlx::Error> {
    let value: &[u8] = row.try_get(column)?;
    value
        .try_into()
        .map_err(|_| wrong("a byte string has a wrong length"))
}

/// The database holds something that the relay did not write.
pub(super) fn wrong(text: &'static str) -> sqlx::Error {
    sqlx::Error::Decode(text.into())
}

/// A row of cursor, id and timestamp.
pub(super) fn mark(row: &PgRow) -> Result<Mark, sqlx::Error> {
    Ok(Mark {
        cursor: number(row, 0)?,
        blob_id: BlobId(bytes(row, 1)?),
        timestamp: Timestamp(number(row, 2)?),
    })
}
