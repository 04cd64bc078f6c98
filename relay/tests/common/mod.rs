//! A relay on free ports, and a device that speaks the bare protocol.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    dead_code,
    missing_docs
)]

use std::net::IpAddr;
use std::time::Duration;

use bytes::Bytes;
use iroh::endpoint::{Connection, RecvStream, RelayMode, SendStream};
use iroh::{Endpoint, EndpointAddr, RelayUrl, SecretKey, TransportAddr};
use tempfile::TempDir;
use zerok_sync_relay::{Config, Relay};
use zerok_sync_shared::crypto::access::{group_id, hello_proof};
use zerok_sync_shared::crypto::keys::{EpochKeys, Secret};
use zerok_sync_shared::ids::{BlobId, DeviceId, GroupId};
use zerok_sync_shared::limits::MAX_FRAME;
use zerok_sync_shared::message::{ALPN, Hello, Message, Push, Subscribe, WireError};
use zerok_sync_transport::endpoint as transport;
use zerok_sync_transport::frames::{FrameReader, FrameWriter};

pub const PATIENCE: Duration = Duration::from_secs(20);

pub fn config(folder: &TempDir) -> Config {
    let mut config = Config::new(folder.path().join("data"));
    config.port = 0;
    config.bind = IpAddr::from([127, 0, 0, 1]);
    config
}

pub async fn start() -> (Relay, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let relay = Relay::start(config(&folder)).await.unwrap();
    (relay, folder)
}

/// An HTTP client.
pub fn http() -> reqwest::Client {
    // reqwest asks for a provider even where it speaks plain HTTP.
    let _ = (*zerok_sync_transport::tls::provider())
        .clone()
        .install_default();
    reqwest::Client::new()
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Way {
    Udp,
    WebSocket,
}

pub struct Device {
    pub endpoint: Endpoint,
    pub connection: Connection,
    relay: DeviceId,
}

impl Device {
    /// Connects as `/.well-known/iroh` says.
    pub async fn connect(url: &str, way: Way) -> Self {
        let found: serde_json::Value = http()
            .get(format!("{url}/.well-known/iroh"))
            .send()
            .await
            .unwrap()
            .json()
            .await
            .unwrap();
        let node = &found["nodes"][0];
        let relay: DeviceId = node["endpoint_id"].as_str().unwrap().parse().unwrap();
        let relay_url: RelayUrl = node["relay_url"].as_str().unwrap().parse().unwrap();
        let builder = transport::builder(SecretKey::generate());
        let mut address = EndpointAddr::new(transport::endpoint_id(relay).unwrap());
        let builder = match way {
            Way::Udp => {
                for udp in node["udp_addrs"].as_array().unwrap() {
                    let udp = udp.as_str().unwrap().parse().unwrap();
                    address.addrs.insert(TransportAddr::Ip(udp));
                }
                builder.relay_mode(RelayMode::Disabled)
            }
            Way::WebSocket => {
                address = address.with_relay_url(relay_url.clone());
                builder
                    .relay_mode(RelayMode::custom([relay_url]))
                    .clear_ip_transports()
            }
        };
        let endpoint = builder.bind().await.unwrap();
        let connection = tokio::time::timeout(PATIENCE, endpoint.connect(address, ALPN))
            .await
            .unwrap()
            .unwrap();
        Self {
            endpoint,
            connection,
            relay,
        }
    }

    /// On a connection that was made in another way.
    pub const fn over(endpoint: Endpoint, connection: Connection, relay: DeviceId) -> Self {
        Self {
            endpoint,
            connection,
            relay,
        }
    }

    pub async fn open(&self) -> (SendStream, RecvStream) {
        self.connection.open_bi().await.unwrap()
    }

    pub fn hello(&self, keys: &EpochKeys) -> Hello {
        let group = group_id(&keys.access_pub());
        let device = transport::device_id(self.endpoint.id());
        let exporter = transport::export(&self.connection).unwrap();
        Hello {
            version: 1,
            group_id: group,
            epoch: 0,
            access_pub: keys.access_pub(),
            certificates: vec![],
            proof: hello_proof(keys, self.relay, device, group, &exporter),
            after_cursor: 0,
            capabilities: vec![],
            access_token: None,
            marks: Vec::new(),
            probe: false,
        }
    }

    /// A session that is open.
    pub async fn session(&self, keys: &EpochKeys) -> Session {
        let mut session = self.stream().await;
        session.send(Message::Hello(self.hello(keys))).await;
        match session.receive().await {
            Message::Welcome(_) => session,
            other => panic!("{other:?}"),
        }
    }

    /// A stream without a HELLO.
    pub async fn stream(&self) -> Session {
        let (send, receive) = self.open().await;
        Session {
            writer: FrameWriter::new(send),
            reader: FrameReader::new(receive),
        }
    }
}

pub struct Session {
    pub writer: FrameWriter,
    pub reader: FrameReader,
}

impl Session {
    pub async fn send(&mut self, message: Message) {
        self.writer.queue(&message);
        self.writer.flush().await.unwrap();
    }

    pub async fn send_bytes(&mut self, bytes: &[u8]) {
        self.writer.get_mut().write_all(bytes).await.unwrap();
    }

    /// The next message, or `None` at the end of the stream.
    pub async fn next(&mut self) -> Option<Message> {
        let next = tokio::time::timeout(PATIENCE, self.reader.next(MAX_FRAME)).await;
        next.expect("the relay answers")
            .ok()
            .flatten()
            .map(Result::unwrap)
    }

    pub async fn receive(&mut self) -> Message {
        self.next().await.expect("the stream goes on")
    }

    /// Expects an ERROR and then the end of the stream.
    pub async fn refused(&mut self) -> WireError {
        let Message::Error(error) = self.receive().await else {
            panic!("not an error")
        };
        assert_eq!(self.next().await, None);
        error
    }

    pub async fn push(&mut self, id: u8, payload: &[u8]) -> u64 {
        self.send(push(id, payload)).await;
        loop {
            match self.receive().await {
                Message::PushAck(ack) if ack.blob_id == BlobId([id; 16]) => return ack.cursor,
                Message::PushAck(_) | Message::Blob(_) | Message::CaughtUp { .. } => {}
                other => panic!("{other:?}"),
            }
        }
    }

    pub async fn subscribe(&mut self, after_cursor: u64) {
        self.send(Message::Subscribe(Subscribe {
            after_cursor,
            window: 1 << 20,
        }))
        .await;
    }
}

pub fn push(id: u8, payload: &[u8]) -> Message {
    Message::Push(Push {
        blob_id: BlobId([id; 16]),
        epoch: 0,
        ttl: 0,
        payload: Bytes::copy_from_slice(payload),
        origin: None,
    })
}

/// One that lives for so many seconds.
pub fn short_lived(id: u8, payload: &[u8], ttl: u32) -> Message {
    match push(id, payload) {
        Message::Push(push) => Message::Push(Push { ttl, ..push }),
        other => other,
    }
}

pub fn keys(seed: u8) -> EpochKeys {
    EpochKeys::derive(0, Secret::new([seed; 32]))
}

pub fn group(keys: &EpochKeys) -> GroupId {
    group_id(&keys.access_pub())
}
