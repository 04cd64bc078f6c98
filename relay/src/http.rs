//! The TCP port: hyper connections whose requests go to the embedded iroh relay or to the router, by path.

use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use axum::Router;
use axum::body::Body;
use axum::http::header::{ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS};
use axum::http::{HeaderValue, Request, Response, StatusCode};
use axum::response::IntoResponse as _;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
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
use crate::cluster::Nodes;
use crate::history::History;
use crate::limits;
use crate::metrics::{Metrics, Via};
use crate::network::Network;
use crate::network::proxies::Proxies;
use crate::network::seats::{Seat, Seats};
use crate::storage::Storage;
use crate::tls::Tls;
use crate::writer::Writer;

mod app;
mod bearer;
mod discovery;
mod error;
mod health;
mod holdings;
mod invites;
mod probes;
mod status;
pub(crate) mod websocket;

pub(crate) use discovery::udp_addresses;
use error::{ApiError, Code};
pub(crate) use holdings::Holdings;
use websocket::{Visitor, WebSockets};

/// What the handlers work with.
pub(crate) struct Services {
    pub access: Access,
    pub storage: Arc<dyn Storage>,
    pub holdings: Holdings,
    pub writer: Writer,
    pub metrics: Arc<Metrics>,
    pub clock: Arc<Clock>,
    pub endpoint: Endpoint,
    /// The other relays on the same database.
    pub nodes: Arc<Nodes>,
    pub limits: RelayLimits,
    pub public_url: Option<Url>,
    /// Told to native devices instead of the addresses that the endpoint found.
    pub public_udp: Vec<SocketAddr>,
    pub tcp: SocketAddr,
    /// Whether that port speaks TLS.
    pub tls: bool,
    pub web: Option<PathBuf>,
    pub invite_rate: NonZeroU32,
    /// Numbers are served on the operator's own listener alone.
    pub private_numbers: bool,
    pub history: Arc<History>,
    pub started: Instant,
    pub shutdown: CancellationToken,
}

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

/// By which listener a connection came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Door {
    /// The TCP port, for everybody.
    Public,
    /// A port of the loopback interface that only the own endpoint is told of: what everybody else does on the TCP port
    /// cannot keep it out, and it needs no certificate.
    Own,
}

/// What the server of the TCP port works with.
pub(crate) struct HttpContext {
    pub websockets: WebSockets,
    pub proxies: Proxies,
    /// Connections of each network.
    pub seats: Seats,
    pub metrics: Arc<Metrics>,
    /// What the TCP port is spoken to with; `None` for plain HTTP.
    pub tls: Option<Tls>,
    pub stop: CancellationToken,
}

/// The server of the TCP port.
#[derive(Clone)]
pub(crate) struct Http {
    context: Arc<HttpContext>,
    router: LateRouter,
    turned_away: Arc<Semaphore>,
}

impl Http {
    pub fn new(context: HttpContext) -> Self {
        Self {
            context: Arc::new(context),
            router: LateRouter::default(),
            turned_away: Arc::new(Semaphore::new(limits::MAX_TURNED_AWAY)),
        }
    }

    pub fn router(&self) -> LateRouter {
        self.router.clone()
    }

    /// Accepts everybody's connections until it is stopped.
    pub async fn run(self, listener: TcpListener) {
        self.accept_all(listener, Door::Public, limits::MAX_HTTP_CONNECTIONS)
            .await;
    }

    /// Accepts those of the own endpoint until it is stopped.
    pub async fn run_own(self, listener: TcpListener) {
        self.accept_all(listener, Door::Own, limits::MAX_OWN_CONNECTIONS)
            .await;
    }

    async fn accept_all(self, listener: TcpListener, door: Door, room: usize) {
        let room = Arc::new(Semaphore::new(room));
        let tasks = TaskTracker::new();
        loop {
            // Waiting here leaves further connections in the kernel's queue.
            let accepted = tokio::select! {
                () = self.context.stop.cancelled() => break,
                accepted = accept(&listener, &room) => accepted,
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
            let server = self.clone();
            tasks.spawn(async move {
                server.admit(stream, peer.ip().to_canonical(), door).await;
                drop(permit);
            });
        }
        tasks.close();
        let _ = timeout(limits::SHUTDOWN_TIMEOUT, tasks.wait()).await;
    }

    /// Serves a connection if its network may have one more, and otherwise says so.
    async fn admit(self, stream: TcpStream, peer: IpAddr, door: Door) {
        let _ = stream.set_nodelay(true);
        // A trusted proxy's connections carry the requests of many, which are counted one by one.
        let network = (!self.context.proxies.trust(peer)).then(|| Network::of(peer));
        let Some(seat) = self.context.seats.take(network) else {
            self.context.metrics.crowded.inc();
            if let Ok(_permit) = self.turned_away.try_acquire()
                && let Some(stream) = self.secure(stream, door).await
            {
                turn_away(stream, &self.context.metrics).await;
            }
            return;
        };
        if let Some(stream) = self.secure(stream, door).await {
            let visit = Visit {
                tls: matches!(stream, MaybeTlsStream::Tls(_)),
                http: self,
                peer,
                door,
                seat: Arc::new(seat),
            };
            visit.serve(stream).await;
        }
    }

    /// Completes the TLS handshake, if there has to be one.
    async fn secure(&self, stream: TcpStream, door: Door) -> Option<MaybeTlsStream> {
        let tls = self.context.tls.as_ref().filter(|_| door == Door::Public);
        let Some(tls) = tls else {
            return Some(MaybeTlsStream::Plain(stream));
        };
        match tls.accept(stream).await {
            Ok(stream) => stream,
            Err(error) => {
                tracing::debug!(%error, "a TLS handshake failed");
                None
            }
        }
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

/// Answers the first request of a connection that is one too many.
async fn turn_away(stream: MaybeTlsStream, metrics: &Metrics) {
    let service = service_fn(|_: Request<Incoming>| async {
        Ok::<_, Infallible>(refusal(crowded(), metrics))
    });
    let connection = http1::Builder::new()
        .keep_alive(false)
        .max_buf_size(limits::MAX_HEADER_BYTES)
        .serve_connection(TokioIo::new(stream), service);
    let _ = timeout(limits::CLOSE_TIMEOUT, connection).await;
}

/// One connection.
#[derive(Clone)]
struct Visit {
    http: Http,
    peer: IpAddr,
    door: Door,
    tls: bool,
    seat: Arc<Seat>,
}

impl Visit {
    async fn serve(self, stream: MaybeTlsStream) {
        let stop = self.http.context.stop.clone();
        let service = service_fn(move |request: Request<Incoming>| {
            let visit = self.clone();
            async move { Ok::<_, Infallible>(visit.dispatch(request).await) }
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(limits::HEADER_TIMEOUT)
            .max_buf_size(limits::MAX_HEADER_BYTES)
            .serve_connection(TokioIo::new(stream), service)
            .with_upgrades();
        tokio::pin!(connection);
        tokio::select! {
            result = connection.as_mut() => if let Err(error) = result {
                tracing::debug!(%error, "an HTTP connection failed");
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

    async fn dispatch(self, mut request: Request<Incoming>) -> Response<Body> {
        let context = &self.http.context;
        let client = context
            .proxies
            .client(self.peer, self.tls, request.headers());
        let seat = if client.proxied {
            let Some(seat) = context.seats.take(client.network) else {
                context.metrics.crowded.inc();
                return refusal(crowded(), &context.metrics);
            };
            Arc::new(seat)
        } else {
            self.seat
        };
        if request.uri().path() == RELAY_PATH {
            let visitor = Visitor {
                network: client.network,
                seat,
                own: self.door == Door::Own,
            };
            let answer = context.websockets.upgrade(request, visitor);
            return answer.unwrap_or_else(|error| refusal(error, &context.metrics));
        }
        if let Some(response) = probes::answer(&request) {
            return response;
        }
        let router = match self.door {
            Door::Public => self.http.router.0.get(),
            Door::Own => return plain(StatusCode::NOT_FOUND),
        };
        let Some(router) = router else {
            return plain(StatusCode::SERVICE_UNAVAILABLE);
        };
        request.extensions_mut().insert(client);
        match router.clone().oneshot(request.map(Body::new)).await {
            Ok(response) => response,
            Err(never) => match never {},
        }
    }
}

fn crowded() -> ApiError {
    let text = "too many connections from this address; close some, or wait and try again";
    ApiError::new(StatusCode::TOO_MANY_REQUESTS, "RATE_LIMITED", text)
        .reason("connections")
        .retry_after(limits::CONNECTIONS_RETRY)
}

/// A refusal that did not come from the router, which apps of any origin may read like every other.
fn refusal(error: ApiError, metrics: &Metrics) -> Response<Body> {
    let mut response = error.into_response();
    if let Some(Code(code)) = response.extensions().get() {
        metrics.refused(Via::Http, code);
    }
    let headers = response.headers_mut();
    headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    headers.insert(
        ACCESS_CONTROL_EXPOSE_HEADERS,
        HeaderValue::from_static("retry-after"),
    );
    response
}

fn plain(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    response
}
