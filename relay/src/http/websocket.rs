//! The embedded iroh relay: forwards encrypted packets between the WebSockets of browsers and this process's endpoint.
//!
//! The protocol is that of `iroh-relay`, whose parts do the talking. What is our own is who is let in and what is
//! forwarded: the relay that the crate brings forwards between any two of its clients, for everybody and for nothing.

use std::sync::Arc;

use axum::body::Body;
use axum::http::header::{
    CONNECTION, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL,
    SEC_WEBSOCKET_VERSION, UPGRADE,
};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use iroh_relay::KeyCache;
use iroh_relay::http::{CLIENT_AUTH_HEADER, ProtocolVersion};
use iroh_relay::protos::handshake;
use iroh_relay::server::client::Config;
use iroh_relay::server::clients::Clients;
use iroh_relay::server::streams::{MaybeTlsStream, RelayedStream};
use iroh_relay::server::{Access, OnDisconnectGuard};
use sha1::{Digest as _, Sha1};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{sleep, timeout};
use zerok_sync_shared::error::ErrorCode;
use zerok_sync_transport::endpoint::device_id;

use super::bearer;
use super::error::ApiError;
use crate::access::Access as Admission;
use crate::deployment::Deployment;
use crate::limits;
use crate::metrics::{Counted, Metrics, Via};
use crate::network::seats::Seat;
use crate::network::{Network, Relayed};

mod frames;
mod paced;

use frames::{Filter, Frames};

const CODE: &str = "WEBSOCKET_INVALID";
/// Where iroh puts what it calls the token of a relay when it cannot set a header.
const TICKET_PARAMETER: &str = "token";
/// What RFC 6455 has a server add to a client's key.
const ACCEPT_GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// Who comes to open a WebSocket, and through which door.
#[derive(Debug)]
pub(super) struct Visitor {
    /// Where from, if anybody can tell.
    pub network: Option<Network>,
    /// Its place among the connections of that network, kept for as long as the WebSocket lives.
    pub seat: Arc<Seat>,
    /// Whether it came through the way in that only this process's own endpoint uses.
    pub own: bool,
}

/// The iroh relay and its connections.
#[derive(Debug, Clone)]
pub(crate) struct WebSockets(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    clients: Clients,
    keys: KeyCache,
    room: Arc<Semaphore>,
    deployment: Arc<Deployment>,
    admission: Admission,
    relayed: Relayed,
    rate: u64,
    metrics: Arc<Metrics>,
}

impl WebSockets {
    pub fn new(
        deployment: Arc<Deployment>,
        admission: Admission,
        relayed: Relayed,
        rate: u64,
        metrics: Arc<Metrics>,
    ) -> Self {
        Self(Arc::new(Inner {
            clients: Clients::default(),
            keys: KeyCache::new(limits::KEY_CACHE),
            room: Arc::new(Semaphore::new(limits::MAX_WEBSOCKETS)),
            deployment,
            admission,
            relayed,
            rate,
            metrics,
        }))
    }

    pub async fn shutdown(&self) {
        self.0.clients.shutdown().await;
    }

    /// Answers a request for a WebSocket, and takes the connection over once the answer is sent.
    pub(super) fn upgrade(
        &self,
        mut request: Request<Incoming>,
        visitor: Visitor,
    ) -> Result<Response<Body>, ApiError> {
        let asked = Asked::of(&request)?;
        // The own endpoint has a door of its own, so that it gets in when everything else is full.
        let permit = match visitor.own {
            true => None,
            false => Some(
                Arc::clone(&self.0.room)
                    .try_acquire_owned()
                    .map_err(|_| full())?,
            ),
        };
        let upgrade = hyper::upgrade::on(&mut request);
        let proof = request.headers_mut().remove(CLIENT_AUTH_HEADER);
        let ticket = ticket(&request);
        let (websockets, version) = (self.clone(), asked.version);
        tokio::spawn(async move {
            let opened = websockets.open(upgrade, proof, ticket, version, visitor, permit);
            // Whatever was half made is dropped with it, the connection first of all.
            match timeout(limits::WEBSOCKET_TIMEOUT, opened).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::debug!(%error, "a WebSocket was not opened"),
                Err(_) => tracing::debug!("the handshake of a WebSocket took too long"),
            }
        });
        Ok(asked.switch())
    }

    async fn open(
        &self,
        upgrade: OnUpgrade,
        proof: Option<HeaderValue>,
        ticket: Option<String>,
        version: ProtocolVersion,
        visitor: Visitor,
        permit: Option<OwnedSemaphorePermit>,
    ) -> Result<(), OpenError> {
        let inner = &self.0;
        let parts = upgrade
            .await?
            .downcast::<TokioIo<MaybeTlsStream>>()
            .map_err(|_| OpenError::Stream)?;
        if !parts.read_buf.is_empty() {
            return Err(OpenError::TooEarly);
        }
        let mut frames = Frames::new(
            parts.io.into_inner(),
            if visitor.own { 0 } else { inner.rate },
        );
        let authenticated = handshake::serverside(&mut frames, proof).await?;
        let endpoint = authenticated.client_key;
        let ours = inner.deployment.has(endpoint);
        let device = device_id(endpoint);
        let mut admitted = None;
        let access = if ours {
            Access::Allow
        } else if visitor.own {
            deny("this way in is the relay's own")
        } else {
            admitted = inner.admission.admit_ticket(device, ticket.as_deref());
            match admitted {
                Some(_) => Access::Allow,
                None => {
                    inner
                        .metrics
                        .refused(Via::Http, ErrorCode::Unauthorized.name());
                    deny("this relay asks for an access token")
                }
            }
        };
        authenticated.authorize_if(access, &mut frames).await?;
        let frames = match ours || inner.deployment.is_open() {
            true => frames,
            false => frames.filtered(Filter {
                deployment: Arc::clone(&inner.deployment),
                refused: inner.metrics.forward_refused.clone(),
            }),
        };
        let frames = if ours { frames.unlimited() } else { frames };
        let frames = match admitted {
            Some(mut admitted) => frames.until(async move {
                admitted.revoked().await;
                // Its sessions are told first, which for a browser goes by this WebSocket.
                sleep(limits::WITHDRAWN_TOKEN).await;
            }),
            None => frames,
        };
        let frames = frames.holding((
            inner.relayed.enter(endpoint, visitor.network),
            Counted::new(&inner.metrics.websockets),
            visitor.seat,
            permit,
        ));
        let stream = RelayedStream::new(frames, inner.keys.clone());
        let mut config = Config::new(OnDisconnectGuard::empty(endpoint), stream, version);
        config.write_timeout = limits::WEBSOCKET_WRITE_TIMEOUT;
        inner
            .clients
            .register(config, Arc::clone(&inner.metrics.live.forwarded));
        Ok(())
    }
}

fn deny(reason: &str) -> Access {
    Access::Deny {
        reason: Some(reason.to_owned()),
    }
}

/// What a native client shows in a header, and a browser, which cannot, in the URL.
fn ticket<B>(request: &Request<B>) -> Option<String> {
    if let Some(token) = bearer::token(request.headers()) {
        return Some(token.to_owned());
    }
    let query = request.uri().query()?;
    let mut pairs = url::form_urlencoded::parse(query.as_bytes());
    pairs
        .find(|(name, _)| name == TICKET_PARAMETER)
        .map(|(_, value)| value.into_owned())
}

/// Why a connection was not made a client.
#[derive(Debug, thiserror::Error)]
enum OpenError {
    #[error("the connection broke before it was a WebSocket: {0}")]
    Upgrade(#[from] hyper::Error),
    #[error("the connection is of an unknown kind")]
    Stream,
    #[error("bytes came before the answer")]
    TooEarly,
    #[error("the handshake failed: {0}")]
    Handshake(#[from] handshake::Error),
}

/// What a request for a WebSocket holds.
struct Asked {
    accept: String,
    version: ProtocolVersion,
}

impl Asked {
    fn of<B>(request: &Request<B>) -> Result<Self, ApiError> {
        let headers = request.headers();
        if request.method() != Method::GET {
            return Err(invalid("this path takes GET requests for a WebSocket"));
        }
        if !names(headers, UPGRADE, "websocket") || !names(headers, CONNECTION, "upgrade") {
            let text = "this path takes requests for a WebSocket only; a proxy in front has to pass on Upgrade and Connection";
            return Err(ApiError::new(StatusCode::UPGRADE_REQUIRED, CODE, text)
                .header(UPGRADE, "websocket"));
        }
        if headers
            .get(SEC_WEBSOCKET_VERSION)
            .is_none_or(|version| version != "13")
        {
            return Err(invalid("this relay takes WebSockets of version 13")
                .header(SEC_WEBSOCKET_VERSION, "13"));
        }
        let key = headers
            .get(SEC_WEBSOCKET_KEY)
            .ok_or_else(|| invalid("Sec-WebSocket-Key is missing"))?;
        let version = words(headers, SEC_WEBSOCKET_PROTOCOL)
            .filter_map(ProtocolVersion::match_from_str)
            .max()
            .ok_or_else(|| invalid("this relay speaks iroh-relay-v2 and iroh-relay-v1; update the app or the relay"))?;
        let digest = Sha1::new()
            .chain_update(key.as_bytes())
            .chain_update(ACCEPT_GUID)
            .finalize();
        Ok(Self {
            accept: data_encoding::BASE64.encode(&digest),
            version,
        })
    }

    fn switch(&self) -> Response<Body> {
        let mut response = super::plain(StatusCode::SWITCHING_PROTOCOLS);
        let headers = response.headers_mut();
        headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
        headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(SEC_WEBSOCKET_PROTOCOL, self.version.to_header_value());
        if let Ok(accept) = HeaderValue::try_from(&self.accept) {
            headers.insert(SEC_WEBSOCKET_ACCEPT, accept);
        }
        response
    }
}

/// The elements of a list in a header.
fn words(headers: &HeaderMap, name: HeaderName) -> impl Iterator<Item = &str> {
    let values = headers.get_all(name).into_iter();
    values
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(str::trim)
}

fn names(headers: &HeaderMap, name: HeaderName, word: &str) -> bool {
    words(headers, name).any(|found| found.eq_ignore_ascii_case(word))
}

const fn invalid(text: &'static str) -> ApiError {
    ApiError::new(StatusCode::BAD_REQUEST, CODE, text)
}

fn full() -> ApiError {
    let text = "this relay has too many connections; try again in a few seconds";
    ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "RELAY_OVERLOADED", text)
        .retry_after(limits::CONNECTIONS_RETRY)
}
