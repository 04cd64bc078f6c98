//! The keys of groups: the chain of certificates, the newest member list, and a packet for each member.

use sqlx::{Row as _, SqliteConnection};
use zerok_sync_shared::codec;
use zerok_sync_shared::crypto::rotation::Certificate;
use zerok_sync_shared::ids::{DeviceId, GroupId};
use zerok_sync_shared::session::{KeysSince, NewRotation};

use super::{bytes, int, number};
use crate::storage::keys::{KeptKeys, RotateError, Senders, connects};
use crate::storage::{OpenGroup, StorageError};

/// Moves a group that is there to the newest epoch of the chain that a device has brought, if it leads there.
pub(super) async fn advance(
    connection: &mut SqliteConnection,
    open: &OpenGroup,
) -> Result<(), StorageError> {
    let sql = "SELECT id, epoch, access_pub FROM groups WHERE group_id = ?";
    let row = sqlx::query(sql)
        .bind(open.group_id.0.to_vec())
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
    connection: &mut SqliteConnection,
    rotation: &NewRotation,
) -> Result<(), RotateError> {
    let claims = &rotation.certificate.claims;
    let sql = "SELECT id, epoch, access_pub FROM groups WHERE group_id = ?";
    let row = sqlx::query(sql)
        .bind(rotation.group_id.0.to_vec())
        .fetch_optional(&mut *connection)
        .await
        .map_err(StorageError::from)?;
    let row = row.ok_or(RotateError::Stale)?;
    let group: i64 = row.try_get(0).map_err(StorageError::from)?;
    if number(&row, 1)? + 1 != u64::from(claims.epoch) || bytes(&row, 2)? != claims.previous_pub {
        return Err(RotateError::Stale);
    }
    let sql = "SELECT sender FROM blobs WHERE group_ref = ? AND cursor > ? ORDER BY cursor LIMIT ?";
    let rows = sqlx::query(sql)
        .bind(group)
        .bind(int(rotation.after_cursor))
        .bind(Senders::LIMIT)
        .fetch_all(&mut *connection)
        .await
        .map_err(StorageError::from)?;
    let senders = rows.iter().map(|row| Ok(DeviceId(bytes(row, 0)?)));
    Senders(senders.collect::<Result<_, StorageError>>()?).are_known(rotation)?;

    let old = "UPDATE rotations SET members = NULL WHERE group_ref = ? AND members IS NOT NULL";
    for sql in [old, "DELETE FROM key_packets WHERE group_ref = ?"] {
        let query = sqlx::query(sql).bind(group);
        query
            .execute(&mut *connection)
            .await
            .map_err(StorageError::from)?;
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
        sqlx::query("DELETE FROM devices WHERE group_ref = ? AND device_id = ?")
            .bind(group)
            .bind(revoked.0.to_vec())
            .execute(&mut *connection)
            .await
            .map_err(StorageError::from)?;
    }
    Ok(set_epoch(connection, group, claims.epoch, &claims.access_pub).await?)
}

/// How the keys have changed since an epoch, and what is there for a device.
pub(super) async fn since(
    connection: &mut SqliteConnection,
    group_id: GroupId,
    device: DeviceId,
    after_epoch: u32,
) -> Result<KeysSince, StorageError> {
    let sql = "SELECT r.certificate, r.members FROM rotations r JOIN groups g ON g.id = r.group_ref \
               WHERE g.group_id = ? AND r.epoch > ? ORDER BY r.epoch";
    let rows = sqlx::query(sql)
        .bind(group_id.0.to_vec())
        .bind(after_epoch)
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
               WHERE g.group_id = ? AND p.device_id = ? AND p.epoch = g.epoch";
    let row = sqlx::query(sql)
        .bind(group_id.0.to_vec())
        .bind(device.0.to_vec())
        .fetch_optional(connection)
        .await?;
    if let Some(row) = row {
        since.packet = Some(row.try_get::<Vec<u8>, _>(0)?.into());
    }
    Ok(since)
}

/// Keeps what is missing of the newest epoch's keys.
pub(super) async fn keep(
    connection: &mut SqliteConnection,
    keys: &KeptKeys,
) -> Result<(), StorageError> {
    let sql = "SELECT id FROM groups WHERE group_id = ? AND epoch = ?";
    let row = sqlx::query(sql)
        .bind(keys.group_id.0.to_vec())
        .bind(keys.epoch)
        .fetch_optional(&mut *connection)
        .await?;
    let Some(row) = row else { return Ok(()) };
    let group: i64 = row.try_get(0)?;
    let sql = "UPDATE rotations SET members = ? \
               WHERE group_ref = ? AND epoch = ? AND members IS NULL";
    sqlx::query(sql)
        .bind(keys.members.to_vec())
        .bind(group)
        .bind(keys.epoch)
        .execute(&mut *connection)
        .await?;
    for (device, packet) in &keys.packets {
        add_packet(connection, group, *device, keys.epoch, packet).await?;
    }
    Ok(())
}

pub(super) async fn add_link(
    connection: &mut SqliteConnection,
    group: i64,
    link: &Certificate,
    members: Option<&[u8]>,
) -> Result<(), StorageError> {
    let sql = "INSERT INTO rotations (group_ref, epoch, revoked, certificate, members) \
               VALUES (?, ?, ?, ?, ?)";
    sqlx::query(sql)
        .bind(group)
        .bind(link.claims.epoch)
        .bind(link.claims.revoked.map(|device| device.0.to_vec()))
        .bind(codec::to_bytes(link))
        .bind(members.map(<[u8]>::to_vec))
        .execute(connection)
        .await?;
    Ok(())
}

async fn add_packet(
    connection: &mut SqliteConnection,
    group: i64,
    device: DeviceId,
    epoch: u32,
    packet: &[u8],
) -> Result<(), StorageError> {
    let sql = "INSERT INTO key_packets (group_ref, device_id, epoch, packet) VALUES (?, ?, ?, ?) \
               ON CONFLICT (group_ref, device_id) DO UPDATE \
               SET epoch = excluded.epoch, packet = excluded.packet WHERE epoch < excluded.epoch";
    sqlx::query(sql)
        .bind(group)
        .bind(device.0.to_vec())
        .bind(epoch)
        .bind(packet.to_vec())
        .execute(connection)
        .await?;
    Ok(())
}

async fn set_epoch(
    connection: &mut SqliteConnection,
    group: i64,
    epoch: u32,
    access_pub: &[u8; 32],
) -> Result<(), StorageError> {
    sqlx::query("UPDATE groups SET epoch = ?, access_pub = ? WHERE id = ?")
        .bind(epoch)
        .bind(access_pub.to_vec())
        .bind(group)
        .execute(connection)
        .await?;
    Ok(())
}
