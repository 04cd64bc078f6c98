//! The group against itself and against aws-lc-rs' implementation of the same.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{WebPkiSupportedAlgorithms, aws_lc_rs, verify_tls13_signature_with_raw_key};
use rustls::pki_types::{
    CertificateDer, PrivateKeyDer, ServerName, SubjectPublicKeyInfoDer, UnixTime,
};
use rustls::server::AlwaysResolvesServerRawPublicKeys;
use rustls::sign::CertifiedKey;
use rustls::version::TLS13;
use rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, ServerConfig, ServerConnection,
    SignatureScheme,
};

use super::*;

/// Ed25519, PKCS#8 (RFC 8410), seed of zeros. Only these tests use it.
fn test_key() -> PrivateKeyDer<'static> {
    let mut der = vec![
        0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04,
        0x20,
    ];
    der.extend_from_slice(&[0; 32]);
    PrivateKeyDer::try_from(der).unwrap()
}

/// Raw public keys need no certificate; who the server is does not matter here.
#[derive(Debug)]
struct AnyRawKey(WebPkiSupportedAlgorithms);

impl ServerCertVerifier for AnyRawKey {
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
        Err(Error::General("TLS 1.3 only".into()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let key = SubjectPublicKeyInfoDer::from(cert.as_ref());
        verify_tls13_signature_with_raw_key(message, &key, signature, &self.0)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_schemes()
    }

    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}

fn aws_provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

fn client(provider: Arc<CryptoProvider>) -> ClientConnection {
    let verifier = AnyRawKey(provider.signature_verification_algorithms);
    let config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth();
    ClientConnection::new(Arc::new(config), "relay.example".try_into().unwrap()).unwrap()
}

fn server(provider: Arc<CryptoProvider>) -> ServerConnection {
    let key = provider.key_provider.load_private_key(test_key()).unwrap();
    let public = key.public_key().unwrap();
    let certified = CertifiedKey::new(vec![CertificateDer::from(public.to_vec())], key);
    let config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13])
        .unwrap()
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(AlwaysResolvesServerRawPublicKeys::new(Arc::new(
            certified,
        ))));
    ServerConnection::new(Arc::new(config)).unwrap()
}

/// Runs a whole handshake in memory; `tamper` sees every byte the server sends.
fn handshake(
    client: &mut ClientConnection,
    server: &mut ServerConnection,
    mut tamper: impl FnMut(&mut Vec<u8>),
) -> Result<(), Error> {
    while client.is_handshaking() || server.is_handshaking() {
        let mut wire = Vec::new();
        while client.wants_write() {
            client.write_tls(&mut wire).unwrap();
        }
        let mut rest = wire.as_slice();
        while !rest.is_empty() {
            server.read_tls(&mut rest).unwrap();
            server.process_new_packets()?;
        }
        let mut wire = Vec::new();
        while server.wants_write() {
            server.write_tls(&mut wire).unwrap();
        }
        tamper(&mut wire);
        let mut rest = wire.as_slice();
        while !rest.is_empty() {
            client.read_tls(&mut rest).unwrap();
            client.process_new_packets()?;
        }
    }
    Ok(())
}

fn assert_negotiated(mut client: ClientConnection, mut server: ServerConnection) {
    handshake(&mut client, &mut server, |_| {}).unwrap();
    let group = client.negotiated_key_exchange_group().unwrap().name();
    assert_eq!(group, NamedGroup::X25519MLKEM768);
    assert_eq!(
        server.negotiated_key_exchange_group().unwrap().name(),
        group
    );
    let ours = client
        .export_keying_material([0u8; 32], b"test", None)
        .unwrap();
    assert_eq!(
        ours,
        server
            .export_keying_material([0u8; 32], b"test", None)
            .unwrap()
    );
}

#[test]
fn a_handshake_with_itself_is_post_quantum_and_chacha20() {
    let (mut client, mut server) = (client(provider()), server(provider()));
    handshake(&mut client, &mut server, |_| {}).unwrap();
    let suite = client.negotiated_cipher_suite().unwrap().suite();
    assert_eq!(suite, rustls::CipherSuite::TLS13_CHACHA20_POLY1305_SHA256);
    assert_negotiated(self::client(provider()), self::server(provider()));
}

#[test]
fn agrees_with_aws_lc_in_both_roles() {
    assert_negotiated(client(provider()), server(aws_provider()));
    assert_negotiated(client(aws_provider()), server(provider()));
}

#[test]
fn a_peer_without_the_hybrid_group_gets_x25519_without_another_round_trip() {
    let classical = Arc::new(CryptoProvider {
        kx_groups: vec![X25519],
        ..(*provider()).clone()
    });
    let (mut client, mut server) = (client(provider()), server(classical));
    handshake(&mut client, &mut server, |_| {}).unwrap();
    let group = client.negotiated_key_exchange_group().unwrap().name();
    assert_eq!(group, NamedGroup::X25519);
    assert_eq!(
        client.handshake_kind(),
        Some(rustls::HandshakeKind::Full),
        "no retry request"
    );
}

#[test]
fn a_corrupted_server_share_ends_the_handshake() {
    for offset in [200, 1100] {
        let (mut client, mut server) = (client(provider()), server(provider()));
        let mut first = true;
        let result = handshake(&mut client, &mut server, |wire| {
            if std::mem::take(&mut first) {
                // In the ServerHello, whose key share is nearly all of it.
                wire[offset] ^= 1;
            }
        });
        assert!(result.is_err(), "offset {offset}");
    }
}

#[test]
fn shares_of_a_wrong_length_or_value_are_refused() {
    let share = X25519_MLKEM768.start().unwrap().pub_key().to_vec();
    assert_eq!(share.len(), ENCAPSULATION_KEY_LEN + X25519_LEN);
    let done = X25519_MLKEM768.start_and_complete(&share).unwrap();
    assert_eq!(done.pub_key.len(), CIPHERTEXT_LEN + X25519_LEN);
    assert_eq!(done.secret.secret_bytes().len(), 2 * HALF_SECRET_LEN);

    let refused = |result: Result<CompletedKeyExchange, Error>| match result {
        Err(error) => assert_eq!(error, INVALID_KEY_SHARE),
        Ok(_) => panic!("accepted"),
    };
    for len in [0, 1, 32, ENCAPSULATION_KEY_LEN, share.len() - 1] {
        refused(X25519_MLKEM768.start_and_complete(&share[..len]));
    }
    refused(X25519_MLKEM768.start_and_complete(&[share.as_slice(), &[0]].concat()));
    let mut out_of_range = share.clone();
    out_of_range[..3].fill(0xFF);
    refused(X25519_MLKEM768.start_and_complete(&out_of_range));

    for len in [0, 32, CIPHERTEXT_LEN, CIPHERTEXT_LEN + X25519_LEN - 1, 4096] {
        let result = X25519_MLKEM768.start().unwrap().complete(&vec![1; len]);
        assert_eq!(result.map(|_| ()), Err(INVALID_KEY_SHARE), "{len}");
    }
}

#[test]
fn both_halves_matter() {
    let started = X25519_MLKEM768.start().unwrap();
    let done = X25519_MLKEM768
        .start_and_complete(started.pub_key())
        .unwrap();
    let secret = started.complete(&done.pub_key).unwrap();
    assert_eq!(secret.secret_bytes(), done.secret.secret_bytes());

    for at in [0, CIPHERTEXT_LEN] {
        let started = X25519_MLKEM768.start().unwrap();
        let mut done = X25519_MLKEM768
            .start_and_complete(started.pub_key())
            .unwrap();
        done.pub_key[at] ^= 1;
        let secret = started.complete(&done.pub_key).unwrap();
        assert_ne!(
            secret.secret_bytes(),
            done.secret.secret_bytes(),
            "byte {at}"
        );
    }
}
