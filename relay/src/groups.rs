//! Which sessions are open in which group, so that a commit wakes those that wait for it and hands them what it stored.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;
use zerok_sync_shared::ids::{GroupId, Incarnation};
use zerok_sync_shared::message::Blob;
use zerok_sync_shared::session::Page;
use zerok_sync_shared::time::Timestamp;

use crate::limits;

mod recent;
mod run;

use recent::{Budget, Recent};
pub use run::{Known, Run};

/// The groups with an open session.
#[derive(Debug)]
pub struct Groups(Mutex<Inner>);

#[derive(Debug)]
struct Inner {
    run: Run,
    open: HashMap<GroupId, Watched>,
    recent: Recent,
}

/// What is known of a group beyond what its sessions were told.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct News {
    /// Newest cursor.
    pub cursor: u64,
    /// Newest epoch.
    pub epoch: u32,
}

#[derive(Debug)]
struct Watched {
    newest: watch::Sender<News>,
    /// What the members were woken for.
    told: u64,
    members: usize,
}

fn nothing_recent() -> Recent {
    Recent::new(Budget {
        blobs: limits::RECENT_BLOBS,
        bytes: limits::RECENT_BYTES,
    })
}

impl Groups {
    /// No group is open; with the id of this process.
    #[must_use]
    pub fn new(run: Incarnation) -> Self {
        Self(Mutex::new(Inner {
            run: Run::new(run),
            open: HashMap::new(),
            recent: nothing_recent(),
        }))
    }

    /// The history that is shown now.
    #[must_use]
    pub fn run(&self) -> Run {
        self.lock().run.clone()
    }

    /// The database has lost something that this run has shown: another one begins, unless it has already. Nothing that
    /// was known holds any more, and what is told of the former run is not believed.
    pub fn set_back(&self, run: Incarnation) {
        self.lock().set_back(run);
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is known of these groups by now, of those that have members.
    #[must_use]
    pub fn known(&self, groups: impl IntoIterator<Item = GroupId>) -> Known {
        let inner = self.lock();
        let cursor = |group| Some((group, inner.open.get(&group)?.newest.borrow().cursor));
        Known {
            run: inner.run.id,
            cursors: groups.into_iter().filter_map(cursor).collect(),
        }
    }

    /// What is known of all groups that have members.
    #[must_use]
    pub fn all_known(&self) -> Known {
        let inner = self.lock();
        let cursor =
            |(group, watched): (&GroupId, &Watched)| (*group, watched.newest.borrow().cursor);
        Known {
            run: inner.run.id,
            cursors: inner.open.iter().map(cursor).collect(),
        }
    }

    /// Compares what was known with what the database said after that of a group's newest cursor. If it says less, it was
    /// set back.
    pub fn check(&self, known: &Known, group: GroupId, newest: u64) {
        if known.contradicts(group, newest) {
            self.set_back(known.run);
        }
    }

    /// Watches a group's newest cursor from now on. Join before reading the group, so that nothing is missed between.
    #[must_use]
    pub fn join(self: &Arc<Self>, group: GroupId) -> Membership {
        let mut inner = self.lock();
        let watched = inner.open.entry(group).or_insert_with(|| Watched {
            newest: watch::Sender::new(News::default()),
            told: 0,
            members: 0,
        });
        watched.members += 1;
        Membership {
            group,
            newest: watched.newest.subscribe(),
            groups: Arc::clone(self),
            run: inner.run.id,
        }
    }

    /// Takes in what a commit of this process stored, before it is acknowledged: from then on nobody may be told that it
    /// is not there. [`Self::grown`] wakes those that wait for it. Nothing that was stored before may be among it: its id
    /// may have come again with other bytes. `run` is that of before the commit; after another one has begun, those who
    /// wait look for themselves.
    pub fn stored(&self, run: Incarnation, blobs: impl IntoIterator<Item = (GroupId, Blob)>) {
        let mut inner = self.lock();
        if inner.run.id != run {
            return;
        }
        for (group, blob) in blobs {
            if let Some(watched) = inner.open.get(&group) {
                watched.newest.send_if_modified(|newest| {
                    newest.cursor = blob.cursor.max(newest.cursor);
                    false
                });
                inner.recent.add(group, blob);
            }
        }
    }

    /// Something of a group is to be given to nobody any more.
    pub fn erased(&self, group: GroupId) {
        self.lock().recent.forget(group);
    }

    /// The same of any group.
    pub fn anything_erased(&self) {
        self.lock().recent.forget_all();
    }

    /// Tells a group's sessions about its newest cursor, if that is one of the run that is shown now.
    pub fn grown(&self, run: Incarnation, group: GroupId, cursor: u64) {
        let mut inner = self.lock();
        if inner.run.id == run
            && let Some(watched) = inner.open.get_mut(&group)
            && cursor > watched.told
        {
            watched.told = cursor;
            watched
                .newest
                .send_modify(|newest| newest.cursor = cursor.max(newest.cursor));
        }
    }

    /// Tells a group's sessions that its keys have changed.
    pub fn rotated(&self, group: GroupId, epoch: u32) {
        if let Some(watched) = self.lock().open.get(&group) {
            watched.newest.send_if_modified(|newest| {
                let newer = epoch > newest.epoch;
                newest.epoch = newest.epoch.max(epoch);
                newer
            });
        }
    }
}

impl Inner {
    fn set_back(&mut self, run: Incarnation) {
        if self.run.id != run {
            return;
        }
        tracing::warn!(
            "the database is another one than before, or has lost something: all devices are asked to come back and to bring what it lacks"
        );
        self.open.clear();
        self.recent = nothing_recent();
        // The last: from here on, those who were told of it know.
        self.run.end();
    }
}

/// One session's place in a group; leaves when it is dropped.
#[derive(Debug)]
pub struct Membership {
    group: GroupId,
    newest: watch::Receiver<News>,
    groups: Arc<Groups>,
    /// In which the place is.
    run: Incarnation,
}

impl Membership {
    /// Waits for a newer cursor or epoch. Cancel-safe.
    pub async fn news(&mut self) -> News {
        if self.newest.changed().await.is_err() {
            // The sender lives as long as this membership, or until its run is over.
            std::future::pending::<()>().await;
        }
        *self.newest.borrow_and_update()
    }

    /// The newest cursor that is known.
    #[must_use]
    pub fn newest(&self) -> u64 {
        self.newest.borrow().cursor
    }

    /// A page of what was stored lately, if memory has everything that belongs to it.
    #[must_use]
    pub fn recent(
        &self,
        after: u64,
        max_blobs: u32,
        max_bytes: usize,
        now: Timestamp,
    ) -> Option<Page> {
        self.groups
            .lock()
            .recent
            .page(self.group, after, max_blobs, max_bytes, now)
    }
}

impl Drop for Membership {
    fn drop(&mut self) {
        let mut inner = self.groups.lock();
        if inner.run.id != self.run {
            return;
        }
        if let Some(watched) = inner.open.get_mut(&self.group) {
            watched.members -= 1;
            if watched.members == 0 {
                inner.open.remove(&self.group);
                inner.recent.forget(self.group);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RUN: Incarnation = Incarnation([1; 16]);

    #[tokio::test]
    async fn members_are_told_the_newest_cursor_and_the_last_one_closes_the_group() {
        let groups = Arc::new(Groups::new(RUN));
        let group = GroupId([1; 32]);
        groups.grown(RUN, group, 1);
        let mut first = groups.join(group);
        let mut second = groups.join(group);
        groups.grown(RUN, group, 3);
        groups.grown(RUN, group, 2);
        assert_eq!(
            (first.news().await.cursor, second.news().await.cursor),
            (3, 3)
        );
        groups.grown(RUN, GroupId([2; 32]), 9);
        drop(first);
        groups.grown(RUN, group, 4);
        assert_eq!(second.news().await.cursor, 4);
        groups.rotated(group, 2);
        groups.rotated(group, 1);
        assert_eq!(
            second.news().await,
            News {
                cursor: 4,
                epoch: 2
            }
        );
        drop(second);
        assert!(groups.lock().open.is_empty());
    }

    #[tokio::test]
    async fn when_the_database_has_less_than_was_known_everybody_has_to_come_back() {
        let groups = Arc::new(Groups::new(RUN));
        let group = GroupId([1; 32]);
        let (former, mut place) = (groups.run(), groups.join(group));
        groups.grown(RUN, group, 100);
        place.news().await;
        let known = groups.known([group]);
        // Somebody else's commit, which was told before the answer to a question from before it came.
        groups.grown(RUN, group, 101);
        groups.check(&known, group, 100);
        assert!(!former.is_over());
        groups.check(&groups.all_known(), group, 100);
        former.over().await;
        let now = groups.run();
        assert!(now.id != RUN && !now.is_over());

        // What is still on its way from the former run changes nothing in the new one.
        let mut place_now = groups.join(group);
        drop(place);
        groups.grown(RUN, group, 102);
        groups.check(&known, group, 0);
        groups.set_back(RUN);
        assert_eq!(groups.run().id, now.id);
        groups.grown(now.id, group, 95);
        assert_eq!(
            (place_now.news().await.cursor, place_now.newest()),
            (95, 95)
        );
        drop(place_now);
        assert!(groups.lock().open.is_empty());
    }
}
