//! Waiting until a relay has what is here, or here is what a relay has; for a bounded time.

use std::time::{Duration, Instant};

use indicatif::ProgressBar;
use zerok_sync_client::shared::failure::code;
use zerok_sync_client::shared::ids::DeviceId;

use crate::failure::Failure;
use crate::output::Output;
use crate::session::Session;
use crate::session::requests::{Devices, GroupName, GroupStatus, Pull, Retry, Seen, Watch};

/// How long a command tries, unless it is told.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Between two looks at a group in which much happens.
const LOOK_INTERVAL: Duration = Duration::from_millis(20);

/// What is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Goal {
    /// Everything a relay has is here.
    Fetched,
    /// A relay has the log up to this position, own blobs at least.
    Sent(u64),
    /// A relay has what this device says of itself.
    Told,
    /// This device is removed: whoever stays can have new keys.
    Revoked(DeviceId),
}

/// How it ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// As wished.
    Reached(GroupStatus),
    /// A relay does not let this device, or this device's disk is full: something has to be done.
    Refused(GroupStatus, Failure),
    /// No relay, or none that answered in time.
    Offline(GroupStatus, Failure),
}

impl Outcome {
    /// How the group stood at the end.
    pub const fn status(&self) -> &GroupStatus {
        match self {
            Self::Reached(status) | Self::Refused(status, _) | Self::Offline(status, _) => status,
        }
    }

    /// What a command that wanted this ends with.
    pub const fn exit_code(&self) -> u8 {
        match self {
            Self::Reached(_) => crate::failure::EXIT_DONE,
            Self::Refused(..) => crate::failure::EXIT_FAILED,
            Self::Offline(..) => crate::failure::EXIT_OFFLINE,
        }
    }
}

/// How long to try: as long as something moves, and `timeout` without.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    timeout: Duration,
    /// Also when every relay has refused.
    to_the_end: bool,
}

impl Patience {
    /// What was asked for, or the default.
    pub fn new(asked: Option<Duration>) -> Self {
        Self {
            timeout: asked.unwrap_or(TIMEOUT),
            to_the_end: asked.is_some(),
        }
    }
}

/// What changes while something moves.
type Movement = (bool, u64, usize, Option<u64>);

/// Waits for a group.
pub async fn settle(
    session: &mut Session,
    group: &GroupName,
    goal: Goal,
    patience: Patience,
    output: Output,
) -> Result<Outcome, Failure> {
    let bar = output.progress(match goal {
        Goal::Fetched => "Receiving",
        Goal::Sent(_) | Goal::Told | Goal::Revoked(_) => "Sending",
    });
    let outcome = watch(session, group, goal, patience, &bar).await;
    bar.finish_and_clear();
    outcome
}

async fn watch(
    session: &mut Session,
    group: &GroupName,
    goal: Goal,
    patience: Patience,
    bar: &ProgressBar,
) -> Result<Outcome, Failure> {
    let mut deadline = Instant::now() + patience.timeout;
    let mut look = look(session, group, 0, Duration::ZERO).await?;
    let attempts_before = look.failed_attempts;
    if look.status.relay.is_none() && look.status.error.is_some() {
        // The process that has the device open waits before its next attempt.
        session.ask(Retry).await?;
    }
    let mut before = movement(&look);
    loop {
        let status = &look.status;
        show(bar, goal, status);
        // What others wait for goes along, as long as there is time.
        let goes_along = look.owes && status.relay.is_some() && Instant::now() < deadline;
        if is_reached(session, group, goal, &look).await? && !goes_along {
            // Asked again: what was reached may be newer than the status.
            let now = self::look(session, group, 0, Duration::ZERO).await?;
            return Ok(Outcome::Reached(now.status));
        }
        if let Some(failure) = needs_action(status) {
            return Ok(Outcome::Refused(look.status, failure));
        }
        let failed = look.failed_attempts - attempts_before.min(look.failed_attempts);
        let refused = !patience.to_the_end && failed >= status.relays.len().max(1) as u64;
        let now = Instant::now();
        if status.relay.is_none() && refused || now >= deadline {
            let failure = offline(status);
            return Ok(Outcome::Offline(look.status, failure));
        }
        look = self::look(session, group, look.version, deadline - now).await?;
        let after = movement(&look);
        if after != before && look.status.relay.is_some() {
            deadline = Instant::now() + patience.timeout;
        }
        before = after;
        tokio::time::sleep(LOOK_INTERVAL).await;
    }
}

/// How a group stands; with the version that is `seen`, once something has changed or after `wait`.
pub async fn look(
    session: &mut Session,
    group: &GroupName,
    seen: u64,
    wait: Duration,
) -> Result<Seen, Failure> {
    let group = group.clone();
    session.ask(Watch { group, seen, wait }).await
}

async fn is_reached(
    session: &mut Session,
    group: &GroupName,
    goal: Goal,
    look: &Seen,
) -> Result<bool, Failure> {
    let status = &look.status;
    match goal {
        Goal::Fetched => Ok(status.relay.is_some()
            && status.progress.is_none()
            && matches!(status.state.as_str(), "synced" | "pending" | "error")),
        Goal::Told => Ok(!look.owes && !status.revoked),
        Goal::Revoked(device) => {
            let group = group.clone();
            let devices = session.ask(Devices { group }).await?;
            let id = device.to_string();
            Ok(devices.iter().any(|info| info.id == id && info.revoked))
        }
        Goal::Sent(_) if status.pending == 0 => Ok(true),
        // Others may push all the time.
        Goal::Sent(position) => {
            let page = session
                .ask(Pull {
                    group: group.clone(),
                    after: position.saturating_sub(1),
                    limit: 1,
                    include_own: true,
                })
                .await?;
            let blob = page.blobs.first();
            Ok(blob.is_some_and(|blob| blob.position == position && blob.cursor != 0))
        }
    }
}

fn needs_action(status: &GroupStatus) -> Option<Failure> {
    if status.state != "error" {
        return None;
    }
    let unknown = || Failure::new("UNKNOWN", "something is wrong with this group");
    Some(status.error.clone().unwrap_or_else(unknown))
}

fn offline(status: &GroupStatus) -> Failure {
    match &status.error {
        Some(error) if status.relay.is_none() => error.clone(),
        _ if status.relay.is_some() => {
            Failure::passing(code::TIMEOUT, "the relay did not finish in time")
        }
        _ => Failure::passing(code::RELAY_UNREACHABLE, "no relay answers"),
    }
}

fn movement(look: &Seen) -> Movement {
    let status = &look.status;
    (
        status.relay.is_some(),
        status.position,
        status.pending,
        status.progress.map(|progress| progress.done),
    )
}

fn show(bar: &ProgressBar, goal: Goal, status: &GroupStatus) {
    match (goal, status.progress) {
        (Goal::Fetched, Some(progress)) => {
            bar.set_length(progress.total);
            bar.set_position(progress.done);
        }
        (Goal::Sent(_), _) if status.pending > 0 || bar.length().is_some() => {
            let pending = status.pending as u64;
            let total = bar.length().unwrap_or(0).max(pending);
            bar.set_length(total);
            bar.set_position(total - pending);
        }
        _ => {}
    }
}
