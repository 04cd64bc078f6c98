//! TLS by the relay itself: real clients, real certificates, files that change while it runs.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::common::{PATIENCE, config, keys};
use iroh::endpoint::RelayMode;
use iroh::{EndpointAddr, RelayUrl, SecretKey};
use iroh_relay::tls::CaTlsConfig;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::version::{TLS12, TLS13};
use tokio_rustls::rustls::{
    ClientConfig, NamedGroup, ProtocolVersion, RootCertStore, SupportedProtocolVersion,
};
use zerok_sync_relay::{Config, Relay, probe};
use zerok_sync_shared::message::ALPN;
use zerok_sync_transport::{endpoint as transport, tls};

/// An authority that only these tests trust.
struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        Self(CertifiedIssuer::self_signed(params, key).unwrap())
    }

    fn root(&self) -> CertificateDer<'static> {
        self.0.der().clone()
    }

    /// Writes a new certificate for `localhost` and its key.
    fn issue(&self, folder: &Path) -> CertificateDer<'static> {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(["localhost".to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &self.0).unwrap();
        std::fs::write(folder.join("cert.pem"), certificate.pem()).unwrap();
        std::fs::write(folder.join("key.pem"), key.serialize_pem()).unwrap();
        certificate.der().clone()
    }
}

fn with_tls(folder: &TempDir) -> Config {
    let mut config = config(folder);
    config.tls_cert = Some(folder.path().join("cert.pem"));
    config.tls_key = Some(folder.path().join("key.pem"));
    config
}

fn port(relay: &Relay) -> u16 {
    relay
        .http_url()
        .rsplit(':')
        .next()
        .unwrap()
        .parse()
        .unwrap()
}

async fn shake_hands(
    relay: &Relay,
    root: CertificateDer<'static>,
    versions: &[&'static SupportedProtocolVersion],
) -> std::io::Result<TlsStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    roots.add(root).unwrap();
    // What common clients offer: everything, the hybrid group among it.
    let mut provider = tokio_rustls::rustls::crypto::ring::default_provider();
    provider.kx_groups.insert(0, tls::X25519_MLKEM768);
    let client = ClientConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(versions)
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let stream = TcpStream::connect(("127.0.0.1", port(relay))).await?;
    let name = "localhost".try_into().unwrap();
    TlsConnector::from(Arc::new(client))
        .connect(name, stream)
        .await
}

/// The certificate that the relay shows now.
async fn shown(relay: &Relay, authority: &Authority) -> CertificateDer<'static> {
    let stream = shake_hands(relay, authority.root(), &[&TLS13])
        .await
        .unwrap();
    stream.get_ref().1.peer_certificates().unwrap()[0].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_syncs_over_https_and_wss() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new();
    authority.issue(folder.path());
    let relay = Relay::start(with_tls(&folder)).await.unwrap();
    assert!(relay.http_url().starts_with("https://localhost:"));
    let trust = CaTlsConfig::custom_roots([authority.root()]);
    let https = reqwest::Client::builder()
        .tls_backend_preconfigured(trust.client_config(tls::provider()).unwrap())
        .build()
        .unwrap();
    let found = https.get(format!("{}/.well-known/iroh", relay.http_url()));
    let found: serde_json::Value = found.send().await.unwrap().json().await.unwrap();
    let url: RelayUrl = found["relay_url"].as_str().unwrap().parse().unwrap();
    assert_eq!(url.scheme(), "https");

    let endpoint = transport::builder(SecretKey::generate())
        .ca_tls_config(trust)
        .relay_mode(RelayMode::custom([url.clone()]))
        .clear_ip_transports()
        .bind()
        .await
        .unwrap();
    let address = EndpointAddr::new(transport::endpoint_id(relay.endpoint_id()).unwrap());
    let connecting = endpoint.connect(address.with_relay_url(url), ALPN);
    let connection = timeout(PATIENCE, connecting).await.unwrap().unwrap();
    let device = crate::common::Device::over(endpoint, connection, relay.endpoint_id());
    let mut session = device.session(&keys(1)).await;
    assert_eq!(session.push(1, b"over TLS").await, 1);
    // `zerok-relay health` asks by TLS too.
    let mut asked = with_tls(&folder);
    asked.port = port(&relay);
    assert!(probe::ask(&asked).await.unwrap().contains("ok"));
    relay.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_1_3_is_post_quantum_and_tls_1_2_is_there_for_others() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new();
    authority.issue(folder.path());
    let relay = Relay::start(with_tls(&folder)).await.unwrap();
    let newest = shake_hands(&relay, authority.root(), &[&TLS13, &TLS12])
        .await
        .unwrap();
    let negotiated = newest.get_ref().1;
    assert_eq!(
        negotiated.protocol_version(),
        Some(ProtocolVersion::TLSv1_3)
    );
    let group = negotiated.negotiated_key_exchange_group().unwrap().name();
    assert_eq!(group, NamedGroup::X25519MLKEM768);
    let mut old = shake_hands(&relay, authority.root(), &[&TLS12])
        .await
        .unwrap();
    assert_eq!(
        old.get_ref().1.protocol_version(),
        Some(ProtocolVersion::TLSv1_2)
    );
    old.write_all(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
        .await
        .unwrap();
    let mut answer = [0; 12];
    old.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 200");
    // Who trusts another authority is not served by mistake.
    assert!(
        shake_hands(&relay, Authority::new().root(), &[&TLS13])
            .await
            .is_err()
    );
    relay.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_certificate_is_served_and_a_bad_one_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new();
    let first = authority.issue(folder.path());
    let relay = Relay::start(with_tls(&folder)).await.unwrap();
    assert_eq!(shown(&relay, &authority).await, first);
    std::fs::write(folder.path().join("cert.pem"), "half a certifi").unwrap();
    // Long enough for the relay to have looked at it twice.
    let looks = tokio::time::Instant::now() + Duration::from_secs(12);
    while tokio::time::Instant::now() < looks {
        assert_eq!(shown(&relay, &authority).await, first);
        sleep(Duration::from_millis(500)).await;
    }
    let second = authority.issue(folder.path());
    let changed = async {
        while shown(&relay, &authority).await != second {
            sleep(Duration::from_millis(200)).await;
        }
    };
    timeout(Duration::from_secs(30), changed)
        .await
        .expect("the new certificate");
    relay.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_tls_or_half_of_it_is_dropped() {
    let folder = tempfile::tempdir().unwrap();
    Authority::new().issue(folder.path());
    let relay = Relay::start(with_tls(&folder)).await.unwrap();
    let connect = async || {
        TcpStream::connect(("127.0.0.1", port(&relay)))
            .await
            .unwrap()
    };
    let mut plain = connect().await;
    plain
        .write_all(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
        .await
        .unwrap();
    let mut idle = connect().await;
    for stream in [&mut plain, &mut idle] {
        let mut answer = Vec::new();
        let read = timeout(Duration::from_secs(25), stream.read_to_end(&mut answer));
        let _ = read.await.expect("closed");
        assert!(!answer.starts_with(b"HTTP"));
    }
    relay.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_that_cannot_be_used_are_refused_at_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new();
    authority.issue(folder.path());
    let refused = async |config: Config| Relay::start(config).await.err().unwrap().to_string();
    let mut half = with_tls(&folder);
    half.tls_key = None;
    assert!(refused(half).await.contains("--tls-key"));
    let mut both = with_tls(&folder);
    both.acme_domain = vec!["relay.example".into()];
    assert!(refused(both).await.contains("--acme-domain"));
    let mut gone = with_tls(&folder);
    gone.tls_cert = Some(folder.path().join("gone.pem"));
    assert!(refused(gone).await.contains("gone.pem"));
    let other = tempfile::tempdir().unwrap();
    authority.issue(other.path());
    let mut mixed = with_tls(&folder);
    mixed.tls_key = Some(other.path().join("key.pem"));
    assert!(refused(mixed).await.contains("cannot be used"));
}
