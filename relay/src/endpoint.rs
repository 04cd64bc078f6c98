//! The relay's iroh endpoint: native devices reach it by UDP, browsers through the WebSocket that this process serves.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use futures_util::StreamExt as _;
use iroh::endpoint::{BindOpts, Connection, Incoming, PathList, PortmapperConfig, RelayMode};
use iroh::{Endpoint, RelayConfig, RelayMap, RelayUrl, SecretKey};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_util::task::TaskTracker;
use zerok_sync_shared::error::ErrorCode;
use zerok_sync_shared::ids::{Incarnation, RelayId};
use zerok_sync_shared::message::{RelayLimits, capability};
use zerok_sync_shared::session::SessionConfig;
use zerok_sync_transport::endpoint as transport;

use crate::driver::{self, Room, SessionContext};
use crate::limits;
use crate::metrics::{Counted, Path};
use crate::network::seats::Seats;
use crate::network::{Network, Relayed};

/// An endpoint that could not be made.
#[derive(Debug, thiserror::Error)]
pub enum EndpointError {
    /// The UDP socket.
    #[error("cannot listen on UDP {0}: {1}; choose another port with --udp-port")]
    Bind(SocketAddr, String),
    /// The way through the own WebSocket.
    #[error("the relay cannot reach its own WebSocket at {0}; is a firewall in the way?")]
    Offline(RelayUrl),
}

/// Binds the endpoint and waits until it can be reached through the embedded iroh relay at `own_relay`.
///
/// It talks to no server of others: no public relays, no address look-up, no port mapping. A device whose first packets came
/// through the WebSocket hears of the `public` addresses on the way and moves to UDP; it also hears of those that the
/// endpoint finds itself, which iroh does not let us leave out, and which lead nowhere from outside.
pub async fn bind(
    key: SecretKey,
    address: SocketAddr,
    public: &[SocketAddr],
    own_relay: RelayUrl,
) -> Result<Endpoint, EndpointError> {
    let failed = |error: &dyn std::fmt::Display| EndpointError::Bind(address, error.to_string());
    let relay = RelayConfig::new(own_relay.clone(), None);
    let mut builder = transport::builder(key)
        .relay_mode(RelayMode::Custom(RelayMap::from(relay)))
        .portmapper_config(PortmapperConfig::Disabled)
        .clear_ip_transports()
        .bind_addr(address)
        .map_err(|error| failed(&error))?;
    if address.ip().is_unspecified() && address.is_ipv4() {
        // Where there is IPv6, on the same port; where there is none, without.
        let v6 = SocketAddr::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), address.port());
        builder = builder
            .bind_addr_with_opts(v6, BindOpts::default().set_is_required(false))
            .map_err(|error| failed(&error))?;
    }
    for public in public {
        builder = builder.external_addr(*public);
    }
    let endpoint = builder.bind().await.map_err(|error| failed(&error))?;
    if timeout(limits::START_TIMEOUT, endpoint.online())
        .await
        .is_err()
    {
        endpoint.close().await;
        return Err(EndpointError::Offline(own_relay));
    }
    Ok(endpoint)
}

/// What the sessions of this endpoint have in common.
#[derive(Clone)]
pub struct Acceptor {
    /// What they work with.
    pub context: SessionContext,
    /// What devices are told.
    pub limits: RelayLimits,
    /// The life of the database.
    pub incarnation: Incarnation,
    /// Where relayed devices are.
    pub relayed: Relayed,
    /// Connections of each network.
    pub(crate) seats: Seats,
    /// Everything that has to end before the relay does.
    pub tasks: TaskTracker,
}

impl Acceptor {
    /// Accepts connections until the relay stops.
    pub async fn run(self, endpoint: Endpoint) {
        let room = Arc::new(Semaphore::new(limits::MAX_CONNECTIONS));
        loop {
            let incoming = tokio::select! {
                () = self.context.shutdown.cancelled() => return,
                incoming = endpoint.accept() => match incoming {
                    Some(incoming) => incoming,
                    None => return,
                },
            };
            let Ok(permit) = Arc::clone(&room).try_acquire_owned() else {
                incoming.refuse();
                continue;
            };
            let network = self.relayed.network(&incoming.remote_addr());
            if self.seats.is_full(network) {
                self.context.metrics.crowded.inc();
                incoming.refuse();
                continue;
            }
            let acceptor = self.clone();
            let relay_id = transport::device_id(endpoint.id());
            self.tasks.spawn(async move {
                acceptor.handshake(incoming, network, relay_id).await;
                drop(permit);
            });
        }
    }

    async fn handshake(self, incoming: Incoming, network: Option<Network>, relay_id: RelayId) {
        match timeout(limits::HANDSHAKE_TIMEOUT, incoming).await {
            Ok(Ok(connection)) => {
                // Only now: a first packet's address may be forged, and would use up the seats of somebody else.
                match self.seats.take(network) {
                    Some(_seat) => self.serve(connection, network, relay_id).await,
                    None => {
                        self.context.metrics.crowded.inc();
                        let code = ErrorCode::RateLimited.number();
                        connection.close(code.into(), b"too many connections from this address");
                    }
                }
            }
            Ok(Err(error)) => tracing::debug!(%error, "a handshake failed"),
            Err(_) => tracing::debug!("a handshake took too long"),
        }
    }

    async fn serve(self, connection: Connection, network: Option<Network>, relay_id: RelayId) {
        let Ok(exporter) = transport::export(&connection) else {
            return;
        };
        let run = self.context.groups.run();
        let config = SessionConfig {
            relay_id,
            incarnation: self.incarnation,
            run: run.id,
            device: transport::device_id(connection.remote_id()),
            exporter,
            limits: self.limits,
            capabilities: vec![
                capability::DELETE.to_owned(),
                capability::PRESENCE.to_owned(),
                capability::SNAPSHOTS.to_owned(),
                format!("{}{}", capability::MAX_TTL, self.context.max_blob_ttl),
            ],
            page_bytes: limits::PAGE,
            max_storing_bytes: limits::MAX_STORING,
        };
        let room = Room {
            sending: self.context.sending.share(network),
            receiving: self.context.receiving.share(network),
        };
        let mut paths = connection.paths_stream();
        let mut counted: Option<(Path, Counted)> = None;
        let sessions = TaskTracker::new();
        loop {
            // How many streams a connection may have open is limited by the transport's settings.
            tokio::select! {
                () = self.context.shutdown.cancelled() => return farewell(&connection, &sessions).await,
                // Its sessions end as if the relay were stopping.
                () = run.over() => return farewell(&connection, &sessions).await,
                Some(list) = paths.next() => {
                    let path = path_of(&list);
                    if counted.as_ref().is_none_or(|(now, _)| *now != path) {
                        let gauge = self.context.metrics.connections_by(path);
                        counted = Some((path, Counted::new(&gauge)));
                    }
                }
                accepted = connection.accept_bi() => match accepted {
                    Ok((send, receive)) => {
                        let (context, room) = (self.context.clone(), room.clone());
                        let session =
                            driver::run(context, run.clone(), config.clone(), network, room, send, receive);
                        self.tasks.spawn(sessions.track_future(session));
                    }
                    Err(error) => {
                        tracing::debug!(%error, "a connection ended");
                        return;
                    }
                },
            }
        }
    }
}

/// Keeps a connection until its sessions have ended and the device, which then has nothing left to read, closes it: what was
/// not read when a connection is closed is lost.
async fn farewell(connection: &Connection, sessions: &TaskTracker) {
    sessions.close();
    if !sessions.is_empty() {
        sessions.wait().await;
        let _ = timeout(limits::FAREWELL_TIMEOUT, connection.closed()).await;
    }
}

/// The way that a connection's packets take now.
fn path_of(paths: &PathList<'_>) -> Path {
    let selected = paths.iter().find(iroh::endpoint::Path::is_selected);
    match selected.or_else(|| paths.iter().next()) {
        Some(path) if path.is_ip() => Path::Udp,
        _ => Path::Relayed,
    }
}
