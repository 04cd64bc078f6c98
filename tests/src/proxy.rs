//! A TCP proxy in front of a relay that can be cut.

use std::sync::Arc;

use anyhow::Result;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// Forwards connections to one port while it is switched on; cuts all of them when it is switched off.
pub struct Proxy {
    port: u16,
    on: Arc<watch::Sender<bool>>,
    task: JoinHandle<()>,
}

impl Proxy {
    /// Starts on a free port, switched on.
    ///
    /// # Errors
    /// When no port is free.
    pub async fn start(target: u16) -> Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let port = listener.local_addr()?.port();
        let on = Arc::new(watch::Sender::new(true));
        let switch = on.clone();
        let task = tokio::spawn(async move {
            while let Ok((inbound, _)) = listener.accept().await {
                let mut state = switch.subscribe();
                if !*state.borrow() {
                    continue;
                }
                tokio::spawn(async move {
                    tokio::select! {
                        _ = forward(inbound, target) => {}
                        _ = state.wait_for(|on| !on) => {}
                    }
                });
            }
        });
        Ok(Self { port, on, task })
    }

    /// The URL for clients.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Cuts everything, or lets new connections through.
    pub fn switch(&self, on: bool) {
        self.on.send_replace(on);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.on.send_replace(false);
        self.task.abort();
    }
}

async fn forward(mut inbound: TcpStream, target: u16) -> Result<()> {
    let mut outbound = TcpStream::connect(("127.0.0.1", target)).await?;
    tokio::io::copy_bidirectional(&mut inbound, &mut outbound).await?;
    Ok(())
}
