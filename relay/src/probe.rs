//! `zerok-relay health`: asks the relay that runs with the same settings, for where there is no curl.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use axum::body::Body;
use axum::http::{Request, StatusCode, header};
use http_body_util::{BodyExt as _, Limited};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::Config;
use crate::tls::itself;

/// What a relay has to answer within; whoever asks this gives up soon after.
const PATIENCE: Duration = Duration::from_secs(4);
/// Longest answer that is read.
const MAX_ANSWER: usize = 16 * 1024;

/// A relay that is not well, or is not there.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    /// Nobody answers.
    #[error("no relay answers at {0}: {1}")]
    Unreachable(SocketAddr, String),
    /// It says what it lacks.
    #[error("the relay is not well: {0}")]
    Unwell(String),
}

/// Asks for `/health` and gives the answer.
///
/// # Errors
/// [`ProbeError`]
pub async fn ask(config: &Config) -> Result<String, ProbeError> {
    // The operator's own listener is never behind TLS.
    let tls = config.serves_tls() && config.metrics_bind.is_none();
    let address = reachable(config.metrics_bind.unwrap_or(config.tcp_address()));
    let (status, answer) = match timeout(PATIENCE, get(address, tls)).await {
        Ok(Ok(answered)) => answered,
        Ok(Err(error)) => return Err(ProbeError::Unreachable(address, error.to_string())),
        Err(_) => return Err(ProbeError::Unreachable(address, "it takes too long".into())),
    };
    if status == StatusCode::OK {
        Ok(answer)
    } else {
        Err(ProbeError::Unwell(answer))
    }
}

async fn get(address: SocketAddr, tls: bool) -> anyhow::Result<(StatusCode, String)> {
    if tls {
        exchange(itself::connect(address).await?, address).await
    } else {
        exchange(TcpStream::connect(address).await?, address).await
    }
}

async fn exchange<S>(stream: S, address: SocketAddr) -> anyhow::Result<(StatusCode, String)>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let request = Request::get("/health")
        .header(header::HOST, address.to_string())
        .body(Body::empty())?;
    let exchange = async {
        let response = sender.send_request(request).await?;
        let status = response.status();
        let body = Limited::new(response.into_body(), MAX_ANSWER);
        let body = body.collect().await.map_err(anyhow::Error::from_boxed)?;
        let text = String::from_utf8_lossy(&body.to_bytes()).into_owned();
        Ok((status, text))
    };
    tokio::select! {
        answered = exchange => answered,
        ended = connection => Err(match ended {
            Ok(()) => anyhow::anyhow!("it hung up"),
            Err(error) => error.into(),
        }),
    }
}

/// Where a listener on this address is reached from the same machine.
fn reachable(listens: SocketAddr) -> SocketAddr {
    let ip = match listens.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    SocketAddr::new(ip, listens.port())
}
