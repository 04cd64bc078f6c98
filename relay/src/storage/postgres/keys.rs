//! The keys of groups: the chain of certificates, the newest member list, and a packet for each member.

use sqlx::{PgConnection, Row as _};
use zerok_sync_shared::codec;
use zerok_sync_shared::crypto::rotation::Certificate;
use zerok_sync_shared::ids::{DeviceId, GroupId};
use zerok_sync_shared::session::{KeysSince, NewRotation};

use super::{bytes, int, number};
use crate::storage::OpenGroup;
use crate::storage::keys::{KeptKeys, RotateError, Senders, connects};

/// Moves a group that is there to the newest epoch of the chain that a device has brought, if it leads there.
pub(super) async fn advance(
    connection: &mut PgConnection,
    open: &OpenGroup,
) -> Result<(), sqlx::Error> {
    let sql = "SELECT id, epoch, access_pub FROM groups WHERE group_id = $1 FOR UPDATE";
    let row = sqlx::query(sql)
        .bind(open.group_id.0.as_slice())
        .fetch_optional(&mut *connection)
        .await?;
    let Some(row) = row else { return Ok(()) };
    let group: i64 = row.try_get(0)?;
    let Some(newer) = connects(&open.chain, number(&row, 1)?, &bytes(&row, 2)?) else {
        return Ok(());
    };
    for link in newer {
        add_link(connection, group, link, None).await?;
    }
    set_epoch(connection, group, open.epoch, &open.access_pub).await
}

/// Changes the keys of a group.
pub(super) async fn rotate(
    connection: &mut PgConnection,
    rotation: &NewRotation,
) -> Result<Result<(), RotateError>, sqlx::Error> {
    let claims = &rotation.certificate.claims;
    let sql = "SELECT id, epoch, access_pub FROM groups WHERE group_id = $1 FOR UPDATE";
    let row = sqlx::query(sql)
        .bind(rotation.group_id.0.as_slice())
        .fetch_optional(&mut *connection)
        .await?;
    let Some(row) = row else {
        return Ok(Err(RotateError::Stale));
    };
    let group: i64 = row.try_get(0)?;
    if number(&row, 1)? + 1 != u64::from(claims.epoch) || bytes(&row, 2)? != claims.previous_pub {
        return Ok(Err(RotateError::Stale));
    }
    let sql =
        "SELECT sender FROM blobs WHERE group_ref = $1 AND cursor > $2 ORDER BY cursor LIMIT $3";
    let rows = sqlx::query(sql)
        .bind(group)
        .bind(int(rotation.after_cursor))
        .bind(Senders::LIMIT)
        .fetch_all(&mut *connection)
        .await?;
    let senders = rows.iter().map(|row| Ok(DeviceId(bytes(row, 0)?)));
    let senders = Senders(senders.collect::<Result<_, sqlx::Error>>()?);
    if let Err(error) = senders.are_known(rotation) {
        return Ok(Err(error));
    }

    let old = "UPDATE rotations SET members = NULL WHERE group_ref = $1 AND members IS NOT NULL";
    for sql in [old, "DELETE FROM key_packets WHERE group_ref = $1"] {
        let query = sqlx::query(sql).bind(group);
        query.execute(&mut *connection).await?;
    }
    add_link(
        connection,
        group,
        &rotation.certificate,
        Some(&rotation.members),
    )
    .await?;
    for (device, packet) in &rotation.packets {
        add_packet(connection, group, *device, claims.epoch, packet).await?;
    }
    if let Some(revoked) = claims.revoked {
        // It holds nothing back any more.
        sqlx::query("DELETE FROM devices WHERE group_ref = $1 AND device_id = $2")
            .bind(group)
            .bind(revoked.0.as_slice())
            .execute(&mut *connection)
            .await?;
    }
    set_epoch(connection, group, claims.epoch, &claims.access_pub).await?;
    Ok(Ok(()))
}

/// How the keys have changed since an epoch, and what is there for a device.
pub(super) async fn since(
    connection: &mut PgConnection,
    group_id: GroupId,
    device: DeviceId,
    after_epoch: u32,
) -> Result<KeysSince, sqlx::Error> {
    let sql = "SELECT r.certificate, r.members FROM rotations r JOIN groups g ON g.id = r.group_ref \
               WHERE g.group_id = $1 AND r.epoch > $2 ORDER BY r.epoch";
    let rows = sqlx::query(sql)
        .bind(group_id.0.as_slice())
        .bind(i64::from(after_epoch))
        .fetch_all(&mut *connection)
        .await?;
    let mut since = KeysSince::default();
    for row in &rows {
        since
            .certificates
            .push(row.try_get::<Vec<u8>, _>(0)?.into());
        let members: Option<Vec<u8>> = row.try_get(1)?;
        since.members = members.unwrap_or_default().into();
    }
    let sql = "SELECT p.packet FROM key_packets p JOIN groups g ON g.id = p.group_ref \
               WHERE g.group_id = $1 AND p.device_id = $2 AND p.epoch = g.epoch";
    let row = sqlx::query(sql)
        .bind(group_id.0.as_slice())
        .bind(device.0.as_slice())
        .fetch_optional(connection)
        .await?;
    if let Some(row) = row {
        since.packet = Some(row.try_get::<Vec<u8>, _>(0)?.into());
    }
    Ok(since)
}

/// Keeps what is missing of the newest epoch's keys.
pub(super) async fn keep(
    connection: &mut PgConnection,
    keys: &KeptKeys,
) -> Result<(), sqlx::Error> {
    let sql = "SELECT id FROM groups WHERE group_id = $1 AND epoch = $2 FOR UPDATE";
    let row = sqlx::query(sql)
        .bind(keys.group_id.0.as_slice())
        .bind(i64::from(keys.epoch))
        .fetch_optional(&mut *connection)
        .await?;
    let Some(row) = row else { return Ok(()) };
    let group: i64 = row.try_get(0)?;
    let sql = "UPDATE rotations SET members = $1 \
               WHERE group_ref = $2 AND epoch = $3 AND members IS NULL";
    sqlx::query(sql)
        .bind(&keys.members[..])
        .bind(group)
        .bind(i64::from(keys.epoch))
        .execute(&mut *connection)
        .await?;
    for (device, packet) in &keys.packets {
        add_packet(connection, group, *device, keys.epoch, packet).await?;
    }
    Ok(())
}

pub(super) async fn add_link(
    connection: &mut PgConnection,
    group: i64,
    link: &Certificate,
    members: Option<&[u8]>,
) -> Result<(), sqlx::Error> {
    let sql = "INSERT INTO rotations (group_ref, epoch, revoked, certificate, members) \
               VALUES ($1, $2, $3, $4, $5)";
    sqlx::query(sql)
        .bind(group)
        .bind(i64::from(link.claims.epoch))
        .bind(
            link.claims
                .revoked
                .as_ref()
                .map(|device| device.0.as_slice()),
        )
        .bind(codec::to_bytes(link))
        .bind(members)
        .execute(connection)
        .await?;
    Ok(())
}

async fn add_packet(
    connection: &mut PgConnection,
    group: i64,
    device: DeviceId,
    epoch: u32,
    packet: &[u8],
) -> Result<(), sqlx::Error> {
    let sql = "INSERT INTO key_packets (group_ref, device_id, epoch, packet) VALUES ($1, $2, $3, $4) \
               ON CONFLICT (group_ref, device_id) DO UPDATE \
               SET epoch = excluded.epoch, packet = excluded.packet \
               WHERE key_packets.epoch < excluded.epoch";
    sqlx::query(sql)
        .bind(group)
        .bind(device.0.as_slice())
        .bind(i64::from(epoch))
        .bind(packet)
        .execute(connection)
        .await?;
    Ok(())
}

async fn set_epoch(
    connection: &mut PgConnection,
    group: i64,
    epoch: u32,
    access_pub: &[u8; 32],
) -> Result<(), sqlx::Error> {
    sqlx::query("UPDATE groups SET epoch = $1, access_pub = $2 WHERE id = $3")
        .bind(i64::from(epoch))
        .bind(access_pub.as_slice())
        .bind(group)
        .execute(connection)
        .await?;
    Ok(())
}
