//! What `/metrics` tells, in one table. No label ever holds an id, an address or a name.
//!
//! What happens is counted where it happens; what can be looked up is looked up when somebody asks ([`live`]).

use std::sync::Arc;

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Metric, Registry, Unit};
use zerok_sync_shared::error::ErrorCode;

use crate::storage::Census;

mod distribution;
mod live;
mod process;

use distribution::Distribution;
pub use live::Live;

/// What was refused, and where.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Refusal {
    /// Where it was asked for.
    pub via: Via,
    /// Name of the error code.
    pub code: &'static str,
}

/// The two ways to ask the relay for something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Via {
    /// A session of a device.
    Session,
    /// The HTTP API.
    Http,
}

impl EncodeLabelValue for Via {
    fn encode(
        &self,
        encoder: &mut prometheus_client::encoding::LabelValueEncoder<'_>,
    ) -> std::fmt::Result {
        let name = match self {
            Self::Session => "session",
            Self::Http => "http",
        };
        EncodeLabelValue::encode(&name, encoder)
    }
}

/// The way that the packets of a connection take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Path {
    /// Straight to the UDP port.
    Udp,
    /// Through the WebSocket.
    Relayed,
}

impl EncodeLabelValue for Path {
    fn encode(
        &self,
        encoder: &mut prometheus_client::encoding::LabelValueEncoder<'_>,
    ) -> std::fmt::Result {
        let name = match self {
            Self::Udp => "udp",
            Self::Relayed => "relayed",
        };
        EncodeLabelValue::encode(&name, encoder)
    }
}

/// By which way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ByPath {
    /// The way.
    pub path: Path,
}

/// The relay's counters.
#[derive(Debug)]
pub struct Metrics {
    /// Blobs that were stored or were there already.
    pub pushes: Counter,
    /// Changes of keys.
    pub rotations: Counter,
    /// Snapshots that became a group's.
    pub snapshots: Counter,
    /// Payload bytes of the pushes.
    pub push_bytes: Counter,
    /// Blobs sent to subscribers and in answers to PULL.
    pub delivered: Counter,
    /// Their payload bytes.
    pub delivered_bytes: Counter,
    /// Pages for subscribers that came from memory.
    pub pages_from_memory: Counter,
    /// Pages for subscribers that were read from the storage.
    pub pages_from_storage: Counter,
    /// Transactions that stored something.
    pub commits: Counter,
    /// Blobs in a transaction.
    pub commit_blobs: Histogram,
    /// How long a transaction took, the flush to disk included.
    pub commit_seconds: Histogram,
    /// Blobs that wait for the writer.
    pub queue_depth: Gauge,
    /// Payload bytes that wait for the writer or are being written.
    pub queue_bytes: Gauge,
    /// Whether the last transaction failed.
    pub storage_failing: Gauge,
    /// Open connections of devices.
    pub connections: Family<ByPath, Gauge>,
    /// Open sessions.
    pub sessions: Gauge,
    /// Sessions that subscribe.
    pub subscribers: Gauge,
    /// Open WebSockets of the embedded iroh relay.
    pub websockets: Gauge,
    /// Errors that were sent, by code.
    pub refusals: Family<Refusal, Counter>,
    /// Blobs stored now.
    pub blobs_stored: Gauge,
    /// Their payload bytes.
    pub bytes_stored: Gauge,
    /// Groups that exist.
    pub groups: Gauge,
    /// Devices that were here lately.
    pub active_devices: Gauge,
    /// How far they are behind.
    cursor_lag: Distribution,
    /// Blobs deleted because their time was over.
    pub expired: Counter,
    /// Blobs deleted because every active device had acknowledged them.
    pub acknowledged: Counter,
    /// Invites that were left here.
    pub invites_created: Counter,
    /// Invites that were claimed.
    pub invites_claimed: Counter,
    /// Packets on the WebSocket that were for others than this relay.
    pub forward_refused: Counter,
    /// Connections and requests refused because their address had too many open.
    pub crowded: Counter,
    /// Live relays on the shared database, this one among them; 0 for a relay with a database of its own.
    pub nodes: Gauge,
    /// Notices to other nodes about new blobs.
    pub notices_sent: Counter,
    /// Notices heard, own ones among them.
    pub notices_received: Counter,
    /// Ephemeral messages given to devices.
    pub ephemeral_forwarded: Counter,
    /// Ephemeral messages that were dropped under load.
    pub ephemeral_dropped: Counter,
    /// What is looked up when somebody asks.
    pub live: Arc<Live>,
    registry: Registry,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::default();
        let live = Arc::new(Live::default());
        registry.register_collector(Box::new(process::Process));
        let r = registry.sub_registry_with_prefix("zerok_relay");
        r.register_collector(Box::new(Arc::clone(&live)));
        let version = Info::new([("version", env!("CARGO_PKG_VERSION"))]);
        r.register("build", "Version of the relay", version);
        let blobs = || Histogram::new(exponential_buckets(1.0, 2.0, 11));
        let seconds = || Histogram::new(exponential_buckets(0.000_5, 2.0, 14));
        Self {
            pushes: add(r, "pushes", "Blobs acknowledged as stored"),
            snapshots: add(r, "snapshots", "Snapshots stored in full"),
            rotations: add(r, "rotations", "Changes of a group's keys"),
            push_bytes: bytes(r, "push", "Payload acknowledged as stored"),
            delivered: add(r, "delivered_blobs", "Blobs sent to devices"),
            delivered_bytes: bytes(r, "delivered", "Payload sent to devices"),
            pages_from_memory: add(
                r,
                "pages_from_memory",
                "Pages of blobs for subscribers that came from memory",
            ),
            pages_from_storage: add(
                r,
                "pages_from_storage",
                "Pages of blobs for subscribers that were read from the storage",
            ),
            commits: add(r, "commits", "Transactions that stored blobs"),
            commit_blobs: made(r, "commit_blobs", "Blobs in one transaction", blobs()),
            commit_seconds: unit(
                r,
                "commit",
                "Duration of a transaction with its flush to disk",
                Unit::Seconds,
                seconds(),
            ),
            queue_depth: add(r, "writer_queue", "Blobs that wait for the writer"),
            queue_bytes: bytes(
                r,
                "writer_queue",
                "Payload that waits for the writer or is being written",
            ),
            storage_failing: add(
                r,
                "storage_failing",
                "1 while the relay cannot write to its database",
            ),
            connections: add(
                r,
                "connections",
                "Open connections of devices, by the way their packets take",
            ),
            sessions: add(r, "sessions", "Open sessions"),
            subscribers: add(r, "subscribers", "Sessions that subscribe"),
            websockets: add(r, "websockets", "WebSockets of the embedded iroh relay"),
            refusals: add(
                r,
                "refusals",
                "Errors sent, by code, in sessions and over HTTP",
            ),
            blobs_stored: add(r, "blobs_stored", "Blobs stored, as of the last clean-up"),
            bytes_stored: bytes(r, "stored", "Payload stored, as of the last clean-up"),
            groups: add(r, "groups", "Groups that exist, as of the last clean-up"),
            active_devices: add(
                r,
                "active_devices",
                "Devices seen within 24 hours, as of the last clean-up",
            ),
            cursor_lag: add(
                r,
                "cursor_lag_blobs",
                "How many blobs each active device has yet to acknowledge, as of the last clean-up",
            ),
            expired: add(r, "expired_blobs", "Blobs deleted after their time"),
            acknowledged: add(
                r,
                "acknowledged_blobs_deleted",
                "Blobs deleted because every active device had them",
            ),
            invites_created: add(r, "invites_created", "Invites left here"),
            invites_claimed: add(r, "invites_claimed", "Invites claimed"),
            forward_refused: add(
                r,
                "forward_refused",
                "Packets dropped because they were for others than this relay",
            ),
            crowded: add(
                r,
                "crowded",
                "Connections refused because their address had too many",
            ),
            nodes: add(
                r,
                "nodes",
                "Live relays on the shared database, 0 without one",
            ),
            notices_sent: add(
                r,
                "notices_sent",
                "Notices of new blobs sent to the other nodes",
            ),
            notices_received: add(
                r,
                "notices_received",
                "Notices of new blobs heard from the nodes, own ones among them",
            ),
            ephemeral_forwarded: add(
                r,
                "ephemeral_forwarded",
                "Ephemeral messages given to devices",
            ),
            ephemeral_dropped: add(
                r,
                "ephemeral_dropped",
                "Ephemeral messages dropped, because a device sends too many or takes them too slowly",
            ),
            live,
            registry,
        }
    }
}

fn add<M: Metric + Clone + Default>(r: &mut Registry, name: &str, help: &str) -> M {
    made(r, name, help, M::default())
}

fn made<M: Metric + Clone>(r: &mut Registry, name: &str, help: &str, metric: M) -> M {
    r.register(name, help, metric.clone());
    metric
}

fn bytes<M: Metric + Clone + Default>(r: &mut Registry, name: &str, help: &str) -> M {
    unit(r, name, help, Unit::Bytes, M::default())
}

fn unit<M: Metric + Clone>(r: &mut Registry, name: &str, help: &str, unit: Unit, metric: M) -> M {
    r.register_with_unit(name, help, unit, metric.clone());
    metric
}

/// A number as a gauge takes it.
#[must_use]
pub fn gauge(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

impl Metrics {
    /// Counts an error that is sent to a session.
    pub fn refuse(&self, code: ErrorCode) {
        self.refused(Via::Session, code.name());
    }

    /// Counts an error that is sent.
    pub fn refused(&self, via: Via, code: &'static str) {
        self.refusals.get_or_create(&Refusal { via, code }).inc();
    }

    /// The gauge of the connections that take this way.
    #[must_use]
    pub fn connections_by(&self, path: Path) -> Gauge {
        self.connections.get_or_create_owned(&ByPath { path })
    }

    /// Open connections of devices, whichever way they take.
    #[must_use]
    pub fn open_connections(&self) -> i64 {
        [Path::Udp, Path::Relayed]
            .map(|path| self.connections_by(path).get())
            .iter()
            .sum()
    }

    /// Takes over what the clean-up has counted.
    pub fn counted(&self, census: &Census) {
        self.blobs_stored.set(gauge(census.stats.blobs));
        self.bytes_stored.set(gauge(census.stats.bytes));
        self.groups.set(gauge(census.stats.groups));
        self.active_devices.set(gauge(census.active_devices));
        self.cursor_lag.set(census);
    }

    /// All of it in the text format of Prometheus.
    #[must_use]
    pub fn text(&self) -> String {
        let mut out = String::new();
        // Writing to a String cannot fail.
        let _ = text::encode(&mut out, &self.registry);
        out
    }
}

/// Adds one to a gauge for as long as it lives.
#[derive(Debug)]
pub struct Counted(Gauge);

impl Counted {
    /// Starts counting.
    #[must_use]
    pub fn new(gauge: &Gauge) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.dec();
    }
}
