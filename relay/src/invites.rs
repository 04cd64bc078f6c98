//! Invites as the relay keeps them, and who may do what with one. It can read neither the offer nor the secrets.

use std::time::Duration;

use subtle::ConstantTimeEq;
use zerok_sync_shared::crypto::invite::hash_claim;
use zerok_sync_shared::ids::InviteLookup;
use zerok_sync_shared::time::Timestamp;

use crate::limits;

/// What became of an invite.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InviteState {
    /// It can be claimed.
    Open,
    /// Somebody has the secrets.
    Claimed {
        /// Who, as they called themselves.
        claimant: [u8; 16],
    },
    /// It was withdrawn, or guessed at too often.
    Cancelled,
}

/// One invite, or the tombstone of one.
#[derive(Clone, PartialEq, Eq)]
pub struct Invite {
    /// Where it lies.
    pub lookup: InviteLookup,
    /// SHA-256 of the token that claims it.
    pub claim_hash: [u8; 32],
    /// Sealed; empty in a tombstone.
    pub offer: Vec<u8>,
    /// Sealed; empty in a tombstone.
    pub secrets: Vec<u8>,
    /// What became of it.
    pub state: InviteState,
    /// Wrong tokens so far.
    pub wrong_tokens: u32,
    /// When it ends.
    pub expires_at: Timestamp,
}

impl std::fmt::Debug for Invite {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Invite([redacted])")
    }
}

/// Why an invite cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unusable {
    /// There is none.
    Unknown,
    /// Its time is over.
    Expired,
    /// Somebody else has used it.
    Claimed,
    /// It was withdrawn.
    Cancelled,
    /// The token is not the one that opens it.
    WrongToken,
}

impl Invite {
    /// A new one.
    #[must_use]
    pub fn new(
        lookup: InviteLookup,
        claim_hash: [u8; 32],
        offer: Vec<u8>,
        secrets: Vec<u8>,
        expires_at: Timestamp,
    ) -> Self {
        let state = InviteState::Open;
        Self {
            lookup,
            claim_hash,
            offer,
            secrets,
            state,
            wrong_tokens: 0,
            expires_at,
        }
    }

    /// When the last trace of it goes.
    #[must_use]
    pub fn forget_at(&self) -> Timestamp {
        self.expires_at.plus(limits::TOMBSTONE)
    }

    /// How long it can still be used.
    #[must_use]
    pub fn left(&self, now: Timestamp) -> Duration {
        self.expires_at.since(now)
    }

    /// Whether the offer may be shown.
    ///
    /// # Errors
    /// Why not.
    pub fn look(&self, now: Timestamp) -> Result<(), Unusable> {
        match self.state {
            InviteState::Claimed { .. } => Err(Unusable::Claimed),
            InviteState::Cancelled => Err(Unusable::Cancelled),
            InviteState::Open if now >= self.expires_at => Err(Unusable::Expired),
            InviteState::Open => Ok(()),
        }
    }

    /// Gives the secrets to whoever has the token, once; to the same claimant again, whose answer may have been lost.
    ///
    /// # Errors
    /// Why not. A wrong token counts, and too many of them cancel the invite.
    pub fn claim(
        &mut self,
        token: &[u8; 32],
        claimant: [u8; 16],
        now: Timestamp,
    ) -> Result<Vec<u8>, Unusable> {
        match self.state {
            InviteState::Cancelled => return Err(Unusable::Cancelled),
            InviteState::Claimed { claimant: first } if first != claimant => {
                return Err(Unusable::Claimed);
            }
            _ if now >= self.expires_at => return Err(Unusable::Expired),
            _ => {}
        }
        self.check_token(token)?;
        self.state = InviteState::Claimed { claimant };
        Ok(self.secrets.clone())
    }

    /// Withdraws the invite. One that is over stays what it was.
    ///
    /// # Errors
    /// [`Unusable::WrongToken`]
    pub fn cancel(&mut self, token: &[u8; 32]) -> Result<(), Unusable> {
        if self.state == InviteState::Open {
            self.check_token(token)?;
            self.end();
        } else if !self.is_token(token) {
            return Err(Unusable::WrongToken);
        }
        Ok(())
    }

    fn is_token(&self, token: &[u8; 32]) -> bool {
        hash_claim(token).ct_eq(&self.claim_hash).into()
    }

    fn check_token(&mut self, token: &[u8; 32]) -> Result<(), Unusable> {
        if self.is_token(token) {
            return Ok(());
        }
        self.wrong_tokens = self.wrong_tokens.saturating_add(1);
        if self.wrong_tokens >= limits::MAX_WRONG_TOKENS && self.state == InviteState::Open {
            self.end();
        }
        Err(Unusable::WrongToken)
    }

    fn end(&mut self) {
        self.state = InviteState::Cancelled;
        self.offer.clear();
        self.secrets.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN: [u8; 32] = [5; 32];
    const NOW: Timestamp = Timestamp(1_000);

    fn invite() -> Invite {
        let expires = NOW.plus(Duration::from_secs(10));
        Invite::new(
            InviteLookup([1; 16]),
            hash_claim(&TOKEN),
            vec![1],
            vec![2],
            expires,
        )
    }

    #[test]
    fn one_claimant_gets_the_secrets_and_gets_them_again() {
        let mut invite = invite();
        assert_eq!(invite.look(NOW), Ok(()));
        assert_eq!(invite.claim(&TOKEN, [1; 16], NOW), Ok(vec![2]));
        assert_eq!(invite.claim(&TOKEN, [1; 16], NOW), Ok(vec![2]));
        assert_eq!(invite.claim(&TOKEN, [2; 16], NOW), Err(Unusable::Claimed));
        assert_eq!(invite.look(NOW), Err(Unusable::Claimed));
        assert_eq!(
            invite.claim(&TOKEN, [1; 16], Timestamp(11_000)),
            Err(Unusable::Expired)
        );
    }

    #[test]
    fn wrong_tokens_do_not_use_it_up_until_there_are_too_many() {
        let mut invite = invite();
        for _ in 1..limits::MAX_WRONG_TOKENS {
            assert_eq!(
                invite.claim(&[6; 32], [1; 16], NOW),
                Err(Unusable::WrongToken)
            );
        }
        assert_eq!(invite.clone().claim(&TOKEN, [1; 16], NOW), Ok(vec![2]));
        assert_eq!(invite.cancel(&[6; 32]), Err(Unusable::WrongToken));
        assert_eq!(invite.claim(&TOKEN, [1; 16], NOW), Err(Unusable::Cancelled));
        assert!(invite.secrets.is_empty() && invite.offer.is_empty());
    }

    #[test]
    fn a_cancelled_or_expired_invite_gives_nothing() {
        let mut cancelled = invite();
        assert_eq!(cancelled.cancel(&TOKEN), Ok(()));
        assert_eq!(cancelled.cancel(&TOKEN), Ok(()));
        assert_eq!(
            cancelled.claim(&TOKEN, [1; 16], NOW),
            Err(Unusable::Cancelled)
        );
        let late = Timestamp(11_000);
        assert_eq!(invite().look(late), Err(Unusable::Expired));
        assert_eq!(
            invite().claim(&TOKEN, [1; 16], late),
            Err(Unusable::Expired)
        );
    }
}
