//! What a session holds of the relay's memory: answers that wait to be read, and frames that are on their way.

use std::future::Future;

use futures_util::future::BoxFuture;
use tokio::time::{Instant, sleep_until};
use zerok_sync_shared::codec::DecodeError;
use zerok_sync_shared::error::ErrorCode;
use zerok_sync_shared::message::{Message, WireError};
use zerok_sync_shared::session::Input;

use super::patience::Patience;
use super::{Done, Driver};
use crate::budget::{Held, Share};
use crate::limits;
use crate::writer::millis;

/// What the sessions of one connection share.
#[derive(Debug, Clone)]
pub struct Room {
    /// For what waits to be read by the device.
    pub sending: Share,
    /// For what has not arrived as a whole.
    pub receiving: Share,
}

/// The frame that is on its way.
pub(super) struct Arriving {
    pub held: Held,
    claim: Option<Claim>,
    patience: Patience,
    /// Whether `patience` runs.
    waiting: bool,
}

/// The wait for room.
struct Claim {
    held: BoxFuture<'static, Held>,
    until: Instant,
}

/// What came of a wait.
pub(super) enum Step {
    Claimed(Held),
    NoRoom,
    TooSlow,
}

impl Arriving {
    pub fn new(patience: Patience) -> Self {
        Self {
            held: Held::default(),
            claim: None,
            patience,
            waiting: false,
        }
    }

    /// So many bytes came.
    pub fn took(&mut self, bytes: usize) {
        self.patience.took(bytes, Instant::now());
    }

    /// A frame is complete: the next one has its own time. What is held for it goes with it.
    pub const fn complete(&mut self) {
        self.waiting = false;
    }
}

/// Whether a message is answered with much. It waits until the device has taken what it asked for before.
pub(super) const fn asks_much(frame: &Result<Message, DecodeError>) -> bool {
    matches!(
        frame,
        Ok(Message::Pull(_)
            | Message::GetSnapshot { .. }
            | Message::Has { .. }
            | Message::Devices
            | Message::Chain { .. })
    )
}

impl Driver {
    /// Does something that gives an answer of up to so many bytes, once there is room for them.
    pub(super) fn answer(
        &mut self,
        bytes: usize,
        work: impl Future<Output = Input> + Send + 'static,
    ) {
        let share = self.room.sending.clone();
        self.work.push(Box::pin(async move {
            let held = share.take(bytes).await;
            Done {
                input: work.await,
                held,
            }
        }));
    }

    /// Prepares for more of a frame, and says whether to read it now.
    pub(super) fn admits(&mut self, wants_frames: bool) -> bool {
        let announced = self.reader.announced();
        let arriving = &mut self.arriving;
        if wants_frames
            && announced > limits::LONG_FRAME
            && arriving.held.bytes() < announced
            && arriving.claim.is_none()
        {
            // What the frame before it held went with it.
            arriving.held = Held::default();
            let share = self.room.receiving.clone();
            match share.try_take(announced) {
                Some(held) => arriving.held = held,
                None => {
                    arriving.claim = Some(Claim {
                        held: Box::pin(async move { share.take(announced).await }),
                        until: Instant::now() + limits::MAX_HOLD,
                    });
                }
            }
        }
        let reads = wants_frames && arriving.claim.is_none();
        // While the relay does not read, time does not run. Who was told to come back later, though, has nothing to hold.
        let muted = self.muted_until.is_some() && arriving.held.bytes() > 0;
        let waits = (reads || muted) && self.reader.arrived() > 0 && self.session.group().is_some();
        if waits && !arriving.waiting {
            arriving.patience.begin(Instant::now());
        }
        arriving.waiting = waits;
        reads
    }

    /// Carries on after a wait for the frame that is on its way.
    pub(super) fn step(&mut self, step: Step) -> Option<Input> {
        match step {
            Step::Claimed(held) => {
                self.arriving.claim = None;
                self.arriving.held = held;
                None
            }
            Step::NoRoom => Some(Input::Revoked(WireError {
                code: ErrorCode::RateLimited,
                message: "too many long messages are on their way at once; send this one later"
                    .into(),
                retry_after_ms: Some(millis(limits::RECEIVING_RETRY)),
            })),
            Step::TooSlow => {
                let now = Instant::now();
                let wanted = self.room.receiving.is_wanted();
                let over = if self.muted_until.is_some() {
                    self.arriving.patience.begin(now);
                    wanted
                } else {
                    self.arriving.patience.is_over(now, wanted)
                };
                over.then(|| {
                    Input::Revoked(WireError {
                        code: ErrorCode::TooSlow,
                        message: "a message was begun and did not go on; send it again".into(),
                        retry_after_ms: Some(millis(limits::SLOW_SENDER_RETRY)),
                    })
                })
            }
        }
    }
}

/// Waits for what happens to the frame that is on its way, beside that more of it comes. Cancel-safe.
pub(super) async fn step(arriving: &mut Arriving) -> Step {
    if let Some(claim) = &mut arriving.claim {
        return tokio::select! {
            biased;
            held = &mut claim.held => Step::Claimed(held),
            () = sleep_until(claim.until) => Step::NoRoom,
        };
    }
    if !arriving.waiting {
        return std::future::pending().await;
    }
    sleep_until(arriving.patience.until()).await;
    Step::TooSlow
}
