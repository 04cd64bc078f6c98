//! `zerok pull`

use std::io::IsTerminal as _;
use std::time::{Duration, Instant};

use data_encoding::BASE64;
use serde::Serialize;
use zerok_sync_client::shared::time::Timestamp;

use super::{Context, short};
use crate::args;
use crate::failure::{EXIT_DONE, Failure};
use crate::output::{Output, escape, time};
use crate::session::Session;
use crate::session::requests::{Blob, GroupName, GroupStatus, Note, Pull};
use crate::settle::{Goal, Outcome, look, settle};

/// Blobs that are asked for at once.
const PAGE: usize = 500;
/// Of a longer text a person sees the beginning.
const LONGEST_ON_TERMINAL: usize = 2000;
/// What is followed is looked at so often even if nothing happens.
const WATCH: Duration = Duration::from_secs(30);
/// How long there is no connection before that is said.
const GRACE: Duration = Duration::from_secs(2);

/// Prints the log from a position on.
struct Reader<'a> {
    context: &'a Context,
    group: GroupName,
    pull: args::Pull,
    next: u64,
    left: u64,
    /// Most characters of a text that are shown.
    longest: usize,
}

pub async fn run(
    context: &Context,
    session: &mut Session,
    pull: args::Pull,
) -> Result<u8, Failure> {
    let group = context.group(session).await?;
    let mut reader = Reader {
        context,
        next: pull.after,
        left: pull.limit.unwrap_or(u64::MAX),
        longest: if std::io::stdout().is_terminal() {
            LONGEST_ON_TERMINAL
        } else {
            usize::MAX
        },
        group,
        pull,
    };
    if reader.pull.follow {
        return reader.follow(session).await;
    }
    let output = context.output;
    let outcome = settle(
        session,
        &reader.group,
        Goal::Fetched,
        context.patience,
        output,
    )
    .await?;
    reader.print_all(session).await?;
    match &outcome {
        Outcome::Reached(_) => {}
        Outcome::Offline(_, failure) => output.note(
            &failure.code,
            &format!(
                "This is what is on this device; there may be more. {}",
                failure.message
            ),
        ),
        Outcome::Refused(_, failure) => output.failure(failure),
    }
    Ok(outcome.exit_code())
}

impl Reader<'_> {
    /// Prints until the log ends, or enough was printed.
    async fn print_all(&mut self, session: &mut Session) -> Result<(), Failure> {
        while self.left > 0 {
            let limit = usize::try_from(self.left).map_or(PAGE, |left| left.min(PAGE));
            let page = session
                .ask(Pull {
                    group: self.group.clone(),
                    after: self.next,
                    limit,
                    include_own: !self.pull.no_own,
                })
                .await?;
            for blob in &page.blobs {
                self.print(blob)?;
                self.left -= 1;
            }
            self.next = page.next;
            if !page.has_more {
                break;
            }
        }
        Ok(())
    }

    async fn follow(&mut self, session: &mut Session) -> Result<u8, Failure> {
        let mut seen = look(session, &self.group, 0, Duration::ZERO).await?;
        let mut connection = Connection::default();
        loop {
            self.print_all(session).await?;
            if self.left == 0 {
                return Ok(EXIT_DONE);
            }
            self.tell(&seen.notes);
            if seen.status.revoked {
                return Err(Failure::revoked());
            }
            let wait = connection.tell(&seen.status, self.context.output);
            seen = look(session, &self.group, seen.version, wait).await?;
        }
    }

    /// What else happened.
    fn tell(&self, notes: &[Note]) {
        let about = |note: &&Note| {
            note.group
                .as_ref()
                .is_none_or(|group| *group == self.group.0)
        };
        for note in notes.iter().filter(about) {
            self.context.output.note(&note.code, &note.message);
        }
    }

    fn print(&self, blob: &Blob) -> Result<(), Failure> {
        let output = self.context.output;
        if self.pull.raw {
            output.bytes(&blob.data)
        } else if output.json {
            output.object(&Line::from(blob))
        } else {
            output.line(&line(blob, self.longest))
        }
    }
}

/// Whether a relay is connected, as far as it was told.
#[derive(Default)]
struct Connection {
    told: Option<bool>,
    lost_at: Option<Instant>,
}

impl Connection {
    /// Tells what has changed; gives the time after which to look again at the latest.
    fn tell(&mut self, status: &GroupStatus, output: Output) -> Duration {
        if let Some(relay) = &status.relay {
            self.lost_at = None;
            if self.told != Some(true) {
                output.note("CONNECTED", &format!("connected to {relay}"));
            }
            self.told = Some(true);
            return WATCH;
        }
        if self.told == Some(false) {
            return WATCH;
        }
        // A connection that is back at once is no news.
        let lost_at = *self.lost_at.get_or_insert_with(Instant::now);
        let left = GRACE.saturating_sub(lost_at.elapsed());
        if left > Duration::ZERO {
            return left;
        }
        match &status.error {
            Some(error) => output.note(&error.code, &format!("offline: {}", error.message)),
            None => output.note("OFFLINE", "offline"),
        }
        self.told = Some(false);
        WATCH
    }
}

/// Position, sender, time and text.
fn line(blob: &Blob, longest: usize) -> String {
    let text = match std::str::from_utf8(&blob.data) {
        Ok(text) => match text.char_indices().nth(longest) {
            Some((end, _)) => {
                format!("{} … ({} bytes)", escape::line(&text[..end]), text.len())
            }
            None => escape::line(text),
        },
        Err(_) => format!("({} bytes that are not text)", blob.data.len()),
    };
    let sender = if blob.own { "me" } else { short(&blob.sender) };
    format!(
        "{:>6}  {sender:<8}  {}  {text}",
        blob.position,
        time::utc(Timestamp(blob.timestamp))
    )
}

/// A blob as programs read it.
#[derive(Serialize)]
struct Line<'a> {
    id: &'a str,
    position: u64,
    sender: &'a str,
    own: bool,
    cursor: u64,
    timestamp: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data_base64: Option<String>,
}

impl<'a> From<&'a Blob> for Line<'a> {
    fn from(blob: &'a Blob) -> Self {
        let text = std::str::from_utf8(&blob.data).ok();
        Self {
            id: &blob.id,
            position: blob.position,
            sender: &blob.sender,
            own: blob.own,
            cursor: blob.cursor,
            timestamp: blob.timestamp,
            text,
            data_base64: text.is_none().then(|| BASE64.encode(&blob.data)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blob(data: &[u8]) -> Blob {
        Blob {
            id: "0".repeat(32),
            position: 7,
            sender: "ab".repeat(32),
            own: false,
            cursor: 3,
            timestamp: 0,
            data: data.to_vec().into(),
        }
    }

    #[test]
    fn a_blob_is_one_line_that_moves_no_cursor() {
        assert_eq!(
            line(&blob(b"two\nlines \x1b[2J"), 1000),
            "     7  abababab  1970-01-01 00:00:00  two\\nlines \\e[2J"
        );
        assert!(line(&blob("grüße".as_bytes()), 4).ends_with("grüß … (7 bytes)"));
        assert!(line(&blob(&[0xff; 5]), 1000).ends_with("(5 bytes that are not text)"));
    }

    #[test]
    fn bytes_that_are_no_text_are_base64_in_json() {
        let object = |data| serde_json::to_value(Line::from(&blob(data))).unwrap();
        let text = object(b"text");
        assert_eq!(text["text"], "text");
        assert!(text.get("data_base64").is_none());
        let bytes = object(&[0xff, 0]);
        assert_eq!(bytes["data_base64"], "/wA=");
        assert!(bytes.get("text").is_none());
    }
}
