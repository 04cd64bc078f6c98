//! `zerok init`

use serde_json::json;

use super::{Context, short};
use crate::args::Init;
use crate::failure::{EXIT_DONE, Failure};
use crate::folder::Settings;
use crate::output::escape;
use crate::session::Session;
use crate::session::requests::Overview;

pub async fn run(context: &Context, init: Init) -> Result<u8, Failure> {
    let before = Settings::find(&context.folder)?;
    let created = before.is_none();
    let before = before.unwrap_or_else(|| Settings {
        name: machine_name(),
        relays: Vec::new(),
        token: None,
    });
    let settings = Settings {
        name: init.name.unwrap_or(before.name),
        relays: if init.relay.is_empty() {
            before.relays
        } else {
            init.relay
        },
        // An empty one is how to take it away.
        token: init
            .token
            .or(before.token)
            .filter(|token| !token.is_empty()),
    };
    // Opening checks the URLs and makes the key; only then are the settings worth keeping.
    let mut session = Session::open_alone(&context.folder, settings).await?;
    let overview = session.ask(Overview).await;
    let saved = session.settings().save(&context.folder);
    let Settings { name, relays, .. } = session.settings().clone();
    session.close().await;
    saved?;
    let device = overview?;

    let output = context.output;
    output.object(&json!({
        "device": device.device_id,
        "name": name,
        "relays": relays,
        "dataDir": context.folder,
        "created": created,
    }))?;
    output.line(&format!(
        "{} {} ({}), data in {}",
        if created {
            "This is now the device"
        } else {
            "Changed: the device"
        },
        escape::line(&name),
        short(&device.device_id),
        context.folder.display()
    ))?;
    if relays.is_empty() {
        output.note(
            "NO_RELAY",
            "Without a relay this device can join groups, but found none: `zerok init --relay URL` adds one.",
        );
    } else if device.groups.is_empty() {
        output.note(
            "NO_GROUP",
            "Next: `zerok pair --create` to invite another device, or `zerok pair --join CODE`.",
        );
    }
    Ok(EXIT_DONE)
}

/// What people call this machine.
fn machine_name() -> String {
    let from_file = || std::fs::read_to_string("/etc/hostname").ok();
    ["HOSTNAME", "COMPUTERNAME"]
        .iter()
        .find_map(|name| std::env::var(name).ok())
        .or_else(from_file)
        .map(|name| name.trim().to_owned())
        .filter(|name| !name.is_empty())
        .unwrap_or_else(|| "terminal".to_owned())
}
