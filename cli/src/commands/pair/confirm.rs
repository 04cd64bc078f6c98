//! Waits for a device that joins, and asks whether it may.

use std::io::Write as _;
use std::time::Duration;

use serde_json::json;
use zerok_sync_client::shared::failure::code;

use super::Context;
use crate::failure::{EXIT_DONE, EXIT_FAILED, Failure};
use crate::output::{Output, escape};
use crate::session::Session;
use crate::session::requests::{AnswerInvite, GroupName, InviteLook, Joiner, LookAtInvite};

/// Between two looks at an invite: relays answer one request a second.
const LOOK_INTERVAL: Duration = Duration::from_secs(2);

/// Until the invite was used, or can't be any more.
pub async fn wait(
    context: &Context,
    session: &mut Session,
    group: &GroupName,
    lookup: String,
) -> Result<u8, Failure> {
    let output = context.output;
    output.note("WAITING", "Waiting for a device to join …");
    loop {
        tokio::time::sleep(LOOK_INTERVAL).await;
        let look = LookAtInvite {
            lookup: lookup.clone(),
        };
        match session.ask(look).await {
            Ok(InviteLook::Open) => {}
            Ok(InviteLook::Requested(joiner)) => {
                let accept = confirmed(output, &joiner).await?;
                let lookup = lookup.clone();
                session.ask(AnswerInvite { lookup, accept }).await?;
                if !accept {
                    output.object(&json!({ "group": group.0, "joined": false }))?;
                    output.line("Turned away; the invite has ended.")?;
                    return Ok(EXIT_FAILED);
                }
            }
            Ok(InviteLook::Claimed(joiner)) => {
                output.object(&json!({ "group": group.0, "joined": true, "device": joiner }))?;
                output.line(&match joiner {
                    Some(joiner) => format!(
                        "{} has joined. It shows the code {} if nobody is between you.",
                        who(&joiner),
                        spaced(&joiner.comparison_code)
                    ),
                    None => "A device has joined.".to_owned(),
                })?;
                return Ok(EXIT_DONE);
            }
            Ok(InviteLook::Over) => {
                output.failure(&Failure::new(
                    code::INVITE_EXPIRED,
                    "the invite has ended and no device has joined; make another one",
                ));
                return Ok(EXIT_FAILED);
            }
            // The network may come back before the invite ends.
            Err(failure) if failure.retryable => {}
            Err(failure) => return Err(failure),
        }
    }
}

/// Asks whoever is at the terminal; with `--json` the answer is a line of standard input, too.
async fn confirmed(output: Output, joiner: &Joiner) -> Result<bool, Failure> {
    output.object(&json!({ "request": joiner }))?;
    output.line(&format!(
        "{} wants to join.\nComparison code: {}\nLet it in only if it shows the same code.",
        who(joiner),
        spaced(&joiner.comparison_code)
    ))?;
    if !output.json {
        let mut terminal = std::io::stderr();
        let _ = write!(terminal, "Let it in? [y/N] ");
        let _ = terminal.flush();
    }
    let read = tokio::task::spawn_blocking(|| {
        let mut answer = String::new();
        std::io::stdin().read_line(&mut answer).map(|_| answer)
    });
    let answer = read.await.ok().and_then(Result::ok).unwrap_or_default();
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}

fn who(joiner: &Joiner) -> String {
    let device = super::short(&joiner.device);
    if joiner.name.trim().is_empty() {
        return format!("Device {device}");
    }
    format!("\"{}\" (device {device})", escape::line(&joiner.name))
}

/// The way people read it out.
pub fn spaced(code: &str) -> String {
    let (first, second) = code.split_at_checked(3).unwrap_or((code, ""));
    format!("{first} {second}")
}
