//! Which sessions are open in which group, so that a commit wakes those that wait for it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;
use zerok_sync_shared::ids::GroupId;

/// The groups with an open session.
#[derive(Debug, Default)]
pub struct Groups(Mutex<HashMap<GroupId, Watched>>);

#[derive(Debug)]
struct Watched {
    newest: watch::Sender<u64>,
    members: usize,
}

impl Groups {
    /// Watches a group's newest cursor from now on. Join before reading the group, so that nothing is missed between.
    #[must_use]
    pub fn join(self: &Arc<Self>, group: GroupId) -> Membership {
        let mut groups = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let watched = groups.entry(group).or_insert_with(|| Watched {
            newest: watch::Sender::new(0),
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
        let groups = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        groups.keys().copied().collect()
    }

    /// Tells a group's sessions about its newest cursor.
    pub fn grown(&self, group: GroupId, cursor: u64) {
        let groups = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(watched) = groups.get(&group) {
            watched.newest.send_if_modified(|newest| {
                let grown = cursor > *newest;
                *newest = cursor.max(*newest);
                grown
            });
        }
    }
}

/// One session's place in a group; leaves when it is dropped.
#[derive(Debug)]
pub struct Membership {
    group: GroupId,
    newest: watch::Receiver<u64>,
    groups: Arc<Groups>,
}

impl Membership {
    /// Waits for a newer cursor. Cancel-safe.
    pub async fn grown(&mut self) -> u64 {
        if self.newest.changed().await.is_err() {
            // The sender lives as long as this membership.
            std::future::pending::<()>().await;
        }
        *self.newest.borrow_and_update()
    }
}

impl Drop for Membership {
    fn drop(&mut self) {
        let mut groups = self.groups.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(watched) = groups.get_mut(&self.group) {
            watched.members -= 1;
            if watched.members == 0 {
                groups.remove(&self.group);
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
        assert_eq!((first.grown().await, second.grown().await), (3, 3));
        groups.grown(GroupId([2; 32]), 9);
        drop(first);
        groups.grown(group, 4);
        assert_eq!(second.grown().await, 4);
        drop(second);
        assert!(groups.0.lock().unwrap().is_empty());
    }
}
