//! The embedded iroh relay: forwards encrypted packets between the WebSockets of browsers and this process's endpoint.

use std::collections::HashSet;
use std::net::Shutdown;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};

use axum::http::HeaderMap;
use iroh::EndpointId;
use iroh_relay::KeyCache;
use iroh_relay::server::http_server::{Handlers, RelayService, RelayServiceWithNotify};
use iroh_relay::server::{Access, AccessControl, ClientRequest, ConnectionId};
use prometheus_client::metrics::gauge::Gauge;
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::sync::futures::OwnedNotified;
use tokio::time::timeout;

use crate::limits;
use crate::metrics::Metrics;

/// The iroh relay and the count of its connections.
#[derive(Debug, Clone)]
pub(crate) struct WebSockets(RelayService);

impl WebSockets {
    pub fn new(metrics: &Metrics) -> Self {
        Self(RelayService::new(
            Handlers::default(),
            HeaderMap::new(),
            None,
            KeyCache::new(limits::KEY_CACHE),
            Arc::new(Bounded {
                open: Mutex::default(),
                gauge: metrics.websockets.clone(),
            }),
            Arc::clone(&metrics.live.forwarded),
        ))
    }

    pub async fn shutdown(&self) {
        self.0.shutdown().await;
    }

    /// Prepares a connection for a WebSocket that may be opened on it.
    ///
    /// The iroh relay waits for the handshake in a task of its own, for ever. A second handle of the socket is what can
    /// end that.
    pub fn guard(&self, stream: TcpStream) -> Option<(TcpStream, Handshake)> {
        let stream = stream.into_std().ok()?;
        let cutter = stream.try_clone().ok()?;
        let stream = TcpStream::from_std(stream).ok()?;
        let established = Arc::new(Notify::new());
        // Listening from now on: the notice reaches only those that listen already.
        let mut notice = Box::pin(Arc::clone(&established).notified_owned());
        notice.as_mut().enable();
        let service = RelayServiceWithNotify::new(self.0.clone(), established);
        Some((
            stream,
            Handshake {
                service,
                notice,
                cutter,
            },
        ))
    }
}

/// A connection on which a WebSocket may be opened.
pub(crate) struct Handshake {
    service: RelayServiceWithNotify,
    notice: Pin<Box<OwnedNotified>>,
    cutter: std::net::TcpStream,
}

impl Handshake {
    pub fn service(&self) -> RelayServiceWithNotify {
        self.service.clone()
    }

    /// Waits until a connection that was turned into a WebSocket is known to the iroh relay, and cuts it if that takes
    /// too long.
    pub async fn finish(self) {
        if timeout(limits::WEBSOCKET_TIMEOUT, self.notice)
            .await
            .is_err()
        {
            let _ = self.cutter.shutdown(Shutdown::Both);
        }
    }
}

/// Admits up to [`limits::MAX_WEBSOCKETS`]. It cannot tell whom a client will send to.
#[derive(Debug)]
struct Bounded {
    open: Mutex<HashSet<ConnectionId>>,
    gauge: Gauge,
}

impl AccessControl for Bounded {
    async fn on_connect(&self, request: &ClientRequest) -> Access {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if open.len() >= limits::MAX_WEBSOCKETS {
            return Access::Deny {
                reason: Some("this relay has too many connections".into()),
            };
        }
        open.insert(request.connection_id());
        self.gauge.inc();
        Access::Allow
    }

    fn on_disconnect(&self, _: EndpointId, connection: ConnectionId) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if open.remove(&connection) {
            self.gauge.dec();
        }
    }
}
