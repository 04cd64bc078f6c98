//! Certificates from an ACME authority: a small one that checks the challenge as a real one does, but no signature of a
//! request.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use crate::common::config;
use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri};
use data_encoding::BASE64URL_NOPAD;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, CertifiedIssuer, IsCa,
    KeyPair,
};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::client::danger::{
    HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier,
};
use tokio_rustls::rustls::crypto::{CryptoProvider, ring};
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use tokio_rustls::rustls::{
    ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
};
use zerok_sync_relay::{Config, Relay};

const NAME: &str = "relay.example";
const TOKEN: &str = "evaGxfADs6pSRb2LAv9IZf17Dt3juxGJ-PCt92wr-oA";

/// The authority of RFC 8555, with one order for one name.
struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    base: String,
    /// The port of the relay; 0 until it is known.
    relay: watch::Sender<u16>,
    thumbprint: OnceLock<String>,
    proven: OnceLock<()>,
    certificate: Mutex<Option<String>>,
}

type Answer = (StatusCode, HeaderMap, String);

impl Authority {
    async fn start() -> Arc<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = Arc::new(Self {
            issuer: CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap(),
            base: format!("http://{}", listener.local_addr().unwrap()),
            relay: watch::Sender::new(0),
            thumbprint: OnceLock::new(),
            proven: OnceLock::new(),
            certificate: Mutex::default(),
        });
        let router = Router::new()
            .fallback(answer)
            .with_state(Arc::clone(&authority));
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        authority
    }

    fn order(&self) -> Value {
        let base = &self.base;
        let mut order = json!({
            "status": "pending", "authorizations": [format!("{base}/authorization")], "finalize": format!("{base}/finalize"),
        });
        if self.certificate.lock().unwrap().is_some() {
            order["status"] = "valid".into();
            order["certificate"] = format!("{base}/certificate").into();
        } else if self.proven.get().is_some() {
            order["status"] = "ready".into();
        }
        order
    }

    /// RFC 8737: the certificate of a handshake for the name holds the hash of the token and the account's key.
    async fn validate(&self) {
        let port = *self
            .relay
            .subscribe()
            .wait_for(|port| *port != 0)
            .await
            .unwrap();
        let provider = Arc::new(ring::default_provider());
        let mut client = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .unwrap()
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Anybody(provider)))
            .with_no_client_auth();
        client.alpn_protocols = vec![b"acme-tls/1".to_vec()];
        let stream = connect(port, client).await.unwrap();
        let (_, connection) = stream.get_ref();
        assert_eq!(connection.alpn_protocol(), Some(&b"acme-tls/1"[..]));
        let shown = connection.peer_certificates().unwrap()[0].clone();
        let expected = Sha256::digest(format!("{TOKEN}.{}", self.thumbprint.get().unwrap()));
        assert!(
            shown.windows(32).any(|part| part == &expected[..]),
            "the challenge is answered"
        );
        let _ = self.proven.set(());
    }
}

async fn answer(State(authority): State<Arc<Authority>>, uri: Uri, body: Bytes) -> Answer {
    let base = &authority.base;
    let signed: Value = serde_json::from_slice(&body).unwrap_or_default();
    let part = |name: &str| -> Value {
        let bytes = BASE64URL_NOPAD.decode(signed[name].as_str().unwrap_or_default().as_bytes());
        serde_json::from_slice(&bytes.unwrap()).unwrap_or_default()
    };
    let mut headers = HeaderMap::new();
    headers.insert("replay-nonce", "bm9uY2U".parse().unwrap());
    let mut located = |path: &str| {
        headers.insert("location", format!("{base}/{path}").parse().unwrap());
    };
    let answer = match uri.path() {
        "/directory" => json!({
            "newNonce": format!("{base}/nonce"), "newAccount": format!("{base}/account"), "newOrder": format!("{base}/order"),
        }),
        "/nonce" => Value::Null,
        "/account" => {
            let key = &part("protected")["jwk"];
            // RFC 7638: the members in this order, without spaces.
            let canonical = format!(
                r#"{{"crv":{},"kty":{},"x":{},"y":{}}}"#,
                key["crv"], key["kty"], key["x"], key["y"]
            );
            let _ = authority
                .thumbprint
                .set(BASE64URL_NOPAD.encode(&Sha256::digest(canonical)));
            assert_eq!(
                part("payload")["contact"],
                json!(["mailto:admin@relay.example"])
            );
            located("account/1");
            json!({ "status": "valid" })
        }
        "/order" | "/order/1" => {
            located("order/1");
            authority.order()
        }
        "/authorization" => json!({
            "status": if authority.proven.get().is_some() { "valid" } else { "pending" },
            "identifier": { "type": "dns", "value": NAME },
            "challenges": [{ "type": "tls-alpn-01", "url": format!("{base}/challenge"), "token": TOKEN }],
        }),
        "/challenge" => {
            authority.validate().await;
            json!({})
        }
        "/finalize" => {
            assert!(authority.proven.get().is_some());
            let csr = BASE64URL_NOPAD
                .decode(part("payload")["csr"].as_str().unwrap().as_bytes())
                .unwrap();
            let csr = CertificateSigningRequestParams::from_der(&csr.into()).unwrap();
            let certificate = csr.signed_by(&authority.issuer).unwrap();
            *authority.certificate.lock().unwrap() = Some(certificate.pem());
            authority.order()
        }
        "/certificate" => {
            let pem = authority.certificate.lock().unwrap().clone().unwrap();
            return (StatusCode::OK, headers, pem);
        }
        other => panic!("{other}"),
    };
    (StatusCode::OK, headers, answer.to_string())
}

/// Whoever answers is looked at afterwards.
#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

async fn connect(port: u16, client: ClientConfig) -> std::io::Result<TlsStream<TcpStream>> {
    let stream = TcpStream::connect(("127.0.0.1", port)).await?;
    let name = NAME.try_into().unwrap();
    TlsConnector::from(Arc::new(client))
        .connect(name, stream)
        .await
}

/// Connects as a client that trusts the authority, as soon as there is a certificate.
async fn trusted(relay: &Relay, authority: &Authority) {
    let port = relay
        .http_url()
        .rsplit(':')
        .next()
        .unwrap()
        .parse()
        .unwrap();
    let attempt = async || {
        let mut roots = RootCertStore::empty();
        roots.add(authority.issuer.der().clone()).unwrap();
        let client = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        connect(port, client).await.is_ok()
    };
    let served = async {
        while !attempt().await {
            sleep(Duration::from_millis(200)).await;
        }
    };
    timeout(Duration::from_secs(60), served)
        .await
        .expect("a certificate");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_is_ordered_proven_served_and_kept() {
    let authority = Authority::start().await;
    let folder = tempfile::tempdir().unwrap();
    let with_acme = |directory: &str| -> Config {
        let mut config = config(&folder);
        config.acme_domain = vec![NAME.to_owned()];
        config.acme_contact = Some("admin@relay.example".to_owned());
        config.acme_directory = directory.to_owned();
        config
    };
    let directory = format!("{}/directory", authority.base);
    let relay = Relay::start(with_acme(&directory)).await.unwrap();
    assert!(relay.http_url().starts_with("https://relay.example:"));
    let port = relay
        .http_url()
        .rsplit(':')
        .next()
        .unwrap()
        .parse()
        .unwrap();
    authority.relay.send_replace(port);
    trusted(&relay, &authority).await;
    relay.shutdown().await;
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        let kept = std::fs::metadata(folder.path().join("data/acme")).unwrap();
        assert_eq!(kept.permissions().mode() & 0o777, 0o700);
    }
    // Started again, it has its certificate without asking.
    *authority.certificate.lock().unwrap() = None;
    let relay = Relay::start(with_acme(&directory)).await.unwrap();
    trusted(&relay, &authority).await;
    assert!(
        authority.certificate.lock().unwrap().is_none(),
        "none was ordered"
    );
    relay.shutdown().await;
}
