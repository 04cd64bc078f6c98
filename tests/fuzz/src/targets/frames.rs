//! Frames as they come from a stream, in pieces of any size.

use bytes::BytesMut;
use futures_util::FutureExt as _;
use zerok_sync_shared::codec::{self, DecodeError, PREFIX_LEN};
use zerok_sync_shared::ids::BlobId;
use zerok_sync_shared::limits;
use zerok_sync_shared::message::{Message, Push, Subscribe, WireError};
use zerok_sync_transport::frames::{ChunkSource, FrameReader, ReadError};

/// A stream that gives its bytes in pieces.
struct Pieces<'a> {
    rest: &'a [u8],
    piece: usize,
}

impl ChunkSource for Pieces<'_> {
    async fn read_into(&mut self, buffer: &mut BytesMut) -> Result<bool, ReadError> {
        let (piece, rest) = self.rest.split_at(self.piece.min(self.rest.len()));
        buffer.extend_from_slice(piece);
        self.rest = rest;
        Ok(!piece.is_empty())
    }
}

fn read_all(data: &[u8], piece: usize, limit: usize) -> (Vec<Result<Message, DecodeError>>, bool) {
    let mut reader = FrameReader::new(Pieces { rest: data, piece });
    let mut read = Vec::new();
    loop {
        let next = reader.next(limit).now_or_never().expect("bytes are there");
        match next {
            Ok(Some(message)) => {
                let end = matches!(message, Err(DecodeError::TooLong { .. }));
                read.push(message);
                if end {
                    return (read, true);
                }
            }
            Ok(None) => return (read, true),
            Err(_) => return (read, false),
        }
    }
}

pub fn run(data: &[u8]) {
    let Some((&how, data)) = data.split_first() else {
        return;
    };
    let limit = [64, limits::MAX_HELLO_FRAME, limits::MAX_FRAME][usize::from(how % 3)];
    let read = read_all(data, usize::from(how) + 1, limit);
    assert_eq!(
        read,
        read_all(data, data.len().max(1), limit),
        "pieces make no difference"
    );
    for message in read.0.iter().flatten() {
        let frame = codec::encode(message);
        assert_eq!(codec::decode(&frame[PREFIX_LEN..]).as_ref(), Ok(message));
        if let Message::Blob(blob) = message {
            let (head, payload) = codec::encode_blob(blob);
            assert_eq!([head.as_slice(), &payload].concat(), frame);
        }
    }
}

pub fn seeds() -> Vec<Vec<u8>> {
    let push = Message::Push(Push {
        blob_id: BlobId([1; 16]),
        epoch: 0,
        ttl: 60,
        payload: b"payload".as_slice().into(),
        origin: None,
    });
    let subscribe = Message::Subscribe(Subscribe {
        after_cursor: 7,
        window: 1000,
    });
    let error = Message::Error(WireError::new(1000.into(), "text"));
    let mut seeds: Vec<Vec<u8>> = [&push, &subscribe, &error]
        .map(|message| [vec![2], codec::encode(message)].concat())
        .into();
    seeds.push([vec![5], codec::encode(&push), codec::encode(&subscribe)].concat());
    seeds
}
