//! `zerok-relay stats`: what the relay holds, without naming anybody.

use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use serde::Serialize;
use zerok_sync_relay::storage::sqlite::keeper::{Contents, Keeper, SIZE_BOUNDS, Space};
use zerok_sync_shared::time::Timestamp;

use super::words;

const DAY: u64 = 24 * 3600 * 1000;
/// Days within which devices count as active.
const ACTIVE: [u64; 3] = [1, 7, 30];

#[derive(Serialize)]
struct Report {
    groups: u64,
    blobs: u64,
    payload_bytes: u64,
    group_sizes: Vec<Sizes>,
    largest_groups_bytes: Vec<u64>,
    devices: Devices,
    invites: u64,
    database_bytes: u64,
    database_free_bytes: u64,
    write_ahead_log_bytes: u64,
    oldest_blob_seconds_ago: Option<u64>,
    next_expiry_in_seconds: Option<u64>,
    blobs_due: u64,
}

#[derive(Serialize)]
struct Sizes {
    up_to_bytes: Option<u64>,
    groups: u64,
    payload_bytes: u64,
}

#[derive(Serialize)]
struct Devices {
    all: u64,
    within_1_day: u64,
    within_7_days: u64,
    within_30_days: u64,
}

/// Reads the database and gives the text to print.
pub async fn run(data: &Path, json: bool) -> Result<String> {
    let now = super::now();
    let since = ACTIVE.map(|days| Timestamp(now.0.saturating_sub(days * DAY)));
    let mut keeper = Keeper::open(data).await?;
    keeper.schema().await?;
    let contents = keeper.contents(now, &since).await?;
    let space = keeper.space().await?;
    let log = keeper.path().with_extension("db-wal");
    let log = std::fs::metadata(log).map_or(0, |data| data.len());
    keeper.close().await?;
    let report = report(contents, space, log, now);
    if json {
        super::json(&report)
    } else {
        Ok(text(&report))
    }
}

fn report(contents: Contents, space: Space, log: u64, now: Timestamp) -> Report {
    let bounds = SIZE_BOUNDS.iter().copied().map(Some).chain([None]);
    let sizes = bounds
        .zip(contents.sizes)
        .map(|(bound, (groups, bytes))| Sizes {
            up_to_bytes: bound,
            groups,
            payload_bytes: bytes,
        });
    let active = |at: usize| contents.devices_since.get(at).copied().unwrap_or_default();
    Report {
        groups: contents.groups,
        blobs: contents.blobs,
        payload_bytes: contents.bytes,
        group_sizes: sizes.collect(),
        devices: Devices {
            all: contents.devices,
            within_1_day: active(0),
            within_7_days: active(1),
            within_30_days: active(2),
        },
        largest_groups_bytes: contents.largest,
        invites: contents.invites,
        database_bytes: space.used,
        database_free_bytes: space.free,
        write_ahead_log_bytes: log,
        oldest_blob_seconds_ago: contents.oldest.map(|oldest| now.since(oldest).as_secs()),
        next_expiry_in_seconds: contents.next_expiry.map(|next| next.since(now).as_secs()),
        blobs_due: contents.due,
    }
}

fn text(report: &Report) -> String {
    let mut text = String::new();
    let mut line = |name: &str, value: String| {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{name:<22} {value}");
    };
    line("groups", report.groups.to_string());
    for (at, sizes) in report.group_sizes.iter().enumerate() {
        if sizes.groups == 0 {
            continue;
        }
        let name = match (at, sizes.up_to_bytes) {
            (0, _) => "  empty".to_owned(),
            (_, Some(bound)) => format!("  up to {}", words::bytes(bound)),
            (_, None) => "  larger".to_owned(),
        };
        let bytes = words::bytes(sizes.payload_bytes);
        line(&name, format!("{} with {bytes}", sizes.groups));
    }
    if !report.largest_groups_bytes.is_empty() {
        let largest = report.largest_groups_bytes.iter();
        let largest: Vec<_> = largest.map(|size| words::bytes(*size)).collect();
        line("largest groups", largest.join(", "));
    }
    line("blobs", report.blobs.to_string());
    line("payload", words::bytes(report.payload_bytes));
    let devices = &report.devices;
    line(
        "devices",
        format!(
            "{}; {} within a day, {} within 7, {} within 30",
            devices.all, devices.within_1_day, devices.within_7_days, devices.within_30_days
        ),
    );
    line("open invites", report.invites.to_string());
    line(
        "database",
        format!(
            "{}, of which {} are unused; write-ahead log {}",
            words::bytes(report.database_bytes),
            words::bytes(report.database_free_bytes),
            words::bytes(report.write_ahead_log_bytes)
        ),
    );
    let ago = |seconds| words::time(Duration::from_secs(seconds));
    if let Some(seconds) = report.oldest_blob_seconds_ago {
        line("oldest blob", format!("{} ago", ago(seconds)));
    }
    if report.blobs_due > 0 {
        line("due to be deleted", words::count(report.blobs_due, "blob"));
    } else if let Some(seconds) = report.next_expiry_in_seconds {
        line("next expiry", format!("in {}", ago(seconds)));
    }
    text
}
