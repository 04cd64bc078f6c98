//! A certificate and its key in two files, taken over anew whenever they change.

use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use tokio::time::sleep;
use tokio_rustls::rustls::crypto::CryptoProvider;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::{ClientHello, ResolvesServerCert};
use tokio_rustls::rustls::sign::CertifiedKey;
use tokio_util::sync::CancellationToken;

use super::TlsError;
use crate::limits;

/// The two files and what was made of them last.
#[derive(Debug)]
pub(super) struct Files {
    certificate: PathBuf,
    key: PathBuf,
    provider: Arc<CryptoProvider>,
    current: RwLock<Arc<CertifiedKey>>,
}

/// What is in the two files.
#[derive(PartialEq, Eq)]
struct Contents {
    certificate: Vec<u8>,
    key: Vec<u8>,
}

impl Files {
    pub fn open(
        certificate: PathBuf,
        key: PathBuf,
        provider: Arc<CryptoProvider>,
    ) -> Result<Arc<Self>, TlsError> {
        let contents = Contents::read(&certificate, &key)?;
        let current = contents.parse(&certificate, &key, &provider)?;
        Ok(Arc::new(Self {
            certificate,
            key,
            provider,
            current: RwLock::new(Arc::new(current)),
        }))
    }

    /// Looks at the files until it is stopped.
    ///
    /// At what is in them and not at their times: what renews certificates moves links about. A change is taken over once
    /// it has stood still for one look, so that a certificate is not read with the key of the former.
    pub async fn watch(self: Arc<Self>, stop: CancellationToken) {
        let mut served = self.read();
        let mut seen = None;
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = sleep(limits::CERTIFICATE_INTERVAL) => {}
            }
            let now = self.read();
            if now == served {
                seen = None;
            } else if seen.as_ref() == Some(&now) {
                self.take_over(now.as_ref());
                served = now;
                seen = None;
            } else {
                seen = Some(now);
            }
        }
    }

    /// `None` while they cannot be read.
    fn read(&self) -> Option<Contents> {
        Contents::read(&self.certificate, &self.key).ok()
    }

    fn take_over(&self, contents: Option<&Contents>) {
        let made = match contents {
            Some(contents) => contents.parse(&self.certificate, &self.key, &self.provider),
            None => Contents::read(&self.certificate, &self.key)
                .and_then(|contents| contents.parse(&self.certificate, &self.key, &self.provider)),
        };
        match made {
            Ok(made) => {
                *self.current.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(made);
                tracing::info!("a new certificate is served");
            }
            Err(error) => tracing::error!(
                %error,
                "the new certificate cannot be used, the former one is served until it expires; put a certificate and its \
                 key into the two files"
            ),
        }
    }
}

impl Contents {
    fn read(certificate: &Path, key: &Path) -> Result<Self, TlsError> {
        let read = |path: &Path| {
            std::fs::read(path).map_err(|error| TlsError::Read(path.to_owned(), error))
        };
        Ok(Self {
            certificate: read(certificate)?,
            key: read(key)?,
        })
    }

    fn parse(
        &self,
        certificate: &Path,
        key: &Path,
        provider: &CryptoProvider,
    ) -> Result<CertifiedKey, TlsError> {
        let no_chain = || TlsError::Malformed(certificate.to_owned(), "certificate");
        let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&self.certificate).collect();
        let chain = chain
            .ok()
            .filter(|chain| !chain.is_empty())
            .ok_or_else(no_chain)?;
        let secret = PrivateKeyDer::from_pem_slice(&self.key)
            .map_err(|_| TlsError::Malformed(key.to_owned(), "private key"))?;
        CertifiedKey::from_der(chain, secret, provider)
            .map_err(|error| TlsError::Unusable(key.to_owned(), error))
    }
}

impl ResolvesServerCert for Files {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let current = self.current.read().unwrap_or_else(PoisonError::into_inner);
        Some(Arc::clone(&current))
    }
}
