//! What a self-hoster can set, none of it needed. One field is one setting: the flag `--blob-ttl`, the variable
//! `ZEROK_RELAY_BLOB_TTL` and the key `blob_ttl` of the file. Its comment is its help text; its default is in
//! [`Config::new`].
//!
//! - [`load`]: defaults, file, environment and flags, of which the later ones win
//! - [`show`]: the settings as a file, effective or as an example
//! - [`value`]: times, sizes and whatever else is written in a form of its own
//! - [`database_url`]: where a PostgreSQL database is

pub mod database_url;
pub mod load;
pub mod show;
pub mod value;

use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};
use serde::{Deserialize, Serialize};
use tokio_rustls_acme::acme::LETS_ENCRYPT_PRODUCTION_DIRECTORY;
use url::Url;
use zerok_sync_shared::limits::DEFAULT_TTL;

use crate::access::{AccessMode, HashedToken};
use crate::limits;
use crate::network::TrustedProxy;
pub use database_url::DatabaseUrl;

/// The settings of a relay.
///
/// A setting that must not be shown, such as a password, has `hide_env_values = true`, and what its parser says does not
/// quote it. A list has a `value_delimiter`.
#[derive(Debug, Clone, Args, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Folder of the database and of the relay's key; made if it is not there. Back it up
    #[arg(long, value_name = "DIR")]
    pub data_dir: PathBuf,

    /// TCP port of everything HTTP; 0 takes a free one
    #[arg(long)]
    pub port: u16,

    /// UDP port for native devices [default: the number of the TCP port if it is free]
    #[arg(long)]
    pub udp_port: Option<u16>,

    /// Address to listen on
    #[arg(long, value_name = "IP")]
    pub bind: IpAddr,

    /// URL under which clients reach this relay, needed behind a proxy that ends TLS
    /// [default: http://localhost:PORT, and for a client the address that it used itself]
    #[arg(long, value_name = "URL", value_parser = value::public_url::parse)]
    #[serde(with = "value::public_url")]
    pub public_url: Option<Url>,

    /// UDP addresses under which native devices reach this relay, told to them instead of those that it finds out
    /// itself. Needed behind port mapping or NAT, such as in a container: the public address and the mapped port. Can be
    /// given several times or separated by commas
    #[arg(long, value_name = "IP:PORT", value_delimiter = ',')]
    pub public_udp: Vec<SocketAddr>,

    /// Serve the files of a web app at /
    #[arg(long, value_name = "DIR")]
    pub web: Option<PathBuf>,

    /// How long blobs are kept if the sender asks for nothing else: 90s, 15m, 12h, 30d
    #[arg(long, value_name = "TIME", value_parser = value::time::parse)]
    #[serde(with = "value::time")]
    pub blob_ttl: Duration,

    /// How long blobs are kept at most, whatever the sender asks for: 90d, 365d
    #[arg(long, value_name = "TIME", value_parser = value::time::parse)]
    #[serde(with = "value::time")]
    pub max_blob_ttl: Duration,

    /// Bytes that one group may store: 500M, 2G; 0 means no limit
    #[arg(long, value_name = "SIZE", value_parser = value::size::parse)]
    #[serde(with = "value::size")]
    pub group_quota: u64,

    /// Bytes that all groups together may store: 50G, 2T; 0 means no limit. When it is reached, new blobs and groups are
    /// refused until there is room
    #[arg(long, value_name = "SIZE", value_parser = value::size::parse)]
    #[serde(with = "value::size")]
    pub max_storage: u64,

    /// Bytes that are left free on the disk of the data folder: with less, new blobs and groups are refused until there is
    /// room; 0 fills the disk to its end. Not with a database_url
    #[arg(long, value_name = "SIZE", value_parser = value::size::parse)]
    #[serde(with = "value::size")]
    pub min_free_disk: u64,

    /// Groups that may exist
    #[arg(long, value_name = "COUNT")]
    pub max_groups: u64,

    /// Requests a second that one address may make to the invites API, after a first burst
    #[arg(long, value_name = "COUNT")]
    pub invite_rate: NonZeroU32,

    /// Delete blobs before their time once every active device of their group has acknowledged them. A device that joins
    /// later does not get what was deleted: only for apps that don't need it
    #[arg(long)]
    pub delete_acked: bool,

    /// Devices that were not seen for so long hold nothing back, and are forgotten, with groups that have nothing left: 30d, 90d
    #[arg(long, value_name = "TIME", value_parser = value::time::parse)]
    #[serde(with = "value::time")]
    pub inactive_after: Duration,

    /// Form of the log lines on stderr. RUST_LOG chooses what is logged
    #[arg(long, value_name = "FORM")]
    pub log_format: LogFormat,

    /// Serve the numbers (metrics, the plots of the status page, the counts of /health) at this address alone, such as
    /// 127.0.0.1:9090, instead of to everybody who reaches the relay
    #[arg(long, value_name = "IP:PORT")]
    pub metrics_bind: Option<SocketAddr>,

    /// Keep the data in this PostgreSQL database instead of the data folder: postgres://USER:PASSWORD@HOST/DATABASE.
    /// Several relays can share one; each has a data folder of its own for its key, and needs a public URL of its own
    #[arg(long, alias = "database", value_name = "URL", hide_env_values = true)]
    pub database_url: Option<DatabaseUrl>,

    /// How often expired blobs are looked for.
    #[arg(long, value_parser = value::time::parse, hide = true)]
    #[serde(with = "value::time")]
    pub cleanup_interval: Duration,

    /// Who may use this relay: open to everybody, or those who have an access token
    #[arg(long, value_name = "WHO")]
    pub access: AccessMode,

    /// Hashes of access tokens, as `zerok-relay token new` prints them. Can be given several times or separated by commas
    #[arg(
        long,
        value_name = "HASH",
        value_delimiter = ',',
        hide_env_values = true
    )]
    pub access_tokens: Vec<HashedToken>,

    /// File with one such hash a line and perhaps a name after it. It is read again when it changes: removing a line cuts
    /// off whoever uses that token
    #[arg(long, value_name = "FILE")]
    pub access_tokens_file: Option<PathBuf>,

    /// Messages a second that one device may send, after a burst of ten times as many; 0 means no limit
    #[arg(long, value_name = "COUNT")]
    pub device_messages: u32,

    /// Bytes a second that one device may send, after a burst of ten times as many; 0 means no limit
    #[arg(long, value_name = "SIZE", value_parser = value::size::parse)]
    #[serde(with = "value::size")]
    pub device_bytes: u64,

    /// Messages a second that all devices together may send; 0 means no limit
    #[arg(long, value_name = "COUNT")]
    pub total_messages: u32,

    /// Bytes a second that all devices together may send; 0 means no limit
    #[arg(long, value_name = "SIZE", value_parser = value::size::parse)]
    #[serde(with = "value::size")]
    pub total_bytes: u64,

    /// Groups that may be founded from one address in a day; 0 means no limit
    #[arg(long, value_name = "COUNT")]
    pub groups_per_day: u32,

    /// A device that takes nothing of what is sent to it for so long loses its session.
    #[arg(long, value_parser = value::time::parse, hide = true)]
    #[serde(with = "value::time")]
    pub slow_reader: Duration,

    /// Proxies in front of this relay that are believed when they tell a client's address and scheme (X-Forwarded-For,
    /// Forwarded, X-Forwarded-Proto): addresses, ranges such as 203.0.113.0/24, `loopback` or `private`. Can be given
    /// several times or separated by commas
    #[arg(long, value_name = "RANGE", value_delimiter = ',')]
    pub trusted_proxies: Vec<TrustedProxy>,

    /// Connections of each kind (HTTP with WebSockets, QUIC) that one address may have open; 0 means no limit. Private
    /// addresses are not counted
    #[arg(long, value_name = "COUNT")]
    pub connections_per_address: u32,

    /// Bytes a second that are read from one WebSocket, more has to wait: 500K, 16M; 0 means no limit
    #[arg(long, value_name = "SIZE", value_parser = value::size::parse)]
    #[serde(with = "value::size")]
    pub websocket_rate: u64,

    /// Forward packets between any two endpoints on the WebSocket, not only to and from this relay. That makes it a free
    /// relay for everybody's iroh traffic
    #[arg(long)]
    pub open_forwarding: bool,

    /// Certificate of the TCP port, its chain after it: a PEM file. With it the port speaks TLS. It is read again when it
    /// changes
    #[arg(long, value_name = "FILE")]
    pub tls_cert: Option<PathBuf>,

    /// Key of the certificate: a PEM file
    #[arg(long, value_name = "FILE")]
    pub tls_key: Option<PathBuf>,

    /// Get certificates for these names from an ACME authority, such as Let's Encrypt, instead. The names lead to this
    /// machine, and its port 443 is this relay's TCP port. Can be given several times or separated by commas
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    pub acme_domain: Vec<String>,

    /// Mail address that the authority writes to when something is wrong
    #[arg(long, value_name = "ADDRESS")]
    pub acme_contact: Option<String>,

    /// Directory of the authority
    #[arg(long, value_name = "URL")]
    pub acme_directory: String,
}

/// Form of log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    Text,
    /// For machines.
    Json,
}

impl Config {
    /// The defaults, with another data folder: what tests and embedders start from.
    #[must_use]
    pub fn new(data_dir: impl Into<PathBuf>) -> Self {
        Self {
            data_dir: data_dir.into(),
            port: 8080,
            udp_port: None,
            bind: IpAddr::from([0, 0, 0, 0]),
            public_url: None,
            public_udp: Vec::new(),
            web: None,
            blob_ttl: DEFAULT_TTL,
            max_blob_ttl: limits::DEFAULT_MAX_BLOB_TTL,
            group_quota: limits::DEFAULT_GROUP_QUOTA,
            max_storage: 0,
            min_free_disk: limits::DEFAULT_MIN_FREE_DISK,
            max_groups: limits::DEFAULT_MAX_GROUPS,
            invite_rate: NonZeroU32::MIN,
            delete_acked: false,
            inactive_after: limits::DEFAULT_INACTIVE_AFTER,
            log_format: LogFormat::Text,
            metrics_bind: None,
            database_url: None,
            cleanup_interval: Duration::from_secs(60),
            access: AccessMode::Open,
            access_tokens: Vec::new(),
            access_tokens_file: None,
            device_messages: limits::DEFAULT_DEVICE_MESSAGES,
            device_bytes: limits::DEFAULT_DEVICE_BYTES,
            total_messages: 0,
            total_bytes: 0,
            groups_per_day: limits::DEFAULT_GROUPS_PER_DAY,
            slow_reader: limits::SLOW_READER,
            trusted_proxies: Vec::new(),
            connections_per_address: limits::DEFAULT_CONNECTIONS_PER_ADDRESS,
            websocket_rate: limits::DEFAULT_WEBSOCKET_RATE,
            open_forwarding: false,
            tls_cert: None,
            tls_key: None,
            acme_domain: Vec::new(),
            acme_contact: None,
            acme_directory: LETS_ENCRYPT_PRODUCTION_DIRECTORY.to_owned(),
        }
    }

    /// Whether the TCP port speaks TLS.
    #[must_use]
    pub fn serves_tls(&self) -> bool {
        self.tls_cert.is_some() || !self.acme_domain.is_empty()
    }

    /// Where to listen for TCP.
    #[must_use]
    pub fn tcp_address(&self) -> SocketAddr {
        SocketAddr::new(self.bind, self.port)
    }
}

#[cfg(test)]
mod tests;
