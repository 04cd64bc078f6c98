//! Messages from and to QUIC streams.
//!
//! Both halves keep their state in themselves: dropping one of their futures in a `select!` loses nothing.

use std::future::Future;

use bytes::{Bytes, BytesMut};
use iroh::endpoint::{RecvStream, SendStream};
use zerok_sync_shared::codec::{self, DecodeError, PREFIX_LEN};
use zerok_sync_shared::message::Message;

/// Chunks taken from a stream at once; each is one packet's worth.
const CHUNKS: usize = 32;
/// A frame whose payload is at least this long is sent without copying the payload.
const MIN_UNCOPIED: usize = 4096;
/// What is copied together is cut into chunks of about this size.
const CHUNK_LEN: usize = 64 * 1024;

/// Where bytes come from: a QUIC stream, or a test.
pub trait ChunkSource {
    /// Waits for bytes and appends them to `buffer`; `false` at the end of the stream. Must be cancel-safe.
    fn read_into(&mut self, buffer: &mut BytesMut)
    -> impl Future<Output = Result<bool, ReadError>>;
}

impl ChunkSource for RecvStream {
    async fn read_into(&mut self, buffer: &mut BytesMut) -> Result<bool, ReadError> {
        let mut chunks = [const { Bytes::new() }; CHUNKS];
        let count = self
            .read_many_chunks(&mut chunks)
            .await
            .map_err(|error| ReadError::Lost(error.to_string()))?;
        for chunk in chunks.iter().take(count.unwrap_or(0)) {
            buffer.extend_from_slice(chunk);
        }
        Ok(count.is_some())
    }
}

/// A stream from which no further frame comes, though it did not end cleanly.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// It ended inside a frame.
    #[error("the stream ended inside a frame")]
    Truncated,
    /// It was reset, or the connection was lost.
    #[error("the stream was lost: {0}")]
    Lost(String),
}

/// Reads messages from a stream.
#[derive(Debug)]
pub struct FrameReader<S = RecvStream> {
    source: S,
    buffer: BytesMut,
    last_len: usize,
}

impl<S> FrameReader<S> {
    /// A reader at the start of a stream.
    pub fn new(source: S) -> Self {
        Self {
            source,
            buffer: BytesMut::new(),
            last_len: 0,
        }
    }

    /// Bytes of the message that was given last.
    #[must_use]
    pub const fn last_len(&self) -> usize {
        self.last_len
    }

    /// Bytes that have arrived of messages that were not given yet.
    #[must_use]
    pub fn arrived(&self) -> usize {
        self.buffer.len()
    }

    /// Bytes of the next message, as its header says; 0 before that is there. Nothing has checked it.
    #[must_use]
    pub fn announced(&self) -> usize {
        self.buffer
            .first_chunk()
            .and_then(|prefix| codec::frame_length(*prefix, usize::MAX).ok())
            .map_or(0, |length| PREFIX_LEN + length)
    }

    /// The stream, for instance to stop it.
    pub fn get_mut(&mut self) -> &mut S {
        &mut self.source
    }

    /// The next message, if all of it has arrived already.
    ///
    /// `limit` is the longest frame that is accepted now. After an error of the kind
    /// [`DecodeError::TooLong`] nothing more can be read; the caller ends the stream.
    pub fn try_next(&mut self, limit: usize) -> Option<Result<Message, DecodeError>> {
        let prefix: [u8; PREFIX_LEN] = *self.buffer.first_chunk()?;
        let length = match codec::frame_length(prefix, limit) {
            Ok(length) => length,
            Err(error) => return Some(Err(error)),
        };
        let end = PREFIX_LEN + length;
        if self.buffer.len() < end {
            return None;
        }
        self.last_len = end;
        let frame = self.buffer.split_to(end);
        Some(codec::decode(&frame[PREFIX_LEN..]))
    }
}

impl<S: ChunkSource> FrameReader<S> {
    /// The next message; `None` when the stream has ended between two frames.
    ///
    /// # Errors
    /// [`ReadError`] when the stream is lost. What is not a message is in the inner result.
    pub async fn next(
        &mut self,
        limit: usize,
    ) -> Result<Option<Result<Message, DecodeError>>, ReadError> {
        loop {
            if let Some(message) = self.try_next(limit) {
                return Ok(Some(message));
            }
            if !self.fill().await? {
                return Ok(None);
            }
        }
    }

    /// Waits for bytes, when [`FrameReader::try_next`] has no message; `false` when the stream has ended between two frames.
    /// Cancel-safe.
    ///
    /// # Errors
    /// [`ReadError`] when the stream is lost.
    pub async fn fill(&mut self) -> Result<bool, ReadError> {
        // The length is within the limit that `try_next` was given, and so is this.
        let missing = self.announced().saturating_sub(self.buffer.len());
        self.buffer.reserve(missing);
        if self.source.read_into(&mut self.buffer).await? {
            return Ok(true);
        }
        if self.buffer.is_empty() {
            Ok(false)
        } else {
            Err(ReadError::Truncated)
        }
    }
}

/// A stream that takes no more.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the stream takes no more: {0}")]
pub struct WriteError(String);

/// Collects messages and writes them to a stream together.
#[derive(Debug)]
pub struct FrameWriter {
    stream: SendStream,
    queue: FrameQueue,
}

impl FrameWriter {
    /// A writer at the start of a stream.
    #[must_use]
    pub fn new(stream: SendStream) -> Self {
        Self {
            stream,
            queue: FrameQueue::default(),
        }
    }

    /// The stream, for instance to finish it.
    pub fn get_mut(&mut self) -> &mut SendStream {
        &mut self.stream
    }

    /// Appends a message to what will be written. Bounding it is up to the caller: see [`FrameWriter::queued`].
    pub fn queue(&mut self, message: &Message) {
        self.queue.push(message);
    }

    /// Bytes that are queued and not yet accepted by the stream.
    #[must_use]
    pub fn queued(&self) -> usize {
        self.queue.len
    }

    /// Whether everything has been accepted by the stream.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.queue.len == 0
    }

    /// Waits until the stream has taken some of what is queued. Cancel-safe.
    ///
    /// # Errors
    /// [`WriteError`] when the other side has stopped the stream or the connection is lost.
    pub async fn write_some(&mut self) -> Result<(), WriteError> {
        if self.queue.is_empty_after_sealing() {
            return Ok(());
        }
        // The stream takes chunks out of the slice, and leaves the rest of one that it took in part.
        let mut left = self.queue.chunks.as_mut_slice();
        let written = self.stream.write_many_chunks(&mut left).await;
        let written = written.map_err(|error| WriteError(error.to_string()))?;
        let left = left.len();
        self.queue.forget_written(left, written);
        Ok(())
    }

    /// Writes all that is queued. Cancel-safe: a second call goes on where the first was dropped.
    ///
    /// # Errors
    /// Those of [`FrameWriter::write_some`]
    pub async fn flush(&mut self) -> Result<(), WriteError> {
        while !self.is_empty() {
            self.write_some().await?;
        }
        Ok(())
    }
}

/// Encoded frames as chunks: small frames are gathered, long payloads keep their own chunk.
#[derive(Debug, Default)]
struct FrameQueue {
    chunks: Vec<Bytes>,
    open: BytesMut,
    len: usize,
}

impl FrameQueue {
    fn push(&mut self, message: &Message) {
        match message {
            Message::Blob(blob) if blob.payload.len() >= MIN_UNCOPIED => {
                let (head, payload) = codec::encode_blob(blob);
                self.len += head.len() + payload.len();
                self.open.extend_from_slice(&head);
                self.seal();
                self.chunks.push(payload);
            }
            other => {
                let frame = codec::encode(other);
                self.len += frame.len();
                self.open.extend_from_slice(&frame);
                if self.open.len() >= CHUNK_LEN {
                    self.seal();
                }
            }
        }
    }

    fn seal(&mut self) {
        if !self.open.is_empty() {
            self.chunks.push(self.open.split().freeze());
        }
    }

    fn is_empty_after_sealing(&mut self) -> bool {
        self.seal();
        self.chunks.is_empty()
    }

    /// Drops all but the last `left` chunks, after `written` bytes were taken.
    fn forget_written(&mut self, left: usize, written: usize) {
        self.chunks.drain(..self.chunks.len().saturating_sub(left));
        self.len = self.len.saturating_sub(written);
    }
}

#[cfg(test)]
mod tests;
