//! What the other nodes have to be told, gathered until it can be said.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, PoisonError};

use data_encoding::BASE64URL_NOPAD;
use tokio::sync::Notify;
use zerok_sync_shared::ids::GroupId;

use crate::groups::News;
use crate::limits;

/// A notice that tells to look at all groups, and to hold nothing of any of them.
const EVERYTHING: &str = "*";
/// Before the id of a group of which something was erased.
const ERASED: char = '!';

/// Groups that have grown since the last notice.
#[derive(Debug, Default)]
pub(crate) struct Announcements {
    pending: Mutex<Pending>,
    wake: Notify,
}

#[derive(Debug, Default)]
struct Pending {
    newest: HashMap<GroupId, News>,
    erased: HashSet<GroupId>,
    everything: bool,
}

impl Announcements {
    /// These groups have grown.
    pub fn add(&self, grown: &[(GroupId, u64)]) {
        if grown.is_empty() {
            return;
        }
        let mut pending = self.pending.lock().unwrap_or_else(PoisonError::into_inner);
        for (group, cursor) in grown {
            if pending.newest.len() >= limits::MAX_ANNOUNCED {
                pending.everything = true;
                pending.newest.clear();
            }
            let newest = pending.newest.entry(*group).or_default();
            newest.cursor = newest.cursor.max(*cursor);
        }
        drop(pending);
        self.wake.notify_one();
    }

    /// A group has other keys.
    pub fn changed(&self, group: GroupId, epoch: u32) {
        let mut pending = self.pending.lock().unwrap_or_else(PoisonError::into_inner);
        let newest = pending.newest.entry(group).or_default();
        newest.epoch = newest.epoch.max(epoch);
        drop(pending);
        self.wake.notify_one();
    }

    /// Something of a group is to be given to nobody any more.
    pub fn erased(&self, group: GroupId) {
        let mut pending = self.pending.lock().unwrap_or_else(PoisonError::into_inner);
        if pending.erased.len() >= limits::MAX_ANNOUNCED {
            pending.everything = true;
            pending.erased.clear();
        }
        pending.erased.insert(group);
        drop(pending);
        self.wake.notify_one();
    }

    /// Any group may have grown, and anything may have been erased.
    pub fn add_everything(&self) {
        let mut pending = self.pending.lock().unwrap_or_else(PoisonError::into_inner);
        pending.everything = true;
        drop(pending);
        self.wake.notify_one();
    }

    /// Waits until there is something to tell, and gives it as notices. Cancel-safe.
    pub async fn take(&self) -> Vec<String> {
        loop {
            let pending = {
                let mut pending = self.pending.lock().unwrap_or_else(PoisonError::into_inner);
                std::mem::take(&mut *pending)
            };
            if pending.everything {
                return vec![EVERYTHING.to_owned()];
            }
            if !pending.newest.is_empty() || !pending.erased.is_empty() {
                return write(&pending);
            }
            self.wake.notified().await;
        }
    }
}

/// As few notices as their length allows.
fn write(pending: &Pending) -> Vec<String> {
    let mut notices = Vec::new();
    let mut notice = String::new();
    let id = |group: &GroupId| BASE64URL_NOPAD.encode(&group.0);
    let erased = pending.erased.iter();
    let erased = erased.map(|group| format!("{ERASED}{}", id(group)));
    let newest = pending.newest.iter();
    let newest = newest.map(|(group, News { cursor, epoch })| match epoch {
        0 => format!("{}:{cursor}", id(group)),
        epoch => format!("{}:{cursor}:{epoch}", id(group)),
    });
    for entry in erased.chain(newest) {
        if notice.len() + 1 + entry.len() > limits::NOTICE {
            notices.push(std::mem::take(&mut notice));
        }
        if !notice.is_empty() {
            notice.push(',');
        }
        notice.push_str(&entry);
    }
    notices.push(notice);
    notices
}

/// What another node said.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Notice {
    /// Any group may have grown, and anything may have been erased.
    Everything,
    /// This is new.
    News {
        grown: Vec<(GroupId, News)>,
        /// Groups of which something was erased.
        erased: Vec<GroupId>,
    },
}

impl Notice {
    /// Reads a notice. What is not understood, perhaps of a newer version, tells to look at everything.
    pub fn parse(text: &str) -> Self {
        Self::read(text).unwrap_or(Self::Everything)
    }

    fn read(text: &str) -> Option<Self> {
        let id = |text: &str| {
            let id = BASE64URL_NOPAD.decode(text.as_bytes()).ok()?;
            Some(GroupId(id.try_into().ok()?))
        };
        let (mut grown, mut erased) = (Vec::new(), Vec::new());
        for entry in text.split(',') {
            if let Some(group) = entry.strip_prefix(ERASED) {
                erased.push(id(group)?);
                continue;
            }
            let mut parts = entry.split(':');
            let group = id(parts.next()?)?;
            let news = News {
                cursor: parts.next()?.parse().ok()?,
                epoch: parts.next().map_or(Ok(0), str::parse).ok()?,
            };
            if parts.next().is_some() {
                return None;
            }
            grown.push((group, news));
        }
        Some(Self::News { grown, erased })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group(n: u32) -> GroupId {
        let mut id = [7; 32];
        id[..4].copy_from_slice(&n.to_le_bytes());
        GroupId(id)
    }

    #[tokio::test]
    async fn what_gathers_is_told_once_with_the_newest_cursor_in_short_notices() {
        let announcements = Announcements::default();
        let many: Vec<_> = (0..1000).map(|n| (group(n), u64::MAX - 1)).collect();
        announcements.add(&many);
        announcements.add(&[(group(0), u64::MAX), (group(1), 3)]);
        let notices = announcements.take().await;
        assert!(notices.iter().all(|notice| notice.len() <= limits::NOTICE));
        let mut told = HashMap::new();
        for notice in &notices {
            let Notice::News { grown, .. } = Notice::parse(notice) else {
                panic!("{notice}");
            };
            told.extend(grown);
        }
        assert_eq!(told.len(), 1000);
        assert_eq!(
            (told[&group(0)].cursor, told[&group(1)].cursor),
            (u64::MAX, u64::MAX - 1)
        );
        let nothing = tokio::time::timeout(std::time::Duration::ZERO, announcements.take());
        assert!(nothing.await.is_err());
    }

    #[tokio::test]
    async fn what_was_erased_is_told_beside_what_is_new() {
        let announcements = Announcements::default();
        announcements.erased(group(1));
        announcements.add(&[(group(2), 5)]);
        let [notice] = &announcements.take().await[..] else {
            panic!("one notice");
        };
        let Notice::News { grown, erased } = Notice::parse(notice) else {
            panic!("{notice}");
        };
        assert_eq!(erased, [group(1)]);
        assert_eq!((grown[0].0, grown[0].1.cursor), (group(2), 5));
        announcements.erased(group(3));
        announcements.add_everything();
        assert_eq!(announcements.take().await, [EVERYTHING]);
    }

    #[tokio::test]
    async fn too_many_groups_become_everything() {
        let announcements = Announcements::default();
        let count = u32::try_from(limits::MAX_ANNOUNCED).unwrap() + 1;
        let many: Vec<_> = (0..count).map(|n| (group(n), 1)).collect();
        announcements.add(&many);
        assert_eq!(announcements.take().await, ["*"]);
    }

    #[test]
    fn what_is_not_understood_means_everything() {
        let id = BASE64URL_NOPAD.encode(&[7; 32]);
        let grown = |cursor, epoch| Notice::News {
            grown: vec![(GroupId([7; 32]), News { cursor, epoch })],
            erased: Vec::new(),
        };
        for text in [
            "",
            "*",
            "x:1",
            ":",
            &format!("{id}:-1"),
            &format!("{id}:1,"),
            &format!("{id}:1:2:3"),
            "!",
            &format!("!{id}:1"),
        ] {
            assert_eq!(Notice::parse(text), Notice::Everything, "{text}");
        }
        assert_eq!(Notice::parse(&format!("{id}:5")), grown(5, 0));
        assert_eq!(Notice::parse(&format!("{id}:0:3")), grown(0, 3));
    }
}
