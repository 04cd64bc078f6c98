//! Groups that people name: the first secret of one is derived from its name and a passphrase, so that a device joins with
//! what its owner remembers.
//!
//! Nothing of the derivation comes from a relay: neither the salt nor the cost. Who joins does not know which cost the
//! founder could afford, derives all three, and asks which group is there.

use core::fmt;

use zeroize::{Zeroize, ZeroizeOnDrop};

use super::domain;
use super::keys::Secret;
use super::stretch::{self, Cost, OutOfMemory};
use crate::limits;

/// What the derivation costs: none is below what OWASP asks for as the least.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Profile {
    /// 19 MiB, two passes.
    Low,
    /// 46 MiB, one pass.
    Mid,
    /// 64 MiB, three passes.
    High,
}

/// Memory in MiB from which on a device takes [`Profile::Mid`] and [`Profile::High`].
const AFFORDS: (u32, u32) = (1024, 2048);

impl Profile {
    /// Every profile, strongest first.
    pub const ALL: [Self; 3] = [Self::High, Self::Mid, Self::Low];

    /// Its parameters.
    #[must_use]
    pub const fn cost(self) -> Cost {
        match self {
            Self::Low => Cost {
                memory: 19 * 1024,
                passes: 2,
            },
            Self::Mid => Cost {
                memory: 46 * 1024,
                passes: 1,
            },
            Self::High => stretch::HIGH,
        }
    }

    /// The one for a device with so many MiB of memory. Who does not tell (most desktop browsers) has enough.
    #[must_use]
    pub fn affordable(memory: Option<u32>) -> Self {
        match memory {
            Some(memory) if memory < AFFORDS.0 => Self::Low,
            Some(memory) if memory < AFFORDS.1 => Self::Mid,
            _ => Self::High,
        }
    }
}

/// Why a name or a passphrase can't be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PassphraseError {
    /// Of the app.
    #[error("the app id must have 1 to 64 visible ASCII characters")]
    App,
    /// Of the group.
    #[error("the name of the group is missing or too long; at most 128 bytes are allowed")]
    Name,
    /// The passphrase itself.
    #[error("the passphrase is missing or too long; at most 1024 bytes are allowed")]
    Passphrase,
}

/// What opens a group, in the one form that all devices have to give it before (docs/protocol.md, "Passphrases").
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct Passphrase {
    salt: [u8; 16],
    text: Vec<u8>,
}

impl Passphrase {
    /// For the group of this name in this app.
    ///
    /// # Errors
    /// [`PassphraseError`]
    pub fn new(app: &str, name: &str, passphrase: String) -> Result<Self, PassphraseError> {
        // Wiped, whatever follows.
        let mut passphrase = Self {
            salt: [0; 16],
            text: passphrase.into_bytes(),
        };
        let fits = |length: usize, limit: usize| (1..=limit).contains(&length);
        if !fits(app.len(), limits::MAX_APP_ID) || !app.bytes().all(|byte| byte.is_ascii_graphic())
        {
            return Err(PassphraseError::App);
        }
        if !fits(name.len(), limits::MAX_GROUP_NAME) {
            return Err(PassphraseError::Name);
        }
        if !fits(passphrase.text.len(), limits::MAX_PASSPHRASE) {
            return Err(PassphraseError::Passphrase);
        }
        passphrase.salt = salt(app, name);
        Ok(passphrase)
    }

    /// The secret of epoch 0. Takes a good part of a second, and the memory of the profile.
    ///
    /// # Errors
    /// [`OutOfMemory`]
    pub fn secret(&self, profile: Profile) -> Result<Secret, OutOfMemory> {
        stretch::argon2id(&self.text, &self.salt, profile.cost())
    }
}

impl fmt::Debug for Passphrase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

/// The app's length goes before it, so that "ab" + "c" is another group than "a" + "bc".
pub(crate) fn salt(app: &str, name: &str) -> [u8; 16] {
    let length = u32::try_from(app.len()).unwrap_or(u32::MAX).to_le_bytes();
    let parts = [domain::PASSPHRASE, &length, app.as_bytes(), name.as_bytes()];
    let hash = zerok_sync_aead::sha256(&parts);
    core::array::from_fn(|at| hash[at])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn passphrase(app: &str, name: &str, text: &str) -> Result<Passphrase, PassphraseError> {
        Passphrase::new(app, name, text.to_owned())
    }

    #[test]
    fn a_passphrase_does_not_print() {
        let passphrase = passphrase("app", "family", "correct horse").unwrap();
        assert_eq!(format!("{passphrase:?}"), "[redacted]");
    }

    #[test]
    fn app_and_name_cannot_be_shifted_into_each_other() {
        assert_ne!(salt("ab", "c"), salt("a", "bc"));
        assert_ne!(salt("a", "b"), salt("b", "a"));
        assert_eq!(salt("a", "b"), salt("a", "b"));
    }

    #[test]
    fn each_profile_is_another_group() {
        let passphrase = passphrase("app", "family", "correct horse").unwrap();
        let [high, mid, low] = Profile::ALL.map(|profile| passphrase.secret(profile).unwrap());
        assert!(high != mid && mid != low && high != low);
    }

    #[test]
    fn what_cannot_be_used_is_told() {
        assert_eq!(passphrase("", "n", "p").unwrap_err(), PassphraseError::App);
        assert_eq!(
            passphrase("a b", "n", "p").unwrap_err(),
            PassphraseError::App
        );
        assert_eq!(
            passphrase(&"a".repeat(65), "n", "p").unwrap_err(),
            PassphraseError::App
        );
        assert_eq!(passphrase("a", "", "p").unwrap_err(), PassphraseError::Name);
        assert_eq!(
            passphrase("a", &"n".repeat(129), "p").unwrap_err(),
            PassphraseError::Name
        );
        for wrong in [String::new(), "p".repeat(1025)] {
            assert_eq!(
                passphrase("a", "n", &wrong).unwrap_err(),
                PassphraseError::Passphrase
            );
        }
        assert!(passphrase(&"a".repeat(64), &"n".repeat(128), &"p".repeat(1024)).is_ok());
    }

    #[test]
    fn a_device_takes_what_it_affords() {
        let cases = [
            (Some(512), Profile::Low),
            (Some(1024), Profile::Mid),
            (Some(2048), Profile::High),
            (Some(32 * 1024), Profile::High),
            (None, Profile::High),
        ];
        for (memory, profile) in cases {
            assert_eq!(Profile::affordable(memory), profile);
        }
    }

    #[test]
    fn no_profile_is_below_the_floor_of_owasp() {
        let floor = [(46 * 1024, 1), (19 * 1024, 2), (12 * 1024, 3)];
        for profile in Profile::ALL {
            let Cost { memory, passes } = profile.cost();
            assert!(floor.iter().any(|(m, t)| memory >= *m && passes >= *t));
        }
    }
}
