//! How the keys of groups change.

use std::future::Future;
use std::sync::Arc;

use bytes::Bytes;
use zerok_sync_shared::codec;
use zerok_sync_shared::crypto::device::DeviceKeys;
use zerok_sync_shared::crypto::keys::{EpochKeys, Secret};
use zerok_sync_shared::crypto::roster::SignedEntry;
use zerok_sync_shared::crypto::rotation::{self, Certificate, Reason};
use zerok_sync_shared::ids::{DeviceId, GroupId};
use zerok_sync_shared::session::NewRotation;

use super::{NOW, batch, id, open};
use crate::storage::keys::{KeptKeys, RotateError};
use crate::storage::{Batch, OpenGroup, Pending, Seen, Storage};

pub(super) async fn conformance<F: Future<Output = Arc<dyn Storage>>>(make: &impl Fn() -> F) {
    a_rotation_is_kept_as_a_whole_and_only_once(&*make().await).await;
    a_member_that_the_author_has_not_seen_is_not_left_out(&*make().await).await;
    a_chain_brings_a_relay_up_to_date(&*make().await, &*make().await).await;
    of_two_rotations_at_once_one_is_kept(make().await).await;
}

pub(super) fn device(number: u8) -> DeviceKeys {
    DeviceKeys::derive(&Secret::new([number; 32]))
}

pub(super) fn founding() -> EpochKeys {
    EpochKeys::derive(0, Secret::new([77; 32]))
}

pub(super) fn group() -> GroupId {
    founding().founded_group()
}

pub(super) fn opened(keys: &EpochKeys, by: &DeviceKeys, chain: Vec<Certificate>) -> OpenGroup {
    OpenGroup {
        access_pub: keys.access_pub(),
        epoch: keys.epoch(),
        device: by.id(),
        chain,
        ..open(group())
    }
}

/// Device `by` revokes device `gone`; devices 1 to 3 are the members, in later epochs 1 and 2.
pub(super) fn revoking(current: &EpochKeys, by: u8, gone: u8, after_cursor: u64) -> NewRotation {
    // Device 3 is the first to go.
    let entries: Vec<_> = (1..=3 - current.epoch().min(1) as u8)
        .filter(|number| *number != gone)
        .map(|number| SignedEntry::sign(group(), &device(number), "x", "y", NOW).entry)
        .collect();
    let mut seed = [by, gone, current.epoch() as u8, 0];
    let mut entropy = |bytes: &mut [u8]| {
        seed[3] = seed[3].wrapping_add(1);
        bytes.fill(
            seed.iter()
                .fold(1u8, |mixed, byte| (mixed ^ byte).wrapping_mul(37)),
        );
    };
    let made = rotation::rotate(
        current,
        group(),
        &device(by),
        &Secret::new([by ^ 0x40; 32]),
        (Some(device(gone).id()), Reason::Lost),
        entries.iter(),
        &mut entropy,
    );
    NewRotation {
        group_id: group(),
        certificate: made.certificate,
        after_cursor,
        members: made.members,
        packets: made.packets,
    }
}

pub(super) fn next_keys(rotation: &NewRotation, member: u8) -> EpochKeys {
    let claims = &rotation.certificate.claims;
    let to = device(member);
    let mut packets = rotation.packets.iter();
    let (_, packet) = packets.find(|(id, _)| *id == to.id()).unwrap();
    let secret = rotation::open_packet(&to, claims, packet).unwrap();
    EpochKeys::derive(claims.epoch, secret)
}

fn from(sender: u8, n: u64) -> Pending {
    let mut pending = super::pending(group(), n, 10);
    pending.blob.sender = device(sender).id();
    pending
}

fn seen(number: u8) -> Seen {
    Seen {
        group_id: group(),
        device: device(number).id(),
        acked: 0,
        at: NOW,
    }
}

async fn a_rotation_is_kept_as_a_whole_and_only_once(storage: &dyn Storage) {
    let opening = opened(&founding(), &device(1), vec![]);
    storage.open_group(opening).await.unwrap();
    let seen = [seen(1), seen(3)];
    let both = || Batch {
        seen: &seen,
        ..batch(&[])
    };
    storage.commit(both()).await.unwrap();
    let first = revoking(&founding(), 1, 3, 0);
    storage.rotate(first.clone()).await.unwrap();
    let again = storage.rotate(first.clone()).await;
    assert!(matches!(again, Err(RotateError::Stale)));
    let other = storage.rotate(revoking(&founding(), 2, 1, 0)).await;
    assert!(matches!(other, Err(RotateError::Stale)), "it came too late");

    let next = next_keys(&first, 2);
    let info = storage.open_group(opened(&next, &device(2), vec![])).await;
    let info = info.unwrap();
    assert_eq!(
        (info.epoch, info.access_pub, info.revoked),
        (1, next.access_pub(), false)
    );
    let info = storage
        .open_group(opened(&founding(), &device(3), vec![]))
        .await;
    assert!(info.unwrap().revoked);
    let census = storage.census(NOW).await.unwrap();
    assert_eq!(
        census.active_devices, 1,
        "who is revoked holds nothing back"
    );
    // What it said just before is written after its row has gone.
    storage.commit(both()).await.unwrap();
    let census = storage.census(NOW).await.unwrap();
    assert_eq!(census.active_devices, 1, "nor does it come back");

    let second = revoking(&next, 2, 1, 0);
    storage.rotate(second.clone()).await.unwrap();
    let links = [&first, &second].map(|one| Bytes::from(codec::to_bytes(&one.certificate)));
    for (who, after, links) in [(2, 0, &links[..]), (3, 0, &links), (1, 1, &links[1..])] {
        let since = storage.keys_since(group(), device(who).id(), after).await;
        let since = since.unwrap();
        assert_eq!(since.certificates, links);
        assert_eq!(since.members, second.members, "the newest list");
        assert_eq!(since.packet.is_some(), who == 2, "device {who}");
    }
    let unknown = DeviceId([9; 32]);
    let since = storage.keys_since(GroupId([9; 32]), unknown, 0).await;
    assert!(since.unwrap().certificates.is_empty());
}

async fn a_member_that_the_author_has_not_seen_is_not_left_out(storage: &dyn Storage) {
    let opening = opened(&founding(), &device(1), vec![]);
    storage.open_group(opening).await.unwrap();
    storage
        .commit(batch(&[from(1, 1), from(4, 2)]))
        .await
        .unwrap();
    let unaware = storage.rotate(revoking(&founding(), 1, 3, 1)).await;
    assert!(matches!(unaware, Err(RotateError::Unaware)));
    storage
        .commit(batch(&[from(3, 3), from(2, 4)]))
        .await
        .unwrap();
    let aware = storage.rotate(revoking(&founding(), 1, 3, 2)).await;
    aware.unwrap();
}

async fn a_chain_brings_a_relay_up_to_date(behind: &dyn Storage, empty: &dyn Storage) {
    let first = revoking(&founding(), 1, 3, 0);
    let one = next_keys(&first, 1);
    let second = revoking(&one, 1, 2, 0);
    let two = next_keys(&second, 1);
    let chain = vec![first.certificate.clone(), second.certificate.clone()];
    let opening = opened(&founding(), &device(1), vec![]);
    behind.open_group(opening).await.unwrap();
    behind.commit(batch(&[from(1, 1)])).await.unwrap();
    for (storage, max_cursor) in [(behind, 1), (empty, 0)] {
        let unknown = OpenGroup {
            create: false,
            ..opened(&two, &device(1), vec![])
        };
        let lacks = storage.open_group(unknown).await;
        assert!(lacks.is_err() || lacks.unwrap().epoch == 0);
        let info = storage
            .open_group(opened(&two, &device(1), chain.clone()))
            .await;
        let info = info.unwrap();
        assert_eq!(
            (info.epoch, info.access_pub, info.max_cursor),
            (2, two.access_pub(), max_cursor)
        );
        // The keys of others come after it, and only for this epoch.
        let keys = |epoch| KeptKeys {
            group_id: group(),
            epoch,
            members: second.members.clone(),
            packets: second.packets.clone(),
        };
        storage.keep_keys(keys(1)).await.unwrap();
        let since = storage
            .keys_since(group(), device(1).id(), 1)
            .await
            .unwrap();
        assert_eq!((since.members.len(), since.packet), (0, None));
        storage.keep_keys(keys(2)).await.unwrap();
        let since = storage
            .keys_since(group(), device(1).id(), 0)
            .await
            .unwrap();
        assert_eq!(since.members, second.members);
        assert!(since.packet.is_some() && since.certificates.len() == 2);
        let gone = storage
            .keys_since(group(), device(3).id(), 0)
            .await
            .unwrap();
        assert_eq!(gone.packet, None);
    }
    // Another chain leads nowhere.
    let stranger = EpochKeys::derive(2, Secret::new([8; 32]));
    let forged = revoking(&stranger, 1, 2, 0);
    let three = next_keys(&forged, 1);
    let other = vec![second.certificate, first.certificate, forged.certificate];
    let info = behind.open_group(opened(&three, &device(1), other)).await;
    assert_eq!(info.unwrap().epoch, 2);
    let blobs = behind.commit(batch(&[from(1, 7)])).await.unwrap();
    assert_eq!(blobs[0].unwrap().stored.cursor, 2);
    assert_eq!(behind.has(group(), vec![id(1)]).await.unwrap().len(), 1);
}

async fn of_two_rotations_at_once_one_is_kept(storage: Arc<dyn Storage>) {
    let opening = opened(&founding(), &device(1), vec![]);
    storage.open_group(opening).await.unwrap();
    let (a, b) = tokio::join!(
        storage.rotate(revoking(&founding(), 1, 3, 0)),
        storage.rotate(revoking(&founding(), 2, 3, 0)),
    );
    assert_eq!(
        [a.is_ok(), b.is_ok()].iter().filter(|ok| **ok).count(),
        1,
        "{a:?} {b:?}"
    );
    let since = storage
        .keys_since(group(), device(1).id(), 0)
        .await
        .unwrap();
    assert_eq!(since.certificates.len(), 1);
}
