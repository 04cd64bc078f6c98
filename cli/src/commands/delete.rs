//! `zerok delete`

use serde_json::json;
use zerok_sync_client::shared::failure::code;

use super::Context;
use crate::args;
use crate::failure::Failure;
use crate::session::Session;
use crate::session::requests::{Delete, GroupName, Pull};
use crate::settle::{Goal, Outcome, settle};

/// Hex digits of a blob's id.
const ID_DIGITS: usize = 32;

pub async fn run(
    context: &Context,
    session: &mut Session,
    delete: args::Delete,
) -> Result<u8, Failure> {
    let group = context.membership(session).await?;
    let output = context.output;
    let id = chosen(session, &group, &delete.blob).await?;
    let request = Delete {
        group: group.clone(),
        id: id.clone(),
        force: delete.force,
    };
    session.ask(request).await?;
    let outcome = settle(session, &group, Goal::Told, context.patience, output).await?;
    let sent = matches!(outcome, Outcome::Reached(_));
    output.object(&json!({ "group": group.0, "id": id, "deleted": true, "sent": sent }))?;
    output.line(if sent {
        "deleted"
    } else {
        "deleted here, queued for the other devices"
    })?;
    match &outcome {
        Outcome::Reached(_) => {}
        Outcome::Offline(_, failure) => {
            let text = "The others are told by the next command that reaches a relay.";
            output.note(&failure.code, &format!("{text} {}", failure.message));
        }
        Outcome::Refused(_, failure) => output.failure(failure),
    }
    Ok(outcome.exit_code())
}

/// The id of the blob that is meant.
async fn chosen(session: &mut Session, group: &GroupName, blob: &str) -> Result<String, Failure> {
    if blob.len() == ID_DIGITS && blob.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return Ok(blob.to_lowercase());
    }
    let position: u64 = blob.parse().map_err(|_| {
        Failure::usage(
            "a blob is meant by its position, or by its id as `zerok pull --json` prints it",
        )
    })?;
    let page = session
        .ask(Pull {
            group: group.clone(),
            after: position.saturating_sub(1),
            limit: 1,
            include_own: true,
        })
        .await?;
    let mut blobs = page.blobs.into_iter();
    let found = blobs.find(|blob| blob.position == position);
    found.map(|blob| blob.id).ok_or_else(|| {
        Failure::new(
            code::NOT_FOUND,
            "no blob is at this position; `zerok pull` prints what is there",
        )
    })
}
