//! A peer that speaks the bare protocol to a relay, correctly or not: it sends whatever it is told to.

use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use iroh::endpoint::{Connection, RelayMode};
use iroh::{Endpoint, EndpointAddr, SecretKey};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};
use tokio::time::timeout;
use zerok_sync_shared::crypto::access::hello_proof;
use zerok_sync_shared::crypto::keys::{EpochKeys, Secret};
use zerok_sync_shared::ids::{BlobId, DeviceId, GroupId, RelayId};
use zerok_sync_shared::limits;
use zerok_sync_shared::message::{
    ALPN, Hello, Message, Push, PushAck, VERSION, Welcome, WireError,
};
use zerok_sync_transport::endpoint as transport;
use zerok_sync_transport::frames::{FrameReader, FrameWriter};

/// A relay that says nothing for so long has failed.
const PATIENCE: Duration = Duration::from_secs(60);

/// An HTTP client.
///
/// # Errors
/// When it cannot be made.
pub fn http() -> Result<reqwest::Client> {
    // reqwest asks for a provider even where it speaks plain HTTP; a second call finds the first one's.
    let _ = (*zerok_sync_transport::tls::provider())
        .clone()
        .install_default();
    Ok(reqwest::Client::builder().timeout(PATIENCE).build()?)
}

/// Runs a command that starts a relay, and gives the process and the URL that it prints.
///
/// # Errors
/// When it ends or says nothing before it is ready.
pub async fn spawn_relay(command: &mut Command) -> Result<(Child, String)> {
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    let stdout = child
        .stdout
        .take()
        .context("the relay has no standard output")?;
    let mut lines = BufReader::new(stdout).lines();
    while let Some(line) = timeout(PATIENCE, lines.next_line()).await?? {
        if let Some((_, url)) = line.split_once("give clients this URL: ") {
            return Ok((child, url.trim().replace("localhost", "127.0.0.1")));
        }
    }
    bail!("the relay ended before it was ready")
}

/// The keys of epoch 0 of a group, from a number.
#[must_use]
pub fn keys(seed: u8) -> EpochKeys {
    EpochKeys::derive(0, Secret::new([seed; 32]))
}

/// A PUSH with an id made of a number.
#[must_use]
pub fn push(id: u64, payload: &[u8]) -> Message {
    Message::Push(Push {
        blob_id: blob_id(id),
        epoch: 0,
        ttl: 0,
        payload: payload.to_vec().into(),
        origin: None,
    })
}

/// A blob id made of a number; ids of consecutive numbers lie side by side, as those that devices draw.
#[must_use]
pub fn blob_id(id: u64) -> BlobId {
    let mut bytes = [0; BlobId::LEN];
    bytes[..8].copy_from_slice(&id.to_be_bytes());
    BlobId(bytes)
}

/// Who a relay is and where it is reached by UDP, as its `/.well-known/iroh` says.
///
/// # Errors
/// When there is no relay.
pub async fn locate(url: &str) -> Result<(RelayId, EndpointAddr)> {
    let directory: Value = http()?
        .get(format!("{url}/.well-known/iroh"))
        .send()
        .await?
        .json()
        .await?;
    // Of several nodes, the one that was asked.
    let nodes = directory["nodes"].as_array().context("no nodes")?;
    let asked = |node: &&Value| node["endpoint_id"] == directory["endpoint_id"];
    let node = nodes.iter().find(asked).context("it lists itself")?;
    let relay: RelayId = node["endpoint_id"]
        .as_str()
        .context("no endpoint id")?
        .parse()?;
    let mut address = EndpointAddr::new(transport::endpoint_id(relay)?);
    for udp in node["udp_addrs"].as_array().context("no UDP addresses")? {
        address = address.with_ip_addr(udp.as_str().context("no address")?.parse()?);
    }
    Ok((relay, address))
}

/// A connection to a relay, by UDP.
#[derive(Debug)]
pub struct Peer {
    endpoint: Endpoint,
    connection: Connection,
    relay: RelayId,
}

impl Peer {
    /// Connects as a new device, as `/.well-known/iroh` of the relay says.
    ///
    /// # Errors
    /// When there is no relay.
    pub async fn connect(url: &str) -> Result<Self> {
        Self::connect_as(url, SecretKey::generate()).await
    }

    /// The same as the device with this key.
    ///
    /// # Errors
    /// When there is no relay.
    pub async fn connect_as(url: &str, key: SecretKey) -> Result<Self> {
        let endpoint = transport::builder(key)
            .relay_mode(RelayMode::Disabled)
            .bind()
            .await?;
        Self::connect_on(&endpoint, url).await
    }

    /// The same from an endpoint that is there already.
    ///
    /// # Errors
    /// When there is no relay.
    pub async fn connect_on(endpoint: &Endpoint, url: &str) -> Result<Self> {
        let (relay, address) = locate(url).await?;
        let connection = timeout(PATIENCE, endpoint.connect(address, ALPN)).await??;
        Ok(Self {
            endpoint: endpoint.clone(),
            connection,
            relay,
        })
    }

    /// Connects an endpoint that is there already.
    ///
    /// # Errors
    /// When there is no relay at the address.
    pub async fn join(endpoint: Endpoint, address: EndpointAddr, relay: RelayId) -> Result<Self> {
        let connection = timeout(PATIENCE, endpoint.connect(address, ALPN)).await??;
        Ok(Self {
            endpoint,
            connection,
            relay,
        })
    }

    /// Who this peer is.
    #[must_use]
    pub fn device(&self) -> DeviceId {
        transport::device_id(self.endpoint.id())
    }

    /// Who the relay is.
    #[must_use]
    pub const fn relay(&self) -> RelayId {
        self.relay
    }

    /// What binds a proof to this connection.
    ///
    /// # Errors
    /// Never for an established connection.
    pub fn exporter(&self) -> Result<[u8; 32]> {
        Ok(transport::export(&self.connection)?)
    }

    /// Whether the connection still stands.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        self.connection.close_reason().is_none()
    }

    /// The right HELLO of a member.
    ///
    /// # Errors
    /// Never for an established connection.
    pub fn hello(&self, keys: &EpochKeys) -> Result<Hello> {
        self.hello_for(
            keys,
            keys.founded_group(),
            self.relay,
            self.device(),
            &self.exporter()?,
        )
    }

    /// A HELLO whose proof is for whatever is given.
    ///
    /// # Errors
    /// Never.
    pub fn hello_for(
        &self,
        keys: &EpochKeys,
        group_id: GroupId,
        relay: RelayId,
        device: DeviceId,
        exporter: &[u8; 32],
    ) -> Result<Hello> {
        Ok(Hello {
            version: VERSION,
            group_id,
            epoch: keys.epoch(),
            access_pub: keys.access_pub(),
            certificates: Vec::new(),
            proof: hello_proof(keys, relay, device, group_id, exporter),
            after_cursor: 0,
            capabilities: Vec::new(),
            access_token: None,
            marks: Vec::new(),
            probe: false,
        })
    }

    /// A stream on which nothing has been said.
    ///
    /// # Errors
    /// When the connection is gone.
    pub async fn open(&self) -> Result<Stream> {
        let (send, receive) = timeout(PATIENCE, self.connection.open_bi()).await??;
        Ok(Stream {
            writer: FrameWriter::new(send),
            reader: FrameReader::new(receive),
        })
    }

    /// A session that was welcomed.
    ///
    /// # Errors
    /// When it was not.
    pub async fn session(&self, keys: &EpochKeys) -> Result<(Stream, Welcome)> {
        let mut stream = self.open().await?;
        stream.send(&Message::Hello(self.hello(keys)?)).await?;
        match stream.receive().await? {
            Message::Welcome(welcome) => Ok((stream, welcome)),
            other => bail!("no WELCOME but {other:?}"),
        }
    }

    /// Says goodbye.
    pub async fn close(self) {
        self.endpoint.close().await;
    }
}

/// One stream of a peer.
#[derive(Debug)]
pub struct Stream {
    /// What is sent.
    pub writer: FrameWriter,
    /// What is received.
    pub reader: FrameReader,
}

impl Stream {
    /// Sends a message.
    ///
    /// # Errors
    /// When the stream is gone.
    pub async fn send(&mut self, message: &Message) -> Result<()> {
        self.writer.queue(message);
        Ok(timeout(PATIENCE, self.writer.flush()).await??)
    }

    /// Sends bytes, whatever they are.
    ///
    /// # Errors
    /// When the stream is gone.
    pub async fn send_bytes(&mut self, bytes: &[u8]) -> Result<()> {
        Ok(timeout(PATIENCE, self.writer.get_mut().write_all(bytes)).await??)
    }

    /// Sends bytes as a frame.
    ///
    /// # Errors
    /// When the stream is gone.
    pub async fn send_frame(&mut self, frame: &[u8]) -> Result<()> {
        let length = u32::try_from(frame.len())?.to_le_bytes();
        self.send_bytes(&[&length, frame].concat()).await
    }

    /// The next message; `None` at the end of the stream.
    ///
    /// # Errors
    /// When the stream is lost, the relay says nothing for long, or what it says is no message.
    pub async fn next(&mut self) -> Result<Option<Message>> {
        let next = timeout(PATIENCE, self.reader.next(limits::MAX_FRAME)).await;
        Ok(next.context("the relay does not answer")??.transpose()?)
    }

    /// The next message.
    ///
    /// # Errors
    /// When there is none.
    pub async fn receive(&mut self) -> Result<Message> {
        self.next().await?.context("the stream has ended")
    }

    /// The PUSH_ACK that comes next.
    ///
    /// # Errors
    /// When something else comes.
    pub async fn acknowledged(&mut self) -> Result<PushAck> {
        match self.receive().await? {
            Message::PushAck(ack) => Ok(ack),
            other => bail!("no PUSH_ACK but {other:?}"),
        }
    }

    /// The ERROR that comes next; the stream goes on.
    ///
    /// # Errors
    /// When something else comes.
    pub async fn error(&mut self) -> Result<WireError> {
        match self.receive().await? {
            Message::Error(error) => Ok(error),
            other => bail!("no ERROR but {other:?}"),
        }
    }

    /// The ERROR with which the relay ends the stream.
    ///
    /// # Errors
    /// When something else comes, or something more.
    pub async fn refused(&mut self) -> Result<WireError> {
        let error = self.error().await?;
        ensure!(
            self.next().await?.is_none(),
            "the stream goes on after {error:?}"
        );
        Ok(error)
    }

    /// Which of these ids the relay has.
    ///
    /// # Errors
    /// When it does not say.
    pub async fn has(&mut self, ids: &[u64]) -> Result<Vec<BlobId>> {
        self.send(&Message::Has {
            blob_ids: ids.iter().copied().map(blob_id).collect(),
        })
        .await?;
        match self.receive().await? {
            Message::HasResponse { marks } => {
                Ok(marks.into_iter().map(|mark| mark.blob_id).collect())
            }
            other => bail!("no HAS_RESPONSE but {other:?}"),
        }
    }
}
