use super::*;
use crate::crypto::roster::SignedEntry;
use crate::time::Timestamp;
use proptest::prelude::*;

fn device(number: u8) -> DeviceKeys {
    DeviceKeys::derive(&Secret::new([number; 32]))
}

fn random() -> impl FnMut(&mut [u8]) {
    let mut next = 0u8;
    move |bytes: &mut [u8]| {
        for byte in bytes {
            next = next.wrapping_mul(5).wrapping_add(11);
            *byte = next;
        }
    }
}

struct Scene {
    founding: EpochKeys,
    group: GroupId,
    entries: Vec<Entry>,
}

impl Scene {
    fn new() -> Self {
        let founding = EpochKeys::derive(0, Secret::new([77; 32]));
        let group = founding.founded_group();
        let entries = (1..=3)
            .map(|n| SignedEntry::sign(group, &device(n), "x", "y", Timestamp(1)).entry)
            .collect();
        Self {
            founding,
            group,
            entries,
        }
    }

    fn without(&self, gone: u8) -> impl Iterator<Item = &Entry> {
        let gone = device(gone).id();
        self.entries
            .iter()
            .filter(move |entry| entry.device != gone)
    }

    /// Device 1 revokes device `gone`.
    fn rotate(&self, current: &EpochKeys, gone: u8) -> Rotation {
        rotate(
            current,
            self.group,
            &device(1),
            &Secret::new([current.epoch() as u8 + 40; 32]),
            (Some(device(gone).id()), Reason::Lost),
            self.without(gone),
            &mut random(),
        )
    }
}

fn packet(rotation: &Rotation, to: u8) -> Option<&Bytes> {
    let to = device(to).id();
    let mut packets = rotation.packets.iter();
    packets
        .find(|(device, _)| *device == to)
        .map(|(_, packet)| packet)
}

fn bytes(certificate: &Certificate) -> Bytes {
    codec::to_bytes(certificate).into()
}

#[test]
fn who_stays_follows_the_chain_over_several_epochs() {
    let scene = Scene::new();
    let first = scene.rotate(&scene.founding, 3);
    let secret = open_packet(
        &device(1),
        &first.certificate.claims,
        packet(&first, 1).unwrap(),
    );
    let one = EpochKeys::derive(1, secret.unwrap());
    let second = scene.rotate(&one, 3);

    let chain = [bytes(&first.certificate), bytes(&second.certificate)];
    let pub0 = scene.founding.access_pub();
    let chain = Certificate::read_chain(&chain, scene.group, 0, Some(&pub0)).unwrap();
    let newest = &chain[1].claims;
    // Device 2 was away for both.
    let secret = open_packet(&device(2), newest, packet(&second, 2).unwrap()).unwrap();
    let followed = follow(&chain, secret.clone(), &second.members).unwrap();
    assert_eq!(followed.secrets, [(1, one.secret().clone()), (2, secret)]);
    let members: Vec<_> = followed.members.iter().map(|m| m.device).collect();
    assert_eq!(members, [device(1).id(), device(2).id()]);
    assert!(
        chain
            .iter()
            .all(|link| bytes(link).len() <= limits::MAX_CERTIFICATE)
    );
    assert!(packet(&second, 2).unwrap().len() == PACKET_LEN);
}

#[test]
fn a_revoked_device_gets_nothing_and_opens_nothing() {
    let scene = Scene::new();
    let rotation = scene.rotate(&scene.founding, 3);
    assert_eq!(packet(&rotation, 3), None);
    let claims = &rotation.certificate.claims;
    for (_, packet) in &rotation.packets {
        assert_eq!(
            open_packet(&device(3), claims, packet),
            Err(ChainError::Keys)
        );
    }
    // What it has: the old secret, its own key, and everything that a relay keeps.
    let old = scene.founding.secret();
    let chain = [rotation.certificate.clone()];
    assert_eq!(
        follow(&chain, old.clone(), &rotation.members),
        Err(ChainError::Keys)
    );
    for info in [
        domain::PREVIOUS,
        domain::MEMBERS,
        domain::BLOB,
        domain::ACCESS,
    ] {
        let key = old.derive(info);
        let aad = bound(domain::MEMBERS, scene.group, 1, &claims.said());
        assert!(open(&key, &aad, &rotation.members).is_err());
        let aad = bound(domain::PREVIOUS, scene.group, 1, &claims.said());
        assert!(open(&key, &aad, &claims.previous).is_err());
    }
}

#[test]
fn packets_and_lists_are_bound_to_their_rotation() {
    let scene = Scene::new();
    let ours = scene.rotate(&scene.founding, 3);
    let other = rotate(
        &scene.founding,
        scene.group,
        &device(2),
        &Secret::new([66; 32]),
        (Some(device(3).id()), Reason::Lost),
        scene.without(3),
        &mut |bytes: &mut [u8]| bytes.fill(9),
    );
    let claims = &ours.certificate.claims;
    let swapped = packet(&other, 1).unwrap();
    assert_eq!(
        open_packet(&device(1), claims, swapped),
        Err(ChainError::Keys)
    );
    let for_another = packet(&ours, 2).unwrap();
    assert_eq!(
        open_packet(&device(1), claims, for_another),
        Err(ChainError::Keys)
    );
    let secret = open_packet(&device(1), claims, packet(&ours, 1).unwrap()).unwrap();
    let chain = [ours.certificate.clone()];
    assert_eq!(
        follow(&chain, secret, &other.members),
        Err(ChainError::Keys)
    );
}

/// Who holds the keys of the epoch that ended can sign for it again, but cannot make the rest say what it then says.
#[test]
fn a_rotation_that_is_signed_anew_with_other_words_opens_nothing() {
    let scene = Scene::new();
    let first = scene.rotate(&scene.founding, 3);
    let secret = open_packet(
        &device(1),
        &first.certificate.claims,
        packet(&first, 1).unwrap(),
    );
    let secret = secret.unwrap();
    let one = EpochKeys::derive(1, secret.clone());
    let second = scene.rotate(&one, 2);
    let newest = open_packet(
        &device(1),
        &second.certificate.claims,
        packet(&second, 1).unwrap(),
    );
    let rewritten = |certificate: &Certificate, keys: &EpochKeys| {
        let claims = Claims {
            revoked: Some(device(1).id()),
            by: device(3).id(),
            ..certificate.claims.clone()
        };
        let text = claims.text();
        Certificate {
            by_access: keys.sign(&text),
            by_device: device(3).sign(&text),
            claims,
        }
    };
    let alone = rewritten(&first.certificate, &scene.founding);
    assert!(alone.holds(), "its signatures are right");
    assert_eq!(
        follow(std::slice::from_ref(&alone), secret, &first.members),
        Err(ChainError::Keys)
    );
    let within = [alone, second.certificate];
    let followed = follow(&within, newest.unwrap(), &second.members);
    assert_eq!(
        followed,
        Err(ChainError::Keys),
        "also in the middle of a chain"
    );
}

#[test]
fn a_rotation_without_anybody_who_goes_holds_for_nobody() {
    let scene = Scene::new();
    let silent = rotate(
        &scene.founding,
        scene.group,
        &device(1),
        &Secret::new([4; 32]),
        (None, Reason::Lost),
        scene.without(3),
        &mut random(),
    );
    assert!(!silent.certificate.holds());
}

#[test]
fn a_chain_is_signed_link_by_link() {
    let scene = Scene::new();
    let first = scene.rotate(&scene.founding, 3).certificate;
    let stranger = EpochKeys::derive(0, Secret::new([1; 32]));
    let forged = scene.rotate(&stranger, 3).certificate;
    let pub0 = scene.founding.access_pub();
    let read = |link: &Certificate, epoch| {
        Certificate::read_chain(&[bytes(link)], scene.group, epoch, Some(&pub0))
    };
    assert!(read(&first, 0).is_ok());
    assert!(read(&first, 1).is_err(), "of another epoch");
    assert!(read(&forged, 0).is_err(), "not by a member");
    assert!(!forged.holds(), "does not begin with the founding key");
    let other_author = Certificate {
        claims: Claims {
            by: device(2).id(),
            ..first.claims.clone()
        },
        ..first.clone()
    };
    assert!(read(&other_author, 0).is_err(), "put into another's mouth");
    let other_victim = Certificate {
        claims: Claims {
            revoked: Some(device(2).id()),
            ..first.claims.clone()
        },
        ..first
    };
    assert!(read(&other_victim, 0).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn every_bit_is_protected(at in any::<prop::sample::Index>(), bit in 0u8..8) {
        let scene = Scene::new();
        let rotation = scene.rotate(&scene.founding, 3);
        let claims = &rotation.certificate.claims;
        let flip = |bytes: &[u8]| {
            let mut bytes = bytes.to_vec();
            let at = at.index(bytes.len());
            bytes[at] ^= 1 << bit;
            bytes
        };
        let pub0 = scene.founding.access_pub();
        let link = flip(&bytes(&rotation.certificate)).into();
        prop_assert!(Certificate::read_chain(&[link], scene.group, 0, Some(&pub0)).is_err());
        let sealed = packet(&rotation, 1).unwrap();
        prop_assert!(open_packet(&device(1), claims, &flip(sealed)).is_err());
        let secret = open_packet(&device(1), claims, sealed).unwrap();
        let chain = [rotation.certificate.clone()];
        prop_assert!(follow(&chain, secret, &flip(&rotation.members)).is_err());
    }

    #[test]
    fn arbitrary_bytes_never_panic(data in proptest::collection::vec(any::<u8>(), 0..1300)) {
        let scene = Scene::new();
        let rotation = scene.rotate(&scene.founding, 3);
        prop_assert!(open_packet(&device(1), &rotation.certificate.claims, &data).is_err());
        let link = Bytes::from(data);
        prop_assert!(Certificate::read_chain(&[link], scene.group, 0, None).is_err());
    }
}
