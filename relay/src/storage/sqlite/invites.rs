//! Invites in SQLite; each function runs inside the caller's transaction.

use sqlx::{Row as _, SqliteConnection};
use zerok_sync_shared::ids::InviteLookup;
use zerok_sync_shared::time::Timestamp;

use super::{bytes, int, number};
use crate::invites::{Invite, InviteState};
use crate::storage::{InviteChange, PutInviteError, StorageError};

const OPEN: i64 = 0;
const CLAIMED: i64 = 1;
const CANCELLED: i64 = 2;

pub(super) async fn put(
    connection: &mut SqliteConnection,
    invite: &Invite,
    max: u64,
    now: Timestamp,
) -> Result<(), PutInviteError> {
    let sql = "SELECT count(*) FROM invites WHERE forget_at > ?1 AND expires_at > ?1";
    let row = sqlx::query(sql)
        .bind(int(now.0))
        .fetch_one(&mut *connection)
        .await;
    if number(&row.map_err(StorageError::from)?, 0)? >= max {
        return Err(PutInviteError::TooMany);
    }
    let sql = "INSERT INTO invites \
               (lookup, claim_hash, owner_hash, offer, secrets, request, reply, state, expires_at, \
                forget_at) \
               VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (lookup) DO NOTHING";
    let done = sqlx::query(sql)
        .bind(invite.lookup.0.to_vec())
        .bind(invite.claim_hash.to_vec())
        .bind(invite.owner_hash.to_vec())
        .bind(invite.offer.clone())
        .bind(invite.secrets.clone())
        .bind(invite.request.clone())
        .bind(invite.reply.clone())
        .bind(OPEN)
        .bind(int(invite.expires_at.0))
        .bind(int(invite.forget_at().0))
        .execute(connection)
        .await
        .map_err(StorageError::from)?;
    if done.rows_affected() == 0 {
        Err(PutInviteError::Taken)
    } else {
        Ok(())
    }
}

pub(super) async fn get(
    connection: &mut SqliteConnection,
    lookup: InviteLookup,
) -> Result<Option<Invite>, StorageError> {
    let sql = "SELECT claim_hash, owner_hash, offer, secrets, request, reply, state, claimant, \
               expires_at FROM invites WHERE lookup = ?";
    let row = sqlx::query(sql)
        .bind(lookup.0.to_vec())
        .fetch_optional(connection)
        .await?;
    let Some(row) = row else { return Ok(None) };
    let state = match row.try_get::<i64, _>(6)? {
        OPEN => InviteState::Open,
        CLAIMED => InviteState::Claimed {
            claimant: bytes(&row, 7)?,
        },
        _ => InviteState::Cancelled,
    };
    Ok(Some(Invite {
        lookup,
        claim_hash: bytes(&row, 0)?,
        owner_hash: bytes(&row, 1)?,
        offer: row.try_get(2)?,
        secrets: row.try_get(3)?,
        request: row.try_get(4)?,
        reply: row.try_get(5)?,
        state,
        expires_at: Timestamp(number(&row, 8)?),
    }))
}

pub(super) async fn change(
    connection: &mut SqliteConnection,
    lookup: InviteLookup,
    change: InviteChange<'_>,
) -> Result<bool, StorageError> {
    let Some(mut invite) = get(connection, lookup).await? else {
        return Ok(false);
    };
    let before = invite.clone();
    change(&mut invite);
    if invite == before {
        return Ok(true);
    }
    let (state, claimant) = match invite.state {
        InviteState::Open => (OPEN, None),
        InviteState::Claimed { claimant } => (CLAIMED, Some(claimant.to_vec())),
        InviteState::Cancelled => (CANCELLED, None),
    };
    let sql = "UPDATE invites SET offer = ?, secrets = ?, request = ?, reply = ?, state = ?, \
               claimant = ? WHERE lookup = ?";
    sqlx::query(sql)
        .bind(invite.offer)
        .bind(invite.secrets)
        .bind(invite.request)
        .bind(invite.reply)
        .bind(state)
        .bind(claimant)
        .bind(lookup.0.to_vec())
        .execute(connection)
        .await?;
    Ok(true)
}

pub(super) async fn expire(
    connection: &mut SqliteConnection,
    now: Timestamp,
) -> Result<(), StorageError> {
    let sql = "UPDATE invites SET offer = x'', secrets = x'', request = x'', reply = x'' \
               WHERE expires_at <= ? AND length(offer) > 0";
    sqlx::query(sql)
        .bind(int(now.0))
        .execute(&mut *connection)
        .await?;
    let sql = "DELETE FROM invites WHERE forget_at <= ?";
    sqlx::query(sql)
        .bind(int(now.0))
        .execute(connection)
        .await?;
    Ok(())
}
