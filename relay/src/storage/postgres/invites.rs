//! Invites in PostgreSQL; each function runs inside the caller's transaction.

use sqlx::{PgConnection, Row as _};
use zerok_sync_shared::ids::InviteLookup;
use zerok_sync_shared::time::Timestamp;

use super::{bytes, int, number};
use crate::invites::{Invite, InviteState};
use crate::storage::{InviteChange, PutInviteError};

const OPEN: i64 = 0;
const CLAIMED: i64 = 1;
const CANCELLED: i64 = 2;

pub(super) async fn put(
    connection: &mut PgConnection,
    invite: &Invite,
    max: u64,
    now: Timestamp,
) -> Result<Result<(), PutInviteError>, sqlx::Error> {
    let sql = "SELECT count(*) FROM invites WHERE expires_at > $1";
    let row = sqlx::query(sql)
        .bind(int(now.0))
        .fetch_one(&mut *connection)
        .await?;
    if number(&row, 0)? >= max {
        return Ok(Err(PutInviteError::TooMany));
    }
    let sql = "INSERT INTO invites \
               (lookup, claim_hash, owner_hash, offer, secrets, request, reply, state, expires_at, \
                forget_at) \
               VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) ON CONFLICT (lookup) DO NOTHING";
    let done = sqlx::query(sql)
        .bind(invite.lookup.0.as_slice())
        .bind(invite.claim_hash.as_slice())
        .bind(invite.owner_hash.as_slice())
        .bind(&invite.offer)
        .bind(&invite.secrets)
        .bind(&invite.request)
        .bind(&invite.reply)
        .bind(OPEN)
        .bind(int(invite.expires_at.0))
        .bind(int(invite.forget_at().0))
        .execute(connection)
        .await?;
    Ok(if done.rows_affected() == 0 {
        Err(PutInviteError::Taken)
    } else {
        Ok(())
    })
}

/// An invite. Inside a transaction that changes it, `FOR UPDATE`: of two who claim it at two nodes, one has it.
pub(super) async fn get(
    connection: &mut PgConnection,
    lookup: InviteLookup,
    to_change: bool,
) -> Result<Option<Invite>, sqlx::Error> {
    let sql = if to_change {
        "SELECT claim_hash, owner_hash, offer, secrets, request, reply, state, claimant, \
         expires_at FROM invites WHERE lookup = $1 FOR UPDATE"
    } else {
        "SELECT claim_hash, owner_hash, offer, secrets, request, reply, state, claimant, \
         expires_at FROM invites WHERE lookup = $1"
    };
    let row = sqlx::query(sql)
        .bind(lookup.0.as_slice())
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
    connection: &mut PgConnection,
    lookup: InviteLookup,
    change: &mut InviteChange<'_>,
) -> Result<bool, sqlx::Error> {
    let Some(mut invite) = get(connection, lookup, true).await? else {
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
    let sql = "UPDATE invites SET offer = $1, secrets = $2, request = $3, reply = $4, state = $5, \
               claimant = $6 WHERE lookup = $7";
    sqlx::query(sql)
        .bind(invite.offer)
        .bind(invite.secrets)
        .bind(invite.request)
        .bind(invite.reply)
        .bind(state)
        .bind(claimant)
        .bind(lookup.0.as_slice())
        .execute(connection)
        .await?;
    Ok(true)
}

pub(super) async fn expire(
    connection: &mut PgConnection,
    now: Timestamp,
) -> Result<(), sqlx::Error> {
    let sql = "UPDATE invites SET offer = '', secrets = '', request = '', reply = '' \
               WHERE expires_at <= $1 AND octet_length(offer) > 0";
    sqlx::query(sql)
        .bind(int(now.0))
        .execute(&mut *connection)
        .await?;
    let sql = "DELETE FROM invites WHERE forget_at <= $1";
    sqlx::query(sql)
        .bind(int(now.0))
        .execute(connection)
        .await?;
    Ok(())
}
