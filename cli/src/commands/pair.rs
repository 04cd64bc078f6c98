//! `zerok pair`

use std::io::{IsTerminal as _, Read as _};
use std::time::{Duration, SystemTime};

use serde_json::json;
use zerok_sync_client::shared::time::Timestamp;

use super::{Context, short};
use crate::args::Pair;
use crate::failure::{EXIT_DONE, Failure};
use crate::output::{escape, qr, time};
use crate::passphrase;
use crate::session::Session;
use crate::session::requests::{
    BeginJoin, DeviceStatus, Found, GroupName, Invite, Invited, LookAtJoin, NamedGroup, Overview,
    Request,
};
use crate::settle::{Goal, Outcome, settle};

mod confirm;

/// How long one look at joining waits for something new.
const JOIN_LOOK: Duration = Duration::from_secs(5);
/// No link is longer.
const MAX_LINK: u64 = 16 * 1024;

pub async fn run(context: &Context, session: &mut Session, pair: Pair) -> Result<u8, Failure> {
    if pair.create {
        return create(context, session, pair).await;
    }
    match (pair.join.flatten(), &context.group) {
        (Some(invitation), _) => {
            let invitation = match invitation.as_str() {
                "-" => read_invitation()?,
                _ => invitation,
            };
            join_by_invite(context, session, invitation).await
        }
        (None, Some(name)) => {
            let text = passphrase::read(pair.passphrase_file.as_deref(), false).await?;
            let named = named(pair.app, name, &text)?;
            passphrase::look_at(&named.passphrase)?;
            join(context, session, named).await
        }
        (None, None) => Err(Failure::usage(
            "join with what? --join takes a link or a code, or --group NAME with it",
        )),
    }
}

/// Name and passphrase in the form in which all devices give them.
fn named(app: String, name: &str, passphrase: &str) -> Result<NamedGroup, Failure> {
    let (name, passphrase) = (passphrase::one_form(name), passphrase::one_form(passphrase));
    if name.is_empty() || passphrase.is_empty() {
        return Err(Failure::usage("the name or the passphrase is empty"));
    }
    Ok(NamedGroup {
        app,
        name,
        passphrase,
        found: false,
    })
}

/// The group that people name; and its passphrase, if it was made up here.
async fn found_named(
    session: &mut Session,
    pair: &Pair,
    name: &str,
) -> Result<(GroupName, Option<String>), Failure> {
    let (text, made) = if pair.generate {
        let made = passphrase::generate()?;
        (made.clone(), Some(made))
    } else {
        let file = pair.passphrase_file.as_deref();
        (passphrase::read(file, true).await?, None)
    };
    let group = NamedGroup {
        found: true,
        ..named(pair.app.clone(), name, &text)?
    };
    passphrase::judge(&group.passphrase, &[&group.name, &group.app])?;
    Ok((GroupName(session.ask(group).await?), made))
}

async fn create(context: &Context, session: &mut Session, pair: Pair) -> Result<u8, Failure> {
    let output = context.output;
    let device = session.ask(Overview).await?;
    let founds = pair.new || (device.groups.is_empty() && context.group.is_none());
    if (founds || pair.name.is_some()) && session.settings().relays.is_empty() {
        return Err(Failure::usage(
            "a new group needs a relay: run `zerok init --relay URL` first",
        ));
    }
    let mut made = None;
    let group = if let Some(name) = &pair.name {
        let (group, passphrase) = found_named(session, &pair, name).await?;
        made = passphrase;
        group
    } else if founds {
        GroupName(session.ask(Found).await?)
    } else {
        context.membership(session).await?
    };
    let invited = session
        .ask(Invite {
            group: group.clone(),
            app_url: pair.app_url,
            confirm: pair.confirm,
        })
        .await?;
    let Invited {
        link,
        code,
        lookup,
        expires_at,
    } = invited;
    output.object(&json!({
        "group": group.0,
        // A group with a name may have been there.
        "founded": pair.name.is_none().then_some(founds),
        "name": pair.name,
        "passphrase": made,
        "link": link,
        "code": code,
        "expiresAt": expires_at,
    }))?;
    if !pair.no_qr && !output.json {
        let colour = std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
        match qr::draw(&link, colour) {
            Some(drawn) => output.bytes(drawn.as_bytes())?,
            None => output.note("NO_QR", "The link is too long for a QR code."),
        }
    }
    output.line(&format!("\n{}\n", escape::line(&link)))?;
    if let Some(code) = &code {
        output.line(&format!("Or type this code: {code}\n"))?;
    }
    if let Some(made) = &made {
        output.line(&format!("Passphrase of the group: {made}\n"))?;
    }
    if pair.name.is_some() {
        output.line("Or `zerok pair --join --group NAME` and the passphrase, at any time.\n")?;
    }
    let minutes = minutes_until(expires_at);
    output.line(&format!(
        "Good for one device, until {} UTC ({minutes} minutes). Whoever has the link or the code can join group {}.",
        time::utc(Timestamp(expires_at)),
        short(&group.0),
    ))?;
    if pair.wait || pair.confirm {
        confirm::wait(context, session, &group, lookup).await
    } else {
        Ok(EXIT_DONE)
    }
}

/// Joins by a link or a code: shows what to compare with the other device, which may have to say yes.
async fn join_by_invite(
    context: &Context,
    session: &mut Session,
    invitation: String,
) -> Result<u8, Failure> {
    let output = context.output;
    let before = session.ask(Overview).await?;
    let id = session.ask(BeginJoin { invitation }).await?;
    let mut told = false;
    loop {
        let wait = JOIN_LOOK;
        let progress = session.ask(LookAtJoin { id, told, wait }).await?;
        if let Some(code) = progress.code.filter(|_| !told) {
            told = true;
            output.object(&json!({ "comparisonCode": code }))?;
            output.line(&format!(
                "Comparison code: {}\nThe other device shows the same one if nobody is between you.",
                confirm::spaced(&code)
            ))?;
            if progress.ended.is_none() {
                output.note("WAITING", "Waiting for the other device to say yes …");
            }
        }
        if let Some(ended) = progress.ended {
            return fetch(context, session, &before, ended?).await;
        }
    }
}

async fn join<R: Request<Answer = String>>(
    context: &Context,
    session: &mut Session,
    way: R,
) -> Result<u8, Failure> {
    let before = session.ask(Overview).await?;
    let id = session.ask(way).await?;
    fetch(context, session, &before, id).await
}

/// Joined, whatever follows. Whoever looks next should find something.
async fn fetch(
    context: &Context,
    session: &mut Session,
    before: &DeviceStatus,
    id: String,
) -> Result<u8, Failure> {
    let output = context.output;
    let known = before.groups.iter().any(|group| group.id == id);
    let group = GroupName(id);
    let outcome = settle(session, &group, Goal::Fetched, context.patience, output).await?;
    let status = outcome.status();
    output.object(&json!({
        "group": group.0,
        "joined": !known,
        "state": status.state,
        "position": status.position,
    }))?;
    output.line(&format!(
        "{} group {}: {} blob(s) here",
        if known { "Already in" } else { "Joined" },
        short(&group.0),
        status.position
    ))?;
    if let Outcome::Offline(_, failure) | Outcome::Refused(_, failure) = &outcome {
        output.note(
            &failure.code,
            &format!("Not everything was fetched yet: {}", failure.message),
        );
    }
    Ok(EXIT_DONE)
}

fn read_invitation() -> Result<String, Failure> {
    let mut text = String::new();
    std::io::stdin()
        .take(MAX_LINK)
        .read_to_string(&mut text)
        .map_err(|error| Failure::usage(format!("standard input can't be read: {error}")))?;
    Ok(text)
}

fn minutes_until(expires_at: u64) -> u64 {
    let now = SystemTime::UNIX_EPOCH
        .elapsed()
        .map_or(0, |since| since.as_millis() as u64);
    expires_at.saturating_sub(now).div_ceil(60_000)
}
