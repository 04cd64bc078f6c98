//! What a relay or a member gives a device to open, and what a device finds in its own storage.

use zerok_sync_shared::codec;
use zerok_sync_shared::crypto::blob::{self, Address, Kind, OpenError, Plain};
use zerok_sync_shared::crypto::invite::{InviteKey, Offer, Secrets};
use zerok_sync_shared::crypto::keys::{EpochKeys, Secret};
use zerok_sync_shared::ids::{BlobId, DeviceId};
use zerok_sync_shared::store::{GroupState, LogRecord};

macro_rules! round_trip {
    ($type:ty, $data:expr) => {
        if let Ok(value) = codec::from_bytes::<$type>($data) {
            let bytes = codec::to_bytes(&value);
            assert_eq!(codec::from_bytes::<$type>(&bytes).as_ref(), Ok(&value));
        }
    };
}

fn address(keys: &EpochKeys) -> Address {
    Address {
        group_id: keys.founded_group(),
        epoch: 0,
        sender: DeviceId([2; 32]),
        blob_id: BlobId([3; 16]),
    }
}

fn keys() -> EpochKeys {
    EpochKeys::derive(0, Secret::new([1; 32]))
}

pub fn run(data: &[u8]) {
    let Some((&which, data)) = data.split_first() else {
        return;
    };
    match which % 8 {
        0 => round_trip!(Plain, data),
        1 => round_trip!(Offer, data),
        2 => round_trip!(Secrets, data),
        3 => round_trip!(LogRecord, data),
        4 => round_trip!(GroupState, data),
        5 => {
            let keys = keys();
            let opened = blob::open(&keys, &address(&keys), data);
            assert_eq!(
                opened,
                Err(OpenError::Forged),
                "nobody without the key makes a blob"
            );
        }
        6 => altered(data),
        _ => {
            let key = InviteKey::random(&mut |bytes: &mut [u8]| bytes.fill(7));
            assert!(key.open_offer(data).is_err());
            assert!(key.open_secrets(data).is_err());
        }
    }
}

/// A real blob opens as what it was; with one byte changed it does not.
fn altered(data: &[u8]) {
    let Some((&[at, change], body)) = data.split_first_chunk() else {
        return;
    };
    let keys = keys();
    let plain = Plain {
        kind: Kind::App,
        seq: 1,
        witness: None,
        body: body.to_vec().into(),
    };
    let nonce = &mut |bytes: &mut [u8]| bytes.fill(9);
    let sealed = blob::seal(&keys, &address(&keys), &plain, nonce);
    assert_eq!(blob::open(&keys, &address(&keys), &sealed), Ok(plain));
    let mut sealed = sealed.to_vec();
    let at = usize::from(at) * sealed.len() / 256;
    sealed[at] ^= change;
    let opened = blob::open(&keys, &address(&keys), &sealed);
    assert_eq!(opened.is_err(), change != 0);
}

pub fn seeds() -> Vec<Vec<u8>> {
    let plain = Plain {
        kind: Kind::App,
        seq: 300,
        witness: None,
        body: b"body".as_slice().into(),
    };
    let secrets = Secrets {
        epochs: vec![(0, Secret::new([1; 32])), (1, Secret::new([2; 32]))],
        tokens: zerok_sync_shared::map::SortedMap::new(),
    };
    let offer = Offer {
        relays: vec!["https://sync.example.com".into()],
        group_id: keys().founded_group(),
        epoch: 1,
        created_by: DeviceId([2; 32]),
        expires: zerok_sync_shared::time::Timestamp(1 << 40),
        confirm: Some([3; 32]),
    };
    vec![
        [vec![0], codec::to_bytes(&plain)].concat(),
        [vec![1], codec::to_bytes(&offer)].concat(),
        [vec![2], codec::to_bytes(&secrets)].concat(),
        [vec![5], vec![7; 64]].concat(),
        [vec![6, 3, 1], b"altered".to_vec()].concat(),
        [vec![7], vec![7; 64]].concat(),
    ]
}
