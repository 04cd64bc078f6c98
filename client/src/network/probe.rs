//! Asks a relay which of some groups it has, on a connection of its own that ends with the answers.

use std::sync::Arc;

use iroh::endpoint::{Connection, VarInt};
use n0_future::time;
use tokio::sync::mpsc;
use zerok_sync_shared::crypto::access;
use zerok_sync_shared::crypto::keys::EpochKeys;
use zerok_sync_shared::crypto::token::AccessToken;
use zerok_sync_shared::engine::StreamId;
use zerok_sync_shared::error::ErrorCode;
use zerok_sync_shared::failure::SyncError;
use zerok_sync_shared::ids::{DeviceId, RelayId};
use zerok_sync_shared::limits;
use zerok_sync_shared::message::{self, Hello, Message};
use zerok_sync_transport::endpoint as transport;

use super::{EVENT_QUEUE, LazyEndpoint, NetworkEvent, start_stream, unreachable};

/// Each question has a queue of its own: the name of its stream tells nothing.
const STREAM: StreamId = StreamId(0);

/// What a relay says of a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answer {
    /// It has the group, with these keys.
    Here {
        /// Newest cursor.
        max_cursor: u64,
    },
    /// It has the group, and its keys are others by now.
    Rotated,
    /// It has no such group.
    Unknown,
}

/// A connection for questions.
pub(crate) struct Probe {
    device: DeviceId,
    url: String,
    token: Option<AccessToken>,
    connection: Connection,
    relay_id: RelayId,
    exporter: [u8; 32],
}

impl Probe {
    pub(crate) async fn connect(
        endpoint: Arc<LazyEndpoint>,
        url: &str,
        token: Option<AccessToken>,
    ) -> Result<Self, SyncError> {
        let device = transport::device_id(endpoint.key.public());
        let dialled = endpoint.connect(url.to_owned(), token.clone()).await;
        let (connection, relay_id, exporter) = dialled?;
        Ok(Self {
            device,
            url: url.to_owned(),
            token,
            connection,
            relay_id,
            exporter,
        })
    }

    /// Whether the relay has the group that these keys found; `found` makes it if it is not there.
    pub(crate) async fn ask(&self, keys: &EpochKeys, found: bool) -> Result<Answer, SyncError> {
        let answer = time::timeout(limits::WELCOME_TIMEOUT, self.greet(keys, found)).await;
        match answer.unwrap_or(None) {
            Some(Message::Welcome(welcome)) if welcome.relay_id == self.relay_id => {
                Ok(Answer::Here {
                    max_cursor: welcome.max_cursor,
                })
            }
            Some(Message::Error(error)) => match error.code {
                ErrorCode::UnknownGroup => Ok(Answer::Unknown),
                ErrorCode::StaleEpoch => Ok(Answer::Rotated),
                _ => Err(SyncError::from_relay(&self.url, &error)),
            },
            // How the keys have changed: the group is there, and these are not its keys any more.
            Some(_) => Ok(Answer::Rotated),
            None => Err(unreachable(&self.url, "it does not answer")),
        }
    }

    /// Says HELLO on a stream, and gives what the relay says first.
    async fn greet(&self, keys: &EpochKeys, found: bool) -> Option<Message> {
        let group_id = keys.founded_group();
        let hello = Hello {
            version: message::VERSION,
            group_id,
            epoch: keys.epoch(),
            access_pub: keys.access_pub(),
            certificates: Vec::new(),
            proof: access::hello_proof(keys, self.relay_id, self.device, group_id, &self.exporter),
            after_cursor: 0,
            capabilities: Vec::new(),
            access_token: self.token.as_ref().map(|token| token.expose().to_owned()),
            marks: Vec::new(),
            probe: !found,
        };
        // The streams of sessions, so that a browser's core has the code once.
        let (events, mut answers) = mpsc::channel(EVENT_QUEUE);
        let (outgoing, _passing, _gate) = start_stream(self.connection.clone(), STREAM, events);
        outgoing.send(Message::Hello(hello)).ok()?;
        match answers.recv().await? {
            NetworkEvent::Frame { message, .. } => message.ok(),
            _ => None,
        }
    }
}

impl Drop for Probe {
    fn drop(&mut self) {
        self.connection.close(VarInt::from_u32(0), b"bye");
    }
}
