//! Invites as the relay keeps them, and who may do what with one. It can read nothing of what both devices seal.

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
    /// Somebody has the secrets, or waits for them.
    Claimed {
        /// Who, as they called themselves.
        claimant: [u8; 16],
    },
    /// It was withdrawn, or its joiner was turned away.
    Cancelled,
}

/// One invite, or the tombstone of one.
#[derive(Clone, PartialEq, Eq)]
pub struct Invite {
    /// Where it lies.
    pub lookup: InviteLookup,
    /// SHA-256 of the token that claims it.
    pub claim_hash: [u8; 32],
    /// SHA-256 of the token of the device that made it.
    pub owner_hash: [u8; 32],
    /// Sealed; empty in a tombstone.
    pub offer: Vec<u8>,
    /// Sealed; empty in a tombstone, and while the creator has not confirmed.
    pub secrets: Vec<u8>,
    /// What the claimant said of itself, sealed; empty before there is one.
    pub request: Vec<u8>,
    /// What the creator answered before it confirmed, sealed; empty before it did.
    pub reply: Vec<u8>,
    /// What became of it.
    pub state: InviteState,
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

/// What whoever claims an invite shows.
#[derive(Debug, Clone)]
pub struct Claim {
    /// Proves the key of the invite.
    pub token: [u8; 32],
    /// The same in every claim of one joiner.
    pub claimant: [u8; 16],
    /// What it says of itself, sealed.
    pub request: Vec<u8>,
}

/// What a claim gives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claimed {
    /// Sealed; empty while the creator has not confirmed.
    pub secrets: Vec<u8>,
    /// The creator's reply so far, sealed.
    pub reply: Vec<u8>,
}

/// What the creator answers a claimant.
#[derive(Debug, Clone)]
pub enum Answer {
    /// Something that both need before it confirms, sealed.
    Reply(Vec<u8>),
    /// The secrets, sealed.
    Secrets(Vec<u8>),
}

impl Invite {
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

    /// Whether the offer may be shown: to everybody before it is claimed, then to its claimant, whose answer may have been
    /// lost.
    ///
    /// # Errors
    /// Why not.
    pub fn look(&self, by: Option<[u8; 16]>, now: Timestamp) -> Result<(), Unusable> {
        match self.state {
            InviteState::Claimed { claimant } if by == Some(claimant) && now < self.expires_at => {
                Ok(())
            }
            InviteState::Claimed { .. } => Err(Unusable::Claimed),
            InviteState::Cancelled => Err(Unusable::Cancelled),
            InviteState::Open if now >= self.expires_at => Err(Unusable::Expired),
            InviteState::Open => Ok(()),
        }
    }

    /// Gives the secrets, or what there is of them, to whoever has the token first; to the same claimant again, which waits,
    /// or whose answer was lost. Wrong tokens change nothing: they are slowed down by address, and whoever has seen a part
    /// of an invite cannot end it.
    ///
    /// # Errors
    /// Why not.
    pub fn claim(&mut self, claim: Claim, now: Timestamp) -> Result<Claimed, Unusable> {
        match self.state {
            InviteState::Cancelled => return Err(Unusable::Cancelled),
            InviteState::Claimed { claimant: first } if first != claim.claimant => {
                return Err(Unusable::Claimed);
            }
            _ if now >= self.expires_at => return Err(Unusable::Expired),
            _ => {}
        }
        if !is_token(&claim.token, &self.claim_hash) {
            return Err(Unusable::WrongToken);
        }
        if self.state == InviteState::Open {
            let claimant = claim.claimant;
            self.state = InviteState::Claimed { claimant };
            self.request = claim.request;
        }
        Ok(Claimed {
            secrets: self.secrets.clone(),
            reply: self.reply.clone(),
        })
    }

    /// Whether the token is that of the device that made it.
    ///
    /// # Errors
    /// [`Unusable::WrongToken`]
    pub fn check_owner(&self, token: &[u8; 32]) -> Result<(), Unusable> {
        match is_token(token, &self.owner_hash) {
            true => Ok(()),
            false => Err(Unusable::WrongToken),
        }
    }

    /// Keeps what its creator answers the claimant. What was answered once stays.
    ///
    /// # Errors
    /// Why not.
    pub fn answer(
        &mut self,
        token: &[u8; 32],
        answer: Answer,
        now: Timestamp,
    ) -> Result<(), Unusable> {
        self.check_owner(token)?;
        match self.state {
            InviteState::Cancelled => return Err(Unusable::Cancelled),
            _ if now >= self.expires_at => return Err(Unusable::Expired),
            InviteState::Open => return Err(Unusable::Unknown),
            InviteState::Claimed { .. } => {}
        }
        let (place, answer) = match answer {
            Answer::Reply(reply) => (&mut self.reply, reply),
            Answer::Secrets(secrets) => (&mut self.secrets, secrets),
        };
        if place.is_empty() {
            *place = answer;
        }
        Ok(())
    }

    /// Withdraws the invite, or turns away whoever waits to be let in. One that is over stays what it was. That is for its
    /// creator; and for the claimant, while it waits.
    ///
    /// # Errors
    /// [`Unusable::WrongToken`]
    pub fn cancel(&mut self, token: &[u8; 32], by: Option<[u8; 16]>) -> Result<(), Unusable> {
        let claimant = match self.state {
            InviteState::Claimed { claimant } => Some(claimant),
            InviteState::Open | InviteState::Cancelled => None,
        };
        let waits = claimant.is_some() && self.secrets.is_empty();
        let given_up = waits && by == claimant && is_token(token, &self.claim_hash);
        if !given_up {
            self.check_owner(token)?;
        }
        if waits || self.state == InviteState::Open {
            self.state = InviteState::Cancelled;
            for sealed in [
                &mut self.offer,
                &mut self.secrets,
                &mut self.request,
                &mut self.reply,
            ] {
                sealed.clear();
            }
        }
        Ok(())
    }
}

fn is_token(token: &[u8; 32], hash: &[u8; 32]) -> bool {
    hash_claim(token).ct_eq(hash).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN: [u8; 32] = [5; 32];
    const OWNER: [u8; 32] = [6; 32];
    const WRONG: [u8; 32] = [7; 32];
    const NOW: Timestamp = Timestamp(1_000);
    const LATE: Timestamp = Timestamp(11_000);

    fn invite() -> Invite {
        Invite {
            lookup: InviteLookup([1; 16]),
            claim_hash: hash_claim(&TOKEN),
            owner_hash: hash_claim(&OWNER),
            offer: vec![1],
            secrets: vec![2],
            request: Vec::new(),
            reply: Vec::new(),
            state: InviteState::Open,
            expires_at: NOW.plus(Duration::from_secs(10)),
        }
    }

    /// One that its creator confirms.
    fn parked() -> Invite {
        Invite {
            secrets: Vec::new(),
            ..invite()
        }
    }

    fn by(claimant: u8, token: [u8; 32]) -> Claim {
        Claim {
            token,
            claimant: [claimant; 16],
            request: vec![claimant],
        }
    }

    fn gives(secrets: &[u8], reply: &[u8]) -> Result<Claimed, Unusable> {
        Ok(Claimed {
            secrets: secrets.to_vec(),
            reply: reply.to_vec(),
        })
    }

    #[test]
    fn one_claimant_gets_the_secrets_and_gets_them_again() {
        let mut invite = invite();
        assert_eq!(invite.look(None, NOW), Ok(()));
        assert_eq!(invite.claim(by(1, TOKEN), NOW), gives(&[2], &[]));
        assert_eq!(invite.claim(by(1, TOKEN), NOW), gives(&[2], &[]));
        assert_eq!(invite.claim(by(2, TOKEN), NOW), Err(Unusable::Claimed));
        assert_eq!(invite.look(None, NOW), Err(Unusable::Claimed));
        let InviteState::Claimed { claimant } = invite.state else {
            panic!("{:?}", invite.state);
        };
        assert_eq!(invite.look(Some([99; 16]), NOW), Err(Unusable::Claimed));
        assert_eq!(invite.look(Some(claimant), NOW), Ok(()));
        assert_eq!(invite.look(Some(claimant), LATE), Err(Unusable::Claimed));
        assert_eq!(invite.request, [1]);
        assert_eq!(invite.claim(by(1, TOKEN), LATE), Err(Unusable::Expired));
        assert_eq!(
            invite.cancel(&OWNER, None),
            Ok(()),
            "too late, and harmless"
        );
        assert_eq!(invite.claim(by(1, TOKEN), NOW), gives(&[2], &[]));
    }

    #[test]
    fn wrong_tokens_change_nothing_however_many_there_are() {
        let mut invite = invite();
        let before = invite.clone();
        for _ in 0..1_000 {
            let refused = Err(Unusable::WrongToken);
            assert_eq!(invite.claim(by(1, WRONG), NOW), Err(Unusable::WrongToken));
            assert_eq!(invite.cancel(&WRONG, None), refused);
            assert_eq!(invite.cancel(&TOKEN, Some([1; 16])), refused);
            let answer = Answer::Secrets(vec![9]);
            assert_eq!(invite.answer(&WRONG, answer, NOW), refused);
            assert_eq!(invite.check_owner(&TOKEN), refused, "the joiner's");
        }
        assert!(invite == before);
        assert_eq!(invite.claim(by(1, TOKEN), NOW), gives(&[2], &[]));
    }

    #[test]
    fn a_cancelled_or_expired_invite_gives_nothing() {
        let mut cancelled = invite();
        assert_eq!(cancelled.cancel(&OWNER, None), Ok(()));
        assert_eq!(cancelled.cancel(&OWNER, None), Ok(()));
        assert!(cancelled.secrets.is_empty() && cancelled.offer.is_empty());
        let refused = Err(Unusable::Cancelled);
        assert_eq!(cancelled.claim(by(1, TOKEN), NOW), refused);
        assert_eq!(invite().look(None, LATE), Err(Unusable::Expired));
        assert_eq!(invite().claim(by(1, TOKEN), LATE), Err(Unusable::Expired));
    }

    #[test]
    fn a_claim_waits_until_the_creator_answers_it() {
        let mut invite = parked();
        let secrets = || Answer::Secrets(vec![4]);
        let too_early = invite.answer(&OWNER, secrets(), NOW);
        assert_eq!(too_early, Err(Unusable::Unknown));
        assert_eq!(invite.claim(by(1, TOKEN), NOW), gives(&[], &[]));
        assert_eq!(invite.claim(by(2, TOKEN), NOW), Err(Unusable::Claimed));
        assert_eq!(invite.answer(&OWNER, Answer::Reply(vec![3]), NOW), Ok(()));
        assert_eq!(invite.claim(by(1, TOKEN), NOW), gives(&[], &[3]));
        assert_eq!(invite.answer(&OWNER, Answer::Reply(vec![9]), NOW), Ok(()));
        assert_eq!(
            invite.answer(&OWNER, secrets(), LATE),
            Err(Unusable::Expired)
        );
        assert_eq!(invite.answer(&OWNER, secrets(), NOW), Ok(()));
        assert_eq!(invite.claim(by(1, TOKEN), NOW), gives(&[4], &[3]));
        assert_eq!(invite.cancel(&OWNER, None), Ok(()));
        assert_eq!(invite.claim(by(1, TOKEN), NOW), gives(&[4], &[3]));
    }

    #[test]
    fn who_is_turned_away_hears_of_it_and_leaves_nothing() {
        let mut invite = parked();
        assert_eq!(invite.claim(by(1, TOKEN), NOW), gives(&[], &[]));
        assert_eq!(invite.answer(&OWNER, Answer::Reply(vec![3]), NOW), Ok(()));
        assert_eq!(invite.cancel(&OWNER, None), Ok(()));
        assert!(invite.request.is_empty() && invite.reply.is_empty());
        assert_eq!(invite.claim(by(1, TOKEN), NOW), Err(Unusable::Cancelled));
        let late = invite.answer(&OWNER, Answer::Secrets(vec![4]), NOW);
        assert_eq!(late, Err(Unusable::Cancelled));
    }

    #[test]
    fn who_waits_can_give_up_and_nobody_else_can_for_it() {
        let mut invite = parked();
        assert_eq!(invite.claim(by(1, TOKEN), NOW), gives(&[], &[]));
        for by in [None, Some([2; 16])] {
            assert_eq!(invite.cancel(&TOKEN, by), Err(Unusable::WrongToken));
        }
        assert_eq!(
            invite.cancel(&WRONG, Some([1; 16])),
            Err(Unusable::WrongToken)
        );
        assert_eq!(invite.cancel(&TOKEN, Some([1; 16])), Ok(()));
        let late = invite.answer(&OWNER, Answer::Secrets(vec![4]), NOW);
        assert_eq!(late, Err(Unusable::Cancelled));
    }
}
