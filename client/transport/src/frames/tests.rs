use std::collections::VecDeque;

use proptest::prelude::*;
use zerok_sync_shared::ids::{BlobId, DeviceId};
use zerok_sync_shared::limits::MAX_FRAME;
use zerok_sync_shared::message::{Blob, Push};
use zerok_sync_shared::time::Timestamp;

use super::*;

/// Chunks as they come; every other call is pending once, as a network is.
struct Chunks {
    left: VecDeque<Bytes>,
    ready: bool,
}

impl Chunks {
    fn new(chunks: impl IntoIterator<Item = Bytes>) -> Self {
        Self {
            left: chunks.into_iter().collect(),
            ready: false,
        }
    }
}

impl ChunkSource for Chunks {
    async fn read_into(&mut self, buffer: &mut BytesMut) -> Result<bool, ReadError> {
        if !std::mem::replace(&mut self.ready, true) {
            tokio::task::yield_now().await;
        }
        self.ready = false;
        let Some(chunk) = self.left.pop_front() else {
            return Ok(false);
        };
        buffer.extend_from_slice(&chunk);
        Ok(true)
    }
}

fn block_on<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap()
        .block_on(future)
}

fn message() -> impl Strategy<Value = Message> {
    let payload =
        prop_oneof![0..200usize, 4000..9000usize].prop_map(|len| Bytes::from(vec![7; len]));
    prop_oneof![
        any::<u64>().prop_map(|cursor| Message::Ack { cursor }),
        "[a-z]{0,40}".prop_map(|reason| Message::Bye { reason }),
        (any::<[u8; 16]>(), payload.clone()).prop_map(|(id, payload)| Message::Push(Push {
            blob_id: BlobId(id),
            epoch: 0,
            ttl: 0,
            payload,
            origin: None,
        })),
        (any::<u64>(), payload).prop_map(|(cursor, payload)| Message::Blob(Blob {
            cursor,
            blob_id: BlobId([1; 16]),
            sender: DeviceId([2; 32]),
            epoch: 3,
            timestamp: Timestamp(4),
            ttl: 60,
            payload,
        })),
    ]
}

fn cut(bytes: &[u8], cuts: Vec<usize>) -> Vec<Bytes> {
    let mut cuts: Vec<usize> = cuts
        .into_iter()
        .map(|cut| cut % (bytes.len() + 1))
        .collect();
    cuts.sort_unstable();
    let mut rest = bytes;
    let mut chunks = Vec::new();
    let mut at = 0;
    for cut in cuts {
        let (chunk, after) = rest.split_at(cut - at);
        chunks.push(Bytes::copy_from_slice(chunk));
        (rest, at) = (after, cut);
    }
    chunks.push(Bytes::copy_from_slice(rest));
    chunks
}

/// All messages of a stream; with `impatient`, every await is given up once and started again.
async fn read_all(source: Chunks, impatient: bool) -> Result<Vec<Message>, ReadError> {
    let mut reader = FrameReader::new(source);
    let mut messages = Vec::new();
    loop {
        let next = if impatient {
            tokio::select! {
                biased;
                next = reader.next(MAX_FRAME) => next,
                () = std::future::ready(()) => continue,
            }
        } else {
            reader.next(MAX_FRAME).await
        };
        match next? {
            Some(message) => messages.push(message.unwrap()),
            None => return Ok(messages),
        }
    }
}

proptest! {
    #[test]
    fn any_split_gives_the_same_frames(
        messages in proptest::collection::vec(message(), 0..12),
        cuts in proptest::collection::vec(any::<usize>(), 0..40),
        impatient in any::<bool>(),
    ) {
        let bytes: Vec<u8> = messages.iter().flat_map(codec::encode).collect();
        let read = block_on(read_all(Chunks::new(cut(&bytes, cuts)), impatient));
        prop_assert_eq!(read.unwrap(), messages);
    }

    #[test]
    fn queued_frames_are_the_encoded_ones(messages in proptest::collection::vec(message(), 0..12)) {
        let mut queue = FrameQueue::default();
        for message in &messages {
            queue.push(message);
        }
        queue.seal();
        let expected: Vec<u8> = messages.iter().flat_map(codec::encode).collect();
        prop_assert_eq!(queue.len, expected.len());
        prop_assert_eq!(queue.chunks.concat(), expected);
    }
}

#[test]
fn a_stream_that_ends_inside_a_frame_is_an_error() {
    let frame = codec::encode(&Message::Bye {
        reason: "done".into(),
    });
    for len in 1..frame.len() {
        let source = Chunks::new([Bytes::copy_from_slice(&frame[..len])]);
        assert_eq!(
            block_on(read_all(source, false)),
            Err(ReadError::Truncated),
            "{len} bytes"
        );
    }
}

#[test]
fn a_length_over_the_limit_is_refused_before_anything_is_buffered() {
    let source = Chunks::new([Bytes::from_static(&[0xFF, 0xFF, 0xFF, 0x7F])]);
    let mut reader = FrameReader::new(source);
    let next = block_on(reader.next(1000)).unwrap().unwrap();
    assert_eq!(
        next,
        Err(DecodeError::TooLong {
            length: 0x7FFF_FFFF,
            limit: 1000
        })
    );
    assert!(reader.buffer.capacity() < 1000);
}

#[test]
fn what_has_arrived_is_given_without_waiting() {
    let frame = codec::encode(&Message::Ack { cursor: 1 });
    let source = Chunks::new([Bytes::from(frame.repeat(3))]);
    let mut reader = FrameReader::new(source);
    block_on(reader.next(100)).unwrap().unwrap().unwrap();
    assert!(reader.try_next(100).is_some());
    assert!(reader.try_next(100).is_some());
    assert!(reader.try_next(100).is_none());
}

#[test]
fn what_the_stream_took_is_forgotten_and_the_rest_kept() {
    let mut queue = FrameQueue::default();
    for cursor in [1, 2] {
        queue.push(&Message::Ack { cursor });
        queue.seal();
    }
    let expected: usize = queue.chunks.iter().map(Bytes::len).sum();
    let _ = queue.chunks[1].split_to(2);
    queue.forget_written(1, queue.chunks[0].len() + 2);
    assert_eq!(queue.chunks.len(), 1);
    assert_eq!(queue.len, queue.chunks[0].len());
    assert!(queue.len < expected);
}
