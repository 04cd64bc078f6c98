//! What the relay must not know is in nothing that it keeps, logs, answers, holds in memory, or sends and gets.

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};

use anyhow::{Context as _, Result, bail};
use data_encoding::HEXLOWER;
use zerok_sync_tests::canary::{Needle, Search, answers, files};

use super::Fleet;
use crate::protocol::Op;

/// Part of every body that is pushed.
pub const CANARY: &str = "canary-7f3Kq0 Vögel-singen";
/// Memory that is read at once.
const MEMORY_STEP: usize = 16 * 1024 * 1024;

/// The name of a device, which no relay may learn.
pub(super) fn device_name(letter: char) -> String {
    format!("canary-device-{letter} Zoë's phone")
}

impl Fleet {
    /// Remembers what the relay answers now.
    ///
    /// # Errors
    /// When it is off.
    pub async fn collect_answers(&mut self) -> Result<()> {
        let url = self.relay.direct_url().context("the relay is off")?;
        self.evidence.extend(answers(url).await);
        Ok(())
    }

    /// Looks for the canary, device names and secrets in everything that the relay had to do with.
    ///
    /// # Errors
    /// Names what was found and where.
    pub async fn check_leaks(&mut self) -> Result<()> {
        self.collect_answers().await?;
        let needles = self.needles().await?;
        let mut places = files(self.relay.data());
        places.push(("the relay's log".to_owned(), self.relay.log()));
        let mut lanes: Vec<_> = self
            .devices
            .iter()
            .map(|device| device.lane.clone())
            .collect();
        lanes.push(self.others());
        for lane in lanes {
            let names = ["TCP up", "TCP down", "UDP up", "UDP down"];
            for (way, name) in lane.ways().into_iter().zip(names) {
                places.push((format!("{name} of {}", lane.name), way.captured()));
            }
        }
        places.append(&mut self.evidence);
        let memory = self.relay.pid();
        tokio::task::spawn_blocking(move || {
            let search = Search::new(&needles);
            for (place, bytes) in &places {
                if let Some((what, at)) = search.find(bytes) {
                    bail!("leak: {what} is in {place}, at byte {at}");
                }
            }
            memory.map_or(Ok(()), |pid| search_memory(pid, &search))
        })
        .await?
    }

    async fn needles(&self) -> Result<Vec<Needle>> {
        let mut needles = vec![Needle::text("what was pushed", CANARY)];
        for device in &self.devices {
            needles.push(Needle::text("the name of a device", device.name()));
            let secrets: Vec<String> = device.call(Op::Secrets).await?;
            for secret in secrets {
                let secret = HEXLOWER.decode(secret.as_bytes())?;
                needles.push(Needle::new("a secret of a group or a device", &secret));
            }
        }
        Ok(needles)
    }
}

/// Everything in the memory of a process that can be written.
fn search_memory(pid: u32, search: &Search) -> Result<()> {
    let maps = std::fs::read_to_string(format!("/proc/{pid}/maps"))?;
    let mut memory =
        File::open(format!("/proc/{pid}/mem")).context("the relay's memory can't be read")?;
    let mut buffer = vec![0; MEMORY_STEP];
    for line in maps.lines().filter(|line| line.contains(" rw")) {
        let Some((from, to)) = line
            .split_once(' ')
            .and_then(|(range, _)| range.split_once('-'))
        else {
            continue;
        };
        let (mut at, end) = (u64::from_str_radix(from, 16)?, u64::from_str_radix(to, 16)?);
        while at < end {
            let size = MEMORY_STEP.min(usize::try_from(end - at)?);
            memory.seek(SeekFrom::Start(at))?;
            // Reserved and given back in the meantime: nothing is there.
            let Ok(count) = memory.read(&mut buffer[..size]) else {
                break;
            };
            if let Some((what, _)) = search.find(&buffer[..count]) {
                bail!("leak: {what} is in the relay's memory");
            }
            if count == 0 {
                break;
            }
            at += count as u64;
        }
    }
    Ok(())
}
