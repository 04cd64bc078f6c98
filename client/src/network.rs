//! Connections and streams: carries out what the engine wants of the network.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::StreamExt as _;
use iroh::endpoint::{Connection, ConnectionError, PathEvent, VarInt};
use iroh::{Endpoint, EndpointAddr, EndpointId, RelayMap, RelayMode, RelayUrl, SecretKey};
use n0_future::boxed::BoxFuture;
use n0_future::task::{self, AbortOnDropHandle};
use n0_future::time;
use tokio::sync::{OnceCell, mpsc, watch};
use zerok_sync_shared::codec::DecodeError;
use zerok_sync_shared::crypto::keys::Secret;
use zerok_sync_shared::crypto::token::AccessToken;
use zerok_sync_shared::engine::StreamId;
use zerok_sync_shared::error::ErrorCode;
use zerok_sync_shared::failure::{SyncError, code};
use zerok_sync_shared::ids::RelayId;
use zerok_sync_shared::limits;
use zerok_sync_shared::map::SortedMap;
use zerok_sync_shared::message::{ALPN, Message, WireError};
use zerok_sync_transport::endpoint as transport;
use zerok_sync_transport::frames::{FrameReader, FrameWriter};

use crate::config::Path;
use crate::platform::{self, Json};

mod probe;

pub(crate) use probe::{Answer, Probe};

/// Frames and changes of connections that wait for the driver.
pub(crate) const EVENT_QUEUE: usize = 64;
/// Encoded bytes of one stream that are gathered before they are written.
const MAX_GATHERED: usize = 256 * 1024;
/// Ephemeral messages that wait for one stream.
const MAX_PASSING: usize = 32;
/// How long closing may take when the other side does not answer.
const CLOSE_TIMEOUT: time::Duration = time::Duration::from_secs(2);

/// What the network reports.
pub(crate) enum NetworkEvent {
    Connected {
        relay: String,
        attempt: u64,
        connection: Connection,
        relay_id: RelayId,
        exporter: [u8; 32],
    },
    Disconnected {
        relay: String,
        attempt: u64,
        error: SyncError,
    },
    Frame {
        stream: StreamId,
        message: Result<Message, DecodeError>,
    },
    StreamEnded {
        stream: StreamId,
    },
}

struct Link {
    attempt: u64,
    connection: Option<Connection>,
    _task: AbortOnDropHandle<()>,
}

struct Stream {
    outgoing: mpsc::UnboundedSender<Message>,
    /// What may be dropped.
    passing: mpsc::Sender<Message>,
    gate: watch::Sender<bool>,
    relay: String,
}

/// All connections of a device.
pub(crate) struct Network {
    endpoint: Arc<LazyEndpoint>,
    events: mpsc::Sender<NetworkEvent>,
    links: SortedMap<String, Link>,
    streams: SortedMap<StreamId, Stream>,
    attempts: u64,
}

impl Network {
    pub(crate) fn new(key: &Secret, path: Path, events: mpsc::Sender<NetworkEvent>) -> Self {
        let endpoint = Arc::new(LazyEndpoint {
            key: SecretKey::from_bytes(key.expose()),
            path,
            cell: OnceCell::new(),
            known: Mutex::default(),
        });
        Self {
            endpoint,
            events,
            links: SortedMap::new(),
            streams: SortedMap::new(),
            attempts: 0,
        }
    }

    /// Whether a relay's URL told of several nodes.
    pub(crate) fn has_nodes(&self, relay: &str) -> bool {
        self.endpoint.with_known(relay, |known| known.listed > 1)
    }

    /// For questions beside the sessions.
    pub(crate) fn endpoint(&self) -> Arc<LazyEndpoint> {
        self.endpoint.clone()
    }

    /// Connects in the background and reports how it went, and later how it ended.
    pub(crate) fn connect(&mut self, relay: String, token: Option<AccessToken>) {
        self.attempts += 1;
        let attempt = self.attempts;
        let (endpoint, events, url) = (self.endpoint.clone(), self.events.clone(), relay.clone());
        let task = task::spawn(async move {
            let error = match endpoint.connect(url.clone(), token).await {
                Ok((connection, relay_id, exporter)) => {
                    let closed = connection.clone();
                    let event = NetworkEvent::Connected {
                        relay: url.clone(),
                        attempt,
                        connection,
                        relay_id,
                        exporter,
                    };
                    if events.send(event).await.is_err() {
                        return;
                    }
                    tokio::select! {
                        error = closed.closed() => ended(&url, &error),
                        () = path_lost(&closed) => {
                            closed.close(VarInt::from_u32(0), b"path lost");
                            unreachable(&url, "its network path broke")
                        }
                    }
                }
                Err(error) => error,
            };
            let _ = events
                .send(NetworkEvent::Disconnected {
                    relay: url,
                    attempt,
                    error,
                })
                .await;
        });
        let link = Link {
            attempt,
            connection: None,
            _task: AbortOnDropHandle::new(task),
        };
        self.links.insert(relay, link);
    }

    /// Whether a report is about the newest attempt; a connection that was made is kept then.
    pub(crate) fn accept(
        &mut self,
        relay: &str,
        attempt: u64,
        connection: Option<Connection>,
    ) -> bool {
        let Some(link) = self
            .links
            .get_mut(relay)
            .filter(|link| link.attempt == attempt)
        else {
            return false;
        };
        if connection.is_some() {
            link.connection = connection;
        } else {
            self.forget(relay);
        }
        true
    }

    pub(crate) fn disconnect(&mut self, relay: &str) {
        if let Some(connection) = self
            .links
            .get(relay)
            .and_then(|link| link.connection.as_ref())
        {
            connection.close(VarInt::from_u32(0), b"bye");
        }
        self.forget(relay);
    }

    fn forget(&mut self, relay: &str) {
        self.links.remove(relay);
        self.streams.retain(|_, stream| stream.relay != relay);
    }

    pub(crate) fn open_stream(&mut self, id: StreamId, relay: String) {
        let Some(connection) = self
            .links
            .get(&relay)
            .and_then(|link| link.connection.clone())
        else {
            return;
        };
        let (outgoing, passing, gate) = start_stream(connection, id, self.events.clone());
        self.streams.insert(
            id,
            Stream {
                outgoing,
                passing,
                gate,
                relay,
            },
        );
    }

    /// Bounded by the engine, which keeps a window of unanswered pushes. Of ephemeral messages nobody keeps count: where
    /// many wait, the next is dropped.
    pub(crate) fn send(&self, id: StreamId, message: Message) {
        if let Some(stream) = self.streams.get(&id) {
            // A stream that has ended reports that by itself.
            if matches!(message, Message::Ephemeral(_)) {
                let _ = stream.passing.try_send(message);
            } else {
                let _ = stream.outgoing.send(message);
            }
        }
    }

    pub(crate) fn close_stream(&mut self, id: StreamId) {
        self.streams.remove(&id);
    }

    /// Opens and shuts the gates of streams: a shut one is not read.
    pub(crate) fn set_gates(&self, wants_frames: impl Fn(StreamId) -> bool) {
        for (id, stream) in self.streams.iter() {
            let open = wants_frames(*id);
            stream
                .gate
                .send_if_modified(|gate| core::mem::replace(gate, open) != open);
        }
    }

    /// The device's network changed: sockets may be dead without saying so.
    pub(crate) fn network_changed(&self) {
        let endpoint = self.endpoint.clone();
        task::spawn(async move {
            if let Some(endpoint) = endpoint.cell.get() {
                endpoint.network_change().await;
            }
        });
    }

    pub(crate) async fn close(&mut self) {
        self.streams.clear();
        for relay in self.links.keys().cloned().collect::<Vec<_>>() {
            self.disconnect(&relay);
        }
        if let Some(endpoint) = self.endpoint.cell.get() {
            let _ = time::timeout(CLOSE_TIMEOUT, endpoint.close()).await;
        }
    }
}

/// A connection, who is at its other end, and the exporter of its TLS.
type Dialled = Result<(Connection, RelayId, [u8; 32]), SyncError>;

/// The endpoint is made when it is first needed: opening a client must not depend on a network.
pub(crate) struct LazyEndpoint {
    key: SecretKey,
    path: Path,
    cell: OnceCell<Endpoint>,
    /// What relays' URLs have told.
    known: Mutex<SortedMap<String, Known>>,
}

/// The nodes behind a URL.
#[derive(Default)]
struct Known {
    /// Those that were not tried since it told of them.
    untried: Vec<Node>,
    /// How many it told of.
    listed: usize,
}

impl LazyEndpoint {
    async fn get(&self) -> Result<&Endpoint, String> {
        let bind = || async {
            let builder = transport::builder(self.key.clone())
                .relay_mode(RelayMode::Custom(RelayMap::empty()));
            #[cfg(not(target_family = "wasm"))]
            let builder = match self.path {
                Path::Any => builder,
                Path::WebSocket => builder.clear_ip_transports(),
            };
            builder.bind().await.map_err(|error| error.to_string())
        };
        self.cell.get_or_try_init(bind).await
    }

    /// Connects to one of the nodes behind a URL, in time. In a box, so that a browser's core has the states of it once.
    fn connect(self: Arc<Self>, url: String, token: Option<AccessToken>) -> BoxFuture<Dialled> {
        Box::pin(async move {
            let dial = self.dial(&url, token.as_ref());
            match time::timeout(limits::CONNECT_TIMEOUT, dial).await {
                Ok(dialled) => dialled,
                Err(_) => Err(unreachable(&url, "it does not answer")),
            }
        })
    }

    /// Connects to one of the nodes behind a URL: to those that it told of before, so that a deployment survives the loss of
    /// a node, even of the one that answers at the URL; then to those that it tells of now.
    async fn dial(&self, url: &str, token: Option<&AccessToken>) -> Dialled {
        let mut nodes = self.remember(url, Vec::new());
        let mut asked = false;
        loop {
            let Some(node) = nodes.pop() else {
                if core::mem::replace(&mut asked, true) {
                    return Err(unreachable(url, "none of its nodes answers"));
                }
                nodes = fetch_nodes(url, token).await?;
                self.with_known(url, |known| known.listed = nodes.len());
                continue;
            };
            let last = asked && nodes.is_empty();
            let dialled = self.dial_node(url, node, token);
            let dialled = if last {
                dialled.await
            } else {
                let dialled = time::timeout(limits::NODE_TIMEOUT, dialled).await;
                dialled.unwrap_or_else(|_| Err(unreachable(url, "a node does not answer")))
            };
            match dialled {
                Ok(connected) => {
                    self.remember(url, nodes);
                    return Ok(connected);
                }
                Err(error) if last => return Err(error),
                Err(_) => {}
            }
        }
    }

    /// Keeps the nodes to try next, and gives those that were kept before.
    fn remember(&self, url: &str, nodes: Vec<Node>) -> Vec<Node> {
        self.with_known(url, |known| core::mem::replace(&mut known.untried, nodes))
    }

    fn with_known<T>(&self, url: &str, work: impl FnOnce(&mut Known) -> T) -> T {
        let mut all = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        work(all.get_or_insert_with(url.to_owned(), Known::default))
    }

    async fn dial_node(&self, url: &str, node: Node, token: Option<&AccessToken>) -> Dialled {
        let endpoint = self.get().await.map_err(|error| unreachable(url, &error))?;
        let mut relay_config = iroh::RelayConfig::new(node.relay_url.clone(), None);
        if let Some(token) = token {
            let device = transport::device_id(self.key.public());
            relay_config = relay_config.with_auth_token(token.hash().ticket(device));
        }
        endpoint
            .insert_relay(node.relay_url.clone(), Arc::new(relay_config))
            .await;
        let mut address = EndpointAddr::new(node.endpoint_id).with_relay_url(node.relay_url);
        if self.path == Path::Any {
            for udp in node.udp {
                address = address.with_ip_addr(udp);
            }
        }
        let connection = endpoint
            .connect(address, ALPN)
            .await
            .map_err(|error| unreachable(url, &error.to_string()))?;
        let exporter =
            transport::export(&connection).map_err(|error| unreachable(url, &error.to_string()))?;
        Ok((connection, transport::device_id(node.endpoint_id), exporter))
    }
}

/// Returns when the path that carries the data is given up. The connection lives on over another one, but what was under
/// way is sent again only when the lost path's timers have run out, which takes up to a minute after a partition; a new
/// connection takes a second or two.
async fn path_lost(connection: &Connection) {
    let mut events = connection.path_events();
    let mut selected = connection
        .paths()
        .iter()
        .find(|path| path.is_selected())
        .map(|path| path.id());
    while let Some(event) = events.next().await {
        match event {
            PathEvent::Selected { id, .. } => selected = Some(id),
            PathEvent::Closed { id, .. } if selected == Some(id) => return,
            _ => {}
        }
    }
    std::future::pending().await
}

/// Why a connection is gone. A relay may close it with the number of a refusal that passes, before any session could say
/// so; nothing else that it gives as the reason is believed.
fn ended(url: &str, error: &ConnectionError) -> SyncError {
    if let ConnectionError::ApplicationClosed(close) = error
        && let Ok(number) = u16::try_from(close.error_code.into_inner())
        && let refused @ (ErrorCode::RateLimited | ErrorCode::RelayOverloaded) = number.into()
    {
        let text = match refused {
            ErrorCode::RateLimited => "too many connections from this network; it is tried again",
            _ => "the relay has too much to do; it is tried again",
        };
        return SyncError::from_relay(url, &WireError::new(refused, text));
    }
    unreachable(url, &error.to_string())
}

fn unreachable(url: &str, why: &str) -> SyncError {
    SyncError::passing(
        code::RELAY_UNREACHABLE,
        format!("{url} cannot be reached: {why}"),
    )
}

struct Node {
    endpoint_id: EndpointId,
    relay_url: RelayUrl,
    udp: Vec<SocketAddr>,
}

/// What a relay says of itself at `/.well-known/iroh`.
async fn fetch_nodes(url: &str, token: Option<&AccessToken>) -> Result<Vec<Node>, SyncError> {
    let answer = platform::fetch("GET", &format!("{url}/.well-known/iroh"), token, None)
        .await
        .map_err(|error| unreachable(url, &error))?;
    match answer.status {
        200 => {
            let directory = Json::parse(&answer.body).ok_or_else(|| not_a_relay(url))?;
            if token.is_none() && directory.field("access").text().as_deref() == Some("token") {
                return Err(unauthorized(url, "it asks for an access token"));
            }
            nodes(url, &directory)
        }
        401 => Err(unauthorized(url, "it does not take this access token")),
        429 | 500.. => Err(SyncError {
            retry_after_ms: Json::parse(&answer.body)
                .and_then(|refusal| refusal.field("retry_after_ms").whole()),
            ..unreachable(
                url,
                &format!("it answers with HTTP status {}", answer.status),
            )
        }),
        _ => Err(not_a_relay(url)),
    }
}

fn unauthorized(url: &str, why: &str) -> SyncError {
    let text = format!("{url} refuses this device: {why}; ask the person who runs it for one");
    SyncError::new(ErrorCode::Unauthorized.name(), text)
}

#[cfg(feature = "fuzzing")]
pub(crate) fn read_directory(url: &str, body: &[u8]) -> Result<(), SyncError> {
    let directory = Json::parse(body).ok_or_else(|| not_a_relay(url))?;
    let _ = directory.field("access").text();
    nodes(url, &directory).map(drop)
}

/// The nodes of a directory, the first of them last. One that cannot be understood is passed over.
fn nodes(url: &str, directory: &Json) -> Result<Vec<Node>, SyncError> {
    let version = directory.field("version").whole();
    if version.ok_or_else(|| not_a_relay(url))? != 1 {
        let text =
            format!("{url} speaks another version of the protocol; update the app or the relay");
        return Err(SyncError::new("UNSUPPORTED_VERSION", text));
    }
    let node = |node: &Json| {
        Some(Node {
            endpoint_id: node.field("endpoint_id").text()?.parse().ok()?,
            relay_url: node.field("relay_url").text()?.parse().ok()?,
            udp: node
                .field("udp_addrs")
                .items()
                .iter()
                .filter_map(|address| address.text()?.parse().ok())
                .collect(),
        })
    };
    let nodes = directory.field("nodes").items();
    let nodes = nodes.iter().take(limits::MAX_NODES);
    let nodes: Vec<_> = nodes.filter_map(node).rev().collect();
    if nodes.is_empty() {
        return Err(not_a_relay(url));
    }
    Ok(nodes)
}

fn not_a_relay(url: &str) -> SyncError {
    let text = format!(
        "{url} is not a 0k-Sync relay: it does not answer at /.well-known/iroh as one; check the URL"
    );
    SyncError::passing(code::RELAY_UNREACHABLE, text).because("not-a-relay")
}

/// Opens a stream in the background; gives what it sends, and its gate. Ends by itself when the stream, the connection or
/// the queue does.
fn start_stream(
    connection: Connection,
    id: StreamId,
    events: mpsc::Sender<NetworkEvent>,
) -> (
    mpsc::UnboundedSender<Message>,
    mpsc::Sender<Message>,
    watch::Sender<bool>,
) {
    let (outgoing, queue) = mpsc::unbounded_channel();
    let (passing, passing_queue) = mpsc::channel(MAX_PASSING);
    let (gate, gated) = watch::channel(true);
    task::spawn(async move {
        run_stream(&connection, id, (queue, passing_queue), gated, &events).await;
        let _ = events.send(NetworkEvent::StreamEnded { stream: id }).await;
    });
    (outgoing, passing, gate)
}

/// Moves messages until the stream ends from either side.
async fn run_stream(
    connection: &Connection,
    id: StreamId,
    (mut queue, mut passing): (mpsc::UnboundedReceiver<Message>, mpsc::Receiver<Message>),
    mut gate: watch::Receiver<bool>,
    events: &mpsc::Sender<NetworkEvent>,
) {
    let Ok((send, recv)) = connection.open_bi().await else {
        return;
    };
    let mut writer = FrameWriter::new(send);
    let mut reader = FrameReader::new(recv);
    let write = async {
        loop {
            let message = tokio::select! {
                biased;
                message = queue.recv() => message,
                Some(message) = passing.recv() => Some(message),
            };
            let Some(message) = message else { break };
            writer.queue(&message);
            while writer.queued() < MAX_GATHERED
                && let Ok(message) = queue.try_recv()
            {
                writer.queue(&message);
            }
            if writer.flush().await.is_err() {
                return;
            }
        }
        let _ = writer.get_mut().finish();
    };
    let read = async {
        while gate.wait_for(|open| *open).await.is_ok() {
            let Ok(Some(message)) = reader.next(limits::MAX_FRAME).await else {
                return;
            };
            let broken = message.is_err();
            if events
                .send(NetworkEvent::Frame {
                    stream: id,
                    message,
                })
                .await
                .is_err()
                || broken
            {
                return;
            }
        }
    };
    tokio::select! {
        () = write => {}
        () = read => {}
    }
}
