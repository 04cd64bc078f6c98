//! What a scenario plays with: a relay process, proxies in front of it, and devices in processes of their own.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use futures_util::future::try_join_all;
use serde_json::Value;
use tokio::time::{Instant, sleep};

use crate::PATIENCE;
use crate::device::{Device, Kind, Setup};
use crate::net::dice::Dice;
use crate::net::faults::{Accept, Faults};
use crate::net::lane::Lane;
use crate::net::owner::Owners;
use crate::net::tcp::TcpProxy;
use crate::net::udp::UdpProxy;
use crate::protocol::{Body, Op};

mod checks;
mod leaks;
mod relay;
mod settle;
mod stage;

pub use leaks::CANARY;
pub use relay::{DIE_WITH_PARENT, Relay};
pub use settle::Settled;
pub use stage::Stage;

/// A time in which something was wrong.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct Window {
    /// What.
    pub label: String,
    /// From when on, in seconds since the start of the scenario.
    pub from: f64,
    /// Until when; `None` if it still is.
    pub to: Option<f64>,
}

/// What a disk did to a device's blobs.
#[derive(Debug, Clone, Copy)]
struct Damage {
    device: usize,
    blobs: usize,
    code: &'static str,
}

/// A relay and devices under faults.
pub struct Fleet {
    /// The relay.
    pub relay: Relay,
    /// The devices, in the order in which they were added.
    pub devices: Vec<Device>,
    /// The bad network's randomness.
    pub dice: Dice,
    stage: Stage,
    folder: tempfile::TempDir,
    start: Instant,
    owners: Arc<Owners>,
    tcp: TcpProxy,
    udp: UdpProxy,
    windows: Vec<Window>,
    notes: Vec<String>,
    bodies: u64,
    seed: u64,
    expected_errors: Vec<String>,
    expected_damage: Vec<Damage>,
    /// Devices to which a relay gave a sender's blobs in another order.
    expected_disorder: Vec<usize>,
    /// Answers of the relay that were seen on the way, for the leak check.
    evidence: Vec<(String, Vec<u8>)>,
}

impl Fleet {
    /// A relay behind proxies, and nobody who uses it.
    ///
    /// # Errors
    /// When something does not start.
    pub async fn start(stage: Stage, seed: u64) -> Result<Self> {
        Self::start_with(stage, seed, &[]).await
    }

    /// The same with further arguments for the relay.
    ///
    /// # Errors
    /// When something does not start.
    pub async fn start_with(stage: Stage, seed: u64, arguments: &[&str]) -> Result<Self> {
        let folder = tempfile::Builder::new()
            .prefix("fleet-")
            .tempdir_in(&stage.scratch)?;
        let owners = Arc::new(Owners::default());
        let dice = Dice::new(seed);
        let tcp = TcpProxy::start(owners.clone(), dice.fork(1)).await?;
        let udp = UdpProxy::start(owners.clone(), dice.fork(2)).await?;
        let relay = Relay::new(folder.path(), &stage.device, udp.port(), arguments);
        let mut fleet = Self {
            relay,
            devices: Vec::new(),
            dice: dice.fork(3),
            stage,
            folder,
            start: Instant::now(),
            owners,
            tcp,
            udp,
            windows: Vec::new(),
            notes: Vec::new(),
            bodies: 0,
            seed,
            expected_errors: Vec::new(),
            expected_damage: Vec::new(),
            expected_disorder: Vec::new(),
            evidence: Vec::new(),
        };
        fleet.start_relay().await?;
        Ok(fleet)
    }

    /// Devices of these kinds, named a, b, c …, in one group that the first founds.
    ///
    /// # Errors
    /// When one of them does not get so far.
    pub async fn group(&mut self, kinds: &[Kind]) -> Result<()> {
        let first = self.devices.len();
        let setups: Vec<_> = (first..)
            .zip(kinds)
            .map(|(index, kind)| self.setup(index, *kind))
            .collect();
        let setups = setups.into_iter().collect::<Result<Vec<_>>>()?;
        let started = setups
            .into_iter()
            .map(|setup| Device::start(setup, self.owners.clone(), self.start));
        let started = try_join_all(started).await?;
        self.devices.extend(started);
        if first == 0 {
            let founder = self.devices.first().context("a group has a founder")?;
            founder.call::<Value>(Op::Create).await?;
        }
        for index in first.max(1)..self.devices.len() {
            self.join(index).await?;
        }
        Ok(())
    }

    /// One more device, which does not join yet.
    ///
    /// # Errors
    /// When it does not start.
    pub async fn stranger(&mut self, kind: Kind) -> Result<usize> {
        let setup = self.setup(self.devices.len(), kind)?;
        self.devices
            .push(Device::start(setup, self.owners.clone(), self.start).await?);
        Ok(self.devices.len() - 1)
    }

    /// A device joins by an invite of the founder.
    ///
    /// # Errors
    /// When it can't.
    pub async fn join(&self, index: usize) -> Result<()> {
        let link: String = self.devices[0].call(Op::Invite).await?;
        self.devices[index]
            .call::<Value>(Op::Join { link })
            .await
            .map(drop)
    }

    fn setup(&self, index: usize, kind: Kind) -> Result<Setup> {
        let letter =
            char::from_u32('a' as u32 + u32::try_from(index)?).context("too many devices")?;
        let folder = self.folder.path().join(format!("device-{letter}"));
        std::fs::create_dir_all(&folder)?;
        let mut command = relay::wrapper(&self.stage.device);
        match kind {
            Kind::Page => {
                command.extend(self.stage.page.clone().context("this run has no browser")?);
                command.push(folder.display().to_string());
            }
            Kind::Udp | Kind::WebSocket => command.push(self.stage.device.display().to_string()),
        }
        Ok(Setup {
            name: leaks::device_name(letter),
            kind,
            command,
            folder,
            url: self.url(),
        })
    }

    /// The URL that all devices use: the proxy's.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.tcp.port())
    }

    /// The way of whoever is none of the devices, such as a peer inside the harness.
    #[must_use]
    pub fn others(&self) -> Arc<Lane> {
        self.owners.others()
    }

    /// Everything of this scenario lies in here.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// New bodies, all different.
    pub fn bodies(&mut self, count: usize, pad: usize) -> Vec<Body> {
        let first = self.bodies;
        self.bodies += count as u64;
        (first..self.bodies)
            .map(|number| Body {
                head: format!("{CANARY} {:x} {number}", self.seed),
                pad,
            })
            .collect()
    }

    /// A device pushes so many small blobs, one after the other; all must resolve.
    ///
    /// # Errors
    /// When one is refused.
    pub async fn push(&mut self, device: usize, count: usize) -> Result<()> {
        self.push_sized(device, count, 0).await
    }

    /// The same with so many bytes of padding each.
    ///
    /// # Errors
    /// When one is refused.
    pub async fn push_sized(&mut self, device: usize, count: usize, pad: usize) -> Result<()> {
        let bodies = self.bodies(count, pad);
        let refused = self.devices[device].push(bodies, false).await?;
        ensure!(refused.is_empty(), "push was refused: {:?}", refused[0]);
        Ok(())
    }

    /// Every device pushes so many small blobs, all at the same time.
    ///
    /// # Errors
    /// When one is refused.
    pub async fn push_all(&mut self, count: usize) -> Result<()> {
        let bodies: Vec<_> = (0..self.devices.len())
            .map(|_| self.bodies(count, 0))
            .collect();
        let pushes = self
            .devices
            .iter()
            .zip(bodies)
            .map(|(device, bodies)| device.push(bodies, false));
        let refused = try_join_all(pushes).await?;
        ensure!(
            refused.iter().all(Vec::is_empty),
            "push was refused: {refused:?}"
        );
        Ok(())
    }

    /// From now on, devices suffer faults from and to them.
    pub fn fault(&mut self, label: &str, devices: &[usize], up: &Faults, down: &Faults) {
        self.begin(label);
        for index in devices {
            self.devices[*index].lane.set(up, down);
        }
    }

    /// The same in both directions, for every device.
    pub fn fault_all(&mut self, label: &str, faults: &Faults) {
        let all: Vec<_> = (0..self.devices.len()).collect();
        self.fault(label, &all, faults, faults);
    }

    /// New TCP connections of a device, from now on.
    pub fn accept(&mut self, label: &str, device: usize, accept: Accept) {
        self.begin(label);
        self.devices[device].lane.set_accept(accept);
    }

    /// All faults of the network end.
    pub fn heal(&mut self) {
        for device in &self.devices {
            device.lane.heal();
        }
        self.others().heal();
        self.end();
    }

    /// Notes for the plot that something is wrong from now on.
    pub fn begin(&mut self, label: &str) {
        let from = self.seconds();
        self.windows.push(Window {
            label: label.to_owned(),
            from,
            to: None,
        });
    }

    /// Notes for the plot that nothing is wrong any more.
    pub fn end(&mut self) {
        let now = self.seconds();
        for window in self.windows.iter_mut().filter(|window| window.to.is_none()) {
            window.to = Some(now);
        }
    }

    /// Lets the faults work for a while.
    pub async fn last(&self, duration: Duration) {
        sleep(duration).await;
    }

    /// Waits until something holds.
    ///
    /// # Errors
    /// When it does not in a long time.
    pub async fn until(&self, what: &str, holds: impl Fn(&Self) -> bool) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        while !holds(self) {
            ensure!(Instant::now() < deadline, "waited in vain until {what}");
            sleep(Duration::from_millis(10)).await;
        }
        Ok(())
    }

    /// Waits until a device's log is so long.
    ///
    /// # Errors
    /// When it does not get there in a long time.
    pub async fn until_log(&self, device: usize, length: u64) -> Result<()> {
        let what = format!("{} has {length} blobs", self.devices[device].name());
        self.until(&what, |fleet| fleet.position(device) >= length)
            .await
    }

    /// How long a device's log is, as far as it has told.
    #[must_use]
    pub fn position(&self, device: usize) -> u64 {
        self.devices[device]
            .record()
            .positions
            .last()
            .map_or(0, |(_, position)| *position)
    }

    /// Something worth knowing, for the table.
    pub fn note(&mut self, note: impl Into<String>) {
        self.notes.push(note.into());
    }

    /// An ERROR in the relay's log that holds this text is what the scenario wants.
    pub fn expect_error(&mut self, text: &str) {
        self.expected_errors.push(text.to_owned());
    }

    /// Blobs that a device can't have, because a disk changed them; it has to say so with this error.
    pub fn expect_damage(&mut self, device: usize, blobs: usize, code: &'static str) {
        self.expected_damage.push(Damage {
            device,
            blobs,
            code,
        });
    }

    /// A device gets a sender's blobs from a lying relay in another order than they were pushed, and has to say so.
    pub fn expect_disorder(&mut self, device: usize) {
        self.expected_disorder.push(device);
    }

    /// Notes so far.
    #[must_use]
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// Times in which something was wrong.
    #[must_use]
    pub fn windows(&self) -> &[Window] {
        &self.windows
    }

    /// Seconds since the start.
    #[must_use]
    pub fn seconds(&self) -> f64 {
        self.start.elapsed().as_secs_f64()
    }

    /// Keeps the scenario's folder.
    pub fn keep(&mut self) {
        self.folder.disable_cleanup(true);
    }
}
