//! Snapshots: taking one in part by part, and giving one out.

use super::active::Active;
use super::{NewSnapshotPart, Output, SessionConfig};
use crate::error::ErrorCode;
use crate::message::{Message, SnapshotAnswer, SnapshotPart, WireError};

/// An answer that a device waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Asked {
    part: u32,
}

impl Active {
    /// One part of a snapshot of this device.
    pub(super) fn on_snapshot(
        &mut self,
        mut part: SnapshotPart,
        config: &SessionConfig,
        out: &mut Vec<Output>,
    ) {
        let refusal = if part.epoch != self.epoch {
            Some((
                ErrorCode::StaleEpoch,
                "the snapshot is of another epoch than the group's",
            ))
        } else if part.payload.len() > config.limits.max_payload as usize {
            Some((
                ErrorCode::BlobTooLarge,
                "the part is larger than this relay stores",
            ))
        } else if part.covers > self.max_cursor || part.payload.is_empty() {
            Some((
                ErrorCode::InvalidMessage,
                "the snapshot covers what is not here, or is empty",
            ))
        } else {
            None
        };
        if let Some((code, text)) = refusal {
            return answer(part.part, Some(WireError::new(code, text)), out);
        }
        part.author = config.device;
        self.snapshot = Some(Asked { part: part.part });
        out.push(Output::StoreSnapshot(Box::new(NewSnapshotPart {
            group_id: self.group_id,
            part,
        })));
    }

    pub(super) fn on_get_snapshot(&mut self, part: u32, out: &mut Vec<Output>) {
        self.snapshot = Some(Asked { part });
        out.push(Output::ReadSnapshot {
            group_id: self.group_id,
            part,
        });
    }

    pub(super) fn on_snapshot_stored(
        &mut self,
        result: Result<(), WireError>,
        out: &mut Vec<Output>,
    ) {
        if let Some(Asked { part }) = self.snapshot.take() {
            answer(part, result.err(), out);
        }
    }

    pub(super) fn on_snapshot_read(
        &mut self,
        result: Result<Option<SnapshotPart>, WireError>,
        out: &mut Vec<Output>,
    ) {
        let Some(Asked { part }) = self.snapshot.take() else {
            return;
        };
        match result {
            Ok(Some(found)) => out.push(Output::Send(Message::Snapshot(found))),
            Ok(None) => {
                let text = "there is no such part of a snapshot";
                answer(part, Some(WireError::new(ErrorCode::NotFound, text)), out);
            }
            Err(error) => answer(part, Some(error), out),
        }
    }
}

fn answer(part: u32, refused: Option<WireError>, out: &mut Vec<Output>) {
    let answer = SnapshotAnswer { part, refused };
    out.push(Output::Send(Message::SnapshotAnswer(answer)));
}
