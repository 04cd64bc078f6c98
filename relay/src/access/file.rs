//! The file of access tokens, followed as it changes.

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::{AccessError, HashedToken, Tokens};
use crate::limits;

/// Follows the file.
#[derive(Debug)]
pub struct TokenFile {
    path: PathBuf,
    /// From the configuration; they count as well.
    fixed: Vec<HashedToken>,
    current: watch::Sender<Arc<Tokens>>,
    /// What was last read and taken, or refused.
    known: Reading,
}

/// The file's content, or why there is none.
type Reading = Result<Vec<u8>, String>;

impl TokenFile {
    /// Reads the file for the first time, when it has to be right.
    pub(super) fn open(
        path: PathBuf,
        fixed: Vec<HashedToken>,
    ) -> Result<(Self, watch::Receiver<Arc<Tokens>>), AccessError> {
        let known = read(&path);
        let tokens = known.clone().and_then(|content| parse(&content));
        let tokens = tokens.map_err(|why| AccessError::File(path.clone(), why))?;
        if tokens.is_empty() && fixed.is_empty() {
            tracing::warn!(
                "no access token counts yet, so nobody can connect; make one with `zerok-relay token new`"
            );
        }
        let (current, receiver) = watch::channel(Arc::new(Tokens::default()));
        let file = Self {
            path,
            fixed,
            current,
            known,
        };
        file.take(tokens);
        Ok((file, receiver))
    }

    /// Reads the file again and again until the relay stops. Reading it needs no notice from the file system, which some
    /// do not give, and costs little.
    pub async fn follow(mut self, stop: CancellationToken) {
        let mut tick = interval(limits::TOKENS_INTERVAL);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut before = self.known.clone();
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = tick.tick() => {}
            }
            let path = self.path.clone();
            let Ok(now) = tokio::task::spawn_blocking(move || read(&path)).await else {
                return;
            };
            // What is being written while it is read is half there; what stays the same for a second is all of it.
            if now == before && now != self.known {
                self.changed(now.clone());
            }
            before = now;
        }
    }

    fn changed(&mut self, reading: Reading) {
        match reading.clone().and_then(|content| parse(&content)) {
            Ok(tokens) => {
                tracing::info!(tokens = tokens.len(), "the access tokens were read again");
                self.take(tokens);
            }
            Err(why) => {
                tracing::error!(
                    "{}: {why}; the tokens that counted before count on until this is put right",
                    self.path.display()
                );
            }
        }
        self.known = reading;
    }

    fn take(&self, tokens: Vec<HashedToken>) {
        let all = self.fixed.iter().cloned().chain(tokens);
        self.current.send_replace(Arc::new(Tokens::new(all)));
    }
}

fn read(path: &Path) -> Reading {
    let file = std::fs::File::open(path).map_err(|error| format!("cannot be read: {error}"))?;
    let mut content = Vec::new();
    file.take(limits::MAX_TOKENS_FILE + 1)
        .read_to_end(&mut content)
        .map_err(|error| format!("cannot be read: {error}"))?;
    Ok(content)
}

/// One token a line, as its hash and perhaps a name for people; `#` begins a remark.
pub(crate) fn parse(content: &[u8]) -> Result<Vec<HashedToken>, String> {
    if content.len() as u64 > limits::MAX_TOKENS_FILE {
        return Err(format!("longer than {} bytes", limits::MAX_TOKENS_FILE));
    }
    let text = std::str::from_utf8(content).map_err(|_| "not a text file".to_owned())?;
    let mut tokens = Vec::new();
    for (at, line) in text.lines().enumerate() {
        let line = line.split_once('#').map_or(line, |(before, _)| before);
        if let Some(hash) = line.split_whitespace().next() {
            let token = hash
                .parse()
                .map_err(|why| format!("line {}: {why}", at + 1))?;
            tokens.push(token);
        }
    }
    Ok(tokens)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_have_a_hash_a_name_and_remarks() {
        let (first, second) = (HashedToken::of("1"), HashedToken::of("2"));
        let text = format!("# ours\n\n{first}  the office\n  {second} # laptop\r\n");
        assert_eq!(parse(text.as_bytes()), Ok(vec![first, second]));
        assert_eq!(parse(b""), Ok(Vec::new()));
        let wrong = parse(b"# x\nsha256:12 name\n").unwrap_err();
        assert!(wrong.starts_with("line 2: "), "{wrong}");
        assert!(parse(b"0kt_abc").unwrap_err().contains("only its hash"));
        assert!(parse(&[0xFF]).is_err());
    }
}
