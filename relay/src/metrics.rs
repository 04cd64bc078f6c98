//! What `/metrics` tells, in one table. No label ever holds an id, an address or a name.

use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};
use zerok_sync_shared::error::ErrorCode;

/// Why something was refused.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Refusal {
    /// Name of the error code.
    pub code: String,
}

/// The relay's counters.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    /// Blobs that were stored or were there already.
    pub pushes: Counter,
    /// Their payload bytes.
    pub push_bytes: Counter,
    /// Blobs sent to subscribers and in answers to PULL.
    pub delivered: Counter,
    /// Transactions that stored something.
    pub commits: Counter,
    /// Blobs in a transaction.
    pub commit_blobs: Histogram,
    /// How long a transaction took, the flush to disk included.
    pub commit_seconds: Histogram,
    /// Blobs that wait for the writer.
    pub queue_depth: Gauge,
    /// Open connections of devices.
    pub connections: Gauge,
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
    /// Blobs deleted because their time was over.
    pub expired: Counter,
    /// Invites that were left here.
    pub invites_created: Counter,
    /// Invites that were claimed.
    pub invites_claimed: Counter,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut made = Self {
            registry: Registry::with_prefix("zerok_relay"),
            pushes: Counter::default(),
            push_bytes: Counter::default(),
            delivered: Counter::default(),
            commits: Counter::default(),
            commit_blobs: Histogram::new(exponential_buckets(1.0, 2.0, 11)),
            commit_seconds: Histogram::new(exponential_buckets(0.000_5, 2.0, 14)),
            queue_depth: Gauge::default(),
            connections: Gauge::default(),
            sessions: Gauge::default(),
            subscribers: Gauge::default(),
            websockets: Gauge::default(),
            refusals: Family::default(),
            blobs_stored: Gauge::default(),
            bytes_stored: Gauge::default(),
            groups: Gauge::default(),
            expired: Counter::default(),
            invites_created: Counter::default(),
            invites_claimed: Counter::default(),
        };
        made.register();
        made
    }
}

impl Metrics {
    fn register(&mut self) {
        let r = &mut self.registry;
        r.register(
            "pushes",
            "Blobs acknowledged as stored",
            self.pushes.clone(),
        );
        let help = "Payload acknowledged as stored";
        r.register_with_unit("push", help, Unit::Bytes, self.push_bytes.clone());
        r.register(
            "delivered_blobs",
            "Blobs sent to devices",
            self.delivered.clone(),
        );
        r.register(
            "commits",
            "Transactions that stored blobs",
            self.commits.clone(),
        );
        r.register(
            "commit_blobs",
            "Blobs in one transaction",
            self.commit_blobs.clone(),
        );
        let help = "Duration of a transaction with its flush to disk";
        r.register_with_unit("commit", help, Unit::Seconds, self.commit_seconds.clone());
        r.register(
            "writer_queue",
            "Blobs that wait for the writer",
            self.queue_depth.clone(),
        );
        r.register(
            "connections",
            "Open connections of devices",
            self.connections.clone(),
        );
        r.register("sessions", "Open sessions", self.sessions.clone());
        r.register(
            "subscribers",
            "Sessions that subscribe",
            self.subscribers.clone(),
        );
        r.register(
            "websockets",
            "WebSockets of the embedded iroh relay",
            self.websockets.clone(),
        );
        r.register("refusals", "Errors sent, by code", self.refusals.clone());
        r.register(
            "blobs_stored",
            "Blobs stored now",
            self.blobs_stored.clone(),
        );
        let help = "Payload stored now";
        r.register_with_unit("stored", help, Unit::Bytes, self.bytes_stored.clone());
        r.register("groups", "Groups that exist", self.groups.clone());
        r.register(
            "expired_blobs",
            "Blobs deleted after their time",
            self.expired.clone(),
        );
        r.register(
            "invites_created",
            "Invites left here",
            self.invites_created.clone(),
        );
        r.register(
            "invites_claimed",
            "Invites claimed",
            self.invites_claimed.clone(),
        );
    }

    /// Counts an error that is sent.
    pub fn refuse(&self, code: ErrorCode) {
        self.refusals
            .get_or_create(&Refusal {
                code: code.name().to_owned(),
            })
            .inc();
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
