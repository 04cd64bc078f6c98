//! Committed test vectors: every derivation, every sealed thing and every frame, from fixed inputs.
//!
//! `UPDATE_VECTORS=1 cargo test -p zerok-sync-shared vectors` writes new ones; old ones stay when the wire changes.

use std::path::PathBuf;

use bytes::Bytes;
use data_encoding::HEXLOWER;
use serde_json::{Value, json};

use crate::codec;
use crate::crypto::blob::{Address, Kind, Plain, Witness};
use crate::crypto::device::DeviceKeys;
use crate::crypto::exchange::ExchangeSecret;
use crate::crypto::invite::{
    InviteCode, InviteKey, InviteOwner, JoinRequest, Offer, Pair, Secrets,
};
use crate::crypto::keys::{EpochKeys, Secret};
use crate::crypto::padme::padded_len;
use crate::crypto::passphrase::{self, Passphrase, Profile};
use crate::crypto::roster::SignedEntry;
use crate::crypto::rotation::{self, Reason, Rotation};
use crate::crypto::snapshot::{self, Header, Name};
use crate::crypto::token::{AccessToken, TokenHash};
use crate::crypto::tombstone::Tombstone;
use crate::crypto::{access, blob};
use crate::engine::forks;
use crate::error::ErrorCode;
use crate::ids::{BlobId, DeviceId, GroupId, Incarnation, InviteLookup};
use crate::map::SortedMap;
use crate::message::{
    Blob, Delete, Hello, KeyPacket, KeyPackets, Mark, Message, Pull, PullResponse, Push, PushAck,
    RelayLimits, Revoke, SnapshotAnswer, SnapshotPart, Subscribe, Welcome, WireError, capability,
};
use crate::store::Sequences;
use crate::time::Timestamp;

mod frames;
mod presence;

fn hex(bytes: impl AsRef<[u8]>) -> String {
    HEXLOWER.encode(bytes.as_ref())
}

/// 00 01 02 …, so that no two fields look alike and every byte's place shows.
fn counting<const N: usize>(from: u8) -> [u8; N] {
    core::array::from_fn(|at| from.wrapping_add(at as u8))
}

fn check(name: &str, computed: &Value) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("vectors")
        .join(name);
    let text = format!("{}\n", serde_json::to_string_pretty(computed).unwrap());
    if std::env::var_os("UPDATE_VECTORS").is_some() {
        std::fs::write(&path, &text).unwrap();
    }
    let committed = std::fs::read_to_string(&path).unwrap();
    assert_eq!(committed, text, "{name} differs from what is computed");
}

fn keys() -> EpochKeys {
    EpochKeys::derive(0, Secret::new(counting(0)))
}

#[test]
fn keys_json() {
    let (keys, relay, device) = (keys(), DeviceId(counting(0x20)), DeviceId(counting(0x40)));
    let exporter = counting(0x60);
    let group = keys.founded_group();
    check(
        "keys.json",
        &json!({
            "secret": hex(keys.secret().expose()),
            "access_seed": hex(keys.secret().derive(b"0k-sync/1 access").expose()),
            "access_pub": hex(keys.access_pub()),
            "group_id": group.to_string(),
            "blob_key": hex(keys.blob().expose()),
            "hello": {
                "relay_id": relay.to_string(),
                "device_id": device.to_string(),
                "epoch": 0,
                "exporter": hex(exporter),
                "proof": hex(access::hello_proof(&keys, relay, device, group, &exporter)),
            },
        }),
    );
}

#[test]
fn blobs_json() {
    let keys = keys();
    let witness = Witness {
        relay_id: DeviceId(counting(0x20)),
        incarnation: Incarnation(counting(0x50)),
        cursor: 7,
        head: counting(0x70),
    };
    let cases = [
        (Kind::App, 1, None, "".into()),
        (Kind::App, 2, None, "milk".to_owned()),
        (Kind::Roster, 300, Some(witness), "x".repeat(1000)),
    ];
    let cases = cases.map(|(kind, seq, witness, body)| {
        let address = Address {
            group_id: keys.founded_group(),
            epoch: 0,
            sender: DeviceId(counting(0x40)),
            blob_id: BlobId(counting(0x80)),
        };
        let plain = Plain {
            kind,
            seq,
            witness,
            body: body.clone().into(),
        };
        let payload = blob::seal(&keys, &address, &plain, &mut |bytes: &mut [u8]| {
            bytes.copy_from_slice(&counting::<24>(0xA0))
        });
        assert_eq!(blob::open(&keys, &address, &payload), Ok(plain.clone()));
        json!({
            "group_id": address.group_id.to_string(),
            "epoch": 0,
            "sender": address.sender.to_string(),
            "blob_id": address.blob_id.to_string(),
            "nonce": hex(counting::<24>(0xA0)),
            "body_utf8": body,
            "plaintext_unpadded": hex(codec::to_bytes(&plain)),
            "payload": hex(payload),
        })
    });
    let lengths = [
        0usize,
        1,
        2,
        9,
        17,
        33,
        100,
        129,
        1000,
        1025,
        65_537,
        1 << 20,
        (1 << 20) + 1,
    ];
    check(
        "blobs.json",
        &json!({
            "blob_key": hex(keys.blob().expose()),
            "sealed": cases,
            "padme": lengths.map(|len| json!([len, padded_len(len)])),
        }),
    );
}

#[test]
fn invites_json() {
    let key = InviteKey::parse(&format!(
        "https://app.example/#0k=1.{}",
        data_encoding::BASE64URL_NOPAD.encode(
            &[
                &counting::<16>(0)[..],
                &counting::<32>(0x10),
                b"https://sync.example.com"
            ]
            .concat()
        )
    ))
    .unwrap()
    .0;
    let offer = Offer {
        relays: vec!["https://sync.example.com".into()],
        group_id: keys().founded_group(),
        epoch: 0,
        created_by: DeviceId(counting(0x40)),
        expires: Timestamp(1_700_000_600_000),
        confirm: None,
    };
    let owner = InviteOwner::new(Secret::new(counting(0xC0)));
    let confirming = Offer {
        confirm: Some(owner.commitment()),
        ..offer.clone()
    };
    assert_eq!(
        codec::from_bytes::<Offer>(&codec::to_bytes(&confirming)),
        Ok(confirming.clone())
    );
    let joiner = ExchangeSecret::new(Secret::new(counting(0xE0)));
    let (exchange, nonce) = (joiner.public(), owner.nonce());
    let plain = Pair {
        creator: DeviceId(counting(0x40)),
        joiner: DeviceId(counting(0x60)),
        confirmed: None,
    };
    let confirmed = Pair {
        confirmed: Some((&exchange, &nonce)),
        ..plain
    };
    let request = JoinRequest {
        device: plain.joiner,
        name: "Phone".to_owned(),
        exchange: None,
    };
    let mut repeated = |bytes: &mut [u8]| bytes.fill(0xA0);
    let secrets = Secrets {
        epochs: vec![(0, Secret::new(counting(0)))],
        tokens: SortedMap::new(),
    };
    let relay = "https://sync.example.com".to_owned();
    let token = AccessToken::new("0kt_token").unwrap();
    let with_token = Secrets {
        tokens: [(relay, token.clone())].into(),
        ..secrets.clone()
    };
    assert_eq!(
        codec::from_bytes::<Secrets>(&codec::to_bytes(&with_token)),
        Ok(with_token.clone())
    );
    let sealed = key.seal(&offer, &secrets, &mut |bytes: &mut [u8]| {
        bytes.copy_from_slice(&counting::<24>(0xA0))
    });
    let codes = ["0000-0000-0000-0000", "7KQ2-9F3M-XW41-ZPD0"].map(|text| {
        let code = InviteCode::parse(text).unwrap();
        let key = code.key().unwrap();
        json!({
            "code": code.to_string(),
            "lookup": code.lookup().to_string(),
            "claim_token": hex(key.claim_token()),
        })
    });
    check(
        "invites.json",
        &json!({
            "lookup": InviteLookup(counting(0)).to_string(),
            "key": hex(counting::<32>(0x10)),
            "link": key.link("https://app.example/", "https://sync.example.com"),
            "claim_token": hex(key.claim_token()),
            "claim_hash": hex(sealed.claim_hash),
            "nonce": hex(counting::<24>(0xA0)),
            "offer_plaintext": hex(codec::to_bytes(&offer)),
            "offer": hex(&sealed.offer),
            "secrets_plaintext": hex(codec::to_bytes(&secrets)),
            "secrets": hex(&sealed.secrets),
            "secrets_with_token_plaintext": hex(codec::to_bytes(&with_token)),
            "codes": codes,
            "pairing": {
                "creator": plain.creator.to_string(),
                "joiner": plain.joiner.to_string(),
                "comparison_code": key.comparison_code(&plain).to_string(),
                "request_plaintext": hex(codec::to_bytes(&request)),
                "request_randomness": "a0 repeated",
                "request": hex(key.seal_request(request, &mut repeated)),
                "owner_seed": hex(counting::<32>(0xC0)),
                "owner_token": hex(owner.token()),
                "nonce": hex(nonce),
                "commitment": hex(owner.commitment()),
                "confirming_offer_plaintext": hex(codec::to_bytes(&confirming)),
                "exchange_seed": hex(counting::<32>(0xE0)),
                "confirmed_comparison_code": key.comparison_code(&confirmed).to_string(),
                "nonce_sealed": hex(key.seal_nonce(&nonce, &mut repeated)),
                "grant_randomness": "a0 repeated",
                "grant": hex(key.seal_grant(&confirmed, &secrets, &mut repeated).unwrap()),
            },
        }),
    );
}

/// The committed file is the draft's own: what is computed here has to equal it.
#[test]
fn exchange_json() {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("vectors/exchange.json");
    let text = std::fs::read_to_string(path).unwrap();
    let draft: Value = serde_json::from_str(&text).unwrap();
    let field = |case: &Value, name: &str| {
        let text = case[name].as_str().unwrap();
        HEXLOWER.decode(text.as_bytes()).unwrap()
    };
    let cases = draft["kem"].as_array().unwrap();
    assert_eq!(cases.len(), 3);
    for case in cases {
        let seed = field(case, "seed").try_into().unwrap();
        let secret = ExchangeSecret::new(Secret::new(seed));
        let public = secret.public();
        assert_eq!(public.as_bytes().as_slice(), field(case, "pk"));
        let mut entropy = |bytes: &mut [u8]| bytes.copy_from_slice(&field(case, "eseed"));
        let (ciphertext, shared) = public.encapsulate(&mut entropy);
        assert_eq!(ciphertext.as_slice(), field(case, "ct"));
        assert_eq!(shared.expose().as_slice(), field(case, "ss"));
        assert_eq!(secret.decapsulate(&ciphertext), Some(shared));
    }
}

#[test]
fn tombstones_json() {
    let cases = [false, true].map(|forced| {
        let tombstone = Tombstone {
            blob_id: BlobId(counting(0x80)),
            sender: DeviceId(counting(0x40)),
            seq: 300,
            forced,
        };
        let body = codec::to_bytes(&tombstone);
        assert_eq!(Tombstone::read(&body, tombstone.sender), Some(tombstone));
        let plain = Plain {
            kind: Kind::Tombstone,
            seq: 301,
            witness: None,
            body: body.clone().into(),
        };
        json!({
            "blob_id": tombstone.blob_id.to_string(),
            "sender": tombstone.sender.to_string(),
            "seq": tombstone.seq,
            "forced": forced,
            "body": hex(body),
            "plaintext_unpadded": hex(codec::to_bytes(&plain)),
        })
    });
    check("tombstones.json", &json!({ "tombstones": cases }));
}

#[test]
fn heads_json() {
    let mut head = [0; 32];
    let blobs = [(1, 0x80, 0x40), (2, 0x90, 0x41), (300, 0xA0, 0x40)];
    let blobs = blobs.map(|(cursor, id, sender)| {
        let (blob_id, sender) = (BlobId(counting(id)), DeviceId(counting(sender)));
        head = forks::head_after(&head, cursor, blob_id, sender);
        json!({
            "cursor": cursor,
            "blob_id": blob_id.to_string(),
            "sender": sender.to_string(),
            "head": hex(head),
        })
    });
    let (incarnation, run) = (Incarnation(counting(0x50)), Incarnation(counting(0x60)));
    check(
        "heads.json",
        &json!({
            "blobs": blobs,
            "incarnation": hex(incarnation.as_bytes()),
            "run": hex(run.as_bytes()),
            "life": hex(forks::life(incarnation, run).as_bytes()),
        }),
    );
}

#[test]
fn access_json() {
    let hash = TokenHash::of("0kt_token");
    let device = DeviceId(counting(0x40));
    check(
        "access.json",
        &json!({
            "token": "0kt_token",
            "token_hash": hex(hash.expose()),
            "device_id": device.to_string(),
            "ticket_id": hex(hash.id()),
            "ticket": hash.ticket(device),
        }),
    );
}

#[test]
fn passphrases_json() {
    let vector = |(app, name, text): (&str, &str, &str)| {
        let passphrase = Passphrase::new(app, name, text.to_owned()).unwrap();
        let derived = |profile| {
            let keys = EpochKeys::derive(0, passphrase.secret(profile).unwrap());
            json!({
                "secret": hex(keys.secret().expose()),
                "group_id": keys.founded_group().to_string(),
            })
        };
        json!({
            "app": app,
            "name": name,
            "passphrase": text,
            "salt": hex(passphrase::salt(app, name)),
            "low": derived(Profile::Low),
            "mid": derived(Profile::Mid),
            "high": derived(Profile::High),
        })
    };
    let cases = [
        (
            "0k-sync",
            "family",
            "gravel ozone cactus tidal mustard plywood",
        ),
        (
            "0k-syncf",
            "amily",
            "gravel ozone cactus tidal mustard plywood",
        ),
        ("notes.example", "Büro 3", "Ärger über 7 grüne Äpfel im Mai"),
    ];
    check("passphrases.json", &json!(cases.map(vector)));
}

fn device_keys(from: u8) -> DeviceKeys {
    DeviceKeys::derive(&Secret::new(counting(from)))
}

/// Device 10… revokes device 30…; device 20… stays.
fn rotation() -> Rotation {
    let founding = keys();
    let group = founding.founded_group();
    let entries = [0x10, 0x20].map(|from| {
        SignedEntry::sign(
            group,
            &device_keys(from),
            "Laptop",
            "Linux",
            Timestamp(1_000),
        )
        .entry
    });
    let mut next = 0u8;
    rotation::rotate(
        &founding,
        group,
        &device_keys(0x10),
        &Secret::new(counting(0x40)),
        (Some(device_keys(0x30).id()), Reason::Lost),
        entries.iter(),
        &mut |bytes: &mut [u8]| {
            for byte in bytes {
                *byte = next;
                next = next.wrapping_add(1);
            }
        },
    )
}

#[test]
fn rotation_json() {
    let founding = keys();
    let group = founding.founded_group();
    let devices = [0x10, 0x20, 0x30].map(|from| {
        let keys = device_keys(from);
        let public = keys.exchange_public();
        json!({
            "secret": hex(counting::<32>(from)),
            "device_id": keys.id().to_string(),
            "exchange_public_sha256": hex(zerok_sync_aead::sha256(&[public.as_bytes()])),
        })
    });
    let author = device_keys(0x10);
    let entry = SignedEntry::sign(group, &author, "Laptop", "Linux", Timestamp(1_000));
    let made = rotation();
    let claims = &made.certificate.claims;
    let secret = rotation::open_packet(&device_keys(0x20), claims, &made.packets[1].1).unwrap();
    let chain = [made.certificate.clone()];
    let followed = rotation::follow(&chain, secret.clone(), &made.members).unwrap();
    assert_eq!(followed.members.len(), 2);
    check(
        "rotation.json",
        &json!({
            "group_id": group.to_string(),
            "epoch_0_secret": hex(founding.secret().expose()),
            "devices": devices,
            "roster_entry": hex(codec::to_bytes(&entry)),
            "seed": hex(counting::<32>(0x40)),
            "nonces_and_encapsulations": "00 01 02 …: two packets of 64 and 24 bytes, member list 24, secret before 24",
            "epoch_1_secret": hex(secret.expose()),
            "certificate": hex(codec::to_bytes(&made.certificate)),
            "member_list": hex(codec::to_bytes(&followed.members)),
            "sealed_members": hex(&made.members),
            "packets": made
                .packets
                .iter()
                .map(|(to, packet)| json!({ "device_id": to.to_string(), "packet": hex(packet) }))
                .collect::<Vec<_>>(),
        }),
    );
}

#[test]
fn snapshots_json() {
    let keys = keys();
    let author = device_keys(0x10);
    let state = Bytes::from_static(b"the state of the app");
    let name = Name {
        group_id: keys.founded_group(),
        author: author.id(),
        snapshot_id: BlobId(counting(0x80)),
        epoch: 0,
        parts: snapshot::parts_of(state.len()),
    };
    let header = Header {
        relay_id: DeviceId(counting(0x20)),
        incarnation: Incarnation(counting(0x50)),
        cursor: 300,
        seen: [(author.id(), Sequences::up_to(7))].into(),
        roster: vec![],
        len: state.len() as u64,
        hash: snapshot::hash_of(&[zerok_sync_aead::sha256(&[&state])]),
    };
    let mut nonce = |bytes: &mut [u8]| bytes.copy_from_slice(&counting::<24>(0xA0));
    let sealed = name.seal_header(&keys, &author, header.clone(), &mut nonce);
    let sealed = sealed.unwrap();
    assert_eq!(name.open_header(&keys, &sealed), Ok(header.clone()));
    let blob_ids = [0, 1].map(|part| name.address(part).blob_id.to_string());
    let part = name.seal_part(&keys, 1, &state, &mut nonce);
    assert_eq!(name.open_part(&keys, 1, &part), Ok(state.clone()));
    check(
        "snapshots.json",
        &json!({
            "group_id": name.group_id.to_string(),
            "blob_key": hex(keys.blob().expose()),
            "author_secret": hex(counting::<32>(0x10)),
            "author": name.author.to_string(),
            "snapshot_id": name.snapshot_id.to_string(),
            "epoch": name.epoch,
            "parts": name.parts,
            "blob_ids": blob_ids,
            "nonce": hex(counting::<24>(0xA0)),
            "header_plaintext": hex(codec::to_bytes(&header)),
            "header": hex(&sealed),
            "state_utf8": "the state of the app",
            "part": hex(&part),
        }),
    );
}
