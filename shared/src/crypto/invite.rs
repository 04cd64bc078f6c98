//! Invites: how a device gets a group's keys from another one through a relay that cannot read them.
//!
//! The creator makes a random key and a random lookup id, seals an *offer* (where the group lives) and the *secrets*
//! (its keys) under two keys derived from the invite key, and leaves both at the relay with the hash of a claim token.
//! The joiner fetches the offer, opens it, and claims the secrets with the token, once. Where the creator wants to confirm,
//! it gives them only then.
//! The link carries lookup and key in its fragment, which browsers do not send to servers.

use data_encoding::BASE64URL_NOPAD;

use super::domain;
use super::keys::Secret;
use super::stretch::OutOfMemory;
use super::token::AccessToken;
use crate::codec::wire::wire_struct_grown;
use crate::ids::{DeviceId, GroupId, InviteLookup};
use crate::map::SortedMap;
use crate::time::Timestamp;
use crate::{Entropy, codec, limits};

mod code;
mod pairing;

pub use code::InviteCode;
pub use pairing::{ComparisonCode, InviteOwner, JoinRequest, Pair};

/// Version of the invite format, in the link and at the relay.
pub const VERSION: u8 = 1;
/// What a link's fragment starts with.
pub const FRAGMENT: &str = "0k=";

/// Lookup id and key: whoever has both can join once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InviteKey {
    /// Where the invite lies.
    pub lookup: InviteLookup,
    secret: Secret,
}

/// What can be known before the invite is used up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offer {
    /// Relays of the group, in order of preference.
    pub relays: Vec<String>,
    /// The group.
    pub group_id: GroupId,
    /// Its newest epoch.
    pub epoch: u32,
    /// The device that invites.
    pub created_by: DeviceId,
    /// When the invite ends.
    pub expires: Timestamp,
    /// Where the creator confirms: what it is committed to ([`InviteOwner::commitment`]).
    pub confirm: Option<[u8; 32]>,
}

/// What a claim gives: the secrets of the epochs, oldest first, and what the group's relays ask for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Secrets {
    /// Epoch and its secret.
    pub epochs: Vec<(u32, Secret)>,
    /// Access tokens of relays that ask for one, by URL. Left out where there is none.
    pub tokens: SortedMap<String, AccessToken>,
}

wire_struct_grown!(
    Offer {
        relays,
        group_id,
        epoch,
        created_by,
        expires
    } + confirm
);
wire_struct_grown!(Secrets { epochs } + tokens);

/// An invite as the relay keeps it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SealedInvite {
    /// Where.
    pub lookup: InviteLookup,
    /// SHA-256 of the claim token.
    pub claim_hash: [u8; 32],
    /// Sealed [`Offer`].
    pub offer: Vec<u8>,
    /// Sealed [`Secrets`]; empty where the creator confirms.
    pub secrets: Vec<u8>,
}

/// Text or bytes that are not an invite of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InviteError {
    /// Neither an invite link nor a code.
    #[error("this is not an invite link or code, or a part of it is missing")]
    Malformed,
    /// Made by another version of the protocol.
    #[error("this invite was made by another version of the app; update both devices")]
    Version,
    /// What the relay holds does not open with this key.
    #[error(
        "the invite does not match what the relay holds; check the code, or copy the whole link again"
    )]
    WrongKey,
    /// The key of a code takes more memory than there is.
    #[error("this device has too little free memory for a code; use the link instead")]
    OutOfMemory,
}

impl From<OutOfMemory> for InviteError {
    fn from(_: OutOfMemory) -> Self {
        Self::OutOfMemory
    }
}

/// What a joining device was given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Invitation {
    /// A link: the key, and the URL of the relay that holds the invite.
    Link(InviteKey, String),
    /// A short code. Which relay holds its invite is not in it.
    Code(InviteCode),
}

impl Invitation {
    /// Reads a link, the fragment of one, or a code.
    ///
    /// # Errors
    /// [`InviteError::Malformed`] or [`InviteError::Version`]
    pub fn parse(text: &str) -> Result<Self, InviteError> {
        if text.contains(FRAGMENT) {
            let (key, relay) = InviteKey::parse(text)?;
            return Ok(Self::Link(key, relay));
        }
        InviteCode::parse(text).map(Self::Code)
    }
}

impl InviteKey {
    /// A fresh one.
    #[must_use]
    pub fn random(entropy: &mut dyn Entropy) -> Self {
        Self {
            lookup: InviteLookup(crate::random(entropy)),
            secret: Secret::new(crate::random(entropy)),
        }
    }

    /// The token that claims or cancels the invite.
    #[must_use]
    pub fn claim_token(&self) -> [u8; 32] {
        *self.secret.derive(domain::INVITE_CLAIM).expose()
    }

    /// As what a device claims the invite, where nobody confirms: the same each time, so that it may ask again whose answer
    /// was lost. It tells the relay nothing of the device.
    #[must_use]
    pub fn claimant(&self, device: DeviceId) -> [u8; 16] {
        let info = [domain::INVITE_CLAIMANT, device.as_bytes()].concat();
        let derived = *self.secret.derive(&info).expose();
        let (claimant, _) = derived.split_at(16);
        claimant.try_into().unwrap_or_default()
    }

    /// Seals what the relay will keep.
    #[must_use]
    pub fn seal(
        &self,
        offer: &Offer,
        secrets: &Secrets,
        entropy: &mut dyn Entropy,
    ) -> SealedInvite {
        SealedInvite {
            secrets: self.seal_part(domain::INVITE_SECRETS, &codec::to_bytes(secrets), entropy),
            ..self.seal_offer(offer, entropy)
        }
    }

    /// The same without the secrets, which a joiner gets when it is let in.
    #[must_use]
    pub fn seal_offer(&self, offer: &Offer, entropy: &mut dyn Entropy) -> SealedInvite {
        SealedInvite {
            lookup: self.lookup,
            claim_hash: hash_claim(&self.claim_token()),
            offer: self.seal_part(domain::INVITE_OFFER, &codec::to_bytes(offer), entropy),
            secrets: Vec::new(),
        }
    }

    /// Opens the offer.
    ///
    /// # Errors
    /// [`InviteError::WrongKey`] or [`InviteError::Version`]
    pub fn open_offer(&self, sealed: &[u8]) -> Result<Offer, InviteError> {
        codec::from_bytes(&self.open_part(domain::INVITE_OFFER, sealed)?)
            .map_err(|_| InviteError::Version)
    }

    /// Opens the secrets and checks that they are those of the offered group.
    ///
    /// # Errors
    /// [`InviteError::WrongKey`] or [`InviteError::Version`]
    pub fn open_secrets(&self, sealed: &[u8]) -> Result<Secrets, InviteError> {
        codec::from_bytes(&self.open_part(domain::INVITE_SECRETS, sealed)?)
            .map_err(|_| InviteError::Version)
    }

    fn associated_data(&self, domain: &[u8]) -> Vec<u8> {
        [domain, &[VERSION], self.lookup.as_bytes().as_slice()].concat()
    }

    fn seal_part(&self, domain: &[u8], plain: &[u8], entropy: &mut dyn Entropy) -> Vec<u8> {
        let nonce: [u8; zerok_sync_aead::NONCE_LEN] = crate::random(entropy);
        let mut out = [nonce.as_slice(), plain].concat();
        let key = self.secret.derive(domain);
        zerok_sync_aead::seal(
            key.expose(),
            &nonce,
            &self.associated_data(domain),
            &mut out,
            nonce.len(),
        );
        out
    }

    fn open_part(&self, domain: &[u8], sealed: &[u8]) -> Result<Vec<u8>, InviteError> {
        let (nonce, rest) = sealed.split_first_chunk().ok_or(InviteError::WrongKey)?;
        let mut message = rest.to_vec();
        let key = self.secret.derive(domain);
        zerok_sync_aead::open(
            key.expose(),
            nonce,
            &self.associated_data(domain),
            &mut message,
        )
        .map_err(|_| InviteError::WrongKey)?;
        Ok(message)
    }

    /// The link: `<app_url>#0k=<version>.<base64url of lookup, key and relay URL>`.
    #[must_use]
    pub fn link(&self, app_url: &str, relay_url: &str) -> String {
        let base = app_url.split_once('#').map_or(app_url, |(base, _)| base);
        let bytes = [
            self.lookup.as_bytes().as_slice(),
            self.secret.expose(),
            relay_url.as_bytes(),
        ]
        .concat();
        format!(
            "{base}#{FRAGMENT}{VERSION}.{}",
            BASE64URL_NOPAD.encode(&bytes)
        )
    }

    /// Reads a link, or only its fragment; gives the key and the URL of the relay that holds the invite.
    ///
    /// # Errors
    /// [`InviteError::Malformed`] or [`InviteError::Version`]
    pub fn parse(text: &str) -> Result<(Self, String), InviteError> {
        let text = text.trim();
        let fragment = text.rsplit_once('#').map_or(text, |(_, fragment)| fragment);
        let rest = fragment
            .strip_prefix(FRAGMENT)
            .ok_or(InviteError::Malformed)?;
        let (version, data) = rest.split_once('.').ok_or(InviteError::Malformed)?;
        let version: u32 = version.parse().map_err(|_| InviteError::Malformed)?;
        if version != u32::from(VERSION) {
            return Err(InviteError::Version);
        }
        if data.len() > 2 * (limits::MAX_RELAY_URL + 48) {
            return Err(InviteError::Malformed);
        }
        let bytes = BASE64URL_NOPAD
            .decode(data.as_bytes())
            .map_err(|_| InviteError::Malformed)?;
        let (lookup, rest) = bytes.split_first_chunk().ok_or(InviteError::Malformed)?;
        let (secret, url) = rest.split_first_chunk().ok_or(InviteError::Malformed)?;
        let url = core::str::from_utf8(url).map_err(|_| InviteError::Malformed)?;
        if url.is_empty() || url.len() > limits::MAX_RELAY_URL {
            return Err(InviteError::Malformed);
        }
        Ok((
            Self {
                lookup: InviteLookup(*lookup),
                secret: Secret::new(*secret),
            },
            url.to_owned(),
        ))
    }
}

/// What a relay compares a claim with.
#[must_use]
pub fn hash_claim(token: &[u8; 32]) -> [u8; 32] {
    zerok_sync_aead::sha256(&[token])
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn key() -> InviteKey {
        InviteKey {
            lookup: InviteLookup([1; 16]),
            secret: Secret::new([2; 32]),
        }
    }

    fn offer() -> Offer {
        Offer {
            relays: vec!["https://sync.example.com".into()],
            group_id: GroupId([3; 32]),
            epoch: 0,
            created_by: DeviceId([4; 32]),
            expires: Timestamp(5),
            confirm: None,
        }
    }

    #[test]
    fn a_link_round_trips_and_forgives_white_space() {
        let link = key().link("https://app.example/#old", "https://sync.example.com");
        assert!(link.starts_with("https://app.example/#0k=1."), "{link}");
        let expected = (key(), "https://sync.example.com".to_owned());
        assert_eq!(InviteKey::parse(&format!("  {link}\n")).unwrap(), expected);
        let fragment = link.split_once('#').unwrap().1;
        assert_eq!(InviteKey::parse(fragment).unwrap(), expected);
    }

    #[test]
    fn wrong_links_say_why() {
        let link = key().link("https://app.example/", "https://sync.example.com");
        assert_eq!(
            InviteKey::parse(&link.replace("#0k=1.", "#0k=2.")),
            Err(InviteError::Version)
        );
        assert_eq!(
            InviteKey::parse("https://app.example/"),
            Err(InviteError::Malformed)
        );
        assert_eq!(InviteKey::parse(&link[..60]), Err(InviteError::Malformed));
        assert_eq!(InviteKey::parse(""), Err(InviteError::Malformed));
    }

    #[test]
    fn parts_open_with_their_own_key_only() {
        let secrets = Secrets {
            epochs: vec![(0, Secret::new([7; 32]))],
            tokens: SortedMap::new(),
        };
        let mut entropy = |bytes: &mut [u8]| bytes.fill(6);
        let sealed = key().seal(&offer(), &secrets, &mut entropy);
        assert_eq!(key().open_offer(&sealed.offer).unwrap(), offer());
        assert_eq!(key().open_secrets(&sealed.secrets).unwrap(), secrets);
        assert_eq!(
            key().open_offer(&sealed.secrets),
            Err(InviteError::WrongKey),
            "a part is not the other"
        );
        let moved = InviteKey {
            lookup: InviteLookup([9; 16]),
            ..key()
        };
        assert_eq!(
            moved.open_secrets(&sealed.secrets),
            Err(InviteError::WrongKey),
            "bound to its lookup"
        );
        let other = InviteKey {
            secret: Secret::new([9; 32]),
            ..key()
        };
        assert_eq!(
            other.open_secrets(&sealed.secrets),
            Err(InviteError::WrongKey)
        );
        assert_eq!(sealed.claim_hash, hash_claim(&key().claim_token()));
    }

    proptest! {
        #[test]
        fn arbitrary_text_never_panics(text in ".{0,400}") {
            let _ = InviteKey::parse(&text);
            let _ = InviteKey::parse(&format!("#0k=1.{text}"));
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            prop_assert!(key().open_offer(&bytes).is_err());
        }
    }
}
