//! What the nodes of one deployment tell each other of who is there, as notices of the database they share.
//!
//! A notice is the node's id and then entries, with spaces between:
//!
//! - `f:<group>:<device>.<device>…` all that have a session with the node in this group, or the first of them
//! - `m:<group>:<device>.<device>…` more of them
//! - `w:<group>` who is there with you in this group?
//! - `e:<group>:<sender>:<epoch>:<payload>` an ephemeral message
//! - `x` nobody is there with this node (any more)
//!
//! Ids and payloads are base64url. An entry that is not understood is passed over.

use std::collections::{HashSet, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use data_encoding::BASE64URL_NOPAD;
use tokio::sync::Notify;
use zerok_sync_shared::ids::{DeviceId, GroupId, RelayId};
use zerok_sync_shared::limits::MAX_EPHEMERAL_PAYLOAD;
use zerok_sync_shared::message::Ephemeral;

use super::Attendance;
use crate::limits;

/// An ephemeral message and its group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Said {
    pub group: GroupId,
    pub said: Ephemeral,
}

/// What the other nodes are to be told, gathered until it can be said.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    pending: Mutex<Pending>,
    wake: Notify,
}

#[derive(Debug, Default)]
struct Pending {
    /// Whether anybody listens: there are other nodes, and notices arrive.
    open: bool,
    changed: HashSet<GroupId>,
    asked: HashSet<GroupId>,
    /// Everything of every group, and the question about it.
    everything: bool,
    said: VecDeque<Said>,
}

impl Outbox {
    fn lock(&self) -> MutexGuard<'_, Pending> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether there is anybody to tell. When there is again, they are told everything.
    pub fn open(&self, open: bool) {
        let mut pending = self.lock();
        let opens = open && !pending.open;
        pending.open = open;
        drop(pending);
        if opens {
            self.everything();
        }
    }

    /// Somebody has to be told everything.
    pub fn everything(&self) {
        let mut pending = self.lock();
        pending.everything = pending.open;
        pending.said.clear();
        drop(pending);
        self.wake.notify_one();
    }

    /// Who is there with this node has changed.
    pub fn changed(&self, group: GroupId) {
        self.note(|pending| {
            pending.changed.insert(group);
        });
    }

    /// Who is there with the others?
    pub fn ask(&self, group: GroupId) {
        self.note(|pending| {
            pending.asked.insert(group);
        });
    }

    /// A device of this node says something; whether an older message had to go for it.
    pub fn say(&self, said: Said) -> bool {
        let mut full = false;
        self.note(|pending| {
            full = pending.said.len() >= limits::MAX_SAID_TO_NODES;
            if full {
                pending.said.pop_front();
            }
            pending.said.push_back(said);
        });
        full
    }

    fn note(&self, change: impl FnOnce(&mut Pending)) {
        let mut pending = self.lock();
        if pending.open {
            change(&mut pending);
            if pending.changed.len().max(pending.asked.len()) > limits::MAX_ANNOUNCED {
                pending.everything = true;
            }
            drop(pending);
            self.wake.notify_one();
        }
    }

    /// Waits until there is something to tell, and gives it as notices of `node`. Cancel-safe.
    pub async fn take(&self, node: RelayId, attendance: &Attendance) -> Vec<String> {
        loop {
            let mut pending = {
                let mut pending = self.lock();
                let fresh = Pending {
                    open: pending.open,
                    ..Pending::default()
                };
                std::mem::replace(&mut *pending, fresh)
            };
            let mut notices = Notices::new(node);
            if pending.everything {
                let groups = attendance.groups();
                pending.changed = groups.iter().copied().collect();
                pending.asked = groups.into_iter().collect();
                notices.add("x");
            }
            for group in &pending.asked {
                notices.add(&format!("w:{}", text(&group.0)));
            }
            for group in &pending.changed {
                notices.list(*group, &attendance.own(*group));
            }
            for Said { group, said } in &pending.said {
                let (group, sender) = (text(&group.0), text(&said.sender.0));
                let (epoch, payload) = (said.epoch, text(&said.payload));
                notices.add(&format!("e:{group}:{sender}:{epoch}:{payload}"));
            }
            if !notices.is_empty() {
                return notices.finish();
            }
            self.wake.notified().await;
        }
    }
}

/// The last notice of a node that goes.
pub(crate) fn farewell(node: RelayId) -> Vec<String> {
    let mut notices = Notices::new(node);
    notices.add("x");
    notices.finish()
}

/// As few notices as their length allows.
struct Notices {
    node: String,
    notices: Vec<String>,
}

impl Notices {
    fn new(node: RelayId) -> Self {
        Self {
            node: text(&node.0),
            notices: Vec::new(),
        }
    }

    fn is_empty(&self) -> bool {
        self.notices.is_empty()
    }

    fn add(&mut self, entry: &str) {
        match self.notices.last_mut() {
            Some(last) if last.len() + 1 + entry.len() <= limits::NOTICE => {
                last.push(' ');
                last.push_str(entry);
            }
            _ => self.notices.push(format!("{} {entry}", self.node)),
        }
    }

    fn list(&mut self, group: GroupId, devices: &[DeviceId]) {
        let group = text(&group.0);
        let mut kind = 'f';
        let mut rest = devices;
        loop {
            let (chunk, after) = rest.split_at(rest.len().min(limits::NOTICE_DEVICES));
            let ids: Vec<String> = chunk.iter().map(|device| text(&device.0)).collect();
            self.add(&format!("{kind}:{group}:{}", ids.join(".")));
            if after.is_empty() {
                return;
            }
            (kind, rest) = ('m', after);
        }
    }

    fn finish(self) -> Vec<String> {
        self.notices
    }
}

impl Attendance {
    /// Takes in a notice, unless it is this node's own. Whoever speaks is there, and hears what this node says.
    pub(crate) fn notice(&self, own: RelayId, notice: &str) {
        let mut entries = notice.split(' ');
        let Some(node) = entries.next().and_then(id).map(DeviceId) else {
            return;
        };
        if node == own {
            return;
        }
        self.outbox.open(true);
        let mut left = Vec::new();
        for entry in entries {
            match parse(entry) {
                Some(Entry::List(group, devices, more)) => {
                    left.retain(|of| *of != group);
                    self.listed(node, group, &devices, more);
                }
                Some(Entry::Asks(group)) if !self.own(group).is_empty() => {
                    self.outbox.changed(group);
                }
                Some(Entry::Said(said)) => self.heard(said.group, &said.said),
                // Those that are listed right after it were never gone.
                Some(Entry::Nobody) => left = self.groups(),
                Some(Entry::Asks(_)) | None => {}
            }
        }
        for group in left {
            self.listed(node, group, &[], false);
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Entry {
    List(GroupId, Vec<DeviceId>, bool),
    Asks(GroupId),
    Said(Said),
    Nobody,
}

fn parse(entry: &str) -> Option<Entry> {
    let mut parts = entry.split(':');
    let kind = parts.next()?;
    let mut group = || parts.next().and_then(id).map(GroupId);
    let entry = match kind {
        "x" => Entry::Nobody,
        "w" => Entry::Asks(group()?),
        "f" | "m" => {
            let group = group()?;
            let devices = parts.next()?.split('.').filter(|text| !text.is_empty());
            let devices: Option<_> = devices.map(|text| id(text).map(DeviceId)).collect();
            Entry::List(group, devices?, kind == "m")
        }
        "e" => {
            let group = group()?;
            let sender = DeviceId(id(parts.next()?)?);
            let epoch = parts.next()?.parse().ok()?;
            let payload = BASE64URL_NOPAD.decode(parts.next()?.as_bytes()).ok()?;
            if payload.len() > MAX_EPHEMERAL_PAYLOAD {
                return None;
            }
            let payload = payload.into();
            let said = Ephemeral {
                sender,
                epoch,
                payload,
            };
            Entry::Said(Said { group, said })
        }
        _ => return None,
    };
    parts.next().is_none().then_some(entry)
}

fn text(bytes: &[u8]) -> String {
    BASE64URL_NOPAD.encode(bytes)
}

fn id(text: &str) -> Option<[u8; 32]> {
    BASE64URL_NOPAD
        .decode(text.as_bytes())
        .ok()?
        .try_into()
        .ok()
}
