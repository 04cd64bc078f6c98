//! Answers other processes on this device.

use std::os::unix::fs::{MetadataExt as _, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::io::BufReader;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::device::Device;
use super::remote::{Line, read_line, socket, write_line};
use super::requests::AnyRequest;

/// Processes that are answered at a time; others wait.
const MAX_CONNECTIONS: usize = 64;
/// What was taken has to be done by then.
const STOP_TIMEOUT: Duration = Duration::from_secs(5);

/// Listens until it is stopped.
pub struct Server {
    path: PathBuf,
    stopping: watch::Sender<bool>,
    task: tokio::task::JoinHandle<()>,
}

impl Server {
    /// Starts to answer. Must be called by the owner of the folder's lock, so that whatever lies at the socket's path is
    /// a leftover. `None` if it can't be: others are told ALREADY_OPEN then.
    pub fn start(folder: &Path, device: &Device) -> Option<Self> {
        let path = socket(folder);
        let _ = std::fs::remove_file(&path);
        let listen = || -> std::io::Result<(UnixListener, u32)> {
            let listener = UnixListener::bind(&path)?;
            std::fs::set_permissions(&path, PermissionsExt::from_mode(0o600))?;
            // Of this user, who has just made it.
            Ok((listener, std::fs::metadata(&path)?.uid()))
        };
        let (listener, user) = listen()
            .inspect_err(|error| tracing::info!("other processes can't be answered: {error}"))
            .ok()?;
        let (stopping, stop) = watch::channel(false);
        let task = tokio::spawn(listen_on(listener, user, device.clone(), stop));
        Some(Self {
            path,
            stopping,
            task,
        })
    }

    /// Takes no more requests and finishes those that were taken.
    pub async fn stop(self) {
        let _ = std::fs::remove_file(&self.path);
        self.stopping.send_replace(true);
        let stopper = self.task.abort_handle();
        if tokio::time::timeout(STOP_TIMEOUT, self.task).await.is_err() {
            stopper.abort();
        }
    }
}

async fn listen_on(
    listener: UnixListener,
    user: u32,
    device: Device,
    mut stop: watch::Receiver<bool>,
) {
    let mut connections = JoinSet::new();
    let heard = stop.clone();
    loop {
        tokio::select! {
            () = stopped(&mut stop) => break,
            accepted = listener.accept(), if connections.len() < MAX_CONNECTIONS => match accepted {
                // Between making the socket and setting its mode, somebody else may have connected.
                Ok((stream, _)) if stream.peer_cred().is_ok_and(|peer| peer.uid() == user || peer.uid() == 0) => {
                    connections.spawn(serve(stream, device.clone(), heard.clone()));
                }
                Ok(_) => {}
                // Too many open files, for example: they may become fewer.
                Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
            },
            Some(_) = connections.join_next() => {}
        }
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

async fn serve(stream: UnixStream, device: Device, mut stop: watch::Receiver<bool>) {
    let mut stream = BufReader::new(stream);
    loop {
        let request = tokio::select! {
            biased;
            () = stopped(&mut stop) => return,
            request = read_line::<AnyRequest>(&mut stream) => request,
        };
        let request = match request {
            Ok(Some(request)) => request,
            Ok(None) | Err(_) => return,
        };
        if write_line(stream.get_mut(), &Line::Taken).await.is_err() {
            return;
        }
        // Who only waits can wait for the next owner.
        let waits = matches!(request, AnyRequest::Watch(_) | AnyRequest::LookAtJoin(_));
        let answer = tokio::select! {
            answer = request.carry_out(&device) => answer,
            () = stopped(&mut stop), if waits => return,
        };
        let line = match answer {
            Ok(value) => Line::Done(value),
            Err(failure) => Line::Refused(failure),
        };
        if write_line(stream.get_mut(), &line).await.is_err() {
            return;
        }
    }
}

async fn stopped(stop: &mut watch::Receiver<bool>) {
    // Gone is stopped, too.
    let _ = stop.wait_for(|stop| *stop).await;
}
