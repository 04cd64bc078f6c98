//! TLS on the TCP port, for a relay without a proxy in front: certificates from files that are read again when they
//! change, or from an ACME authority such as Let's Encrypt.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use iroh_relay::server::streams::MaybeTlsStream;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::{CryptoProvider, ring};
use tokio_rustls::rustls::server::ResolvesServerCert;
use tokio_rustls::rustls::version::{TLS12, TLS13};
use tokio_rustls::rustls::{Error, ServerConfig};
use tokio_rustls_acme::AcmeAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::Config;
use crate::limits;

mod acme;
mod files;
pub(crate) mod itself;

/// Why TLS cannot be served, and what to do about it.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file is not there.
    #[error(
        "cannot read {0}: {1}; --tls-cert and --tls-key take PEM files that the relay may read"
    )]
    Read(PathBuf, io::Error),
    /// A file that holds something else.
    #[error("{0} has no {1} in PEM form")]
    Malformed(PathBuf, &'static str),
    /// The two do not belong together, or the key is of an unknown kind.
    #[error("the key {0} cannot be used with the certificate: {1}")]
    Unusable(PathBuf, Error),
    /// Half of the settings.
    #[error("--tls-cert and --tls-key belong together: set both or neither")]
    Half,
    /// All of them.
    #[error("a certificate comes either from --tls-cert or from --acme-domain: set one of them")]
    Both,
    /// No way to the authority's certificate store.
    #[error("cannot make the folder for certificates {0}: {1}")]
    Folder(PathBuf, io::Error),
    /// The library does not like its settings.
    #[error("TLS cannot be set up: {0}")]
    Setup(#[from] Error),
}

/// Turns TCP connections into TLS connections.
#[derive(Clone)]
pub(crate) struct Tls {
    config: Arc<ServerConfig>,
    challenges: Option<AcmeAcceptor>,
}

impl Tls {
    /// As the settings say; `None` if the port is plain HTTP.
    pub fn start(
        config: &Config,
        tasks: &TaskTracker,
        stop: &CancellationToken,
    ) -> Result<Option<Self>, TlsError> {
        let (certificates, challenges): (Arc<dyn ResolvesServerCert>, _) = match (
            &config.tls_cert,
            &config.tls_key,
            config.acme_domain.is_empty(),
        ) {
            (None, None, true) => return Ok(None),
            (Some(certificate), Some(key), true) => {
                let files = files::Files::open(certificate.clone(), key.clone(), provider())?;
                tasks.spawn(Arc::clone(&files).watch(stop.clone()));
                (files, None)
            }
            (None, None, false) => {
                let (resolver, acceptor) = acme::start(config, tasks, stop)?;
                (resolver, Some(acceptor))
            }
            (Some(_), Some(_), false) => return Err(TlsError::Both),
            _ => return Err(TlsError::Half),
        };
        let mut server = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&TLS13, &TLS12])?
            .with_no_client_auth()
            .with_cert_resolver(certificates);
        server.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Some(Self {
            config: Arc::new(server),
            challenges,
        }))
    }

    /// Completes a handshake. `None` if it was the authority that looked after its challenge.
    pub async fn accept(&self, stream: TcpStream) -> io::Result<Option<MaybeTlsStream>> {
        let handshake = async {
            let Some(challenges) = &self.challenges else {
                return TlsAcceptor::from(Arc::clone(&self.config))
                    .accept(stream)
                    .await
                    .map(Some);
            };
            match challenges.accept(stream).await? {
                Some(start) => start.into_stream(Arc::clone(&self.config)).await.map(Some),
                None => Ok(None),
            }
        };
        let stream = timeout(limits::TLS_TIMEOUT, handshake).await??;
        Ok(stream.map(MaybeTlsStream::Tls))
    }
}

/// That of the endpoints, which offers X25519MLKEM768 first, with what browsers and proxies of TLS 1.2 need.
fn provider() -> Arc<CryptoProvider> {
    let mut provider = (*zerok_sync_transport::tls::provider()).clone();
    let all = ring::default_provider();
    for suite in all.cipher_suites {
        if !provider.cipher_suites.contains(&suite) {
            provider.cipher_suites.push(suite);
        }
    }
    for group in all.kx_groups {
        if provider
            .kx_groups
            .iter()
            .all(|known| known.name() != group.name())
        {
            provider.kx_groups.push(group);
        }
    }
    Arc::new(provider)
}
