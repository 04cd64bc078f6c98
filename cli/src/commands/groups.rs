//! `zerok status`, `zerok groups`, `zerok leave`

use serde_json::{Value, json};
use zerok_sync_client::shared::time::Timestamp;

use super::{Context, short};
use crate::args;
use crate::failure::{EXIT_DONE, Failure};
use crate::output::{escape, time};
use crate::session::Session;
use crate::session::requests::{DeviceStatus, GroupName, GroupStatus, Leave, Overview};
use crate::settle::{Goal, settle};

/// States, best first: a device is as well as its worst group.
const STATES: [&str; 7] = [
    "synced",
    "pending",
    "syncing",
    "offline",
    "restoring",
    "never-synced",
    "error",
];

pub async fn status(context: &Context, session: &mut Session) -> Result<u8, Failure> {
    let mut device = chosen(context, session).await?;
    for group in &mut device.groups {
        let name = GroupName(group.id.clone());
        let goal = Goal::Fetched;
        let outcome = settle(session, &name, goal, context.patience, context.output).await?;
        *group = outcome.status().clone();
    }
    let output = context.output;
    let settings = session.settings();
    output.object(&object(&device, &settings.name))?;
    output.line(&format!(
        "device  {}  {}",
        short(&device.device_id),
        escape::line(&settings.name)
    ))?;
    for group in &device.groups {
        output.line(&line(group))?;
        if let Some(error) = &group.error {
            output.line(&format!("        {}", escape::line(&error.message)))?;
        }
    }
    if device.groups.is_empty() {
        output.line(
            "no group yet: `zerok pair --create` founds one, `zerok pair --join CODE` joins one",
        )?;
    }
    Ok(EXIT_DONE)
}

pub async fn list(context: &Context, session: &mut Session) -> Result<u8, Failure> {
    for group in chosen(context, session).await?.groups {
        context.output.object(&group)?;
        context.output.line(&format!(
            "{}  {} blob(s), {} waiting",
            group.id, group.position, group.pending
        ))?;
    }
    Ok(EXIT_DONE)
}

pub async fn leave(
    context: &Context,
    session: &mut Session,
    leave: args::Leave,
) -> Result<u8, Failure> {
    let device = session.ask(Overview).await?;
    let group = context.find_group(&device)?;
    if !leave.yes && !confirmed(group)? {
        return Err(Failure::usage("nothing was changed"));
    }
    let name = GroupName(group.id.clone());
    session.ask(Leave { group: name }).await?;
    let output = context.output;
    output.object(&json!({ "group": group.id, "left": true }))?;
    output.line(&format!("Left group {}.", short(&group.id)))?;
    Ok(EXIT_DONE)
}

/// All groups, or the one that was asked for.
async fn chosen(context: &Context, session: &mut Session) -> Result<DeviceStatus, Failure> {
    let mut device = session.ask(Overview).await?;
    if context.group.is_some() {
        device.groups = vec![context.find_group(&device)?.clone()];
    }
    Ok(device)
}

fn object(device: &DeviceStatus, name: &str) -> Value {
    let groups = &device.groups;
    let rank = |group: &GroupStatus| STATES.iter().position(|state| *state == group.state);
    let worst = groups.iter().max_by_key(|group| rank(group));
    let synced = groups.iter().map(|group| group.last_synced_at).min();
    let mut relays: Vec<_> = Vec::new();
    for relay in groups.iter().flat_map(|group| &group.relays) {
        if !relays.contains(relay) {
            relays.push(relay.clone());
        }
    }
    json!({
        "device": device.device_id,
        "name": name,
        "state": worst.map_or("synced", |group| &group.state),
        "pending": groups.iter().map(|group| group.pending).sum::<usize>(),
        "progress": groups.iter().find_map(|group| group.progress),
        "relay": groups.iter().find_map(|group| group.relay.as_ref()),
        "relays": relays,
        "lastSyncedAt": synced.flatten(),
        "error": groups.iter().find_map(|group| group.error.as_ref()),
        "groups": groups,
    })
}

fn line(group: &GroupStatus) -> String {
    let synced = group
        .last_synced_at
        .map_or("never".to_owned(), |at| time::utc(Timestamp(at)) + " UTC");
    let relay = group.relay.as_deref().unwrap_or("not connected");
    format!(
        "group   {}  {}, {} blob(s), {} waiting, last synced {synced}, {}",
        short(&group.id),
        group.state,
        group.position,
        group.pending,
        escape::line(relay)
    )
}

fn confirmed(group: &GroupStatus) -> Result<bool, Failure> {
    let unsent = match group.pending {
        0 => String::new(),
        pending => format!(" {pending} blob(s) were never sent and will be lost."),
    };
    super::confirmed(
        "this forgets the group's keys and its log on this device",
        &format!(
            "Forget group {} with its {} blob(s) on this device?{unsent}",
            short(&group.id),
            group.position
        ),
    )
}
