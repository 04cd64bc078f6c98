//! Frames to bytes and back: `u32` little-endian length, then MessagePack `[code, [fields…]]`.

use bytes::Bytes;

use crate::limits;
use crate::message::{Message, code};

pub use wire::Wire;

pub(crate) mod wire;

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
        Message::Snapshot(part) => part.payload.len(),
        _ => 0,
    };
    let mut out = Vec::with_capacity(expected + 256);
    out.extend_from_slice(&[0; PREFIX_LEN]);
    out.extend_from_slice(&[0x92, 0xCC, message.code()]); // array of two, the first a u8
    match message {
        Message::Hello(fields) => fields.put(&mut out),
        Message::Welcome(fields) => fields.put(&mut out),
        Message::Push(fields) => fields.put(&mut out),
        Message::PushAck(fields) => fields.put(&mut out),
        Message::Subscribe(fields) => fields.put(&mut out),
        Message::Blob(fields) => fields.put(&mut out),
        Message::CaughtUp { max_cursor: field } | Message::Ack { cursor: field } => {
            put_one(&mut out, field)
        }
        Message::Pull(fields) => fields.put(&mut out),
        Message::PullResponse(fields) => fields.put(&mut out),
        Message::Has { blob_ids } => put_one(&mut out, blob_ids),
        Message::HasResponse { marks } => put_one(&mut out, marks),
        Message::Delete(fields) => fields.put(&mut out),
        Message::Deleted { blob_id } => put_one(&mut out, blob_id),
        Message::Presence(fields) => fields.put(&mut out),
        Message::Ephemeral(fields) => fields.put(&mut out),
        Message::Devices => wire::put_array_len(&mut out, 0),
        Message::DevicesResponse { devices } => put_one(&mut out, devices),
        Message::Snapshot(fields) => fields.put(&mut out),
        Message::SnapshotAnswer(fields) => fields.put(&mut out),
        Message::GetSnapshot { part } => put_one(&mut out, part),
        Message::Revoke(fields) => fields.put(&mut out),
        Message::Revoked { certificates } => put_one(&mut out, certificates),
        Message::KeyPacket(fields) => fields.put(&mut out),
        Message::KeyPackets(fields) => fields.put(&mut out),
        Message::Chain { after_epoch } => put_one(&mut out, after_epoch),
        Message::Bye { reason } => put_one(&mut out, reason),
        Message::Error(fields) => fields.put(&mut out),
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
        code::HELLO => Message::Hello(from_bytes(fields)?),
        code::WELCOME => Message::Welcome(from_bytes(fields)?),
        code::PUSH => Message::Push(from_bytes(fields)?),
        code::PUSH_ACK => Message::PushAck(from_bytes(fields)?),
        code::SUBSCRIBE => Message::Subscribe(from_bytes(fields)?),
        code::BLOB => Message::Blob(from_bytes(fields)?),
        code::CAUGHT_UP => take_one(fields).map(|max_cursor| Message::CaughtUp { max_cursor })?,
        code::ACK => take_one(fields).map(|cursor| Message::Ack { cursor })?,
        code::PULL => Message::Pull(from_bytes(fields)?),
        code::PULL_RESPONSE => Message::PullResponse(from_bytes(fields)?),
        code::HAS => take_one(fields).map(|blob_ids| Message::Has { blob_ids })?,
        code::HAS_RESPONSE => take_one(fields).map(|marks| Message::HasResponse { marks })?,
        code::DELETE => Message::Delete(from_bytes(fields)?),
        code::DELETED => take_one(fields).map(|blob_id| Message::Deleted { blob_id })?,
        code::PRESENCE => Message::Presence(from_bytes(fields)?),
        code::EPHEMERAL => Message::Ephemeral(from_bytes(fields)?),
        code::DEVICES => take_none(fields).map(|()| Message::Devices)?,
        code::DEVICES_RESPONSE => {
            take_one(fields).map(|devices| Message::DevicesResponse { devices })?
        }
        code::SNAPSHOT => Message::Snapshot(from_bytes(fields)?),
        code::SNAPSHOT_ANSWER => Message::SnapshotAnswer(from_bytes(fields)?),
        code::GET_SNAPSHOT => take_one(fields).map(|part| Message::GetSnapshot { part })?,
        code::REVOKE_DEVICE => Message::Revoke(from_bytes(fields)?),
        code::DEVICE_REVOKED => {
            take_one(fields).map(|certificates| Message::Revoked { certificates })?
        }
        code::KEY_PACKET => Message::KeyPacket(from_bytes(fields)?),
        code::KEY_PACKETS => Message::KeyPackets(from_bytes(fields)?),
        code::CHAIN => take_one(fields).map(|after_epoch| Message::Chain { after_epoch })?,
        code::BYE => take_one(fields).map(|reason| Message::Bye { reason })?,
        code::ERROR => Message::Error(from_bytes(fields)?),
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
    wire::put_bytes_len(&mut out, payload.len());
    let length = u32::try_from(out.len() - PREFIX_LEN + payload.len()).unwrap_or(u32::MAX);
    out[..PREFIX_LEN].copy_from_slice(&length.to_le_bytes());
    (out, payload)
}

/// The fields of a message that has one.
fn put_one<T: Wire>(out: &mut Vec<u8>, field: &T) {
    wire::put_array_len(out, 1);
    field.put(out);
}

/// The reverse of [`put_one`].
fn take_one<T: Wire>(mut fields: &[u8]) -> Result<T, DecodeError> {
    wire::take_exact_array_len(&mut fields, 1)?;
    from_bytes(fields)
}

/// The fields of a message that has none.
fn take_none(mut fields: &[u8]) -> Result<(), DecodeError> {
    wire::take_exact_array_len(&mut fields, 0)?;
    fields
        .is_empty()
        .then_some(())
        .ok_or(DecodeError::Malformed)
}

/// A value as MessagePack, as it is in frames: what a device stores, and what is sealed.
#[must_use]
pub fn to_bytes<T: Wire>(value: &T) -> Vec<u8> {
    let mut out = Vec::new();
    value.put(&mut out);
    out
}

/// The reverse of [`to_bytes`].
///
/// # Errors
/// [`DecodeError::Malformed`], also when something follows the value.
pub fn from_bytes<T: Wire>(bytes: &[u8]) -> Result<T, DecodeError> {
    let mut rest = bytes;
    let value = T::take(&mut rest)?;
    if rest.is_empty() {
        Ok(value)
    } else {
        Err(DecodeError::Malformed)
    }
}
