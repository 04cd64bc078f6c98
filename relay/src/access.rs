//! Who may use the relay: everybody, or whoever has a token.
//!
//! Tokens are kept as SHA-256. They are random, with 256 bits, so there is nothing that a slow hash would make harder to
//! guess. One is looked up by an id that is derived from its hash, and compared in constant time.

use std::collections::HashMap;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;

use data_encoding::{BASE64URL_NOPAD, HEXLOWER, HEXLOWER_PERMISSIVE};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use zerok_sync_shared::crypto::token::{PREFIX, TokenHash, ticket_id};
use zerok_sync_shared::error::ErrorCode;
use zerok_sync_shared::ids::DeviceId;
use zerok_sync_shared::message::WireError;

pub use file::TokenFile;

mod file;

#[cfg(feature = "fuzzing")]
pub(crate) use file::parse as read_tokens;

/// What the text of a token's hash starts with.
const HASH_PREFIX: &str = "sha256:";

/// Who may use a relay.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AccessMode {
    /// Everybody.
    #[default]
    Open,
    /// Whoever has an access token.
    Token,
}

impl fmt::Display for AccessMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Open => "open",
            Self::Token => "token",
        })
    }
}

/// The hash of an access token as it stands in a configuration: `sha256:` and 64 hex digits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct HashedToken(TokenHash);

impl HashedToken {
    /// The hash of a token.
    #[must_use]
    pub fn of(token: &str) -> Self {
        Self(TokenHash::of(token))
    }
}

impl FromStr for HashedToken {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.starts_with(PREFIX) {
            return Err(
                "this is a token, and only its hash belongs here; make a new one with `zerok-relay token new`",
            );
        }
        let hex = text.strip_prefix(HASH_PREFIX).unwrap_or_default();
        let bytes = HEXLOWER_PERMISSIVE.decode(hex.as_bytes()).ok();
        let bytes: Option<[u8; 32]> = bytes.and_then(|bytes| bytes.try_into().ok());
        bytes
            .map(|bytes| Self(TokenHash::new(bytes)))
            .ok_or("sha256: and 64 hex digits are needed, as `zerok-relay token new` prints them")
    }
}

impl fmt::Display for HashedToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{HASH_PREFIX}{}", HEXLOWER.encode(self.0.expose()))
    }
}

impl TryFrom<String> for HashedToken {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<HashedToken> for String {
    fn from(token: HashedToken) -> Self {
        token.to_string()
    }
}

/// A new token: the text to give away, and the hash to keep.
///
/// # Errors
/// When the system gives no random bytes.
pub fn new_token() -> Result<(String, HashedToken), getrandom::Error> {
    let mut random = [0; 32];
    getrandom::fill(&mut random)?;
    let token = format!("{PREFIX}{}", BASE64URL_NOPAD.encode(&random));
    let hash = HashedToken::of(&token);
    Ok((token, hash))
}

/// Settings that contradict each other, or a file that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum AccessError {
    /// Tokens that nobody is asked for.
    #[error("there are access tokens, but access is open to everybody; set access = \"token\"")]
    Open,
    /// Nobody could ever come in.
    #[error(
        "access = \"token\" needs access_tokens or access_tokens_file; make a token with `zerok-relay token new`"
    )]
    NoTokens,
    /// The file.
    #[error("{0}: {1}")]
    File(PathBuf, String),
}

/// The tokens that count now, by the ids of their hashes.
#[derive(Debug, Default)]
struct Tokens(HashMap<[u8; 8], TokenHash>);

impl Tokens {
    fn new(hashes: impl IntoIterator<Item = HashedToken>) -> Self {
        let hashes = hashes
            .into_iter()
            .map(|HashedToken(hash)| (hash.id(), hash));
        Self(hashes.collect())
    }

    fn has(&self, hash: &TokenHash) -> bool {
        self.0.get(&hash.id()) == Some(hash)
    }
}

/// Who may use this relay.
#[derive(Debug, Clone)]
pub struct Access(Option<watch::Receiver<Arc<Tokens>>>);

impl Access {
    /// Everybody.
    #[must_use]
    pub const fn open() -> Self {
        Self(None)
    }

    /// What the settings say, and the task that follows the file as it changes, if there is one.
    ///
    /// # Errors
    /// [`AccessError`]
    pub fn new(
        mode: AccessMode,
        tokens: Vec<HashedToken>,
        file: Option<PathBuf>,
    ) -> Result<(Self, Option<TokenFile>), AccessError> {
        match (mode, file) {
            (AccessMode::Open, None) if tokens.is_empty() => Ok((Self::open(), None)),
            (AccessMode::Open, _) => Err(AccessError::Open),
            (AccessMode::Token, None) if tokens.is_empty() => Err(AccessError::NoTokens),
            (AccessMode::Token, None) => {
                let (_, tokens) = watch::channel(Arc::new(Tokens::new(tokens)));
                Ok((Self(Some(tokens)), None))
            }
            (AccessMode::Token, Some(path)) => {
                let (file, tokens) = TokenFile::open(path, tokens)?;
                Ok((Self(Some(tokens)), Some(file)))
            }
        }
    }

    /// Whether a token is asked for.
    #[must_use]
    pub const fn asks_for_token(&self) -> bool {
        self.0.is_some()
    }

    /// Lets a device in by what it said in HELLO.
    ///
    /// # Errors
    /// What to tell it.
    pub fn admit(&self, token: Option<&str>) -> Result<Admission, WireError> {
        let Some(tokens) = &self.0 else {
            return Ok(Admission(None));
        };
        let refused = |text| WireError::new(ErrorCode::Unauthorized, text);
        let token = token.ok_or_else(|| {
            refused("this relay asks for an access token; ask the person who runs it for one")
        })?;
        let hash = TokenHash::of(token);
        if !tokens.borrow().has(&hash) {
            return Err(refused(
                "this relay does not take this access token; ask the person who runs it for a new one",
            ));
        }
        Ok(Admission(Some((hash, tokens.clone()))))
    }

    /// Lets a device open a WebSocket with this ticket, or not.
    #[must_use]
    pub fn admit_ticket(&self, device: DeviceId, ticket: Option<&str>) -> Option<Admission> {
        let Some(tokens) = &self.0 else {
            return Some(Admission(None));
        };
        let ticket = ticket?;
        let hash = tokens.borrow().0.get(&ticket_id(ticket)?).cloned()?;
        hash.is_ticket(device, ticket)
            .then(|| Admission(Some((hash, tokens.clone()))))
    }
}

/// That a session or a WebSocket was let in, and by which token.
#[derive(Debug)]
pub struct Admission(Option<(TokenHash, watch::Receiver<Arc<Tokens>>)>);

impl Admission {
    /// Waits until the token counts no longer. Cancel-safe.
    pub async fn revoked(&mut self) -> WireError {
        let revoked = match &mut self.0 {
            Some((hash, tokens)) => tokens.wait_for(|tokens| !tokens.has(hash)).await.is_ok(),
            None => false,
        };
        if !revoked {
            // Open to everybody, or nothing changes any more.
            std::future::pending::<()>().await;
        }
        let text =
            "the access token was taken back; ask the person who runs the relay for a new one";
        WireError::new(ErrorCode::Unauthorized, text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_token_is_recognised_by_its_hash_and_by_nothing_else() {
        let (token, hash) = new_token().unwrap();
        assert_eq!(hash.to_string().parse(), Ok(hash.clone()));
        let (access, file) = Access::new(AccessMode::Token, vec![hash], None).unwrap();
        assert!(file.is_none() && access.asks_for_token());
        assert!(access.admit(Some(&token)).is_ok());
        let other = new_token().unwrap().0;
        for wrong in [None, Some(""), Some(other.as_str()), Some(&token[..46])] {
            let error = access.admit(wrong).unwrap_err();
            assert_eq!(error.code, ErrorCode::Unauthorized);
        }
        assert!(Access::open().admit(None).is_ok());
    }

    #[test]
    fn tickets_open_for_their_device_only() {
        let (token, hash) = new_token().unwrap();
        let (access, _) = Access::new(AccessMode::Token, vec![hash], None).unwrap();
        let (ours, other) = (DeviceId([1; 32]), DeviceId([2; 32]));
        let ticket = TokenHash::of(&token).ticket(ours);
        assert!(access.admit_ticket(ours, Some(&ticket)).is_some());
        assert!(access.admit_ticket(other, Some(&ticket)).is_none());
        assert!(access.admit_ticket(ours, None).is_none());
        assert!(access.admit_ticket(ours, Some(&token)).is_none());
        let stranger = TokenHash::of("0kt_another").ticket(ours);
        assert!(access.admit_ticket(ours, Some(&stranger)).is_none());
        assert!(Access::open().admit_ticket(other, None).is_some());
    }

    #[test]
    fn settings_that_contradict_each_other_are_refused() {
        let hash = HashedToken::of("x");
        let open = Access::new(AccessMode::Open, vec![hash], None);
        assert!(matches!(open, Err(AccessError::Open)));
        let none = Access::new(AccessMode::Token, Vec::new(), None);
        assert!(matches!(none, Err(AccessError::NoTokens)));
        for wrong in ["", "sha256:", "sha256:12", "md5:00", "0kt_abc"] {
            assert!(wrong.parse::<HashedToken>().is_err(), "{wrong}");
        }
    }
}
