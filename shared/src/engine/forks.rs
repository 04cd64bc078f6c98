//! Whether a relay shows two devices different histories.
//!
//! A device hashes what it reads, in the order of the cursors: `head = SHA-256(domain || head before || cursor || blob id ||
//! sender)`, from 32 zeros at cursor 0. What it seals says how far it was and with which head; whoever knows the head at the same
//! cursor compares. After a hole, where blobs have expired or were deleted, a device knows no head until a witness gives
//! it one: every head comes from somebody who has read everything.
//!
//! **What is not a fork.** A relay that is set back to an older database has other blobs at its cursors, and blobs that were
//! sealed before that come back in repairs. It is another process by then, so a witness names the process in which its head was
//! proven, and is compared only by devices that talk to the same one.
//!
//! Payloads are not in the hash: a device's own blobs come back without, and one that was sealed anew has several. They are bound
//! to blob id, sender and epoch by their tag.

use std::collections::VecDeque;

use super::group::Group;
use super::staging::StagedGroup;
use super::{Context, Event};
use crate::crypto::blob::Witness;
use crate::crypto::domain;
use crate::failure::{SyncError, code};
use crate::ids::{BlobId, DeviceId, Incarnation, RelayId};
use crate::limits;
use crate::store::{Bookmark, Head};

/// The life of a relay's database in the process that a device talks to.
#[must_use]
pub(crate) fn life(incarnation: Incarnation, run: Incarnation) -> Incarnation {
    let hash = zerok_sync_aead::sha256(&[domain::LIFE, incarnation.as_bytes(), run.as_bytes()]);
    let mut id = [0; Incarnation::LEN];
    id.copy_from_slice(&hash[..Incarnation::LEN]);
    Incarnation(id)
}

/// The head after a blob.
#[must_use]
pub(crate) fn head_after(
    before: &[u8; 32],
    cursor: u64,
    blob_id: BlobId,
    sender: DeviceId,
) -> [u8; 32] {
    zerok_sync_aead::sha256(&[
        domain::HEAD,
        before,
        &cursor.to_le_bytes(),
        blob_id.as_bytes(),
        sender.as_bytes(),
    ])
}

#[derive(Debug, Clone, Copy)]
struct Read {
    cursor: u64,
    blob_id: BlobId,
    sender: DeviceId,
    /// Once it is known.
    head: Option<[u8; 32]>,
}

/// What was read last of one relay, without a hole.
#[derive(Debug, Clone, Default)]
pub(super) struct Trail {
    relay: Option<RelayId>,
    /// The head before the oldest of `reads`, if it is known.
    base: Option<Head>,
    reads: VecDeque<Read>,
}

impl Trail {
    /// That of a relay: goes on, or begins with what its bookmark knows.
    fn follow(&mut self, relay: RelayId, bookmark: &Bookmark) {
        if self.relay != Some(relay) {
            *self = Self {
                relay: Some(relay),
                base: bookmark.head,
                reads: VecDeque::new(),
            };
        }
    }

    pub(super) fn forget(&mut self) {
        *self = Self::default();
    }

    fn newest(&self) -> Option<u64> {
        let base = self.base.map(|base| base.cursor);
        self.reads.back().map(|read| read.cursor).or(base)
    }

    fn head_at(&self, cursor: u64) -> Option<[u8; 32]> {
        if let Some(base) = self.base
            && base.cursor == cursor
        {
            return Some(base.head);
        }
        let at = self.reads.binary_search_by_key(&cursor, |read| read.cursor);
        self.reads.get(at.ok()?)?.head
    }

    /// The newest head that is known.
    fn head(&self) -> Option<Head> {
        match self.reads.back() {
            None => self.base,
            Some(read) => read.head.map(|head| Head {
                cursor: read.cursor,
                head,
            }),
        }
    }

    fn read(&mut self, cursor: u64, blob_id: BlobId, sender: DeviceId) {
        let newest = self.newest();
        if newest.is_some_and(|newest| cursor <= newest) {
            return;
        }
        if newest.is_none_or(|newest| cursor != newest + 1) {
            self.base = None;
            self.reads.clear();
        }
        let before = self.head().filter(|head| head.cursor + 1 == cursor);
        let head = before.map(|before| head_after(&before.head, cursor, blob_id, sender));
        self.reads.push_back(Read {
            cursor,
            blob_id,
            sender,
            head,
        });
        if self.reads.len() > limits::MAX_TRAIL
            && let Some(oldest) = self.reads.pop_front()
        {
            self.base = oldest.head.map(|head| Head {
                cursor: oldest.cursor,
                head,
            });
        }
    }

    /// Takes a head from a witness, where none is known.
    fn adopt(&mut self, cursor: u64, head: [u8; 32]) {
        let Some(first) = self.reads.front().map(|read| read.cursor) else {
            return;
        };
        if self.head().is_some() || cursor + 1 < first {
            return;
        }
        let mut before = head;
        for read in self.reads.iter_mut().filter(|read| read.cursor >= cursor) {
            if read.cursor > cursor {
                before = head_after(&before, read.cursor, read.blob_id, read.sender);
            }
            read.head = Some(before);
        }
    }
}

impl Group {
    /// What this device says of the relay's history in what it seals.
    pub(super) fn witness(&self) -> Option<Witness> {
        // By then everything that makes an old bookmark void is written.
        let session = self.session.as_ref().filter(|session| session.caught_up)?;
        let welcome = session.welcome.as_ref()?;
        let head = self.state.bookmarks.get(&session.relay_id)?.head?;
        (head.cursor > 0).then_some(Witness {
            relay_id: session.relay_id,
            incarnation: life(welcome.incarnation, welcome.run?),
            cursor: head.cursor,
            head: head.head,
        })
    }

    /// A blob was read: the head moves on.
    pub(super) fn stage_head(
        work: &mut StagedGroup,
        relay: RelayId,
        (cursor, blob_id, sender): (u64, BlobId, DeviceId),
    ) {
        let Some(bookmark) = work.state.bookmarks.get_mut(&relay) else {
            return;
        };
        work.trail.follow(relay, bookmark);
        work.trail.read(cursor, blob_id, sender);
        bookmark.head = work.trail.head();
    }

    /// Compares what another device has seen of this relay.
    pub(super) fn stage_witness(&self, witness: &Witness, cursor: u64, work: &mut StagedGroup) {
        let Some(session) = &self.session else {
            return;
        };
        let lives = session
            .welcome
            .as_ref()
            .and_then(|welcome| Some(life(welcome.incarnation, welcome.run?)));
        if witness.relay_id != session.relay_id
            || lives != Some(witness.incarnation)
            || witness.cursor == 0
            || witness.cursor >= cursor
        {
            return;
        }
        match work.trail.head_at(witness.cursor) {
            Some(head) if head != witness.head => {
                work.forked = Some((session.relay_id, head, witness.head));
            }
            Some(_) => {}
            None => {
                work.trail.adopt(witness.cursor, witness.head);
                if let Some(bookmark) = work.state.bookmarks.get_mut(&session.relay_id) {
                    bookmark.head = work.trail.head();
                }
            }
        }
    }

    /// The relay has shown another device something else. Told once; the device goes on with another relay if it has one.
    pub(super) fn on_forked(
        &mut self,
        (relay, own, other): (RelayId, [u8; 32], [u8; 32]),
        context: &mut Context<'_>,
    ) {
        if !self.told_forks.insert(relay) {
            return;
        }
        let hex = |head: [u8; 32]| DeviceId(head).to_string();
        let text = format!(
            "{} has shown another device a different history: {} here, {} there; don't rely on it",
            self.relay(),
            hex(own),
            hex(other)
        );
        let error = SyncError::new(code::RELAY_FORKED, text);
        context.event(Event::Error {
            group: Some(self.id),
            error,
            cursor: None,
        });
        if self.shun_relay() {
            self.retry_now();
            if let Some(session) = &mut self.session {
                session.end(context.now);
            }
        }
    }
}
