//! Frames to bytes and back: `u32` little-endian length, then MessagePack `[code, [fields…]]`.

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::limits;
use crate::message::{Message, code};

/// Length of the length prefix.
pub const PREFIX_LEN: usize = 4;

/// Bytes that are not a frame.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The length prefix passes what is allowed here.
    #[error("the frame has {length} bytes, at most {limit} are allowed")]
    TooLong {
        /// Announced length.
        length: usize,
        /// Allowed length.
        limit: usize,
    },
    /// Not MessagePack of the right shape.
    #[error("the frame is malformed")]
    Malformed,
    /// A code that this version does not know.
    #[error("message type {0:#04x} is unknown")]
    UnknownType(u8),
    /// A field breaks its limit.
    #[error("the field {0} is too long")]
    Limit(&'static str),
}

/// Reads a length prefix and refuses it before anything of that length is allocated.
///
/// # Errors
/// [`DecodeError::TooLong`]
pub fn frame_length(prefix: [u8; PREFIX_LEN], limit: usize) -> Result<usize, DecodeError> {
    let length = u32::from_le_bytes(prefix) as usize;
    if length > limit {
        Err(DecodeError::TooLong { length, limit })
    } else {
        Ok(length)
    }
}

/// A message as a whole frame, with its length prefix.
#[must_use]
pub fn encode(message: &Message) -> Vec<u8> {
    let expected = match message {
        Message::Push(push) => push.payload.len(),
        Message::Blob(blob) => blob.payload.len(),
        _ => 0,
    };
    let mut out = Vec::with_capacity(expected + 256);
    out.extend_from_slice(&[0; PREFIX_LEN]);
    out.extend_from_slice(&[0x92, 0xCC, message.code()]); // array of two, the first a u8
    match message {
        Message::Hello(fields) => write(&mut out, fields),
        Message::Welcome(fields) => write(&mut out, fields),
        Message::Push(fields) => write(&mut out, fields),
        Message::PushAck(fields) => write(&mut out, fields),
        Message::Subscribe(fields) => write(&mut out, fields),
        Message::Blob(fields) => write(&mut out, fields),
        Message::CaughtUp { max_cursor } => write(&mut out, &(max_cursor,)),
        Message::Ack { cursor } => write(&mut out, &(cursor,)),
        Message::Pull(fields) => write(&mut out, fields),
        Message::PullResponse(fields) => write(&mut out, fields),
        Message::Has { blob_ids } | Message::HasResponse { blob_ids } => {
            write(&mut out, &(blob_ids,))
        }
        Message::Bye { reason } => write(&mut out, &(reason,)),
        Message::Error(fields) => write(&mut out, fields),
    }
    let length = u32::try_from(out.len() - PREFIX_LEN).unwrap_or(u32::MAX);
    out[..PREFIX_LEN].copy_from_slice(&length.to_le_bytes());
    out
}

/// Reads a frame without its length prefix.
///
/// # Errors
/// [`DecodeError`]; nothing is ever allocated beyond the length of `frame`.
pub fn decode(frame: &[u8]) -> Result<Message, DecodeError> {
    if frame.len() > limits::MAX_FRAME {
        return Err(DecodeError::TooLong {
            length: frame.len(),
            limit: limits::MAX_FRAME,
        });
    }
    // The code is written in one form only, so that a frame has one encoding.
    let [0x92, 0xCC, code, fields @ ..] = frame else {
        return Err(DecodeError::Malformed);
    };
    let message = match *code {
        code::HELLO => Message::Hello(read(fields)?),
        code::WELCOME => Message::Welcome(read(fields)?),
        code::PUSH => Message::Push(read(fields)?),
        code::PUSH_ACK => Message::PushAck(read(fields)?),
        code::SUBSCRIBE => Message::Subscribe(read(fields)?),
        code::BLOB => Message::Blob(read(fields)?),
        code::CAUGHT_UP => read(fields).map(|(max_cursor,)| Message::CaughtUp { max_cursor })?,
        code::ACK => read(fields).map(|(cursor,)| Message::Ack { cursor })?,
        code::PULL => Message::Pull(read(fields)?),
        code::PULL_RESPONSE => Message::PullResponse(read(fields)?),
        code::HAS => read(fields).map(|(blob_ids,)| Message::Has { blob_ids })?,
        code::HAS_RESPONSE => read(fields).map(|(blob_ids,)| Message::HasResponse { blob_ids })?,
        code::BYE => read(fields).map(|(reason,)| Message::Bye { reason })?,
        code::ERROR => Message::Error(read(fields)?),
        unknown => return Err(DecodeError::UnknownType(unknown)),
    };
    match message.broken_limit() {
        Some(field) => Err(DecodeError::Limit(field)),
        None => Ok(message),
    }
}

/// A BLOB frame around a payload that the caller still owns: the header is small, the payload is not copied.
///
/// The two parts, written one after the other, are the frame of the [`Message::Blob`] with the same fields.
#[must_use]
pub fn encode_blob(blob: &crate::message::Blob) -> (Vec<u8>, Bytes) {
    let payload = blob.payload.clone();
    let head = crate::message::Blob {
        payload: Bytes::new(),
        ..blob.clone()
    };
    let mut out = encode(&Message::Blob(head));
    // The payload is the last field, so an empty `bin` (0xC4 0x00) ends the frame; put the real header in its place.
    out.truncate(out.len() - 2);
    write_bin_header(&mut out, payload.len());
    let length = u32::try_from(out.len() - PREFIX_LEN + payload.len()).unwrap_or(u32::MAX);
    out[..PREFIX_LEN].copy_from_slice(&length.to_le_bytes());
    (out, payload)
}

fn write_bin_header(out: &mut Vec<u8>, len: usize) {
    // Writing to a Vec cannot fail.
    let _ = rmp::encode::write_bin_len(out, u32::try_from(len).unwrap_or(u32::MAX));
}

/// Any serializable value as MessagePack, structs as arrays.
pub(crate) fn write<T: Serialize>(out: &mut Vec<u8>, value: &T) {
    // Writing to a Vec cannot fail, and none of our types has a `Serialize` that does.
    let result = value.serialize(&mut rmp_serde::Serializer::new(out));
    debug_assert!(result.is_ok(), "plain data serializes");
}

/// The reverse of [`write`]; bytes that follow the value are refused.
pub(crate) fn read<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, DecodeError> {
    let mut rest = bytes;
    let value = read_prefix(&mut rest)?;
    if rest.is_empty() {
        Ok(value)
    } else {
        Err(DecodeError::Malformed)
    }
}

/// Reads one value and leaves what follows it.
pub(crate) fn read_prefix<T: DeserializeOwned>(bytes: &mut &[u8]) -> Result<T, DecodeError> {
    T::deserialize(&mut rmp_serde::Deserializer::new(bytes)).map_err(|_| DecodeError::Malformed)
}

/// What a stored value is encoded with outside frames (client state): the same MessagePack.
#[must_use]
pub fn to_bytes<T: Serialize>(value: &T) -> Vec<u8> {
    let mut out = Vec::new();
    write(&mut out, value);
    out
}

/// The reverse of [`to_bytes`].
///
/// # Errors
/// [`DecodeError::Malformed`]
pub fn from_bytes<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, DecodeError> {
    read(bytes)
}
