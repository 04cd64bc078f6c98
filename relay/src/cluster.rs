//! Several relays on one database: who they are, and how one hears what another has stored.
//!
//! - A node says every few seconds that it lives ([`Nodes`]), and is listed to devices as long as it does.
//! - After a commit it tells the others which groups have grown ([`Announcements`]), and they wake their subscribers, who
//!   read from the database. A notice that got lost, because its sender died or nobody listened for a moment, is made up for
//!   by looking: right after listening again, and every few seconds anyway. Where a server has no notices, looking every
//!   second is all there is. The same notices tell of what was erased, so that no node gives it away from its memory; a node
//!   that may have missed one holds nothing any more.
//! - Nodes tell each other who is there with them, and what devices say to each other ([`crate::attendance`]).
//! - Its clock follows the database's, so that all nodes mean the same by "now".

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::time::{Instant, Interval, MissedTickBehavior, interval, sleep, timeout};
use tokio_util::sync::CancellationToken;
use zerok_sync_shared::ids::{Incarnation, RelayId};
use zerok_sync_transport::endpoint::endpoint_id;

use crate::attendance::{Attendance, nodes::farewell};
use crate::clock::Clock;
use crate::deployment::Deployment;
use crate::groups::Groups;
use crate::limits;
use crate::metrics::Metrics;
use crate::storage::StorageError;
use crate::storage::postgres::{Heard, Listener, NodeRow, PostgresStorage};

mod announcements;
mod nodes;

pub(crate) use announcements::{Announcements, Notice};
pub(crate) use nodes::Nodes;

/// One node's part in it.
pub(crate) struct Cluster {
    /// The shared database.
    pub storage: Arc<PostgresStorage>,
    /// Whom it wakes.
    pub groups: Arc<Groups>,
    /// Who is there.
    pub attendance: Arc<Attendance>,
    /// Whom it tells devices of.
    pub nodes: Arc<Nodes>,
    /// To whom packets may go.
    pub deployment: Arc<Deployment>,
    /// Which clock it sets.
    pub clock: Arc<Clock>,
    /// What it counts.
    pub metrics: Arc<Metrics>,
    /// Cancelled when the relay begins to stop: no device is to be sent to it any more.
    pub shutdown: CancellationToken,
    /// Cancelled when nothing more will be stored.
    pub stop: CancellationToken,
}

impl Cluster {
    /// Runs until the relay stops. `own` tells how this node is reached; that can change.
    pub async fn run(self, own: impl Fn() -> NodeRow) {
        let listening = AtomicBool::new(false);
        let node = own().endpoint_id;
        tokio::join!(
            self.live(&own, &listening),
            self.tell(),
            self.tell_live(node),
            self.listen(node, &listening),
            self.look(&listening)
        );
    }

    /// Says that this node lives, learns of the others, and sets the clock.
    async fn live(&self, own: &impl Fn() -> NodeRow, listening: &AtomicBool) {
        let mut known = Vec::new();
        let mut tick = interval(limits::NODE_HEARTBEAT);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut trouble = Trouble::default();
        while next(&mut tick, &self.shutdown).await {
            let own = own();
            let result = async {
                let nodes = self.storage.heartbeat(&own).await?;
                self.set_clock().await?;
                Ok::<_, StorageError>(nodes)
            };
            match result.await {
                Ok(mut nodes) => {
                    trouble.over();
                    self.metrics
                        .nodes
                        .set(i64::try_from(nodes.len()).unwrap_or(i64::MAX));
                    nodes.retain(|node| node.endpoint_id != own.endpoint_id);
                    let ids = nodes.iter().map(|node| endpoint_id(node.endpoint_id));
                    self.deployment.set_others(ids.flatten());
                    let others: Vec<RelayId> = nodes.iter().map(|node| node.endpoint_id).collect();
                    self.attend(&others, &known, listening.load(Ordering::Relaxed));
                    known = others;
                    self.nodes.set_others(nodes);
                }
                Err(error) => trouble.tell("cannot say that this node lives", &error),
            }
        }
        if let Err(error) = self.storage.leave(own().endpoint_id).await {
            tracing::warn!(%error, "cannot leave the list of nodes; the others notice by themselves");
        }
    }

    /// Who is there with a node that is gone is not there, and a new one has to be told who is here.
    fn attend(&self, others: &[RelayId], known: &[RelayId], listening: bool) {
        self.attendance.living(others);
        let outbox = &self.attendance.outbox;
        outbox.open(listening && !others.is_empty());
        if others.iter().any(|node| !known.contains(node)) {
            outbox.everything();
        }
    }

    async fn set_clock(&self) -> Result<(), StorageError> {
        let asked = Instant::now();
        let now = self.storage.now().await?;
        self.clock.follow(now.plus(asked.elapsed() / 2));
        Ok(())
    }

    /// Tells the others what this node has stored.
    async fn tell(&self) {
        let announcements = self.storage.announcements();
        let mut trouble = Trouble::default();
        loop {
            let notices = tokio::select! {
                () = self.stop.cancelled() => break,
                notices = announcements.take() => notices,
            };
            match self.storage.notify(&notices).await {
                Ok(()) => {
                    trouble.over();
                    self.metrics.notices_sent.inc_by(notices.len() as u64);
                }
                Err(error) => {
                    trouble.tell("cannot tell the other nodes what is new", &error);
                    announcements.add_everything();
                    sleep(limits::NOTICE_RETRY).await;
                }
            }
        }
        // What was stored last.
        let last = async {
            let notices = announcements.take().await;
            self.storage.notify(&notices).await
        };
        let _ = timeout(limits::NOTICE_RETRY, last).await;
    }

    /// Tells the others who is there, and what they say.
    async fn tell_live(&self, node: RelayId) {
        let outbox = &self.attendance.outbox;
        let mut trouble = Trouble::default();
        loop {
            let notices = tokio::select! {
                () = self.stop.cancelled() => break,
                notices = outbox.take(node, &self.attendance) => notices,
            };
            match self.storage.notify_live(&notices).await {
                Ok(()) => trouble.over(),
                Err(error) => {
                    trouble.tell("cannot tell the other nodes who is there", &error);
                    outbox.everything();
                    sleep(limits::NOTICE_RETRY).await;
                }
            }
        }
        // Where there is nobody to hear it, it does no harm.
        let last = farewell(node);
        let _ = timeout(limits::NOTICE_RETRY, self.storage.notify_live(&last)).await;
    }

    /// Hears what the others have stored.
    async fn listen(&self, node: RelayId, listening: &AtomicBool) {
        let mut trouble = Trouble::default();
        while !self.stop.is_cancelled() {
            let heard = tokio::select! {
                () = self.stop.cancelled() => return,
                heard = self.hear(node, listening, &mut trouble) => heard,
            };
            listening.store(false, Ordering::Relaxed);
            match heard {
                Ok(()) => {
                    let every = limits::LOOK_WITHOUT_NOTICES.as_secs();
                    tracing::warn!(
                        "this database has no LISTEN and NOTIFY; looking for what other nodes have stored every {every} s"
                    );
                    return;
                }
                Err(error) => trouble.tell("cannot listen to the other nodes", &error),
            }
            sleep(limits::NOTICE_RETRY).await;
        }
    }

    /// Listens until that fails; `Ok` if the server cannot do it at all.
    async fn hear(
        &self,
        node: RelayId,
        listening: &AtomicBool,
        trouble: &mut Trouble,
    ) -> Result<(), StorageError> {
        let Some(mut listener) = self.storage.listen().await? else {
            return Ok(());
        };
        self.groups.anything_erased();
        let mut run = self.catch_up().await?;
        listening.store(true, Ordering::Relaxed);
        trouble.over();
        self.attendance.outbox.everything();
        loop {
            self.heard(node, &mut listener, &mut run).await?;
        }
    }

    /// Takes in what comes next. `run` is that of which the notices are, as far as that is known.
    async fn heard(
        &self,
        node: RelayId,
        listener: &mut Listener,
        run: &mut Incarnation,
    ) -> Result<(), StorageError> {
        match listener.next().await? {
            Heard::Missed => {
                self.groups.anything_erased();
                self.attendance.outbox.everything();
                *run = self.catch_up().await?;
            }
            Heard::Live(text) => self.attendance.notice(node, &text),
            Heard::Notice(text) => {
                self.metrics.notices_received.inc();
                match Notice::parse(&text) {
                    Notice::News { grown, erased } if self.groups.run().id == *run => {
                        for group in erased {
                            self.groups.erased(group);
                        }
                        for (group, news) in grown {
                            self.groups.grown(*run, group, news.cursor);
                            self.groups.rotated(group, news.epoch);
                        }
                    }
                    // Also a notice that may be from before the database was set back.
                    _ => {
                        self.groups.anything_erased();
                        *run = self.catch_up().await?;
                    }
                }
            }
        }
        Ok(())
    }

    /// Looks for what was not heard.
    async fn look(&self, listening: &AtomicBool) {
        let mut tick = interval(limits::LOOK_WITHOUT_NOTICES);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut looked = Instant::now();
        while next(&mut tick, &self.stop).await {
            let listening = listening.load(Ordering::Relaxed);
            if listening && looked.elapsed() < limits::LOOK {
                continue;
            }
            if !listening {
                self.groups.anything_erased();
            }
            looked = Instant::now();
            // Whoever cannot look cannot listen or write either, and has said so.
            let _ = self.catch_up().await;
        }
    }

    /// Wakes those whose groups have grown, by asking for all groups that have sessions here. Gives the run in which that
    /// was.
    async fn catch_up(&self) -> Result<Incarnation, StorageError> {
        let known = self.groups.all_known();
        for groups in known.groups().chunks(limits::LOOK_GROUPS) {
            for (group, news) in self.storage.newest(groups).await? {
                self.groups.check(&known, group, news.cursor);
                self.groups.grown(known.run, group, news.cursor);
                self.groups.rotated(group, news.epoch);
            }
        }
        Ok(known.run)
    }
}

/// Waits for a tick; `false` when it is over.
async fn next(tick: &mut Interval, over: &CancellationToken) -> bool {
    tokio::select! {
        () = over.cancelled() => false,
        _ = tick.tick() => true,
    }
}

/// Says once that something does not work, not every second.
#[derive(Default)]
struct Trouble(bool);

impl Trouble {
    fn tell(&mut self, what: &str, error: &StorageError) {
        if !std::mem::replace(&mut self.0, true) {
            tracing::warn!(%error, "{what}; trying on");
        }
    }

    fn over(&mut self) {
        self.0 = false;
    }
}
