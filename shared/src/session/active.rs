//! An open session: what is being stored, read and asked, and the subscription.

use std::collections::{BTreeSet, VecDeque};

use super::presence::Attendance;
use super::snapshots::Asked;
use super::{NewBlob, NewRotation, Output, Page, Purpose, SessionConfig, Stored};
use crate::crypto::rotation::Certificate;
use crate::error::ErrorCode;
use crate::ids::{BlobId, DeviceId, GroupId};
use crate::limits;
use crate::message::{Message, Push, PushAck, Revoke, WireError};

#[derive(Debug)]
pub(super) struct Active {
    pub(super) group_id: GroupId,
    pub(super) epoch: u32,
    pub(super) access_pub: [u8; 32],
    /// The hash of the member list of this epoch, if the device brought the chain.
    pub(super) members: Option<[u8; 32]>,
    /// A rotation of this device is being stored.
    pub(super) rotating: bool,
    /// The device has asked for the chain.
    pub(super) chain_asked: bool,
    /// The group has moved to newer keys; the device is about to be told.
    pub(super) superseded: bool,
    pub(super) max_cursor: u64,
    pub(super) acked: u64,
    /// Blobs handed to the storage, oldest first, with their lengths.
    pub(super) storing: VecDeque<(BlobId, usize)>,
    pub(super) storing_bytes: usize,
    pub(super) refusing: bool,
    /// How many blobs the device wants of the page that it asked for.
    pub(super) pulling: Option<u32>,
    pub(super) asking: bool,
    /// What the device asked to delete.
    pub(super) deleting: Option<BlobId>,
    /// The device only asked whether the group is there.
    pub(super) probe: bool,
    pub(super) attendance: Attendance,
    /// A part of a snapshot that is being stored or read.
    pub(super) snapshot: Option<Asked>,
    pub(super) subscription: Option<Subscription>,
}

#[derive(Debug)]
pub(super) struct Subscription {
    pub(super) next_after: u64,
    pub(super) page_bytes: usize,
    /// Newest cursor when SUBSCRIBE arrived, until CAUGHT_UP was sent.
    pub(super) target: Option<u64>,
    pub(super) reading: bool,
    /// Sent blobs that the stream has not taken yet.
    pub(super) unflushed: bool,
    /// Cursors of blobs that this device pushed in this session and was not sent yet.
    pub(super) own: BTreeSet<u64>,
}

/// Own cursors that a session remembers in order not to send a device its own bytes; past this it sends them.
const MAX_OWN_CURSORS: usize = 4096;

impl Active {
    /// The group has newer keys: nothing more is taken in, and the device is told.
    pub(super) fn supersede(&mut self, out: &mut Vec<Output>) {
        if !self.superseded {
            self.superseded = true;
            out.push(Output::Keys {
                group_id: self.group_id,
                after_epoch: self.epoch,
            });
        }
    }

    pub(super) fn on_revoke(
        &mut self,
        revoke: Revoke,
        device: DeviceId,
        out: &mut Vec<Output>,
    ) -> Result<(), WireError> {
        let chain = [revoke.certificate];
        let access_pub = Some(&self.access_pub);
        let read = Certificate::read_chain(&chain, self.group_id, self.epoch, access_pub);
        let certificate = read.ok().and_then(|mut read| read.pop());
        let stays = |id: DeviceId| revoke.packets.iter().any(|(to, _)| *to == id);
        let refusal = match &certificate {
            None => Some("the certificate does not follow the group's keys"),
            Some(link) if link.claims.by != device => Some("the certificate is another device's"),
            Some(link) if link.claims.epoch as usize > limits::MAX_CERTIFICATES => {
                Some("the group has changed its keys as often as it can")
            }
            Some(link) if link.claims.members != zerok_sync_aead::sha256(&[&revoke.members]) => {
                Some("the member list is not that of the certificate")
            }
            Some(link) if link.claims.revoked.is_some_and(stays) || !stays(device) => {
                Some("keys for a device that goes, or none for the one that stays")
            }
            Some(_) => None,
        };
        match (certificate, refusal) {
            (Some(certificate), None) => {
                self.rotating = true;
                out.push(Output::Rotate(Box::new(NewRotation {
                    group_id: self.group_id,
                    certificate,
                    after_cursor: revoke.after_cursor,
                    members: revoke.members,
                    packets: revoke.packets,
                })));
                Ok(())
            }
            (_, text) => Err(WireError::new(
                ErrorCode::InvalidMessage,
                text.unwrap_or_default(),
            )),
        }
    }

    pub(super) fn on_push(&mut self, push: Push, config: &SessionConfig, out: &mut Vec<Output>) {
        if self.refusing {
            return;
        }
        let refusal = if push.epoch > self.epoch {
            Some((
                ErrorCode::StaleEpoch,
                "the blob is of an epoch that this relay does not know",
            ))
        } else if push.payload.len() > config.limits.max_payload as usize {
            Some((
                ErrorCode::BlobTooLarge,
                "the blob is larger than this relay stores",
            ))
        } else if push.payload.is_empty() {
            Some((ErrorCode::InvalidMessage, "a blob without a payload"))
        } else {
            None
        };
        if let Some((code, text)) = refusal {
            self.refusing = true;
            out.push(Output::Send(Message::Error(WireError::new(code, text))));
            return;
        }
        self.storing.push_back((push.blob_id, push.payload.len()));
        self.storing_bytes += push.payload.len();
        out.push(Output::Store(NewBlob {
            group_id: self.group_id,
            blob_id: push.blob_id,
            sender: push.origin.unwrap_or(config.device),
            epoch: push.epoch,
            ttl: match push.ttl {
                0 => config.limits.default_ttl,
                seconds => u64::from(seconds).min(limits::MAX_TTL.as_secs()),
            },
            payload: push.payload,
        }));
    }

    pub(super) fn on_stored(&mut self, result: Result<Stored, WireError>, out: &mut Vec<Output>) {
        let Some((blob_id, len)) = self.storing.pop_front() else {
            return;
        };
        self.storing_bytes -= len;
        match result {
            Ok(Stored { cursor, timestamp }) => {
                if let Some(subscription) = &mut self.subscription
                    && cursor > subscription.next_after
                    && subscription.own.len() < MAX_OWN_CURSORS
                {
                    subscription.own.insert(cursor);
                }
                out.push(Output::Send(Message::PushAck(PushAck {
                    blob_id,
                    cursor,
                    timestamp,
                })));
            }
            Err(_) if self.refusing => {}
            Err(error) => {
                self.refusing = true;
                out.push(Output::Send(Message::Error(error)));
            }
        }
    }

    pub(super) fn on_deleted(&mut self, result: Result<(), WireError>, out: &mut Vec<Output>) {
        if let Some(blob_id) = self.deleting.take() {
            out.push(Output::Send(match result {
                Ok(()) => Message::Deleted { blob_id },
                Err(error) => Message::Error(error),
            }));
        }
    }

    pub(super) fn on_page(&mut self, page: Page, device: DeviceId, out: &mut Vec<Output>) {
        self.max_cursor = self.max_cursor.max(page.max_cursor);
        let Some(subscription) = &mut self.subscription else {
            return;
        };
        if !subscription.reading {
            return;
        }
        subscription.reading = false;
        for mut blob in page.blobs {
            if blob.cursor <= subscription.next_after {
                continue;
            }
            subscription.next_after = blob.cursor;
            if subscription.own.remove(&blob.cursor) && blob.sender == device {
                blob.payload = bytes::Bytes::new();
            }
            subscription.unflushed = true;
            out.push(Output::Send(Message::Blob(blob)));
        }
        subscription.next_after = subscription.next_after.max(page.up_to);
        subscription.own = subscription
            .own
            .split_off(&subscription.next_after.saturating_add(1));
        if let Some(target) = subscription.target
            && subscription.next_after >= target
        {
            subscription.target = None;
            out.push(Output::Send(Message::CaughtUp { max_cursor: target }));
        }
        self.read_on(out);
    }

    /// Asks for the next page when there is one and the last has left.
    pub(super) fn read_on(&mut self, out: &mut Vec<Output>) {
        let Some(subscription) = &mut self.subscription else {
            return;
        };
        if subscription.reading || subscription.unflushed {
            return;
        }
        if subscription.next_after >= self.max_cursor {
            if let Some(target) = subscription.target.take() {
                out.push(Output::Send(Message::CaughtUp { max_cursor: target }));
            }
            return;
        }
        subscription.reading = true;
        out.push(Output::Read {
            purpose: Purpose::Stream,
            after: subscription.next_after,
            max_blobs: limits::MAX_PULL_BLOBS,
            max_bytes: subscription.page_bytes,
        });
    }
}
