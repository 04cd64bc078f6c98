//! What the harness says to a device process and hears from it: one JSON object a line, the same for native devices and pages.
//!
//! A request has a number and gets one answer with that number. In between, and without being asked, a device tells what
//! happens. It ends when its input does.

use serde::{Deserialize, Serialize};

/// What a body is padded with, so that large ones are short to write down. A head never ends with it.
pub const PADDING: u8 = b'.';

/// A request.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Request {
    /// Comes back in the answer.
    pub id: u64,
    /// What to do.
    #[serde(flatten)]
    pub op: Op,
}

/// What a device can do.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "kebab-case")]
pub enum Op {
    /// Opens the client, with the groups it has.
    Open {
        /// The relay's URL.
        url: String,
        /// The folder of its data; a page has its own.
        store: String,
        /// Its name.
        name: String,
        /// Whether it uses nothing but the WebSocket.
        websocket: bool,
    },
    /// Founds a group.
    Create,
    /// Makes an invite; answers with its link.
    Invite,
    /// Joins by a link.
    Join {
        /// The link.
        link: String,
    },
    /// Pushes bodies; tells of each that resolved at once, and of each that was refused in the answer.
    Push {
        /// What to push.
        bodies: Vec<Body>,
        /// Without waiting for one before the next is pushed.
        at_once: bool,
    },
    /// Answers when nothing waits to be sent.
    Flush,
    /// How the group stands.
    Status,
    /// The log after a position.
    Log {
        /// The position.
        after: u64,
    },
    /// What must not leak.
    Secrets,
    /// The network came or went.
    Network {
        /// Whether there is one.
        online: bool,
    },
    /// Closes the client in good order.
    Close,
}

/// A body: a text, and how many bytes of padding follow it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Body {
    /// The text.
    pub head: String,
    /// The bytes of padding.
    pub pad: usize,
}

impl Body {
    /// As it is pushed.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = self.head.clone().into_bytes();
        bytes.resize(bytes.len() + self.pad, PADDING);
        bytes
    }

    /// From what was received. Whatever is not a padded text comes out as a body that nobody pushed.
    #[must_use]
    pub fn parse(bytes: &[u8]) -> Self {
        let head = bytes
            .iter()
            .rposition(|byte| *byte != PADDING)
            .map_or(0, |last| last + 1);
        Self {
            head: String::from_utf8_lossy(&bytes[..head]).into_owned(),
            pad: bytes.len() - head,
        }
    }
}

/// A blob of a log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Its id, in hex.
    pub blob: String,
    /// Who pushed it, in hex.
    pub sender: String,
    /// What it says.
    #[serde(flatten)]
    pub body: Body,
}

/// How a group stands on a device.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// As apps see it.
    pub state: String,
    /// Blobs that no relay has yet.
    pub pending: u64,
    /// Newest position of the log.
    pub position: u64,
    /// Highest contiguous sequence per device; pages don't tell.
    pub vector: Option<std::collections::BTreeMap<String, u64>>,
}

/// What a device says.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Line {
    /// An answer.
    Answer {
        /// The number of the request.
        id: u64,
        /// What came of it.
        #[serde(flatten)]
        result: Answer,
    },
    /// What happened.
    Told(Told),
}

/// What came of a request.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Answer {
    /// It worked.
    Ok(serde_json::Value),
    /// It was refused.
    Refused(Refusal),
}

/// Why a request was refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{code}: {message}")]
pub struct Refusal {
    /// The code of the error.
    pub code: String,
    /// Its text.
    pub message: String,
}

/// What happens.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "told", rename_all = "kebab-case")]
pub enum Told {
    /// A push resolved: the blob must never be lost from now on.
    Promised {
        /// The number of the request.
        request: u64,
        /// Which of its bodies.
        index: usize,
        /// Its id, in hex.
        blob: String,
    },
    /// The log is now so long.
    Position {
        /// Newest position.
        position: u64,
    },
    /// An error event.
    Error {
        /// Its code.
        code: String,
        /// Its text.
        message: String,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_read_back() {
        for (head, pad) in [("", 0), ("a", 0), ("text", 1000)] {
            let body = Body {
                head: head.to_owned(),
                pad,
            };
            assert_eq!(Body::parse(&body.bytes()), body);
        }
        assert_eq!(Body::parse(&[0xFF, b'.']).pad, 1);
    }

    #[test]
    fn lines_are_read_back() {
        for text in [
            r#"{"id":1,"ok":null}"#,
            r#"{"id":1,"refused":{"code":"CLOSED","message":"gone"}}"#,
            r#"{"told":"position","position":7}"#,
        ] {
            let line: Line = serde_json::from_str(text).unwrap();
            assert_eq!(serde_json::to_string(&line).unwrap(), text);
        }
        let request: Request = serde_json::from_str(r#"{"id":1,"op":"join","link":"x"}"#).unwrap();
        assert!(matches!(request.op, Op::Join { .. }));
    }
}
