//! Which sessions are open in which group, so that a commit wakes those that wait for it and hands them what it stored.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;
use zerok_sync_shared::ids::GroupId;
use zerok_sync_shared::message::Blob;
use zerok_sync_shared::session::Page;

use crate::limits;

mod recent;

use recent::{Budget, Recent};

/// The groups with an open session.
#[derive(Debug)]
pub struct Groups(Mutex<Inner>);

#[derive(Debug)]
struct Inner {
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

impl Default for Groups {
    fn default() -> Self {
        Self(Mutex::new(Inner {
            open: HashMap::new(),
            recent: Recent::new(Budget {
                blobs: limits::RECENT_BLOBS,
                bytes: limits::RECENT_BYTES,
            }),
        }))
    }
}

impl Groups {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
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
        }
    }

    /// The groups that have members.
    #[must_use]
    pub fn watched(&self) -> Vec<GroupId> {
        self.lock().open.keys().copied().collect()
    }

    /// Takes in what a commit of this process stored, before it is acknowledged: from then on nobody may be told that it
    /// is not there. [`Self::grown`] wakes those that wait for it. Nothing that was stored before may be among it: its id
    /// may have come again with other bytes.
    pub fn stored(&self, blobs: impl IntoIterator<Item = (GroupId, Blob)>) {
        let mut inner = self.lock();
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

    /// Tells a group's sessions about its newest cursor.
    pub fn grown(&self, group: GroupId, cursor: u64) {
        if let Some(watched) = self.lock().open.get_mut(&group)
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

/// One session's place in a group; leaves when it is dropped.
#[derive(Debug)]
pub struct Membership {
    group: GroupId,
    newest: watch::Receiver<News>,
    groups: Arc<Groups>,
}

impl Membership {
    /// Waits for a newer cursor or epoch. Cancel-safe.
    pub async fn news(&mut self) -> News {
        if self.newest.changed().await.is_err() {
            // The sender lives as long as this membership.
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
    pub fn recent(&self, after: u64, max_blobs: u32, max_bytes: usize) -> Option<Page> {
        self.groups
            .lock()
            .recent
            .page(self.group, after, max_blobs, max_bytes)
    }
}

impl Drop for Membership {
    fn drop(&mut self) {
        let mut inner = self.groups.lock();
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

    #[tokio::test]
    async fn members_are_told_the_newest_cursor_and_the_last_one_closes_the_group() {
        let groups = Arc::new(Groups::default());
        let group = GroupId([1; 32]);
        groups.grown(group, 1);
        let mut first = groups.join(group);
        let mut second = groups.join(group);
        groups.grown(group, 3);
        groups.grown(group, 2);
        assert_eq!(
            (first.news().await.cursor, second.news().await.cursor),
            (3, 3)
        );
        groups.grown(GroupId([2; 32]), 9);
        drop(first);
        groups.grown(group, 4);
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
}
