//! Which relay of its list a group uses.
//!
//! ```text
//! lost after WELCOME ──► the first again          attempt failed, or the relay has said that it is going ──► the next
//! at a later one ──from time to time──► a link to the first beside ──connected──► there; refused ──► back
//! ```
//!
//! Devices that use different relays of a list don't see each other, so all of them tend to the same one. The first is the
//! first that is not known to have forked.

use super::group::Group;
use super::{Context, StreamId, link};
use crate::Entropy;
use crate::crypto::token::AccessToken;
use crate::limits;
use crate::map::SortedSet;
use crate::time::Timestamp;

/// The relay in use, and the search for a better one.
#[derive(Debug, Default)]
pub(super) struct Choice {
    /// Its place in the list.
    relay: usize,
    /// It has sent WELCOME on the connection there is.
    welcomed: bool,
    /// Where the group came from, until the first has sent WELCOME: if it refuses HELLO, the group goes back.
    back: Option<usize>,
    /// When to look for the first.
    look_at: Option<Timestamp>,
    /// A link to it is wanted beside that of the relay in use.
    looking: bool,
    /// Looks that failed since the first has sent WELCOME.
    failures: u32,
    /// The first has asked to be left alone until then.
    not_before: Option<Timestamp>,
    /// URLs of relays that have shown different histories.
    forked: SortedSet<String>,
}

impl Group {
    fn relay_at(&self, at: usize) -> &str {
        self.membership.relays.get(at).map_or("", String::as_str)
    }

    /// URL of the relay in use.
    pub(super) fn relay(&self) -> &str {
        self.relay_at(self.choice.relay)
    }

    /// What the relay in use asks for.
    pub(super) fn token(&self) -> Option<&AccessToken> {
        self.membership.tokens.get(self.relay())
    }

    fn first(&self) -> Option<usize> {
        let mut relays = self.membership.relays.iter();
        relays.position(|url| !self.choice.forked.contains(url))
    }

    /// URL of the relay that is looked for beside the one in use.
    pub(super) fn looked_for(&self) -> Option<&str> {
        let first = self.first().filter(|_| self.choice.looking)?;
        Some(self.relay_at(first))
    }

    pub(super) fn needs_link(&self, relay: &str) -> bool {
        self.relay() == relay || self.looked_for() == Some(relay)
    }

    fn use_relay(&mut self, at: usize) {
        self.choice.relay = at;
        self.choice.welcomed = false;
        self.choice.back = None;
        self.choice.look_at = None;
        self.choice.looking &= self.first().is_some_and(|first| first != at);
    }

    /// The next attempt goes to the next relay, if there is another; whether there is.
    fn try_next_relay(&mut self) -> bool {
        let relays = self.membership.relays.len();
        self.use_relay((self.choice.relay + 1) % relays.max(1));
        relays > 1
    }

    /// The relay in use has forked: goes on with another, if there is one.
    pub(super) fn shun_relay(&mut self) -> bool {
        let url = self.relay().to_owned();
        self.choice.forked.insert(url);
        self.try_next_relay()
    }

    /// The connection to the relay in use was lost, or could not be made. Gives whether the group goes on with another
    /// because this one has said that it is going.
    pub(super) fn on_link_lost(&mut self, announced: bool, asked: Option<Timestamp>) -> bool {
        let (at, first) = (self.choice.relay, self.first());
        if first == Some(at) {
            self.choice.not_before = asked;
        }
        if !announced && self.choice.welcomed {
            self.use_relay(at);
            if let Some(first) = first.filter(|first| *first != at) {
                self.go_to(first);
            }
            return false;
        }
        if self.choice.back.is_some() {
            self.choice.failures = self.choice.failures.saturating_add(1);
        }
        self.try_next_relay() && announced
    }

    /// There is no network: whatever was looked for will be once there is a relay again.
    pub(super) const fn stop_looking(&mut self) {
        self.choice.looking = false;
        self.choice.look_at = None;
    }

    pub(super) fn on_chosen(&mut self) {
        self.choice.welcomed = true;
        self.choice.back = None;
        if self.first() == Some(self.choice.relay) {
            self.choice.failures = 0;
            self.choice.not_before = None;
        }
    }

    /// HELLO was refused: back to the relay that was left for this one, if one was.
    pub(super) fn go_back(&mut self, asked: Option<Timestamp>, now: Timestamp) {
        let Some(back) = self.choice.back else {
            return;
        };
        self.choice.failures = self.choice.failures.saturating_add(1);
        self.choice.not_before = asked;
        self.use_relay(back);
        self.retry_now();
        if let Some(session) = &mut self.session {
            session.end(now);
        }
    }

    /// Plans a look for the first, and begins it when it is due.
    pub(super) fn look_if_due(
        &mut self,
        now: Timestamp,
        connected: bool,
        entropy: &mut dyn Entropy,
    ) {
        let there = self.first().is_none_or(|first| first == self.choice.relay);
        if there || !connected || self.choice.looking || self.membership.expelled {
            return;
        }
        match self.choice.look_at {
            None => self.plan_look(now, entropy),
            Some(at) if at <= now => {
                self.choice.look_at = None;
                self.choice.looking = true;
            }
            Some(_) => {}
        }
    }

    fn plan_look(&mut self, now: Timestamp, entropy: &mut dyn Entropy) {
        let wait = link::growing(
            limits::RELAY_LOOK,
            limits::RELAY_LOOK_JITTER,
            self.choice.failures,
            entropy,
        );
        let at = now.plus(wait);
        let asked = self.choice.not_before;
        self.choice.look_at = Some(asked.map_or(at, |asked| asked.max(at)));
    }

    /// It could not be reached.
    pub(super) fn on_look_failed(
        &mut self,
        now: Timestamp,
        asked: Option<Timestamp>,
        entropy: &mut dyn Entropy,
    ) {
        self.choice.looking = false;
        self.choice.failures = self.choice.failures.saturating_add(1);
        self.choice.not_before = asked;
        self.plan_look(now, entropy);
    }

    /// It is connected: ends the session with the one in use; gives its stream.
    pub(super) fn go_to_first(&mut self, context: &mut Context<'_>) -> Option<StreamId> {
        let first = self.first()?;
        let stream = self.close_session(context);
        self.go_to(first);
        stream
    }

    fn go_to(&mut self, first: usize) {
        let from = self.choice.relay;
        self.use_relay(first);
        self.choice.back = Some(from);
        // The wait was for the relay that was left.
        self.forget_wait();
    }

    pub(super) fn next_look(&self, connected: bool) -> Option<Timestamp> {
        let acts = connected && !self.choice.looking && !self.membership.expelled;
        self.choice.look_at.filter(|_| acts)
    }
}
