//! Giving back to a relay what it lost: page by page through the log, ask what is there, push the rest.
//!
//! Everything is pushed in the order of the log, one page after the other, and nothing new is sent before the end. So when
//! a relay stores a blob, it has already stored all that its sender pushed before it, whoever does the repair.

use std::collections::VecDeque;

use super::group::{Group, Received};
use super::{Context, LoadPurpose, Output};
use crate::crypto::blob::Kind;
use crate::limits;
use crate::map::SortedMap;
use crate::message::{Mark, Message, RelayLimits, Welcome};
use crate::store::LogRecord;
use crate::time::Timestamp;

#[derive(Debug)]
enum Stage {
    /// A page is needed.
    Start,
    Loading,
    /// A page is here; the relay is to be asked, or was.
    Asking {
        page: Vec<LogRecord>,
        asked: bool,
    },
    Pushing {
        rest: VecDeque<LogRecord>,
    },
}

/// The repair of one relay in one session.
#[derive(Debug)]
pub(super) struct Repair {
    /// The log is at the relay up to here.
    done_to: u64,
    /// End of the page in hand.
    page_end: u64,
    /// What the relay has of that page, where, and for how many seconds.
    marks: Vec<(Mark, u32)>,
    stage: Stage,
    /// Something was erased while a page was being read: it may still be in there.
    stale: bool,
}

impl Repair {
    pub(super) const fn new(done_to: u64) -> Self {
        Self {
            done_to,
            page_end: done_to,
            marks: Vec::new(),
            stage: Stage::Start,
            stale: false,
        }
    }

    /// An entry of the log was erased: what stays of it is sent if it has not been yet, in its place.
    pub(super) fn erased(&mut self, erased: &LogRecord) {
        let erase = |record: &mut LogRecord| {
            if record.position == erased.position {
                record.clone_from(erased);
            }
        };
        match &mut self.stage {
            Stage::Start => {}
            Stage::Loading => self.stale = true,
            Stage::Asking { page, .. } => page.iter_mut().for_each(erase),
            Stage::Pushing { rest } => rest.iter_mut().for_each(erase),
        }
    }

    pub(super) fn on_loaded(&mut self, page: Vec<LogRecord>) {
        if core::mem::take(&mut self.stale) {
            self.stage = Stage::Start;
        } else if matches!(self.stage, Stage::Loading) {
            self.page_end = page.last().map_or(u64::MAX, |record| record.position);
            self.stage = Stage::Asking { page, asked: false };
        }
    }

    pub(super) fn on_answer(&mut self, stored: &[Mark]) {
        let stored: SortedMap<_, _> = stored.iter().map(|mark| (mark.blob_id, *mark)).collect();
        match core::mem::replace(&mut self.stage, Stage::Start) {
            Stage::Asking { page, asked: true } => {
                let mut rest = VecDeque::new();
                for record in page {
                    match stored.get(&record.blob_id) {
                        Some(mark) => self.marks.push((*mark, record.ttl)),
                        None => rest.push_back(record),
                    }
                }
                self.stage = Stage::Pushing { rest };
            }
            other => self.stage = other,
        }
    }
}

impl Group {
    /// Goes on with the repair as far as the relay's answers and the window allow.
    pub(super) fn repair_more(&mut self, context: &mut Context<'_>) {
        loop {
            let Some(session) = &mut self.session else {
                return;
            };
            let stream = session.stream;
            let limits = session.welcome.as_ref().map(|welcome| welcome.limits);
            let relay_time = session.relay_time(context.now);
            let max_ttl = session.welcome.as_ref().map_or(u64::MAX, Welcome::max_ttl);
            let Some(repair) = &mut session.repair else {
                return;
            };
            match &mut repair.stage {
                Stage::Start if repair.done_to >= self.state.position => {
                    session.repair = None;
                    self.receive(Received::Repaired {
                        up_to: self.state.position,
                        marks: Vec::new(),
                    });
                    return;
                }
                Stage::Start => {
                    repair.stage = Stage::Loading;
                    context.out.push(Output::Load {
                        group: self.id,
                        purpose: LoadPurpose::Repair,
                        after: repair.done_to,
                        max_records: limits::REPAIR_PAGE,
                        max_bytes: limits::MAX_OUTBOX_CACHE,
                    });
                    return;
                }
                Stage::Loading | Stage::Asking { asked: true, .. } => return,
                Stage::Asking { page, .. } if page.is_empty() => {
                    repair.done_to = self.state.position;
                    repair.stage = Stage::Start;
                }
                Stage::Asking { page, asked } => {
                    *asked = true;
                    let blob_ids = page.iter().map(|record| record.blob_id).collect();
                    context.out.push(Output::Send {
                        stream,
                        message: Message::Has { blob_ids },
                    });
                    return;
                }
                Stage::Pushing { rest } => {
                    if !rest.is_empty() && !self.outbox.has_room() {
                        return;
                    }
                    let page_end = repair.page_end;
                    if let Some(record) = rest.pop_front() {
                        let unsent = self.outbox.contains(record.position);
                        let record = limits.zip(relay_time).and_then(|(limits, now)| {
                            worth_sending(record, unsent, &limits, max_ttl, now)
                        });
                        if let Some(record) = record {
                            self.send_record(&record, context);
                        }
                    } else if self.outbox.nothing_in_flight() {
                        repair.done_to = page_end;
                        repair.stage = Stage::Start;
                        let marks = core::mem::take(&mut repair.marks);
                        self.receive(Received::Repaired {
                            up_to: page_end,
                            marks,
                        });
                    } else {
                        return;
                    }
                }
            }
        }
    }
}

/// A blob that the relay lacks, if it should be there: not when its time is over or the relay would not take it. What
/// was sent before lives no longer than it would have, by the clock of relays.
fn worth_sending(
    mut record: LogRecord,
    unsent: bool,
    relay: &RelayLimits,
    max_ttl: u64,
    now: Timestamp,
) -> Option<LogRecord> {
    if record.payload.len() > relay.max_payload as usize
        || record.payload.is_empty()
        || matches!(record.kind, Kind::Ephemeral | Kind::Snapshot)
    {
        return None;
    }
    if !unsent {
        let ttl = match record.ttl {
            0 => relay.default_ttl,
            seconds => u64::from(seconds).min(max_ttl),
        };
        let left = ttl.checked_sub(now.since(record.timestamp).as_secs())?;
        record.ttl = u32::try_from(left).unwrap_or(u32::MAX);
    }
    (unsent || record.ttl > 0).then_some(record)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::ids::{BlobId, DeviceId};

    fn record(position: u64, payload: &'static [u8]) -> LogRecord {
        LogRecord {
            position,
            blob_id: BlobId([position as u8; 16]),
            sender: DeviceId([1; 32]),
            epoch: 0,
            seq: position,
            kind: Kind::App,
            ttl: 0,
            cursor: 0,
            timestamp: Timestamp(0),
            payload: Bytes::from_static(payload),
        }
    }

    /// Left out, it would come after those that follow it.
    #[test]
    fn what_was_erased_before_it_was_sent_is_sent_empty_in_its_place() {
        let mut repair = Repair::new(0);
        repair.stage = Stage::Asking {
            page: vec![record(1, b"one"), record(2, b"two"), record(3, b"three")],
            asked: true,
        };
        repair.erased(&record(1, b"empty"));
        repair.on_answer(&[]);
        repair.erased(&record(2, b""));
        let Stage::Pushing { rest } = &repair.stage else {
            panic!("{repair:?}");
        };
        let payloads: Vec<_> = rest.iter().map(|record| &record.payload[..]).collect();
        assert_eq!(payloads, [&b"empty"[..], b"", b"three"]);
    }
}
