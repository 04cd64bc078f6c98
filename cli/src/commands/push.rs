//! `zerok push`

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use serde_json::json;
use tokio::io::{AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _, BufReader};
use zerok_sync_client::shared::failure::code;
use zerok_sync_client::shared::limits::MAX_BODY;

use super::Context;
use crate::args;
use crate::failure::{EXIT_DONE, Failure};
use crate::output::escape;
use crate::session::Session;
use crate::session::requests::{Data, GroupName, Push};
use crate::settle::{Goal, Outcome, settle};

/// Lines that are stored together.
const MAX_LINES: usize = 256;
/// What `-` stands for.
const STDIN: &str = "-";

/// Stores what is pushed, piece by piece.
struct Pusher<'a> {
    context: &'a Context,
    session: &'a mut Session,
    group: GroupName,
    ttl: u32,
    count: u64,
    last: u64,
}

pub async fn run(
    context: &Context,
    session: &mut Session,
    push: args::Push,
) -> Result<u8, Failure> {
    let group = context.membership(session).await?;
    let mut pusher = Pusher {
        context,
        session,
        group,
        ttl: push.ttl,
        count: 0,
        last: 0,
    };
    // What was stored before something went wrong is sent all the same.
    let stored = pusher.store_all(push.text, &push.file, push.lines).await;
    let Pusher {
        session,
        group,
        count,
        last,
        ..
    } = pusher;
    let exit_code = if count == 0 {
        EXIT_DONE
    } else {
        report(context, session, &group, count, last).await?
    };
    stored.map(|()| exit_code)
}

impl Pusher<'_> {
    async fn store_all(
        &mut self,
        text: Option<String>,
        files: &[PathBuf],
        lines: bool,
    ) -> Result<(), Failure> {
        match text {
            Some(text) if text != STDIN && lines => {
                self.lines("the text", BufReader::new(text.as_bytes()))
                    .await?;
            }
            Some(text) if text != STDIN => self.store("the text", [text.into()]).await?,
            Some(_) => self.input(lines).await?,
            None => {}
        }
        for file in files {
            let name = file.display().to_string();
            if file == Path::new(STDIN) {
                self.input(lines).await?;
            } else if lines {
                let file = tokio::fs::File::open(file)
                    .await
                    .map_err(|error| unreadable(&name, &error))?;
                self.lines(&name, BufReader::new(file)).await?;
            } else {
                let data = read_file(file).map_err(|error| unreadable(&name, &error))?;
                self.store(&name, [data]).await?;
            }
        }
        Ok(())
    }

    async fn input(&mut self, lines: bool) -> Result<(), Failure> {
        let name = "standard input";
        let input = BufReader::new(tokio::io::stdin());
        if lines {
            return self.lines(name, input).await;
        }
        let mut data = Vec::new();
        input
            .take(MAX_BODY as u64 + 1)
            .read_to_end(&mut data)
            .await
            .map_err(|error| unreadable(name, &error))?;
        self.store(name, [data.into()]).await
    }

    /// Each line as it comes, without its end. The last one may have none; an empty one is skipped.
    async fn lines(
        &mut self,
        name: &str,
        mut from: BufReader<impl AsyncRead + Unpin>,
    ) -> Result<(), Failure> {
        loop {
            let mut lines = Vec::new();
            // Those that have arrived together are stored together.
            loop {
                let mut line = Vec::new();
                let read = (&mut from)
                    .take(MAX_BODY as u64 + 2)
                    .read_until(b'\n', &mut line)
                    .await
                    .map_err(|error| unreadable(name, &error))?;
                if line.last() == Some(&b'\n') {
                    line.pop();
                }
                if line.last() == Some(&b'\r') {
                    line.pop();
                }
                if !line.is_empty() {
                    lines.push(Bytes::from(line));
                }
                if read == 0 && lines.is_empty() {
                    return Ok(());
                }
                if read == 0 || lines.len() >= MAX_LINES || !from.buffer().contains(&b'\n') {
                    break;
                }
            }
            self.store(name, lines).await?;
        }
    }

    async fn store(&mut self, name: &str, blobs: impl Into<Vec<Bytes>>) -> Result<(), Failure> {
        let mut blobs: Vec<_> = blobs.into();
        let fitting = blobs
            .iter()
            .take_while(|data| data.len() <= MAX_BODY)
            .count();
        let all_fit = fitting == blobs.len();
        blobs.truncate(fitting);
        let sizes: Vec<_> = blobs.iter().map(Bytes::len).collect();
        let answers = self
            .session
            .ask(Push {
                group: self.group.clone(),
                blobs: blobs.into_iter().map(Data).collect(),
                ttl: self.ttl,
            })
            .await?;
        for (answer, size) in answers.into_iter().zip(sizes) {
            let pushed = answer?;
            self.count += 1;
            self.last = pushed.position;
            // Said as soon as it is durable: it is there even if this process ends now.
            self.context.output.object(&json!({
                "id": pushed.id,
                "position": pushed.position,
                "size": size,
            }))?;
        }
        if all_fit {
            return Ok(());
        }
        Err(Failure::new(
            code::BLOB_TOO_LARGE,
            format!("{name} is larger than the {MAX_BODY} bytes that fit one blob"),
        ))
    }
}

/// Sends what was stored, and says how that went.
async fn report(
    context: &Context,
    session: &mut Session,
    group: &GroupName,
    count: u64,
    last: u64,
) -> Result<u8, Failure> {
    let output = context.output;
    let goal = Goal::Sent(last);
    let outcome = settle(session, group, goal, context.patience, output).await?;
    let status = outcome.status();
    let sent = matches!(outcome, Outcome::Reached(_));
    output.object(&json!({
        "pushed": count,
        "sent": sent,
        "pending": status.pending,
        "position": last,
        "state": status.state,
        "relay": status.relay,
    }))?;
    let what = match count {
        1 => format!("position {last}"),
        _ => format!("{count} blobs up to position {last}"),
    };
    if sent {
        output.line(&format!("sent: {what}"))?;
    } else {
        output.line(&format!("queued, {} waiting: {what}", status.pending))?;
    }
    match &outcome {
        Outcome::Reached(_) => {}
        Outcome::Offline(_, failure) => output.note(
            &failure.code,
            &format!(
                "Stored on this device; sent with the next command that reaches a relay. {}",
                failure.message
            ),
        ),
        Outcome::Refused(_, failure) => output.failure(failure),
    }
    Ok(outcome.exit_code())
}

/// At most one byte more than fits a blob.
fn read_file(path: &Path) -> std::io::Result<Bytes> {
    let mut data = Vec::new();
    File::open(path)?
        .take(MAX_BODY as u64 + 1)
        .read_to_end(&mut data)?;
    Ok(data.into())
}

fn unreadable(name: &str, error: &std::io::Error) -> Failure {
    Failure::new(
        "FILE_UNREADABLE",
        format!("{} can't be read: {error}", escape::line(name)),
    )
}
