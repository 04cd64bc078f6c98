//! What keeps secrets out of the database's records: a key of WebCrypto's that no script can take out of the browser. The package
//! gives it: from a database of its own, or, where this device is locked, from what unlocks it.
//!
//! A wrapped secret is a version, a nonce, and AES-256-GCM's ciphertext with its tag. It is bound to the place where it lies:
//! one that was put in another's place is refused.

use js_sys::{Object, Promise, Uint8Array};
use wasm_bindgen::prelude::wasm_bindgen;
use wasm_bindgen::{JsCast, JsValue};
use wasm_bindgen_futures::JsFuture;
use zerok_sync_client::store::StoreError;
use zerok_sync_shared::ids::GroupId;

use super::transaction::failed;

const VERSION: u8 = 1;
const NONCE_LEN: usize = 12;
const HEADER_LEN: usize = size_of::<u8>() + NONCE_LEN;
/// The key is used for nothing else, so this is not among the domains of the protocol.
const DOMAIN: &[u8] = b"0k-sync/1 at rest";

// Half the glue of web-sys, and with the key as a plain value: what a database gives back has to be looked at anyway.
#[wasm_bindgen]
extern "C" {
    type Algorithm;
    #[wasm_bindgen(method, setter)]
    fn set_name(this: &Algorithm, name: &str);
    #[wasm_bindgen(method, setter)]
    fn set_iv(this: &Algorithm, nonce: &Uint8Array);
    #[wasm_bindgen(method, setter, js_name = additionalData)]
    fn set_additional_data(this: &Algorithm, data: &Uint8Array);

    #[wasm_bindgen(catch, js_namespace = ["crypto", "subtle"])]
    fn encrypt(algorithm: &Algorithm, key: &JsValue, data: &[u8]) -> Result<Promise, JsValue>;
    #[wasm_bindgen(catch, js_namespace = ["crypto", "subtle"])]
    fn decrypt(algorithm: &Algorithm, key: &JsValue, data: &[u8]) -> Result<Promise, JsValue>;
}

/// Where a secret lies.
#[derive(Clone, Copy)]
pub(super) enum Place {
    DeviceKey,
    Membership(GroupId),
}

impl Place {
    /// What a secret is bound to.
    fn bytes(self) -> Vec<u8> {
        match self {
            Self::DeviceKey => [DOMAIN, b" device-key"].concat(),
            Self::Membership(group) => [DOMAIN, b" membership", group.as_bytes()].concat(),
        }
    }
}

/// The wrapping key of a database.
#[derive(Clone)]
pub(super) struct Wrapping {
    key: JsValue,
}

impl Wrapping {
    /// With a key for AES-GCM.
    pub(super) const fn new(key: JsValue) -> Self {
        Self { key }
    }

    /// A secret as it may lie in this place.
    pub(super) async fn wrap(&self, place: Place, secret: &[u8]) -> Result<Uint8Array, StoreError> {
        let mut header = [VERSION; HEADER_LEN];
        getrandom::fill(&mut header[1..]).map_err(|error| {
            StoreError::Failed(format!("the browser gave no random numbers: {error}"))
        })?;
        let sealed = encrypt(&bound(place, &header[1..]), &self.key, secret).map_err(failed)?;
        let sealed = Uint8Array::new(&JsFuture::from(sealed).await.map_err(failed)?);
        let wrapped = Uint8Array::new_with_length(HEADER_LEN as u32 + sealed.length());
        wrapped.set(&Uint8Array::from(header.as_slice()), 0);
        wrapped.set(&sealed, HEADER_LEN as u32);
        Ok(wrapped)
    }

    /// The secret that was wrapped for this place.
    pub(super) async fn unwrap(
        &self,
        place: Place,
        wrapped: &JsValue,
    ) -> Result<Vec<u8>, StoreError> {
        let wrapped = Uint8Array::new(wrapped).to_vec();
        let Some(([VERSION, nonce @ ..], sealed)) = wrapped.split_first_chunk::<HEADER_LEN>()
        else {
            return Err(altered(()));
        };
        let secret = decrypt(&bound(place, nonce), &self.key, sealed).map_err(altered)?;
        let secret = JsFuture::from(secret).await.map_err(altered)?;
        Ok(Uint8Array::new(&secret).to_vec())
    }
}

fn algorithm() -> Algorithm {
    let algorithm: Algorithm = Object::new().unchecked_into();
    algorithm.set_name("AES-GCM");
    algorithm
}

fn bound(place: Place, nonce: &[u8]) -> Algorithm {
    let algorithm = algorithm();
    algorithm.set_iv(&Uint8Array::from(nonce));
    algorithm.set_additional_data(&Uint8Array::from(place.bytes().as_slice()));
    algorithm
}

fn altered<E>(_: E) -> StoreError {
    StoreError::Failed(
        "a wrapped secret in the database was altered, or its key was; nothing was changed. Restore the browser's data, or clear \
         this site's data and join the groups again"
            .into(),
    )
}
