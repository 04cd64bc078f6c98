//! Access tokens: what a relay that is not open to everybody asks for.
//!
//! A relay keeps only the SHA-256 of a token. The token itself goes to the relay inside TLS, in HELLO and in the
//! `Authorization` header. The WebSocket of a browser can carry neither, only its URL, which proxies write into their logs;
//! so there a *ticket* is shown instead, which is good for one device and proves nothing to anybody else.

use core::fmt;

use data_encoding::BASE64URL_NOPAD;
use subtle::ConstantTimeEq;
use zeroize::{Zeroize, ZeroizeOnDrop};

use super::domain;
use super::keys::Secret;
use crate::codec::wire::wire_as;
use crate::ids::DeviceId;
use crate::limits;

/// What the tokens that a relay makes start with, so that people and scanners for leaked secrets recognise one.
pub const PREFIX: &str = "0kt_";
/// Bytes of a ticket that name its token.
const ID_LEN: usize = 8;

/// A bearer token: wiped when dropped, `[redacted]` in `Debug`.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct AccessToken(String);

impl AccessToken {
    /// Takes a token over; `None` for what a header cannot carry: nothing at all, more than
    /// [`limits::MAX_ACCESS_TOKEN`] bytes, or anything but visible ASCII.
    #[must_use]
    pub fn new(text: &str) -> Option<Self> {
        let fits = (1..=limits::MAX_ACCESS_TOKEN).contains(&text.len());
        (fits && text.bytes().all(|byte| byte.is_ascii_graphic())).then(|| Self(text.to_owned()))
    }

    /// The text, for whoever has to send or store it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// What a relay keeps of it.
    #[must_use]
    pub fn hash(&self) -> TokenHash {
        TokenHash::of(&self.0)
    }
}

impl fmt::Debug for AccessToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

impl PartialEq for AccessToken {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_bytes().ct_eq(other.0.as_bytes()).into()
    }
}

impl Eq for AccessToken {}

wire_as!(AccessToken as String, |token| token.0.clone(), AccessToken);

/// SHA-256 of a token, compared in constant time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenHash(Secret);

impl TokenHash {
    /// The hash with these bytes.
    #[must_use]
    pub const fn new(bytes: [u8; 32]) -> Self {
        Self(Secret::new(bytes))
    }

    /// The hash of a text that may be a token.
    #[must_use]
    pub fn of(text: &str) -> Self {
        Self::new(zerok_sync_aead::sha256(&[text.as_bytes()]))
    }

    /// The bytes, for whoever has to store them.
    #[must_use]
    pub const fn expose(&self) -> &[u8; 32] {
        self.0.expose()
    }

    /// Names the token in a ticket.
    #[must_use]
    pub fn id(&self) -> [u8; ID_LEN] {
        let mut id = [0; ID_LEN];
        let derived = self.0.derive(domain::TICKET_ID);
        id.copy_from_slice(&derived.expose()[..ID_LEN]);
        id
    }

    /// The ticket with which a device opens a WebSocket.
    #[must_use]
    pub fn ticket(&self, device: DeviceId) -> String {
        let info = [domain::TICKET, device.as_bytes().as_slice()].concat();
        let proof = self.0.derive(&info);
        BASE64URL_NOPAD.encode(&[self.id().as_slice(), proof.expose()].concat())
    }

    /// Whether this is the ticket of the device.
    #[must_use]
    pub fn is_ticket(&self, device: DeviceId, ticket: &str) -> bool {
        self.ticket(device)
            .as_bytes()
            .ct_eq(ticket.as_bytes())
            .into()
    }
}

/// The id of the token that a ticket was made from; `None` if it is no ticket.
#[must_use]
pub fn ticket_id(ticket: &str) -> Option<[u8; ID_LEN]> {
    let bytes = BASE64URL_NOPAD.decode(ticket.as_bytes()).ok()?;
    (bytes.len() == ID_LEN + 32).then_some(())?;
    bytes.first_chunk().copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_what_a_header_can_carry() {
        assert!(AccessToken::new("0kt_abc").is_some());
        assert!(AccessToken::new(&"x".repeat(limits::MAX_ACCESS_TOKEN)).is_some());
        for wrong in ["", "a b", "a\n", "ä", &"x".repeat(513)] {
            assert!(AccessToken::new(wrong).is_none(), "{wrong:?}");
        }
        assert_eq!(
            format!("{:?}", AccessToken::new("secret").unwrap()),
            "[redacted]"
        );
    }

    #[test]
    fn a_ticket_is_good_for_one_token_and_one_device() {
        let (ours, other) = (TokenHash::of("ours"), TokenHash::of("other"));
        let device = DeviceId([1; 32]);
        let ticket = ours.ticket(device);
        assert_eq!(ticket_id(&ticket), Some(ours.id()));
        assert!(ours.is_ticket(device, &ticket));
        assert!(!ours.is_ticket(DeviceId([2; 32]), &ticket));
        assert!(!other.is_ticket(device, &ticket));
        for wrong in ["", "ours", &ticket[1..], "!!"] {
            assert_eq!(ticket_id(wrong), None);
            assert!(!ours.is_ticket(device, wrong));
        }
    }
}
