//! The one write that is under way: what goes into it, and what follows from its end.

use std::collections::VecDeque;

use super::group::Group;
use super::staging::StagedGroup;
use super::{Context, Engine, Event, Output, Token, keys, link};
use crate::failure::{SyncError, code};
use crate::ids::GroupId;
use crate::limits;
use crate::map::SortedSet;
use crate::store::{Batch, GroupState, Membership, Write};
use crate::time::Timestamp;

/// A request that changes which groups there are.
#[derive(Debug)]
pub(super) enum Admin {
    Add {
        group: GroupId,
        own_seq: u64,
        membership: Box<Membership>,
        token: Token,
    },
    /// The device was invited again, to newer keys.
    Renew {
        group: GroupId,
        membership: Box<Membership>,
        token: Token,
    },
    Remove {
        group: GroupId,
        token: Token,
    },
}

impl Admin {
    const fn group(&self) -> GroupId {
        match self {
            Self::Add { group, .. } | Self::Renew { group, .. } | Self::Remove { group, .. } => {
                *group
            }
        }
    }
}

/// The write under way.
#[derive(Debug)]
pub(super) struct Staged {
    pub(super) admin: Vec<Admin>,
    pub(super) groups: Vec<(GroupId, StagedGroup)>,
    /// What relays sent is left out: after a failed write, only what the app asks for is tried before its time.
    without_inbox: bool,
}

impl Engine {
    pub(super) fn start_write(&mut self, now: Timestamp, out: &mut Vec<Output>) {
        let waiting = self
            .storage_trouble
            .as_ref()
            .is_some_and(|(_, at, _)| *at > now);
        let app_waits = !self.admin.is_empty() || self.groups.values().any(Group::app_waits);
        // After a failed write the device tries again later, or at once when the app asks for something. That goes alone: it
        // may be what makes room.
        if self.writing.is_some() || (waiting && !app_waits) {
            return;
        }
        let mut batch = Batch::default();
        let mut staged = Staged {
            admin: self.take_admin(out),
            groups: Vec::new(),
            without_inbox: waiting,
        };
        for admin in &mut staged.admin {
            match admin {
                Admin::Add {
                    group,
                    own_seq,
                    membership,
                    ..
                } => {
                    batch.writes.push(Write::State {
                        group: *group,
                        state: Box::new(GroupState::new(*own_seq)),
                    });
                    batch.writes.push(Write::Membership {
                        group: *group,
                        membership: membership.clone(),
                    });
                }
                Admin::Renew {
                    group, membership, ..
                } => {
                    if let Some(held) = self.groups.get(group) {
                        **membership = keys::renewed(&held.membership, membership);
                        batch.writes.push(Write::Membership {
                            group: *group,
                            membership: membership.clone(),
                        });
                    }
                }
                Admin::Remove { group, .. } => {
                    batch.writes.push(Write::Remove { group: *group });
                    let left = self.groups.get(group);
                    let own_seq = left.map_or(0, |left| left.own_seq(self.keys.id()));
                    if own_seq > 0 {
                        batch.writes.push(Write::State {
                            group: *group,
                            state: Box::new(GroupState::new(own_seq)),
                        });
                    }
                }
            }
        }
        let busy: SortedSet<_> = staged
            .admin
            .iter()
            .filter_map(|a| match a {
                Admin::Remove { group, .. } | Admin::Renew { group, .. } => Some(*group),
                Admin::Add { .. } => None,
            })
            .collect();
        for group in self
            .groups
            .values_mut()
            .filter(|group| !busy.contains(&group.id))
        {
            let mut context = Context {
                now,
                keys: &self.keys,
                profile: &self.profile,
                entropy: &mut *self.entropy,
                out,
            };
            if let Some(work) = group.stage(&mut batch, !waiting, &mut context) {
                staged.groups.push((group.id, work));
            }
        }
        if !batch.writes.is_empty() {
            self.writing = Some(staged);
            out.push(Output::Write(batch));
        }
    }

    /// Takes the requests of the next write, of each group the first. What there is nothing to do for is answered.
    ///
    /// Not when they come: what a request means depends on those before it, which may not be durable yet.
    fn take_admin(&mut self, out: &mut Vec<Output>) -> Vec<Admin> {
        let mut taken: Vec<Admin> = Vec::new();
        let mut later = VecDeque::new();
        for mut admin in core::mem::take(&mut self.admin) {
            let group = admin.group();
            let earlier = taken.iter().chain(&later);
            if earlier.into_iter().any(|earlier| earlier.group() == group) {
                later.push_back(admin);
                continue;
            }
            let held = self.groups.get(&group).map(|held| held.membership.epoch());
            let joining = taken
                .iter()
                .filter(|taken| matches!(taken, Admin::Add { .. }));
            let is_full = self.groups.len() + joining.count() >= limits::MAX_GROUPS;
            match (&mut admin, held) {
                (
                    Admin::Add {
                        membership, token, ..
                    },
                    Some(epoch),
                ) if epoch < membership.epoch() => {
                    let (membership, token) = (membership.clone(), *token);
                    taken.push(Admin::Renew {
                        group,
                        membership,
                        token,
                    });
                }
                (Admin::Add { token, .. }, Some(_)) | (Admin::Remove { token, .. }, None) => {
                    out.push(Output::Done { token: *token });
                }
                (Admin::Add { token, .. }, None) if is_full => {
                    let text = "this device is in too many groups; leave one first";
                    out.push(Output::Refused {
                        token: *token,
                        error: SyncError::new(code::INVALID_ARGUMENT, text),
                    });
                }
                (Admin::Add { own_seq, .. }, None) => {
                    *own_seq = self.former.get(&group).copied().unwrap_or(0);
                    taken.push(admin);
                }
                (Admin::Remove { .. } | Admin::Renew { .. }, _) => taken.push(admin),
            }
        }
        self.admin = later;
        taken
    }

    pub(super) fn on_written(
        &mut self,
        now: Timestamp,
        result: Result<(), SyncError>,
        out: &mut Vec<Output>,
    ) {
        let Some(staged) = self.writing.take() else {
            return;
        };
        if let Err(error) = result {
            return self.on_write_failed(now, staged, &error, out);
        }
        match &mut self.storage_trouble {
            // There may be room again for what relays sent.
            Some((_, retry_at, _)) if staged.without_inbox => *retry_at = now,
            trouble => *trouble = None,
        }
        for admin in staged.admin {
            match admin {
                Admin::Add {
                    group,
                    own_seq,
                    membership,
                    token,
                } => {
                    self.former.remove(&group);
                    let state = GroupState::new(own_seq);
                    let joined = Group::load(group, state, *membership, Vec::new());
                    self.groups.insert(group, joined);
                    self.changed.insert(group);
                    out.push(Output::Event(Event::GroupJoined(group)));
                    out.push(Output::Done { token });
                }
                Admin::Renew {
                    group,
                    membership,
                    token,
                } => {
                    self.with_group(now, group, out, |group, context| {
                        group.commit_keys(*membership, true, context);
                    });
                    out.push(Output::Done { token });
                }
                Admin::Remove { group, token } => {
                    if let Some(mut removed) = self.groups.remove(&group) {
                        self.former.insert(group, removed.own_seq(self.keys.id()));
                        if let Some(stream) = removed.drop_session() {
                            self.streams.remove(&stream);
                            out.push(Output::CloseStream { stream });
                        }
                        let pushes = removed.pushes.into_iter().map(|push| push.token);
                        let wishes = removed.wishes.into_iter().map(|(_, token)| token);
                        let rename = removed.rename.map(|rename| rename.token);
                        let deletes = removed.deletes.into_tokens();
                        for token in pushes.chain(wishes).chain(rename).chain(deletes) {
                            let text = "this device has left the group";
                            out.push(Output::Refused {
                                token,
                                error: SyncError::new(code::UNKNOWN_GROUP, text),
                            });
                        }
                    }
                    self.changed.insert(group);
                    out.push(Output::Event(Event::GroupLeft(group)));
                    out.push(Output::Done { token });
                }
            }
        }
        for (id, work) in staged.groups {
            self.with_group(now, id, out, |group, context| group.commit(work, context));
        }
    }

    pub(super) fn on_write_failed(
        &mut self,
        now: Timestamp,
        staged: Staged,
        error: &SyncError,
        out: &mut Vec<Output>,
    ) {
        let failures = self
            .storage_trouble
            .as_ref()
            .map_or(0, |(failures, ..)| *failures);
        let retry_at = now.plus(link::backoff(failures, &mut *self.entropy));
        if failures == 0 {
            out.push(Output::Event(Event::Error {
                group: None,
                error: error.clone(),
                cursor: None,
            }));
        }
        self.storage_trouble = Some((failures.saturating_add(1), retry_at, error.clone()));
        for admin in staged.admin {
            let (Admin::Add { token, .. }
            | Admin::Renew { token, .. }
            | Admin::Remove { token, .. }) = admin;
            out.push(Output::Refused {
                token,
                error: error.clone(),
            });
        }
        for (id, work) in staged.groups {
            self.with_group(now, id, out, |group, context| {
                group.roll_back(&work, error, context)
            });
        }
        self.changed.extend(self.groups.keys().copied());
    }
}
