//! Short codes: an invite key that people can read out and type.
//!
//! `XXXX-XXXX-XXXX-XXXX` in Crockford's base 32. The first six characters name the invite, the other ten (50 bits) are its key,
//! stretched by Argon2id, so that a relay which holds the sealed invite cannot try them out.

use core::fmt;

use zeroize::{Zeroize, ZeroizeOnDrop};

use super::{InviteError, InviteKey};
use crate::Entropy;
use crate::crypto::{domain, stretch};
use crate::ids::InviteLookup;

/// Crockford's base 32: no I, L, O and U.
const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
/// Characters of a code.
const LEN: usize = 16;
/// Characters that name the invite.
const LOOKUP_LEN: usize = 6;
/// Characters between two dashes.
const BLOCK: usize = 4;

/// A short code. Whoever has it can join once.
#[derive(Clone, PartialEq, Eq, Zeroize, ZeroizeOnDrop)]
pub struct InviteCode([u8; LEN]);

impl InviteCode {
    /// A fresh one.
    #[must_use]
    pub fn random(entropy: &mut dyn Entropy) -> Self {
        let random: [u8; LEN] = crate::random(entropy);
        Self(random.map(|byte| ALPHABET[usize::from(byte) % ALPHABET.len()]))
    }

    /// Reads a code as people type it: case, spaces and dashes do not matter, O is 0, I and L are 1.
    ///
    /// # Errors
    /// [`InviteError::Malformed`] for a wrong character or a wrong number of them
    pub fn parse(text: &str) -> Result<Self, InviteError> {
        let mut code = [0; LEN];
        let mut places = code.iter_mut();
        let typed = text.chars().filter(|c| !c.is_whitespace() && !is_dash(*c));
        for character in typed {
            let place = places.next().ok_or(InviteError::Malformed)?;
            *place = canonical(character).ok_or(InviteError::Malformed)?;
        }
        match places.next() {
            None => Ok(Self(code)),
            Some(_) => Err(InviteError::Malformed),
        }
    }

    /// Where its invite lies.
    #[must_use]
    pub fn lookup(&self) -> InviteLookup {
        let (name, _) = self.0.split_at(LOOKUP_LEN);
        let hash = zerok_sync_aead::sha256(&[domain::INVITE_CODE, name]);
        let mut lookup = [0; 16];
        lookup.copy_from_slice(&hash[..16]);
        InviteLookup(lookup)
    }

    /// The invite's key: Argon2id `high` of the last ten characters, with the lookup as salt. Slow, on purpose.
    ///
    /// # Errors
    /// [`InviteError::OutOfMemory`]
    pub fn key(&self) -> Result<InviteKey, InviteError> {
        let lookup = self.lookup();
        let (_, typed) = self.0.split_at(LOOKUP_LEN);
        let secret = stretch::argon2id(typed, lookup.as_bytes(), stretch::HIGH)?;
        Ok(InviteKey { lookup, secret })
    }
}

/// For people: four blocks of four.
impl fmt::Display for InviteCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, character) in self.0.iter().enumerate() {
            if at > 0 && at % BLOCK == 0 {
                f.write_str("-")?;
            }
            write!(f, "{}", char::from(*character))?;
        }
        Ok(())
    }
}

impl fmt::Debug for InviteCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

/// Keyboards and word processors make others of the plain one.
fn is_dash(character: char) -> bool {
    matches!(character, '-' | '_' | '\u{2010}'..='\u{2015}' | '\u{2212}')
}

fn canonical(character: char) -> Option<u8> {
    let upper = match character.to_ascii_uppercase() {
        'O' => '0',
        'I' | 'L' => '1',
        other => other,
    };
    let byte = u8::try_from(upper).ok()?;
    ALPHABET.contains(&byte).then_some(byte)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_code_is_read_as_people_type_it() {
        let code = InviteCode::parse("7KQ2-9F3M-XW41-ZPD0").unwrap();
        assert_eq!(code.to_string(), "7KQ2-9F3M-XW41-ZPD0");
        for typed in [
            "7kq29f3mxw41zpd0",
            " 7KQ2 9F3M XW4I ZPDO\n",
            "7kq2–9f3m—xw4l−zpdo",
            "7K-Q2-9F3-MXW41__ZPD0",
        ] {
            assert_eq!(InviteCode::parse(typed), Ok(code.clone()), "{typed}");
        }
        for wrong in [
            "",
            "7KQ2-9F3M-XW41-ZPD",
            "7KQ2-9F3M-XW41-ZPD00",
            "7KQ2-9F3M-XW41-ZPDU",
            "7KQ2-9F3M-XW41-ZPD€",
        ] {
            assert_eq!(
                InviteCode::parse(wrong),
                Err(InviteError::Malformed),
                "{wrong}"
            );
        }
    }

    #[test]
    fn codes_use_the_whole_alphabet_and_are_not_printed() {
        let mut next = 0_u8;
        let mut entropy = |bytes: &mut [u8]| {
            bytes.fill_with(|| {
                next = next.wrapping_add(1);
                next
            });
        };
        let mut seen = std::collections::BTreeSet::new();
        for _ in 0..16 {
            let code = InviteCode::random(&mut entropy);
            assert_eq!(format!("{code:?}"), "[redacted]");
            assert_eq!(InviteCode::parse(&code.to_string()), Ok(code.clone()));
            seen.extend(code.0);
        }
        assert_eq!(seen.len(), ALPHABET.len());
    }

    #[test]
    fn the_first_characters_name_the_invite_and_the_others_are_its_key() {
        let code = |text| InviteCode::parse(text).unwrap();
        let first = code("7KQ2-9F3M-XW41-ZPD0");
        let other_key = code("7KQ2-9F3M-XW41-ZPD1");
        assert_eq!(first.lookup(), other_key.lookup());
        assert_ne!(first.key(), other_key.key());
        assert_ne!(first.lookup(), code("7KQ2-9E3M-XW41-ZPD0").lookup());
        assert_eq!(first.key().unwrap().lookup, first.lookup());
    }

    proptest! {
        #[test]
        fn arbitrary_text_is_read_or_refused(text in ".{0,40}") {
            if let Ok(code) = InviteCode::parse(&text) {
                prop_assert_eq!(InviteCode::parse(&code.to_string()), Ok(code));
            }
        }
    }
}
