//! A command's access to the device, whichever process has it open.
//!
//! The first process opens the device itself and, for as long as it runs, answers others over a socket in the data folder.
//! Both ways carry the same requests ([`requests`]), so a command does not know which one it has. When the process that
//! has the device ends, the others notice at their next request, and one of them opens it.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use zerok_sync_client::shared::failure::code;
use zerok_sync_client::store::StoreError;

use crate::failure::{ALREADY_OPEN, Failure};
use crate::folder::Settings;

use device::Device;
#[cfg(unix)]
use remote::Remote;
use requests::Request;
#[cfg(unix)]
use server::Server;

mod device;
mod joins;
#[cfg(unix)]
mod remote;
pub mod requests;
#[cfg(unix)]
mod server;

/// How long a process that has the device may take to answer, or to let go.
const OPEN_PATIENCE: Duration = Duration::from_secs(10);
const OPEN_INTERVAL: Duration = Duration::from_millis(30);
/// Processes that may end, one after the other, before they have answered a request.
const MAX_OWNERS: usize = 50;

/// The device, for one command.
pub struct Session {
    folder: PathBuf,
    settings: Settings,
    backend: Backend,
}

enum Backend {
    /// This process has the device open.
    Own {
        device: Device,
        #[cfg(unix)]
        server: Option<Server>,
    },
    /// Another one has.
    #[cfg(unix)]
    Other(Remote),
}

/// Why a request got no answer.
#[cfg_attr(not(unix), expect(dead_code, reason = "only other processes fail so"))]
enum AskError {
    /// It was answered with an error.
    Refused(Failure),
    /// The other process ended before it had taken the request.
    NotTaken,
    /// The other process ended before it had answered.
    NotAnswered,
}

impl Session {
    /// The device in this folder.
    pub async fn open(folder: &Path) -> Result<Self, Failure> {
        let settings = Settings::load(folder)?;
        let backend = Backend::open(folder, &settings).await?;
        Ok(Self {
            folder: folder.to_owned(),
            settings,
            backend,
        })
    }

    /// Opens or makes the device of this folder, in this process or not at all.
    pub async fn open_alone(folder: &Path, settings: Settings) -> Result<Self, Failure> {
        let Some(device) = Device::open(folder, &settings).await? else {
            return Err(already_open(folder, "end it first"));
        };
        Ok(Self {
            folder: folder.to_owned(),
            settings,
            backend: Backend::Own {
                device,
                #[cfg(unix)]
                server: None,
            },
        })
    }

    /// What `zerok init` has set.
    pub const fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Has a request carried out.
    pub async fn ask<R: Request>(&mut self, request: R) -> Result<R::Answer, Failure> {
        for _ in 0..MAX_OWNERS {
            let again = match self.backend.ask(&request).await {
                Ok(answer) => return Ok(answer),
                Err(AskError::Refused(failure)) => return Err(failure),
                Err(AskError::NotTaken) => true,
                Err(AskError::NotAnswered) => R::REPEATABLE,
            };
            if !again {
                let text = "the process that has this device open ended before it answered; look with `zerok pull` or \
                            `zerok status` whether it was done";
                return Err(Failure::new(code::CLOSED, text));
            }
            tokio::time::sleep(OPEN_INTERVAL).await;
            self.backend = Backend::open(&self.folder, &self.settings).await?;
        }
        Err(already_open(&self.folder, "it does not answer, end it"))
    }

    /// Lets go of the device. What others have asked for is carried out first.
    pub async fn close(self) {
        match self.backend {
            Backend::Own {
                device,
                #[cfg(unix)]
                server,
            } => {
                #[cfg(unix)]
                if let Some(server) = server {
                    server.stop().await;
                }
                device.close().await;
            }
            #[cfg(unix)]
            Backend::Other(_) => {}
        }
    }
}

impl Backend {
    async fn open(folder: &Path, settings: &Settings) -> Result<Self, Failure> {
        let deadline = Instant::now() + OPEN_PATIENCE;
        loop {
            if let Some(device) = Device::open(folder, settings).await? {
                return Ok(Self::Own {
                    #[cfg(unix)]
                    server: Server::start(folder, &device),
                    device,
                });
            }
            #[cfg(unix)]
            if let Ok(remote) = Remote::connect(folder).await {
                return Ok(Self::Other(remote));
            }
            // It may be starting or ending: it has the lock, but does not listen.
            if cfg!(not(unix)) || Instant::now() > deadline {
                return Err(already_open(folder, "end it, or wait for it"));
            }
            tokio::time::sleep(OPEN_INTERVAL).await;
        }
    }

    async fn ask<R: Request>(&mut self, request: &R) -> Result<R::Answer, AskError> {
        match self {
            Self::Own { device, .. } => request
                .clone()
                .carry_out(device)
                .await
                .map_err(AskError::Refused),
            #[cfg(unix)]
            Self::Other(remote) => remote.ask(request).await,
        }
    }
}

fn already_open(folder: &Path, what: &str) -> Failure {
    let text = format!("another zerok has {} open; {what}", folder.display());
    Failure::passing(ALREADY_OPEN, text)
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        zerok_sync_client::SyncError::from(error).into()
    }
}
