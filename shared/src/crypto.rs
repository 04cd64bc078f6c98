//! Keys and sealing. Every derivation and every authenticated message has a domain of its own, listed in [`domain`].

pub mod access;
pub mod blob;
pub mod device;
mod envelope;
pub mod ephemeral;
pub mod exchange;
pub mod invite;
pub mod keys;
pub mod padme;
pub mod passphrase;
pub mod roster;
pub mod rotation;
pub mod snapshot;
pub mod stretch;
pub mod token;
pub mod tombstone;

/// Domain separation strings, in one table.
pub(crate) mod domain {
    /// KDF: epoch secret → seed of the access key.
    pub(crate) const ACCESS: &[u8] = b"0k-sync/1 access";
    /// KDF: epoch secret → blob key; and the first bytes of a blob's associated data.
    pub(crate) const BLOB: &[u8] = b"0k-sync/1 blob";
    /// The first bytes of the associated data of an ephemeral message.
    pub(crate) const EPHEMERAL: &[u8] = b"0k-sync/1 ephemeral";
    /// The signed text of a HELLO; and the label of the TLS exporter in it.
    pub(crate) const HELLO: &[u8] = b"0k-sync/1 hello";
    /// Hash: first characters of a short code → lookup id.
    pub(crate) const INVITE_CODE: &[u8] = b"0k-sync/1 invite code";
    /// The signed text of a rotation certificate.
    pub(crate) const CERTIFICATE: &[u8] = b"0k-sync/1 certificate";
    /// Start of what the head of a relay's history is a hash of.
    pub(crate) const HEAD: &[u8] = b"0k-sync/1 head";
    /// Start of what names a relay's database in one process is a hash of.
    pub(crate) const LIFE: &[u8] = b"0k-sync/1 life";
    /// KDF: device secret → seed of the X-Wing key.
    pub(crate) const EXCHANGE: &[u8] = b"0k-sync/1 key exchange";
    /// KDF: X-Wing shared secret → key of a key packet; and its associated data.
    pub(crate) const KEY_PACKET: &[u8] = b"0k-sync/1 key packet";
    /// KDF: epoch secret → key of the member list; and its associated data.
    pub(crate) const MEMBERS: &[u8] = b"0k-sync/1 members";
    /// KDF: epoch secret → key of the secret of the epoch before; and its associated data.
    pub(crate) const PREVIOUS: &[u8] = b"0k-sync/1 previous";
    /// KDF: seed of a rotation → secret of the epoch that it begins, whose number follows.
    pub(crate) const ROTATION: &[u8] = b"0k-sync/1 rotation";
    /// The signed text of a roster entry.
    pub(crate) const ROSTER: &[u8] = b"0k-sync/1 roster";
    /// The signed text of a snapshot's header.
    pub(crate) const SNAPSHOT: &[u8] = b"0k-sync/1 snapshot";
    /// Hash: snapshot and number of a part → its blob id.
    pub(crate) const SNAPSHOT_PART: &[u8] = b"0k-sync/1 snapshot part";
    /// KDF: invite key → key of the offer; and its associated data.
    pub(crate) const INVITE_OFFER: &[u8] = b"0k-sync/1 invite offer";
    /// KDF: invite key → key of the secrets; and their associated data.
    pub(crate) const INVITE_SECRETS: &[u8] = b"0k-sync/1 invite secrets";
    /// KDF: invite key → token that claims or cancels the invite.
    pub(crate) const INVITE_CLAIM: &[u8] = b"0k-sync/1 invite claim";
    /// KDF: invite key → claimant; the device's id follows.
    pub(crate) const INVITE_CLAIMANT: &[u8] = b"0k-sync/1 invite claimant";
    /// Hash: app and name of a group → salt of its passphrase.
    pub(crate) const PASSPHRASE: &[u8] = b"0k-sync/1 passphrase";
    /// KDF: seed of an invite's owner → its token.
    pub(crate) const INVITE_OWNER: &[u8] = b"0k-sync/1 invite owner";
    /// KDF: seed of an invite's owner → its nonce; hash: nonce → commitment; KDF: invite key → key that seals the nonce.
    pub(crate) const INVITE_NONCE: &[u8] = b"0k-sync/1 invite nonce";
    /// KDF: invite key → key of the joiner's request; and its associated data.
    pub(crate) const INVITE_REQUEST: &[u8] = b"0k-sync/1 invite request";
    /// KDF: invite key, and the secret of the key exchange → keys of the grant; and its associated data.
    pub(crate) const INVITE_GRANT: &[u8] = b"0k-sync/1 invite grant";
    /// KDF: invite key → comparison code; both devices follow.
    pub(crate) const INVITE_COMPARISON: &[u8] = b"0k-sync/1 invite comparison";
    /// KDF: hash of an access token → the ticket of a device, whose id follows.
    pub(crate) const TICKET: &[u8] = b"0k-sync/1 access ticket";
    /// KDF: hash of an access token → its name in tickets.
    pub(crate) const TICKET_ID: &[u8] = b"0k-sync/1 access ticket id";
}
