//! A native device in a process of its own, told what to do by lines of JSON (see `zerok_sync_chaos::protocol`).

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a device that can't go on ends, and the harness says so"
)]

use std::ffi::OsString;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use data_encoding::HEXLOWER;
use futures_util::FutureExt as _;
use futures_util::future::join_all;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::sync::{OnceCell, mpsc};
use tokio::task::{JoinSet, LocalSet};
use zerok_cli::SqliteStore;
use zerok_sync_chaos::fleet::DIE_WITH_PARENT;
use zerok_sync_chaos::protocol::{Answer, Body, Entry, Line, Op, Refusal, Request, Status, Told};
use zerok_sync_client::shared::failure::SyncError;
use zerok_sync_client::shared::ids::GroupId;
use zerok_sync_client::store::Store;
use zerok_sync_client::{Client, ClientEvent, Config, InviteOptions, Path};

/// Blobs of one page of the log.
const PAGE: usize = 1000;

type Lines = mpsc::UnboundedSender<Line>;

fn main() -> Result<()> {
    let mut arguments = std::env::args_os().skip(1);
    if arguments
        .next()
        .is_some_and(|first| first == DIE_WITH_PARENT)
    {
        return become_guarded(arguments.collect());
    }
    let runtime = tokio::runtime::Runtime::new()?;
    LocalSet::new().block_on(&runtime, serve())
}

/// Runs another program in our place, which is killed when the process that started us ends, in whatever way.
fn become_guarded(words: Vec<OsString>) -> Result<()> {
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))?;
    let (program, arguments) = words.split_first().context("no program")?;
    Err(Command::new(program).args(arguments).exec()).context("the program does not start")
}

async fn serve() -> Result<()> {
    let (lines, mut queue) = mpsc::unbounded_channel();
    let printing = tokio::spawn(async move {
        let mut out = tokio::io::stdout();
        while let Some(line) = queue.recv().await {
            let mut text = serde_json::to_string(&line).expect("lines are plain data");
            text.push('\n');
            if out.write_all(text.as_bytes()).await.is_err() || out.flush().await.is_err() {
                return;
            }
        }
    });
    let device = Arc::new(Device {
        lines: lines.clone(),
        open: OnceCell::new(),
    });
    let mut input = BufReader::new(tokio::io::stdin()).lines();
    let mut requests = JoinSet::new();
    while let Some(line) = input.next_line().await? {
        let request: Request = serde_json::from_str(&line).context(line)?;
        let (device, lines) = (device.clone(), lines.clone());
        requests.spawn_local(async move {
            let result = match device.carry_out(request.id, request.op).await {
                Ok(value) => Answer::Ok(value),
                Err(refusal) => Answer::Refused(refusal),
            };
            let _ = lines.send(Line::Answer {
                id: request.id,
                result,
            });
        });
    }
    // The harness is gone, or done with us.
    requests.abort_all();
    printing.abort();
    Ok(())
}

struct Device {
    lines: Lines,
    open: OnceCell<Opened>,
}

struct Opened {
    client: Client,
    store: Arc<dyn Store>,
}

fn refusal(error: &SyncError) -> Refusal {
    Refusal {
        code: error.code.to_owned(),
        message: error.to_string(),
    }
}

fn broken(text: &str) -> Refusal {
    Refusal {
        code: "HARNESS".to_owned(),
        message: text.to_owned(),
    }
}

impl Device {
    fn opened(&self) -> Result<&Opened, Refusal> {
        self.open.get().ok_or_else(|| broken("not open"))
    }

    fn group(&self) -> Result<(&Client, GroupId), Refusal> {
        let client = &self.opened()?.client;
        let group = client.groups().first().copied();
        Ok((client, group.ok_or_else(|| broken("no group"))?))
    }

    async fn carry_out(&self, id: u64, op: Op) -> Result<Value, Refusal> {
        match op {
            Op::Open {
                url,
                store,
                name,
                websocket,
            } => self.open(url, store.into(), name, websocket).await,
            Op::Push { bodies, at_once } => self.push(id, bodies, at_once).await,
            Op::Log { after } => self.log(after).await,
            Op::Secrets => self.secrets().await,
            Op::Status => self.status(),
            other => self.forward(other).await.map_err(|error| match error {
                Failed::Sync(error) => refusal(&error),
                Failed::Harness(refusal) => refusal,
            }),
        }
    }

    /// What the client does by itself.
    async fn forward(&self, op: Op) -> Result<Value, Failed> {
        let client = &self.opened()?.client;
        match op {
            Op::Create => Ok(json!(client.create_group().await?.to_string())),
            Op::Join { link } => Ok(json!(client.join(&link).await?.to_string())),
            Op::Invite => {
                let (client, group) = self.group()?;
                Ok(json!(
                    client
                        .create_invite(group, InviteOptions::default())
                        .await?
                        .link
                ))
            }
            Op::Flush => {
                let (client, group) = self.group()?;
                client.flush(group).await?;
                Ok(Value::Null)
            }
            Op::Network { online } => {
                client.network_changed(online);
                Ok(Value::Null)
            }
            _ => {
                client.close().await;
                Ok(Value::Null)
            }
        }
    }

    async fn open(
        &self,
        url: String,
        folder: PathBuf,
        name: String,
        websocket: bool,
    ) -> Result<Value, Refusal> {
        let store = SqliteStore::open(&folder)
            .await
            .map_err(|error| refusal(&error.into()))?;
        let store: Arc<dyn Store> = Arc::new(store);
        let lines = self.lines.clone();
        let mut config = Config::new(vec![url], store.clone());
        config.device_name = name;
        config.path = if websocket {
            Path::WebSocket
        } else {
            Path::Any
        };
        config.on_event = Box::new(move |event| tell(&lines, event));
        let client = Client::open(config)
            .await
            .map_err(|error| refusal(&error))?;
        let device = client.device_id().to_string();
        let groups: Vec<_> = client.groups().iter().map(ToString::to_string).collect();
        let opened = self.open.set(Opened { client, store });
        opened.map_err(|_| broken("open already"))?;
        Ok(json!({ "device": device, "groups": groups }))
    }

    async fn push(&self, request: u64, bodies: Vec<Body>, at_once: bool) -> Result<Value, Refusal> {
        let (client, group) = self.group()?;
        let mut refused = Vec::new();
        if at_once {
            let pushing: Vec<_> = bodies
                .into_iter()
                .enumerate()
                .map(|(index, body)| {
                    push_one(
                        client.clone(),
                        group,
                        self.lines.clone(),
                        request,
                        (index, body),
                    )
                    .boxed_local()
                })
                .collect();
            refused.extend(join_all(pushing).await);
        } else {
            for body in bodies.into_iter().enumerate() {
                refused
                    .push(push_one(client.clone(), group, self.lines.clone(), request, body).await);
            }
        }
        Ok(json!(refused.into_iter().flatten().collect::<Vec<_>>()))
    }

    async fn log(&self, mut after: u64) -> Result<Value, Refusal> {
        let (client, group) = self.group()?;
        let mut entries = Vec::new();
        loop {
            let page = client
                .pull(group, after, PAGE, true)
                .await
                .map_err(|error| refusal(&error))?;
            entries.extend(page.blobs.iter().map(|blob| Entry {
                blob: blob.blob_id.to_string(),
                sender: blob.sender.to_string(),
                body: Body::parse(&blob.data),
            }));
            after = page.next;
            if !page.has_more {
                return Ok(json!(entries));
            }
        }
    }

    async fn secrets(&self) -> Result<Value, Refusal> {
        let loaded = self
            .opened()?
            .store
            .load()
            .await
            .map_err(|error| broken(&error.to_string()))?;
        let epochs = loaded
            .groups
            .iter()
            .flat_map(|group| &group.membership)
            .flat_map(|membership| &membership.epochs);
        let secrets: Vec<_> = epochs
            .map(|(_, secret)| HEXLOWER.encode(secret.expose()))
            .chain(
                loaded
                    .device_key
                    .iter()
                    .map(|key| HEXLOWER.encode(key.expose())),
            )
            .collect();
        Ok(json!(secrets))
    }

    fn status(&self) -> Result<Value, Refusal> {
        let (client, group) = self.group()?;
        let view = client.group_view(group).ok_or_else(|| broken("no group"))?;
        let vector = view.version_vector.iter();
        Ok(json!(Status {
            state: view.state.name().to_owned(),
            pending: view.pending as u64,
            position: view.position,
            vector: Some(
                vector
                    .map(|(device, seq)| (device.to_string(), *seq))
                    .collect()
            ),
        }))
    }
}

/// Pushes one body and tells if that resolved.
async fn push_one(
    client: Client,
    group: GroupId,
    lines: Lines,
    request: u64,
    (index, body): (usize, Body),
) -> Option<(usize, Refusal)> {
    match client.push(group, body.bytes().into(), 0).await {
        Ok(pushed) => {
            let blob = pushed.blob_id.to_string();
            let _ = lines.send(Line::Told(Told::Promised {
                request,
                index,
                blob,
            }));
            None
        }
        Err(error) => Some((index, refusal(&error))),
    }
}

enum Failed {
    Sync(SyncError),
    Harness(Refusal),
}

impl From<SyncError> for Failed {
    fn from(error: SyncError) -> Self {
        Self::Sync(error)
    }
}

impl From<Refusal> for Failed {
    fn from(refusal: Refusal) -> Self {
        Self::Harness(refusal)
    }
}

fn tell(lines: &Lines, event: ClientEvent) {
    let told = match event {
        ClientEvent::Group { view, .. } => Told::Position {
            position: view.position,
        },
        ClientEvent::Error { error, .. } => Told::Error {
            code: error.code.to_owned(),
            message: error.to_string(),
        },
        _ => return,
    };
    let _ = lines.send(Line::Told(told));
}
