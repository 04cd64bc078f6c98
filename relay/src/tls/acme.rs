//! Certificates from an ACME authority (RFC 8555), which proves by a TLS handshake on this port that the name leads here
//! (TLS-ALPN-01, RFC 8737). Kept in the data folder, renewed when a third of their time is left.

use std::fs::DirBuilder;
use std::sync::Arc;

use futures_util::StreamExt as _;
use iroh_relay::tls::CaTlsConfig;
use tokio_rustls_acme::caches::DirCache;
use tokio_rustls_acme::{AcmeAcceptor, AcmeConfig, ResolvesServerCertAcme};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::TlsError;
use crate::config::Config;

/// Name of the folder in the data folder.
const FOLDER: &str = "acme";

/// Begins to get certificates; those of former starts are served at once.
pub(super) fn start(
    config: &Config,
    tasks: &TaskTracker,
    stop: &CancellationToken,
) -> Result<(Arc<ResolvesServerCertAcme>, AcmeAcceptor), TlsError> {
    let folder = config.data_dir.join(FOLDER);
    let mut builder = DirBuilder::new();
    builder.recursive(true);
    // It holds private keys.
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder
        .create(&folder)
        .map_err(|error| TlsError::Folder(folder.clone(), error))?;
    let provider = super::provider();
    // The library sets up the handshake of its challenges with the process's provider. One that is there already will do.
    let _ = (*provider).clone().install_default();
    let client = CaTlsConfig::embedded()
        .client_config(provider)
        .map_err(|error| TlsError::Folder(folder.clone(), error))?;
    let contact = config
        .acme_contact
        .iter()
        .map(|address| match address.contains(':') {
            true => address.clone(),
            false => format!("mailto:{address}"),
        });
    let mut state = AcmeConfig::new_with_client_tls_config(&config.acme_domain, Arc::new(client))
        .contact(contact)
        .directory(&config.acme_directory)
        .cache(DirCache::new(folder))
        .state();
    let (resolver, acceptor) = (state.resolver(), state.acceptor());
    let stop = stop.clone();
    tasks.spawn(async move {
        loop {
            let event = tokio::select! {
                () = stop.cancelled() => return,
                event = state.next() => event,
            };
            match event {
                Some(Ok(event)) => tracing::info!(?event, "certificates"),
                Some(Err(error)) => tracing::error!(
                    %error,
                    "no certificate from the authority, it is asked again later; does the name lead to this machine, and \
                     port 443 to the relay's?"
                ),
                None => return,
            }
        }
    });
    Ok((resolver, acceptor))
}
