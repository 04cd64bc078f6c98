//! The TCP port: hyper connections whose requests go to the embedded iroh relay or to the router, by path.

use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use axum::Router;
use axum::body::Body;
use axum::http::{Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use iroh::Endpoint;
use iroh_relay::http::RELAY_PATH;
use iroh_relay::server::streams::MaybeTlsStream;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt as _;
use url::Url;
use zerok_sync_shared::message::RelayLimits;

use crate::access::Access;
use crate::clock::Clock;
use crate::history::History;
use crate::limits;
use crate::metrics::Metrics;
use crate::storage::Storage;
use crate::writer::Writer;

mod app;
mod bearer;
mod discovery;
mod error;
mod health;
mod invites;
mod probes;
mod status;
pub(crate) mod websocket;

use websocket::WebSockets;

/// What the handlers work with.
pub(crate) struct Services {
    pub access: Access,
    pub storage: Arc<dyn Storage>,
    pub writer: Writer,
    pub metrics: Arc<Metrics>,
    pub clock: Arc<Clock>,
    pub endpoint: Endpoint,
    pub limits: RelayLimits,
    pub public_url: Option<Url>,
    /// Told to native devices instead of the addresses that the endpoint found.
    pub public_udp: Vec<SocketAddr>,
    pub tcp: SocketAddr,
    pub web: Option<PathBuf>,
    pub invite_rate: NonZeroU32,
    /// Numbers are served on the operator's own listener alone.
    pub private_numbers: bool,
    pub history: Arc<History>,
    pub started: Instant,
    pub shutdown: CancellationToken,
}

/// Where a request came from.
#[derive(Debug, Clone, Copy)]
struct Peer(IpAddr);

/// The router, which exists only once the relay is ready; the WebSocket is served from the first moment.
#[derive(Clone, Default)]
pub(crate) struct LateRouter(Arc<OnceLock<Router>>);

impl LateRouter {
    /// Begins to serve everything, and gives what belongs on the operator's own listener.
    pub fn open(&self, services: Services) -> Router {
        let routers = app::routers(services);
        let _ = self.0.set(routers.public);
        routers.operator
    }
}

/// Serves the operator's own listener until it is stopped.
pub(crate) async fn serve_operator(listener: TcpListener, router: Router, stop: CancellationToken) {
    let served = axum::serve(listener, router).with_graceful_shutdown(stop.cancelled_owned());
    if let Err(error) = served.await {
        tracing::error!(%error, "the listener of --metrics-bind has ended; restart the relay");
    }
}

/// The server of the TCP port.
pub(crate) struct Http {
    listener: TcpListener,
    websockets: WebSockets,
    router: LateRouter,
    stop: CancellationToken,
}

impl Http {
    pub fn new(listener: TcpListener, websockets: WebSockets, stop: CancellationToken) -> Self {
        Self {
            listener,
            websockets,
            router: LateRouter::default(),
            stop,
        }
    }

    pub fn router(&self) -> LateRouter {
        self.router.clone()
    }

    /// Accepts connections until it is stopped.
    pub async fn run(self) {
        let room = Arc::new(Semaphore::new(limits::MAX_HTTP_CONNECTIONS));
        let tasks = TaskTracker::new();
        loop {
            // Waiting here leaves further connections in the kernel's queue.
            let accepted = tokio::select! {
                () = self.stop.cancelled() => break,
                accepted = accept(&self.listener, &room) => accepted,
            };
            let (stream, peer, permit) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection");
                    // Out of file descriptors, most likely; trying at once would only spin.
                    sleep(std::time::Duration::from_millis(100)).await;
                    continue;
                }
            };
            let connection = serve(
                stream,
                peer,
                self.router.clone(),
                self.websockets.clone(),
                self.stop.clone(),
            );
            tasks.spawn(async move {
                connection.await;
                drop(permit);
            });
        }
        tasks.close();
        let _ = timeout(limits::SHUTDOWN_TIMEOUT, tasks.wait()).await;
    }
}

async fn accept(
    listener: &TcpListener,
    room: &Arc<Semaphore>,
) -> std::io::Result<(TcpStream, SocketAddr, tokio::sync::OwnedSemaphorePermit)> {
    let permit = Arc::clone(room)
        .acquire_owned()
        .await
        .map_err(std::io::Error::other)?;
    let (stream, peer) = listener.accept().await?;
    Ok((stream, peer, permit))
}

async fn serve(
    stream: TcpStream,
    peer: SocketAddr,
    router: LateRouter,
    websockets: WebSockets,
    stop: CancellationToken,
) {
    let _ = stream.set_nodelay(true);
    let Some((stream, handshake)) = websockets.guard(stream) else {
        return;
    };
    let relay = handshake.service();
    let peer = Peer(peer.ip().to_canonical());
    let upgraded = Arc::new(AtomicBool::new(false));
    let switched = Arc::clone(&upgraded);
    let service = service_fn(move |request: Request<Incoming>| {
        let (relay, router, switched) = (relay.clone(), router.clone(), Arc::clone(&switched));
        async move {
            let response = dispatch(request, peer, relay, router).await;
            if response.status() == StatusCode::SWITCHING_PROTOCOLS {
                switched.store(true, Ordering::Relaxed);
            }
            Ok::<_, Infallible>(response)
        }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits::HEADER_TIMEOUT)
        .max_buf_size(limits::MAX_HEADER_BYTES)
        // The iroh relay takes the stream back, and expects it in exactly this wrapping.
        .serve_connection(TokioIo::new(MaybeTlsStream::Plain(stream)), service)
        .with_upgrades();
    tokio::pin!(connection);
    tokio::select! {
        result = connection.as_mut() => match result {
            Ok(()) if upgraded.load(Ordering::Relaxed) => handshake.finish().await,
            Ok(()) => {}
            Err(error) => tracing::debug!(%error, "an HTTP connection failed"),
        },
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            let _ = timeout(limits::SHUTDOWN_TIMEOUT, connection).await;
        }
        () = sleep(limits::HTTP_LIFETIME) => {
            connection.as_mut().graceful_shutdown();
            let _ = timeout(limits::REQUEST_TIMEOUT, connection).await;
        }
    }
}

async fn dispatch(
    mut request: Request<Incoming>,
    peer: Peer,
    relay: iroh_relay::server::http_server::RelayServiceWithNotify,
    router: LateRouter,
) -> Response<Body> {
    let path = request.uri().path();
    if path == RELAY_PATH {
        return match relay.call(request).await {
            Ok(response) => response.map(Body::new),
            Err(_) => plain(StatusCode::BAD_REQUEST),
        };
    }
    if let Some(response) = probes::answer(&request) {
        return response;
    }
    let Some(router) = router.0.get() else {
        return plain(StatusCode::SERVICE_UNAVAILABLE);
    };
    request.extensions_mut().insert(peer);
    match router.clone().oneshot(request.map(Body::new)).await {
        Ok(response) => response,
        Err(never) => match never {},
    }
}

fn plain(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    response
}
