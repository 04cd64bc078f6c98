//! `zerok devices`, `zerok revoke`, `zerok rename`

use serde_json::json;
use zerok_sync_client::shared::failure::code;
use zerok_sync_client::shared::time::Timestamp;

use super::{Context, confirmed, short};
use crate::args;
use crate::failure::{EXIT_DONE, Failure};
use crate::output::{escape, time};
use crate::session::Session;
use crate::session::requests::{Devices, MemberDevice, Rename, Revoke};
use crate::settle::{Goal, Outcome, settle};

/// Fewest digits of an id that are shown.
const SHORTEST: usize = 8;

pub async fn list(context: &Context, session: &mut Session) -> Result<u8, Failure> {
    let group = context.group(session).await?;
    let output = context.output;
    let goal = Goal::Fetched;
    let outcome = settle(session, &group, goal, context.patience, output).await?;
    let devices = session.ask(Devices { group }).await?;
    for device in &devices {
        output.object(device)?;
    }
    for line in table(&devices) {
        output.line(&line)?;
    }
    match &outcome {
        Outcome::Reached(_) => Ok(EXIT_DONE),
        Outcome::Offline(_, failure) => {
            let text = format!("This is what is known on this device. {}", failure.message);
            output.note(&failure.code, &text);
            Ok(EXIT_DONE)
        }
        Outcome::Refused(_, failure) => {
            output.failure(failure);
            Ok(outcome.exit_code())
        }
    }
}

pub async fn revoke(
    context: &Context,
    session: &mut Session,
    revoke: args::Revoke,
) -> Result<u8, Failure> {
    let group = context.membership(session).await?;
    let output = context.output;
    let devices = Devices {
        group: group.clone(),
    };
    let mut devices = session.ask(devices).await?;
    if matching(&devices, &revoke.device).is_empty() {
        // It may have joined since.
        let goal = Goal::Fetched;
        settle(session, &group, goal, context.patience, output).await?;
        let group = group.clone();
        devices = session.ask(Devices { group }).await?;
    }
    let device = chosen(&devices, &revoke.device)?;
    if device.own {
        return Err(Failure::usage(
            "this is this device itself; `zerok leave` takes it out of the group",
        ));
    }
    let who = who(device, &devices);
    if !device.revoked && !device.revoking && !revoke.yes {
        let effect = format!("this removes {who} from the group for ever");
        let question = format!("Remove {who} from the group? It can't come back.");
        if !confirmed(&effect, &question)? {
            return Err(Failure::usage("nothing was changed"));
        }
    }
    let reason = revoke.reason;
    let request = Revoke {
        group: group.clone(),
        device: device.id.clone(),
        reason: reason.clone(),
    };
    session.ask(request).await?;
    let id = device
        .id
        .parse()
        .map_err(|error| Failure::usage(format!("not a device's id: {error}")))?;
    let goal = Goal::Revoked(id);
    let outcome = settle(session, &group, goal, context.patience, output).await?;
    let done = matches!(outcome, Outcome::Reached(_));
    output.object(&json!({
        "group": group.0,
        "device": device.id,
        "name": device.name,
        "reason": reason,
        "revoked": done,
        "revoking": !done,
    }))?;
    if done {
        output.line(&format!("removed: {who}"))?;
    } else {
        output.line(&format!("queued, will be removed: {who}"))?;
    }
    tell(
        context,
        &outcome,
        "Stored on this device; done by the next command that reaches a relay.",
    );
    Ok(outcome.exit_code())
}

pub async fn rename(
    context: &Context,
    session: &mut Session,
    rename: args::Rename,
) -> Result<u8, Failure> {
    let group = context.membership(session).await?;
    let output = context.output;
    let name = rename.name;
    let request = Rename {
        group: group.clone(),
        name: name.clone(),
    };
    session.ask(request).await?;
    let goal = Goal::Told;
    let outcome = settle(session, &group, goal, context.patience, output).await?;
    let sent = matches!(outcome, Outcome::Reached(_));
    output.object(&json!({ "group": group.0, "name": name, "sent": sent }))?;
    output.line(&format!(
        "{}: this device is \"{}\" in group {}",
        if sent { "sent" } else { "queued" },
        escape::line(&name),
        short(&group.0)
    ))?;
    tell(
        context,
        &outcome,
        "Stored on this device; sent with the next command that reaches a relay.",
    );
    Ok(outcome.exit_code())
}

/// Why it has not happened yet, and when it will.
fn tell(context: &Context, outcome: &Outcome, then: &str) {
    let output = context.output;
    match outcome {
        Outcome::Reached(_) => {}
        Outcome::Offline(_, failure) => {
            output.note(&failure.code, &format!("{then} {}", failure.message));
        }
        Outcome::Refused(_, failure) => output.failure(failure),
    }
}

/// Digits of an id that stand for it. Fewer are a name: many a device is called "a".
const SHORTEST_ID: usize = 4;

/// Those that are meant by the whole id or, if there is none, by its beginning or the name.
fn matching<'a>(devices: &'a [MemberDevice], asked: &str) -> Vec<&'a MemberDevice> {
    let start = asked.to_lowercase();
    let whole = devices.iter().find(|device| device.id == start);
    if let Some(device) = whole {
        return vec![device];
    }
    let by_id = |device: &MemberDevice| start.len() >= SHORTEST_ID && device.id.starts_with(&start);
    let by_name = |device: &MemberDevice| !asked.is_empty() && device.name == asked;
    let meant = |device: &&MemberDevice| by_id(device) || by_name(device);
    devices.iter().filter(meant).collect()
}

/// The one that is meant.
fn chosen<'a>(devices: &'a [MemberDevice], asked: &str) -> Result<&'a MemberDevice, Failure> {
    match matching(devices, asked).as_slice() {
        [device] => Ok(device),
        [] => Err(Failure::new(
            code::NOT_FOUND,
            "no device of the group has this name or an id that starts so (four digits at least); `zerok devices` lists them",
        )),
        several => {
            let all: Vec<_> = several.iter().map(|device| who(device, devices)).collect();
            Err(Failure::usage(format!(
                "several devices are meant: {}; say more digits of the id",
                all.join(", ")
            )))
        }
    }
}

/// Name and id, for people.
fn who(device: &MemberDevice, all: &[MemberDevice]) -> String {
    let id = unique(device, all);
    if device.name.trim().is_empty() {
        return format!("device {id}");
    }
    format!("\"{}\" (device {id})", escape::line(&device.name))
}

/// As much of the id as no other device's begins with.
fn unique<'a>(device: &'a MemberDevice, all: &[MemberDevice]) -> &'a str {
    let taken = |start: &str| {
        let mut others = all.iter().filter(|other| other.id != device.id);
        others.any(|other| other.id.starts_with(start))
    };
    let mut starts = (SHORTEST..device.id.len()).filter_map(|end| device.id.get(..end));
    starts.find(|start| !taken(start)).unwrap_or(&device.id)
}

/// One line each, in columns: id, name, platform, whether it is there, and what is special.
fn table(devices: &[MemberDevice]) -> Vec<String> {
    let rows: Vec<[String; 5]> = devices
        .iter()
        .map(|device| {
            let own = device.own.then_some("this device");
            let state = match (device.revoked, device.revoking) {
                (true, _) => Some("removed"),
                (false, true) => Some("being removed"),
                (false, false) => None,
            };
            let special: Vec<_> = own.into_iter().chain(state).collect();
            let or_none = |text: &str| match text.trim() {
                "" => "-".to_owned(),
                _ => escape::line(text),
            };
            [
                unique(device, devices).to_owned(),
                or_none(&device.name),
                or_none(&device.platform),
                presence(device),
                special.join(", "),
            ]
        })
        .collect();
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let (ids, names, platforms, seen) = (width(0), width(1), width(2), width(3));
    rows.iter()
        .map(|[id, name, platform, last, special]| {
            let line = format!(
                "{id:<ids$}  {name:<names$}  {platform:<platforms$}  {last:<seen$}  {special}"
            );
            line.trim_end().to_owned()
        })
        .collect()
}

/// Whether a device is there, or when it was there last.
fn presence(device: &MemberDevice) -> String {
    match device.last_seen {
        _ if device.revoked => "-".to_owned(),
        _ if device.online => "online".to_owned(),
        Some(at) => format!("seen {}", time::utc(Timestamp(at))),
        None => "-".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn device(id: &str, name: &str) -> MemberDevice {
        MemberDevice {
            id: format!("{id:0<64}"),
            name: name.to_owned(),
            platform: "Linux".to_owned(),
            own: false,
            revoked: false,
            revoking: false,
            online: false,
            last_seen: None,
        }
    }

    #[test]
    fn ids_are_as_long_as_it_takes_to_tell_them_apart() {
        let mut all = vec![
            device("aaaaaaaaa1", "laptop"),
            device("aaaaaaaaa2", "évil\x1b[2J"),
            device("b", ""),
        ];
        all[0].own = true;
        all[0].online = true;
        all[1].revoking = true;
        all[1].last_seen = Some(1_767_225_600_000);
        assert_eq!(
            table(&all),
            [
                "aaaaaaaaa1  laptop     Linux  online                    this device",
                "aaaaaaaaa2  évil\\e[2J  Linux  seen 2026-01-01 00:00:00  being removed",
                "b0000000    -          Linux  -",
            ]
        );
    }

    #[test]
    fn a_device_is_meant_by_its_id_its_beginning_or_its_name() {
        let all = [
            device("aaaa1", "beef"),
            device("aaaa2", "phone"),
            device("beef", "laptop"),
        ];
        assert_eq!(chosen(&all, "AAAA1").unwrap().name, "beef");
        assert_eq!(chosen(&all, "phone").unwrap().id, all[1].id);
        assert_eq!(chosen(&all, &all[2].id).unwrap().name, "laptop");
        for unclear in ["aaaa", "beef"] {
            let failure = chosen(&all, unclear).unwrap_err();
            assert_eq!(failure.exit_code(), 2);
            assert!(failure.message.contains("\"beef\" (device aaaa1000)"));
        }
        for unknown in ["", "c", "aaa", "Phone"] {
            assert_eq!(chosen(&all, unknown).unwrap_err().code, "NOT_FOUND");
        }
    }
}
