//! Devices for end-to-end tests.
#![allow(dead_code, reason = "every test uses a part of it")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use zerok_sync_client::shared::ids::GroupId;
use zerok_sync_client::store::{MemoryStore, Store};
use zerok_sync_client::{Client, ClientEvent, Config, InviteOptions, Path, ReceivedBlob};
use zerok_sync_tests::relay::{Options, RelayProcess};

/// Everything that waits gives up after this: a deadline against hanging, not a measurement.
pub const PATIENCE: Duration = Duration::from_secs(90);

/// A temporary folder and a relay in it.
pub struct World {
    pub folder: tempfile::TempDir,
    pub relay: RelayProcess,
}

pub async fn world() -> World {
    world_with(&[]).await
}

pub async fn world_with(args: &[&str]) -> World {
    let folder = tempfile::tempdir().unwrap();
    let mut options = Options::in_folder(folder.path());
    options.args = args.iter().map(|arg| (*arg).to_owned()).collect();
    let relay = RelayProcess::start(options).await.unwrap();
    World { folder, relay }
}

/// A client with what it told.
pub struct Device {
    pub client: Client,
    pub events: Arc<Mutex<Vec<ClientEvent>>>,
}

impl Device {
    pub async fn open(url: &str, path: Path) -> Self {
        Self::open_on(url, path, Arc::new(MemoryStore::default())).await
    }

    pub async fn open_on(url: &str, path: Path, store: Arc<dyn Store>) -> Self {
        let mut config = Config::new(vec![url.to_owned()], store);
        config.path = path;
        Self::open_with(config).await
    }

    /// A device that the other members know by a name.
    pub async fn named(url: &str, path: Path, name: &str) -> Self {
        Self::named_on(url, path, name, Arc::new(MemoryStore::default())).await
    }

    pub async fn named_on(url: &str, path: Path, name: &str, store: Arc<dyn Store>) -> Self {
        let mut config = Config::new(vec![url.to_owned()], store);
        config.path = path;
        config.device_name = name.to_owned();
        Self::open_with(config).await
    }

    pub async fn open_with(mut config: Config) -> Self {
        let events = Arc::new(Mutex::new(Vec::new()));
        let told = events.clone();
        config.on_event = Box::new(move |event| told.lock().unwrap().push(event));
        Self {
            client: Client::open(config).await.unwrap(),
            events,
        }
    }

    /// Joins by an invite of `other`.
    pub async fn join(&self, other: &Self, group: GroupId) {
        let invite = other
            .client
            .create_invite(
                group,
                InviteOptions {
                    app_url: Some("https://app.example/".into()),
                    ..InviteOptions::default()
                },
            )
            .await
            .unwrap();
        assert_eq!(self.client.join(&invite.link).await.unwrap(), group);
    }

    pub async fn push(&self, group: GroupId, text: &str) {
        self.client
            .push(group, text.to_owned().into(), 0)
            .await
            .unwrap();
    }

    pub async fn flush(&self, group: GroupId) {
        patient(self.client.flush(group)).await.unwrap();
    }

    /// The whole log.
    pub async fn log(&self, group: GroupId) -> Vec<ReceivedBlob> {
        let mut blobs = Vec::new();
        let mut after = 0;
        loop {
            let page = self.client.pull(group, after, 1000, true).await.unwrap();
            blobs.extend(page.blobs);
            after = page.next;
            if !page.has_more {
                return blobs;
            }
        }
    }

    pub async fn texts(&self, group: GroupId) -> Vec<String> {
        let log = self.log(group).await;
        log.iter()
            .map(|blob| String::from_utf8(blob.data.to_vec()).unwrap())
            .collect()
    }

    /// Waits until the log has so many blobs, and gives their texts.
    pub async fn wait_texts(&self, group: GroupId, count: usize) -> Vec<String> {
        let waiting = async {
            loop {
                let texts = self.texts(group).await;
                if texts.len() >= count {
                    return texts;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        patient(waiting).await
    }

    /// What was told.
    pub fn told(&self) -> Vec<ClientEvent> {
        self.events.lock().unwrap().clone()
    }

    /// Codes of the errors that were told.
    pub fn errors(&self) -> Vec<&'static str> {
        let events = self.events.lock().unwrap();
        let code = |event: &ClientEvent| match event {
            ClientEvent::Error { error, .. } => Some(error.code),
            _ => None,
        };
        events.iter().filter_map(code).collect()
    }
}

pub async fn patient<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, work)
        .await
        .expect("it takes too long")
}

/// Looks again and again until it holds.
pub async fn wait_until(what: &str, holds: impl Fn() -> bool) {
    let looking = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    assert!(
        tokio::time::timeout(PATIENCE, looking).await.is_ok(),
        "waited in vain until {what}"
    );
}
