//! What is printed: results on standard output, everything else on standard error.

use std::io::{ErrorKind, IsTerminal as _, Write as _};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;
use zerok_sync_client::shared::failure::code;

use crate::failure::Failure;

pub mod escape;
pub mod qr;
pub mod time;

/// Nobody reads the output any more: `zerok pull | head`. An end, not an error.
pub const NO_READER: &str = "NO_READER";

/// Where and how a command prints.
#[derive(Debug, Clone, Copy)]
pub struct Output {
    /// One JSON object a line.
    pub json: bool,
    /// No notes, no progress.
    pub quiet: bool,
}

impl Output {
    /// A result for people; nothing with `--json`.
    pub fn line(self, text: &str) -> Result<(), Failure> {
        if self.json {
            return Ok(());
        }
        self.bytes(format!("{text}\n").as_bytes())
    }

    /// A result for programs; nothing without `--json`.
    pub fn object(self, object: &impl Serialize) -> Result<(), Failure> {
        if !self.json {
            return Ok(());
        }
        self.bytes(format!("{}\n", to_json(object)).as_bytes())
    }

    /// Exactly these bytes.
    pub fn bytes(self, bytes: &[u8]) -> Result<(), Failure> {
        let mut out = std::io::stdout().lock();
        // Flushed every time: a reader wants what is there now.
        out.write_all(bytes)
            .and_then(|()| out.flush())
            .map_err(|error| match error.kind() {
                ErrorKind::BrokenPipe => Failure::new(NO_READER, "nobody reads the output"),
                _ => Failure::new(
                    code::STORAGE_FAILED,
                    format!("the output can't be written: {error}"),
                ),
            })
    }

    /// Something beside the result that is good to know.
    pub fn note(self, code: &str, text: &str) {
        if self.quiet {
            return;
        }
        if self.json {
            let note = serde_json::json!({ "note": { "code": code, "message": text } });
            complain(&to_json(&note));
        } else {
            complain(&escape::line(text));
        }
    }

    /// Why the command failed.
    pub fn failure(self, failure: &Failure) {
        if self.json {
            complain(&to_json(&serde_json::json!({ "error": failure })));
        } else {
            let Failure { code, message, .. } = failure;
            complain(&format!("zerok: {} ({code})", escape::line(message)));
        }
    }

    /// A bar on a terminal, invisible elsewhere.
    pub fn progress(self, what: &'static str) -> ProgressBar {
        let shown = !self.quiet && !self.json && std::io::stderr().is_terminal();
        let target = if shown {
            ProgressDrawTarget::stderr()
        } else {
            ProgressDrawTarget::hidden()
        };
        // Nothing is drawn before it has a length or a position.
        let bar = ProgressBar::with_draw_target(None, target).with_message(what);
        if let Ok(style) = ProgressStyle::with_template("{msg} {wide_bar} {pos}/{len} {eta:>4}") {
            bar.set_style(style);
        }
        bar
    }
}

/// JSON that a terminal shows as it is, too: a member's text can't reach the terminal as a control sequence.
fn to_json(object: &impl Serialize) -> String {
    escape::json(&serde_json::to_string(object).unwrap_or_default())
}

/// To standard error. Where that can't be written there is nobody left to tell.
fn complain(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}
