//! The device, opened by this process.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use tokio::sync::watch;
use zerok_cli::SqliteStore;
use zerok_sync_client::shared::failure::code;
use zerok_sync_client::shared::ids::DeviceId;
use zerok_sync_client::store::StoreError;
use zerok_sync_client::{Client, ClientEvent, Config};

use super::joins::Joins;
use super::requests::Note;
use crate::failure::Failure;
use crate::folder::Settings;

/// Notes that are kept for those who look rarely.
const MAX_NOTES: usize = 64;

/// An open device with what it has told. Clones are handles to the same one.
#[derive(Clone)]
pub struct Device {
    pub client: Client,
    pub told: Arc<Told>,
    pub joins: Arc<Joins>,
}

/// What the device has told since it was opened.
pub struct Told {
    state: watch::Sender<Counts>,
    notes: Mutex<VecDeque<(u64, Note)>>,
}

/// Grows with everything that happens.
#[derive(Debug, Clone, Copy)]
pub struct Counts {
    /// Changes with every event.
    pub version: u64,
    /// Attempts to reach a relay that failed.
    pub failed_attempts: u64,
}

impl Device {
    /// `None` while another process has it open.
    pub async fn open(folder: &Path, settings: &Settings) -> Result<Option<Self>, Failure> {
        let store = match SqliteStore::open(folder).await {
            Ok(store) => Arc::new(store),
            Err(StoreError::Taken) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let told = Arc::new(Told::new());
        let teller = told.clone();
        let mut config = Config::new(settings.relays.clone(), store);
        config.device_name.clone_from(&settings.name);
        platform().clone_into(&mut config.platform);
        config.access_token.clone_from(&settings.token);
        config.on_event = Box::new(move |event| teller.tell(event));
        let client = Client::open(config).await?;
        let joins = Arc::default();
        Ok(Some(Self {
            client,
            told,
            joins,
        }))
    }

    pub async fn close(self) {
        self.client.close().await;
    }
}

impl Told {
    fn new() -> Self {
        // A number that no other process began with: who goes on with another one must see a change.
        let version = SystemTime::UNIX_EPOCH
            .elapsed()
            .map_or(0, |since| since.as_micros() as u64);
        Self {
            state: watch::Sender::new(Counts {
                version,
                failed_attempts: 0,
            }),
            notes: Mutex::default(),
        }
    }

    pub fn changes(&self) -> watch::Receiver<Counts> {
        self.state.subscribe()
    }

    /// Notes since a version.
    pub fn notes(&self, since: u64) -> Vec<Note> {
        let notes = self.notes.lock().unwrap_or_else(PoisonError::into_inner);
        let new = notes.iter().filter(|(version, _)| *version > since);
        new.map(|(_, note)| note.clone()).collect()
    }

    fn tell(&self, event: ClientEvent) {
        let failed = matches!(&event, ClientEvent::Error { group: None, error, .. }
            if error.code == code::RELAY_UNREACHABLE);
        self.state.send_modify(|counts| {
            counts.version += 1;
            counts.failed_attempts += u64::from(failed);
            if let Some(note) = note(event) {
                let mut notes = self.notes.lock().unwrap_or_else(PoisonError::into_inner);
                if notes.len() == MAX_NOTES {
                    notes.pop_front();
                }
                notes.push_back((counts.version, note));
            }
        });
    }
}

/// What of an event a person should read.
fn note(event: ClientEvent) -> Option<Note> {
    match event {
        ClientEvent::Gap {
            group, from, to, ..
        } => Some(Note {
            group: Some(group.to_string()),
            code: "GAP".to_owned(),
            message: format!(
                "no relay has {} blob(s) of another device any more; they expired before this device fetched them",
                to - from + 1
            ),
        }),
        ClientEvent::DeviceJoined {
            group,
            device,
            name,
        } => Some(Note {
            group: Some(group.to_string()),
            code: "DEVICE_JOINED".to_owned(),
            message: match name.filter(|name| !name.trim().is_empty()) {
                Some(name) => format!("\"{name}\" (device {}) has joined", short(device)),
                None => format!("device {} has joined", short(device)),
            },
        }),
        ClientEvent::DeviceRevoked {
            group,
            device,
            by,
            reason,
            ..
        } => Some(Note {
            group: Some(group.to_string()),
            code: "DEVICE_REMOVED".to_owned(),
            message: format!(
                "device {} was removed by device {} ({})",
                short(device),
                short(by),
                reason.name()
            ),
        }),
        ClientEvent::Deleted {
            group,
            by,
            position,
            ..
        } => Some(Note {
            group: Some(group.to_string()),
            code: "DELETED".to_owned(),
            message: format!(
                "the blob at position {position} was deleted by device {}",
                short(by)
            ),
        }),
        ClientEvent::Snapshot { group, .. } => Some(Note {
            group: Some(group.to_string()),
            code: "SNAPSHOT".to_owned(),
            message: "this device has the state of an app in place of earlier blobs, some of which it does not get; only that \
                      app can read it"
                .to_owned(),
        }),
        // Told by the state, whenever somebody asks for it.
        ClientEvent::Error { error, .. } if error.code == code::RELAY_UNREACHABLE => None,
        ClientEvent::Error { group, error, .. } => {
            let failure = Failure::from(error);
            Some(Note {
                group: group.map(|group| group.to_string()),
                code: failure.code,
                message: failure.message,
            })
        }
        _ => None,
    }
}

/// Enough of an id to tell it from others.
fn short(device: DeviceId) -> String {
    let mut id = device.to_string();
    id.truncate(8);
    id
}

/// What this device runs on, as people call it.
fn platform() -> &'static str {
    match std::env::consts::OS {
        "linux" => "Linux",
        "macos" => "macOS",
        "windows" => "Windows",
        "freebsd" => "FreeBSD",
        "openbsd" => "OpenBSD",
        "netbsd" => "NetBSD",
        "android" => "Android",
        other => other,
    }
}
