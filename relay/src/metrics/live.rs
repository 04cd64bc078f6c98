//! Numbers that somebody else keeps already: the network, the files, the disk.

use std::fmt::Error;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use iroh::metrics::EndpointMetrics;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Unit;

use super::{ByPath, gauge};
use crate::folder::free_space;
use crate::storage::sqlite;

/// Where to look. What is not known yet is left out.
#[derive(Debug, Default)]
pub struct Live {
    endpoint: OnceLock<EndpointMetrics>,
    folder: OnceLock<PathBuf>,
    /// Counted by the embedded iroh relay.
    pub forwarded: Arc<iroh_relay::server::Metrics>,
}

/// What the relay's folder takes up.
#[derive(Debug, Clone, Copy, Default)]
pub struct Files {
    /// Bytes of the database file, if the database is one.
    pub database: Option<u64>,
    /// Bytes of its write-ahead log.
    pub log: Option<u64>,
    /// Bytes that are free on its disk, for this process.
    pub free: Option<u64>,
}

impl Live {
    /// From now on the network is looked at too.
    pub fn watch_endpoint(&self, endpoint: &iroh::Endpoint) {
        let _ = self.endpoint.set(endpoint.metrics().clone());
    }

    /// From now on the folder is looked at too.
    pub fn watch_folder(&self, folder: &Path) {
        let _ = self.folder.set(folder.to_owned());
    }

    /// What the folder takes up now.
    #[must_use]
    pub fn files(&self) -> Option<Files> {
        let folder = self.folder.get()?;
        let size = |name: &str| Some(std::fs::metadata(folder.join(name)).ok()?.len());
        Some(Files {
            database: size(sqlite::FILE_NAME),
            log: size(&format!("{}-wal", sqlite::FILE_NAME)),
            free: free_space(folder),
        })
    }
}

impl Collector for Live {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), Error> {
        if let Some(endpoint) = self.endpoint.get() {
            let socket = &endpoint.socket;
            let received = [
                socket.recv_data_ipv4.get() + socket.recv_data_ipv6.get(),
                socket.recv_data_relay.get(),
            ];
            let sent = [
                socket.send_ipv4.get() + socket.send_ipv6.get(),
                socket.send_relay.get(),
            ];
            let help = "QUIC packets from devices, by the way they took";
            by_path(&mut encoder, "network_received", help, received)?;
            let help = "QUIC packets to devices, by the way they took";
            by_path(&mut encoder, "network_sent", help, sent)?;
        }
        let help = "Packets handed from one WebSocket to another, the relay's own among them";
        let forwarded = ConstCounter::new(self.forwarded.bytes_sent.get());
        let unit = Some(&Unit::Bytes);
        forwarded.encode(encoder.encode_descriptor(
            "forwarded",
            help,
            unit,
            MetricType::Counter,
        )?)?;
        let Some(files) = self.files() else {
            return Ok(());
        };
        let sizes = [
            ("database", "Size of the database file", files.database),
            (
                "database_log",
                "Size of the database's write-ahead log",
                files.log,
            ),
            (
                "disk_free",
                "Free space on the disk of the data folder",
                files.free,
            ),
        ];
        for (name, help, size) in sizes {
            if let Some(size) = size {
                let size = ConstGauge::new(gauge(size));
                size.encode(encoder.encode_descriptor(name, help, unit, MetricType::Gauge)?)?;
            }
        }
        Ok(())
    }
}

fn by_path(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    [udp, relayed]: [u64; 2],
) -> Result<(), Error> {
    let unit = Some(&Unit::Bytes);
    let mut family = encoder.encode_descriptor(name, help, unit, MetricType::Counter)?;
    for (path, value) in [(super::Path::Udp, udp), (super::Path::Relayed, relayed)] {
        ConstCounter::new(value).encode(family.encode_family(&ByPath { path })?)?;
    }
    Ok(())
}
