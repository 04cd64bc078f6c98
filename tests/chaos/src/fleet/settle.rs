//! The end of every scenario: faults heal, everything runs again, and then the invariants have to hold.

use std::fmt::Write as _;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use futures_util::future::{join_all, try_join_all};
use serde_json::Value;
use tokio::time::{Instant, sleep};

use super::checks::{Account, check};
use super::{Fleet, Window};
use crate::protocol::{Op, Status};

/// A fleet that has not converged so long after the last fault has failed. The longest wait of a client between two attempts is
/// 35 seconds, and before it a dead connection takes 15 to be noticed.
const CONVERGE_LIMIT: Duration = Duration::from_secs(100);
/// How often devices are asked how they stand.
const POLL: Duration = Duration::from_millis(100);

/// How it went.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Settled {
    /// Seconds until all devices had the same, from the last push or from the end of the last fault that had to end for
    /// it, whichever came later.
    pub converged: f64,
    /// When that was, in seconds since the start of the scenario.
    pub at: f64,
    /// Blobs in the log of every device.
    pub blobs: usize,
}

impl Fleet {
    /// Ends all faults, starts what is off, waits until all devices have the same, and checks the invariants.
    ///
    /// # Errors
    /// When they do not converge, or an invariant does not hold.
    pub async fn settle(&mut self) -> Result<Settled> {
        self.start_relay().await?;
        self.relay.limit_files(None)?;
        self.relay.thaw()?;
        for device in &self.devices {
            device.thaw().await;
        }
        self.heal();
        try_join_all(self.devices.iter().map(super::Device::open)).await?;
        self.converge().await?;
        let (from, at) = self.span();
        let converged = (at - from).max(0.0);

        let accounts = self.accounts().await?;
        check(&accounts)?;
        self.check_log()?;
        self.check_leaks().await?;
        Ok(Settled {
            converged,
            at,
            blobs: accounts.first().map_or(0, |account| account.log.len()),
        })
    }

    async fn converge(&self) -> Result<()> {
        let deadline = Instant::now() + CONVERGE_LIMIT;
        loop {
            let asked = join_all(self.devices.iter().map(super::Device::status)).await;
            let statuses: Vec<Status> = asked.into_iter().collect::<Result<_>>()?;
            let damaged = |index| {
                self.expected_damage
                    .iter()
                    .any(|damage| damage.device == index)
            };
            let (whole, hurt): (Vec<_>, Vec<_>) = (0..)
                .zip(&statuses)
                .partition(|(index, _)| !damaged(*index));
            let whole: Vec<_> = whole.into_iter().map(|(_, status)| status).collect();
            if have_converged(&whole) && hurt.iter().all(|(_, status)| status.pending == 0) {
                return Ok(());
            }
            if Instant::now() > deadline {
                let names = self.devices.iter().map(super::Device::name);
                let each: Vec<_> = names
                    .zip(&statuses)
                    .map(|(name, status)| format!("{name}: {status:?}"))
                    .collect();
                bail!(
                    "no convergence {CONVERGE_LIMIT:?} after the last fault: {}",
                    each.join("; ")
                );
            }
            sleep(POLL).await;
        }
    }

    /// From when until when the devices converged; they may have under a fault that had not ended.
    fn span(&self) -> (f64, f64) {
        let now = self.seconds();
        let records: Vec<_> = self.devices.iter().map(super::Device::record).collect();
        let newest = records.iter().filter_map(|record| record.positions.last());
        let all = newest.map(|(_, position)| *position).max().unwrap_or(0);
        // A device that was off has told less, and is asked instead.
        let reached = records.iter().map(|record| match record.positions.last() {
            Some((time, position)) if *position == all => *time,
            _ => now,
        });
        let at = reached.fold(0.0, f64::max);
        let pushed = records
            .iter()
            .filter_map(|record| record.promised_at.last().copied());
        let healed = self
            .windows
            .iter()
            .filter_map(|window| window.to)
            .filter(|to| *to <= at);
        (pushed.chain(healed).fold(0.0, f64::max).min(at), at)
    }

    async fn accounts(&self) -> Result<Vec<Account>> {
        let mut accounts = Vec::new();
        for (index, device) in self.devices.iter().enumerate() {
            let (log, status) = (device.log().await?, device.status().await?);
            let damage = self
                .expected_damage
                .iter()
                .filter(|damage| damage.device == index);
            accounts.push(Account {
                name: device.name().to_owned(),
                promised: device.record().promised.clone(),
                damaged: damage.map(|damage| damage.blobs).sum(),
                mixed: self.expected_disorder.contains(&index),
                log,
                status,
            });
        }
        for index in &self.expected_disorder {
            let device = &self.devices[*index];
            ensure!(
                device.told_error("BLOB_OUT_OF_ORDER"),
                "{} did not tell BLOB_OUT_OF_ORDER",
                device.name()
            );
        }
        for damage in &self.expected_damage {
            let device = &self.devices[damage.device];
            ensure!(
                device.told_error(damage.code),
                "{} did not tell {}",
                device.name(),
                damage.code
            );
        }
        Ok(accounts)
    }

    /// ERROR means that a person must act; the faults of a scenario alone are no reason.
    fn check_log(&self) -> Result<()> {
        let log = self.relay.log();
        let log = String::from_utf8_lossy(&log);
        for line in log.lines() {
            let is_error = line.split_whitespace().nth(1) == Some("ERROR");
            // What iroh says when its own endpoint closes in good order.
            let closing = line.ends_with("relay_recv_channel closed");
            let expected = self
                .expected_errors
                .iter()
                .any(|text| line.contains(text.as_str()));
            ensure!(
                !is_error || closing || expected,
                "the relay logged an error: {line}"
            );
        }
        Ok(())
    }

    /// All about the state of a fleet that failed.
    pub async fn dump(&self) -> String {
        let mut text = String::new();
        let _ = writeln!(text, "after {:.1} s", self.seconds());
        for Window { label, from, to } in self.windows() {
            let _ = writeln!(text, "fault: {label} from {from:.1} to {to:?}");
        }
        for device in &self.devices {
            let asked =
                tokio::time::timeout(Duration::from_secs(5), device.call::<Value>(Op::Status))
                    .await;
            let status = match asked {
                Ok(Ok(status)) => status.to_string(),
                Ok(Err(error)) => format!("{error:#}"),
                Err(_) => "does not answer".to_owned(),
            };
            let record = device.record();
            let _ = writeln!(
                text,
                "\n{} ({:?}): {status}\n  promised {}, positions {:?}\n  errors {:?}",
                device.name(),
                device.setup.kind,
                record.promised.len(),
                record.positions.last(),
                record.errors.iter().rev().take(10).collect::<Vec<_>>()
            );
            for (way, name) in device
                .lane
                .ways()
                .into_iter()
                .zip(["TCP up", "TCP down", "UDP up", "UDP down"])
            {
                let _ = writeln!(text, "  {name}: {:?} {:?}", way.counts(), way.faults());
            }
        }
        let log = self.relay.log();
        let log = String::from_utf8_lossy(&log);
        let lines: Vec<_> = log.lines().rev().take(200).collect();
        let _ = writeln!(
            text,
            "\nthe relay's log, newest first:\n{}",
            lines.join("\n")
        );
        text
    }

    /// The version vector of a device, for scenarios that compare.
    ///
    /// # Errors
    /// When it does not say.
    pub async fn pending(&self, device: usize) -> Result<u64> {
        let status = self
            .devices
            .get(device)
            .context("no such device")?
            .status()
            .await?;
        Ok(status.pending)
    }
}

fn have_converged(statuses: &[&Status]) -> bool {
    let vectors: Vec<_> = statuses
        .iter()
        .filter_map(|status| status.vector.as_ref())
        .collect();
    statuses.iter().all(|status| status.pending == 0)
        && statuses
            .windows(2)
            .all(|pair| pair[0].position == pair[1].position)
        && vectors.windows(2).all(|pair| pair[0] == pair[1])
}
