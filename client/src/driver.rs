//! The one loop of a client: feeds the engine and carries out what it wants.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use n0_future::{task, time};
use tokio::sync::{mpsc, oneshot, watch};
use zerok_sync_shared::crypto::keys::EpochKeys;
use zerok_sync_shared::crypto::rotation::Reason;
use zerok_sync_shared::crypto::token::AccessToken;
use zerok_sync_shared::engine::{
    DeviceInfo, DeviceView, Engine, Event, GroupView, Input, Output, Token,
};
use zerok_sync_shared::failure::{SyncError, code};
use zerok_sync_shared::ids::{BlobId, DeviceId, GroupId};
use zerok_sync_shared::map::SortedMap;
use zerok_sync_shared::store::{LogRecord, Membership};

use crate::config::{ClientEvent, EventHandler};
use crate::network::{Network, NetworkEvent};
use crate::platform::Clock;
use crate::recent::Recent;
use crate::store::Store;

/// Inputs that are taken before views are told again.
const MAX_BURST: usize = 64;

pub(crate) type Reply<T> = oneshot::Sender<Result<T, SyncError>>;

/// What the client's methods ask of the loop.
pub(crate) enum Command {
    Push {
        group: GroupId,
        body: Bytes,
        ttl: u32,
        reply: Reply<(BlobId, u64)>,
    },
    AddGroup {
        group: GroupId,
        membership: Box<Membership>,
        reply: Reply<()>,
    },
    RemoveGroup {
        group: GroupId,
        reply: Reply<()>,
    },
    Revoke {
        group: GroupId,
        device: DeviceId,
        reason: Reason,
        reply: Reply<()>,
    },
    Rename {
        group: GroupId,
        name: String,
        reply: Reply<()>,
    },
    Delete {
        group: GroupId,
        blob_id: BlobId,
        force: bool,
        reply: Reply<()>,
    },
    Broadcast {
        group: GroupId,
        body: Bytes,
    },
    ProvideSnapshots {
        group: GroupId,
        available: bool,
    },
    GiveSnapshot {
        group: GroupId,
        request: u64,
        state: Option<Bytes>,
    },
    NetworkChanged {
        online: bool,
    },
    Tell {
        group: GroupId,
        error: SyncError,
    },
    Close {
        reply: oneshot::Sender<()>,
    },
}

/// A group as the client's methods see it without asking the loop.
#[derive(Clone)]
pub(crate) struct GroupMirror {
    pub(crate) view: GroupView,
    pub(crate) keys: Arc<[EpochKeys]>,
    pub(crate) tokens: SortedMap<String, AccessToken>,
    pub(crate) devices: Arc<[DeviceInfo]>,
}

/// What the loop shows to the client's methods.
pub(crate) struct Mirror {
    groups: Mutex<SortedMap<GroupId, GroupMirror>>,
    device: Mutex<DeviceView>,
    recent: Mutex<Recent>,
    /// Changes whenever something in here did; closed when the loop has ended.
    pub(crate) changed: watch::Receiver<u64>,
}

impl Mirror {
    pub(crate) fn group(&self, group: GroupId) -> Option<GroupMirror> {
        self.groups
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(&group)
            .cloned()
    }

    pub(crate) fn groups(&self) -> Vec<GroupId> {
        self.groups
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .keys()
            .copied()
            .collect()
    }

    /// Newest records of a log without asking the store; `None` when they are not all in memory.
    pub(crate) fn recent(
        &self,
        group: GroupId,
        after: u64,
        max_records: usize,
        max_bytes: usize,
    ) -> Option<Vec<LogRecord>> {
        let recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        recent.read(group, after, max_records, max_bytes)
    }

    pub(crate) fn device(&self) -> DeviceView {
        self.device
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

enum Waiting {
    Push(Reply<(BlobId, u64)>),
    Change(Reply<()>),
}

pub(crate) struct Driver {
    engine: Engine,
    store: Arc<dyn Store>,
    network: Network,
    on_event: EventHandler,
    clock: Clock,
    mirror: Arc<Mirror>,
    changed: watch::Sender<u64>,
    /// In the order of their tokens. Most are answered in that order too, and there may be many.
    waiting: VecDeque<(Token, Waiting)>,
    next_token: Token,
    done: mpsc::UnboundedSender<Input>,
    closing: Option<oneshot::Sender<()>>,
}

/// Starts the loop; it ends with [`Command::Close`] or when the sender of commands is gone.
pub(crate) fn start(
    engine: Engine,
    store: Arc<dyn Store>,
    network: Network,
    network_events: mpsc::Receiver<NetworkEvent>,
    on_event: EventHandler,
) -> (mpsc::UnboundedSender<Command>, Arc<Mirror>) {
    let (commands, command_queue) = mpsc::unbounded_channel();
    // At most one write and two reads per group are under way, so this queue is bounded by the engine.
    let (done, done_queue) = mpsc::unbounded_channel();
    let (changed, changes) = watch::channel(0);
    let mirror = Arc::new(Mirror {
        groups: Mutex::default(),
        recent: Mutex::default(),
        device: Mutex::new(engine.device_view()),
        changed: changes,
    });
    let mut driver = Driver {
        engine,
        store,
        network,
        on_event,
        clock: Clock::start(),
        mirror: mirror.clone(),
        changed,
        waiting: VecDeque::new(),
        next_token: 0,
        done,
        closing: None,
    };
    // The groups are known to the caller, and to the event handler, before `open` returns.
    driver.show_changes();
    task::spawn(driver.run(command_queue, network_events, done_queue));
    (commands, mirror)
}

impl Driver {
    async fn run(
        mut self,
        mut commands: mpsc::UnboundedReceiver<Command>,
        mut network_events: mpsc::Receiver<NetworkEvent>,
        mut done: mpsc::UnboundedReceiver<Input>,
    ) {
        self.feed(Input::Tick);
        let mut open = true;
        // Once closing, only what was accepted is brought to an end.
        while open || self.engine.owes_an_answer() {
            self.show_changes();
            let now = self.clock.now();
            let wake = self
                .engine
                .next_wake()
                .map_or(MAX_SLEEP, |at| at.since(now).min(MAX_SLEEP));
            tokio::select! {
                biased;
                Some(input) = done.recv() => self.feed(input),
                command = commands.recv(), if open => match command {
                    Some(command) => open = self.on_command(command),
                    None => open = false,
                },
                Some(event) = network_events.recv(), if open => {
                    self.on_network(event);
                    for _ in 1..MAX_BURST {
                        match network_events.try_recv() {
                            Ok(event) => self.on_network(event),
                            Err(_) => break,
                        }
                    }
                }
                () = time::sleep(wake) => self.feed(Input::Tick),
            }
        }
        self.show_changes();
        self.network.close().await;
        self.store.close().await;
        if let Some(reply) = self.closing.take() {
            let _ = reply.send(());
        }
    }

    fn on_command(&mut self, command: Command) -> bool {
        let token = self.next_token;
        self.next_token += 1;
        match command {
            Command::Push {
                group,
                body,
                ttl,
                reply,
            } => {
                self.waiting.push_back((token, Waiting::Push(reply)));
                self.feed(Input::Push {
                    group,
                    body,
                    ttl,
                    token,
                });
            }
            Command::AddGroup {
                group,
                membership,
                reply,
            } => {
                self.waiting.push_back((token, Waiting::Change(reply)));
                self.feed(Input::AddGroup {
                    group,
                    membership,
                    token,
                });
            }
            Command::Revoke {
                group,
                device,
                reason,
                reply,
            } => {
                self.waiting.push_back((token, Waiting::Change(reply)));
                self.feed(Input::Revoke {
                    group,
                    device,
                    reason,
                    token,
                });
            }
            Command::Rename { group, name, reply } => {
                self.waiting.push_back((token, Waiting::Change(reply)));
                self.feed(Input::Rename { group, name, token });
            }
            Command::Delete {
                group,
                blob_id,
                force,
                reply,
            } => {
                self.waiting.push_back((token, Waiting::Change(reply)));
                self.feed(Input::Delete {
                    group,
                    blob_id,
                    force,
                    token,
                });
            }
            Command::RemoveGroup { group, reply } => {
                self.waiting.push_back((token, Waiting::Change(reply)));
                self.feed(Input::RemoveGroup { group, token });
            }
            Command::Broadcast { group, body } => self.feed(Input::Broadcast { group, body }),
            Command::ProvideSnapshots { group, available } => {
                self.feed(Input::ProvideSnapshots { group, available });
            }
            Command::GiveSnapshot {
                group,
                request,
                state,
            } => self.feed(Input::Snapshot {
                group,
                request,
                state,
            }),
            Command::NetworkChanged { online } => {
                self.network.network_changed();
                self.feed(Input::NetworkChanged { online });
            }
            Command::Tell { group, error } => {
                let (group, cursor) = (Some(group), None);
                (self.on_event)(ClientEvent::Error {
                    group,
                    error,
                    cursor,
                });
            }
            Command::Close { reply } => {
                self.closing = Some(reply);
                return false;
            }
        }
        true
    }

    fn on_network(&mut self, event: NetworkEvent) {
        match event {
            NetworkEvent::Connected {
                relay,
                attempt,
                connection,
                relay_id,
                exporter,
            } => {
                if self.network.accept(&relay, attempt, Some(connection)) {
                    let has_nodes = self.network.has_nodes(&relay);
                    self.feed(Input::Connected {
                        relay: relay.clone(),
                        relay_id,
                        exporter,
                    });
                    if has_nodes {
                        self.feed(Input::OtherNodes { relay });
                    }
                }
            }
            NetworkEvent::Disconnected {
                relay,
                attempt,
                error,
            } => {
                if self.network.accept(&relay, attempt, None) {
                    self.feed(Input::Disconnected { relay, error });
                }
            }
            NetworkEvent::Frame { stream, message } => self.feed(Input::Frame { stream, message }),
            NetworkEvent::StreamEnded { stream } => {
                self.network.close_stream(stream);
                self.feed(Input::StreamEnded { stream });
            }
        }
    }

    /// Gives the engine an input and carries out what it answers.
    fn feed(&mut self, input: Input) {
        let now = self.clock.now();
        let mut outputs = Vec::new();
        self.engine.handle(now, input, &mut outputs);
        // An app that is answered must already see what the answer is about.
        if outputs.iter().any(|output| {
            matches!(
                output,
                Output::Pushed { .. } | Output::Done { .. } | Output::Event(_)
            )
        }) {
            self.show_changes();
        }
        for output in outputs {
            self.carry_out(output);
        }
        self.network
            .set_gates(|stream| self.engine.wants_frames(stream));
    }

    fn carry_out(&mut self, output: Output) {
        match output {
            Output::Connect { relay } => {
                let token = self.engine.token(&relay).cloned();
                self.network.connect(relay, token);
            }
            Output::Disconnect { relay } => self.network.disconnect(&relay),
            Output::OpenStream { stream, relay } => self.network.open_stream(stream, relay),
            Output::Send { stream, message } => self.network.send(stream, message),
            Output::CloseStream { stream } => self.network.close_stream(stream),
            Output::Write(batch) => {
                let (store, done) = (self.store.clone(), self.done.clone());
                let mirror = self.mirror.clone();
                task::spawn(async move {
                    let result = store.commit(&batch).await.map_err(SyncError::from);
                    if result.is_ok() {
                        // Before the engine is told: whoever hears of a position can read it.
                        let mut recent =
                            mirror.recent.lock().unwrap_or_else(PoisonError::into_inner);
                        recent.written(batch);
                    }
                    let _ = done.send(Input::Written(result));
                });
            }
            Output::Load {
                group,
                purpose,
                after,
                max_records,
                max_bytes,
            } => {
                let (store, done) = (self.store.clone(), self.done.clone());
                task::spawn(async move {
                    let records = store
                        .read(group, after, max_records, max_bytes)
                        .await
                        .map_err(SyncError::from);
                    let _ = done.send(Input::Loaded {
                        group,
                        purpose,
                        records,
                    });
                });
            }
            Output::Pushed {
                token,
                blob_id,
                position,
            } => {
                if let Some(Waiting::Push(reply)) = self.answered(token) {
                    let _ = reply.send(Ok((blob_id, position)));
                }
            }
            Output::Done { token } => {
                if let Some(Waiting::Change(reply)) = self.answered(token) {
                    let _ = reply.send(Ok(()));
                }
            }
            Output::Refused { token, error } => match self.answered(token) {
                Some(Waiting::Push(reply)) => drop(reply.send(Err(error))),
                Some(Waiting::Change(reply)) => drop(reply.send(Err(error))),
                None => {}
            },
            Output::Event(event) => (self.on_event)(match event {
                Event::GroupJoined(group) => ClientEvent::GroupJoined(group),
                Event::GroupLeft(group) => ClientEvent::GroupLeft(group),
                Event::Pushed {
                    group,
                    blob_id,
                    position,
                    cursor,
                } => ClientEvent::Pushed {
                    group,
                    blob_id,
                    position: self.position_of(group, position),
                    cursor,
                },
                Event::Deleted {
                    group,
                    blob_id,
                    by,
                    position,
                    forced,
                } => ClientEvent::Deleted {
                    group,
                    blob_id,
                    by,
                    position: self.position_of(group, position),
                    forced,
                },
                Event::DeviceJoined {
                    group,
                    device,
                    name,
                } => ClientEvent::DeviceJoined {
                    group,
                    device,
                    name,
                },
                Event::DeviceRevoked {
                    group,
                    device,
                    by,
                    reason,
                    epoch,
                } => ClientEvent::DeviceRevoked {
                    group,
                    device,
                    by,
                    reason,
                    epoch,
                },
                Event::Broadcast {
                    group,
                    sender,
                    data,
                } => ClientEvent::Broadcast {
                    group,
                    sender,
                    data,
                },
                Event::SnapshotWanted {
                    group,
                    request,
                    place,
                } => ClientEvent::SnapshotWanted {
                    group,
                    request,
                    position: self.position_of(group, place),
                },
                Event::Snapshot { group } => {
                    let shown = self.mirror.group(group);
                    let newest = shown.as_ref().and_then(|shown| shown.view.snapshots.last());
                    let place = newest.map_or(0, |held| held.place);
                    ClientEvent::Snapshot {
                        group,
                        position: self.position_of(group, place),
                    }
                }
                Event::Gap {
                    group,
                    sender,
                    from,
                    to,
                } => ClientEvent::Gap {
                    group,
                    sender,
                    from,
                    to,
                },
                Event::Error {
                    group,
                    error,
                    cursor,
                } => ClientEvent::Error {
                    group,
                    error,
                    cursor,
                },
            }),
        }
    }

    /// The app's position of a place in the log.
    fn position_of(&self, group: GroupId, place: u64) -> u64 {
        let shown = self.mirror.group(group);
        shown.map_or(place, |shown| shown.view.places.position_of(place))
    }

    /// Who waits for the answer to this request; the answer is the last word on it.
    fn answered(&mut self, token: Token) -> Option<Waiting> {
        let at = self
            .waiting
            .binary_search_by_key(&token, |(token, _)| *token);
        self.waiting.remove(at.ok()?).map(|(_, waiting)| waiting)
    }

    /// Brings the mirror up to date and tells the app what changed in it.
    fn show_changes(&mut self) {
        let mut told = false;
        for group in self.engine.take_changed() {
            let view = self.engine.view(group);
            let mut groups = self
                .mirror
                .groups
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            match view {
                None => told |= groups.remove(&group).is_some(),
                Some(view) => {
                    let keys = self.engine.keys(group).unwrap_or_default();
                    let devices = self.engine.devices(group);
                    let known = groups.get(&group);
                    let same_view = known
                        .is_some_and(|known| known.view == view && known.keys.len() == keys.len());
                    let same_devices = known.is_some_and(|known| *known.devices == *devices);
                    if same_view && same_devices {
                        continue;
                    }
                    // Of a group that is new to the app nothing has changed yet.
                    let changed = known.is_some() && !same_devices;
                    let keys = keys.into();
                    groups.insert(
                        group,
                        GroupMirror {
                            view: view.clone(),
                            keys,
                            tokens: self.engine.tokens(group),
                            devices: devices.into(),
                        },
                    );
                    drop(groups);
                    told = true;
                    if !same_view {
                        (self.on_event)(ClientEvent::Group { group, view });
                    }
                    if changed {
                        (self.on_event)(ClientEvent::Devices(group));
                    }
                }
            }
        }
        if !told {
            return;
        }
        let device = self.engine.device_view();
        let before = {
            let mut known = self
                .mirror
                .device
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            core::mem::replace(&mut *known, device.clone())
        };
        if before != device {
            (self.on_event)(ClientEvent::Status(device));
        }
        self.changed.send_modify(|version| *version += 1);
    }
}

/// The clock of a sleeping machine may stand still: look at it at least this often.
const MAX_SLEEP: time::Duration = time::Duration::from_secs(30);

/// What is returned when the loop has ended.
pub(crate) fn closed() -> SyncError {
    SyncError::new(code::CLOSED, "the client was closed")
}
