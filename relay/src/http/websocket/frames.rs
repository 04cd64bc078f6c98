//! The messages of one WebSocket, and which of them are forwarded.
//!
//! A message of a client is a tag and what belongs to it. With the tags of packets the first 32 bytes after it are the
//! public key of the endpoint that the packet is for; that is all that is looked at here. The iroh relay reads the rest.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::{Sink, Stream};
use iroh::EndpointId;
use iroh_relay::ExportKeyingMaterial;
use iroh_relay::protos::common::FrameType;
use iroh_relay::protos::streams::StreamError;
use iroh_relay::server::streams::MaybeTlsStream;
use prometheus_client::metrics::counter::Counter;
use tokio_websockets::{Limits, Message, ServerBuilder, WebSocketStream};

use super::paced::Paced;
use crate::deployment::Deployment;
use crate::limits;

/// Which packets of a client are forwarded: those for the relay's own endpoints.
#[derive(Debug)]
pub(super) struct Filter {
    pub deployment: Arc<Deployment>,
    pub refused: Counter,
}

impl Filter {
    fn passes(&self, message: &[u8]) -> bool {
        // Tags are variable-length integers, which can be written in several ways. Only the shortest is let through, for
        // otherwise a packet could pass as something else; the iroh relay writes no other.
        let is = |tag: FrameType| message.first().copied().map(u32::from) == Some(tag.into());
        if is(FrameType::Ping) || is(FrameType::Pong) {
            return true;
        }
        let to_ours = (is(FrameType::ClientToRelayDatagram)
            || is(FrameType::ClientToRelayDatagramBatch))
            && message
                .get(1..=EndpointId::LENGTH)
                .and_then(|key| key.try_into().ok())
                .is_some_and(|key| self.deployment.has_key(key));
        if !to_ours {
            self.refused.inc();
        }
        to_ours
    }
}

/// What ends a connection.
struct End(BoxFuture<'static, ()>);

impl fmt::Debug for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("End")
    }
}

/// A stream and a sink of messages, as the iroh relay takes it.
#[derive(Debug)]
pub(super) struct Frames<H> {
    socket: WebSocketStream<Paced>,
    filter: Option<Filter>,
    /// A pong is queued, which goes out before anything more is read: a client that pings and never reads cannot make
    /// pongs pile up.
    answer_first: bool,
    end: Option<End>,
    #[expect(
        dead_code,
        reason = "held for as long as the connection lives, not used"
    )]
    held: H,
}

impl Frames<()> {
    /// Takes over a connection that was turned into a WebSocket.
    pub fn new(stream: MaybeTlsStream, rate: u64) -> Self {
        let limits = Limits::default().max_payload_len(Some(limits::MAX_WEBSOCKET_MESSAGE));
        Self {
            socket: ServerBuilder::new()
                .limits(limits)
                .serve(Paced::new(stream, rate)),
            filter: None,
            answer_first: false,
            end: None,
            held: (),
        }
    }

    /// From here on, packets go where the filter lets them.
    pub fn filtered(self, filter: Filter) -> Self {
        Self {
            filter: Some(filter),
            ..self
        }
    }

    /// From here on, everything is read at once.
    pub fn unlimited(mut self) -> Self {
        self.socket.get_mut().set_unlimited();
        self
    }

    /// Ends the connection when this is over.
    pub fn until(self, end: impl Future<Output = ()> + Send + 'static) -> Self {
        Self {
            end: Some(End(Box::pin(end))),
            ..self
        }
    }

    /// Keeps something until the connection ends.
    pub fn holding<H>(self, held: H) -> Frames<H> {
        Frames {
            socket: self.socket,
            filter: self.filter,
            answer_first: self.answer_first,
            end: self.end,
            held,
        }
    }
}

impl<H> ExportKeyingMaterial for Frames<H> {
    fn export_keying_material<T: AsMut<[u8]>>(
        &self,
        output: T,
        label: &[u8],
        context: Option<&[u8]>,
    ) -> Option<T> {
        self.socket
            .get_ref()
            .export_keying_material(output, label, context)
    }
}

impl<H: Unpin> Stream for Frames<H> {
    type Item = Result<Bytes, StreamError>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        if let Some(End(end)) = &mut this.end
            && end.as_mut().poll(context).is_ready()
        {
            this.end = None;
            return Poll::Ready(None);
        }
        loop {
            if this.answer_first {
                ready!(Pin::new(&mut this.socket).poll_flush(context))
                    .map_err(StreamError::from_std)?;
                this.answer_first = false;
            }
            let message = match ready!(Pin::new(&mut this.socket).poll_next(context)) {
                Some(Ok(message)) => message,
                Some(Err(error)) => return Poll::Ready(Some(Err(StreamError::from_std(error)))),
                None => return Poll::Ready(None),
            };
            if message.is_close() {
                return Poll::Ready(None);
            }
            this.answer_first = message.is_ping();
            if message.is_binary() {
                let bytes = Bytes::from(message.into_payload());
                if this
                    .filter
                    .as_ref()
                    .is_none_or(|filter| filter.passes(&bytes))
                {
                    return Poll::Ready(Some(Ok(bytes)));
                }
            }
        }
    }
}

impl<H: Unpin> Sink<Bytes> for Frames<H> {
    type Error = StreamError;

    fn poll_ready(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Result<(), StreamError>> {
        Pin::new(&mut self.get_mut().socket)
            .poll_ready(context)
            .map_err(StreamError::from_std)
    }

    fn start_send(self: Pin<&mut Self>, bytes: Bytes) -> Result<(), StreamError> {
        Pin::new(&mut self.get_mut().socket)
            .start_send(Message::binary(bytes))
            .map_err(StreamError::from_std)
    }

    fn poll_flush(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Result<(), StreamError>> {
        Pin::new(&mut self.get_mut().socket)
            .poll_flush(context)
            .map_err(StreamError::from_std)
    }

    fn poll_close(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Result<(), StreamError>> {
        Pin::new(&mut self.get_mut().socket)
            .poll_close(context)
            .map_err(StreamError::from_std)
    }
}

#[cfg(test)]
mod tests {
    use iroh::SecretKey;

    use super::*;

    #[test]
    fn only_packets_for_this_relay_pass_and_only_in_the_shortest_form() {
        let (own, other) = (
            SecretKey::from_bytes(&[1; 32]).public(),
            SecretKey::from_bytes(&[2; 32]).public(),
        );
        let filter = Filter {
            deployment: Arc::new(Deployment::new(own, false)),
            refused: Counter::default(),
        };
        let packet = |tag: &[u8], to: EndpointId| [tag, to.as_bytes(), b"\0packet"].concat();
        for tag in [4, 5] {
            assert!(filter.passes(&packet(&[tag], own)));
            assert!(!filter.passes(&packet(&[tag], other)));
            // The same tags in two, four and eight bytes.
            assert!(!filter.passes(&packet(&[0x40, tag], other)));
            assert!(!filter.passes(&packet(&[0x80, 0, 0, tag], other)));
            assert!(!filter.passes(&packet(&[0xC0, 0, 0, 0, 0, 0, 0, tag], other)));
            assert!(!filter.passes(&[tag]), "cut off");
        }
        for tag in [9, 10] {
            assert!(filter.passes(&[&[tag][..], &[0; 8]].concat()));
        }
        assert!(!filter.passes(&[]) && !filter.passes(&[6]) && !filter.passes(&[255]));
        assert_eq!(filter.refused.get(), 13);
    }
}
