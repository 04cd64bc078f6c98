//! The device, opened by another process: requests go over its socket, one line of JSON each.
//!
//! A request is answered by two lines. The first says that it was taken, before anything is done; until then it can
//! safely be given to somebody else. The second is the answer.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::UnixStream;

use super::AskError;
use super::requests::{AnyRequest, Request};
use crate::failure::Failure;

/// Longest line that is read: a page of the log, as base64 with much to spare.
pub const MAX_LINE: u64 = 32 * 1024 * 1024;

/// Where the process that has a folder open listens.
pub fn socket(folder: &Path) -> PathBuf {
    folder.join("socket")
}

/// A line of an answer.
#[derive(Debug, Serialize, Deserialize)]
pub enum Line {
    /// The request will be carried out.
    Taken,
    /// It was.
    Done(serde_json::Value),
    /// It could not be.
    Refused(Failure),
}

/// A connection to the process that has the device open.
pub struct Remote {
    stream: BufReader<UnixStream>,
    /// A request is under way, or was given up: what comes next is not the answer to another one.
    busy: bool,
}

impl Remote {
    pub async fn connect(folder: &Path) -> std::io::Result<Self> {
        let stream = UnixStream::connect(socket(folder)).await?;
        Ok(Self {
            stream: BufReader::new(stream),
            busy: false,
        })
    }

    pub async fn ask<R: Request>(&mut self, request: &R) -> Result<R::Answer, AskError> {
        if std::mem::replace(&mut self.busy, true) {
            return Err(AskError::NotTaken);
        }
        let answer = self.exchange(request).await;
        self.busy = false;
        answer
    }

    async fn exchange<R: Request>(&mut self, request: &R) -> Result<R::Answer, AskError> {
        let any: AnyRequest = request.clone().into();
        // Not taken as long as the line has not arrived whole.
        if write_line(self.stream.get_mut(), &any).await.is_err() {
            return Err(AskError::NotTaken);
        }
        match read_line(&mut self.stream).await {
            Ok(Some(Line::Taken)) => {}
            Ok(Some(Line::Refused(failure))) => return Err(AskError::Refused(failure)),
            _ => return Err(AskError::NotTaken),
        }
        match read_line(&mut self.stream).await {
            Ok(Some(Line::Done(value))) => {
                serde_json::from_value(value).map_err(|_| not_understood())
            }
            Ok(Some(Line::Refused(failure))) => Err(AskError::Refused(failure)),
            Ok(Some(Line::Taken)) => Err(not_understood()),
            Ok(None) | Err(_) => Err(AskError::NotAnswered),
        }
    }
}

fn not_understood() -> AskError {
    let text = "the process that has this device open is of another version; end it first";
    AskError::Refused(Failure::new(crate::failure::ALREADY_OPEN, text))
}

/// Sends a value as one line.
pub async fn write_line(stream: &mut UnixStream, value: &impl Serialize) -> std::io::Result<()> {
    let mut line = serde_json::to_vec(value)?;
    line.push(b'\n');
    stream.write_all(&line).await
}

/// The next line as a value; `None` at the end.
pub async fn read_line<T: serde::de::DeserializeOwned>(
    stream: &mut BufReader<UnixStream>,
) -> std::io::Result<Option<T>> {
    let mut line = Vec::new();
    tokio::io::AsyncReadExt::take(&mut *stream, MAX_LINE)
        .read_until(b'\n', &mut line)
        .await?;
    // Half a line is one that never arrived.
    if line.pop() != Some(b'\n') {
        return Ok(None);
    }
    Ok(Some(serde_json::from_slice(&line)?))
}
