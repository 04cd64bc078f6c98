//! One module per command.

use std::io::{IsTerminal as _, Write as _};
use std::path::PathBuf;

use crate::args::{Cli, Command, Global};
use crate::failure::{EXIT_DONE, EXIT_INTERRUPTED, Failure};
use crate::folder;
use crate::output::Output;
use crate::session::Session;
use crate::session::requests::{DeviceStatus, GroupName, GroupStatus, Overview};
use crate::settle::Patience;
use crate::signals;
use zerok_sync_client::shared::failure::code;

mod delete;
mod devices;
mod documents;
mod groups;
mod init;
mod pair;
mod pull;
mod push;

/// What every command gets.
struct Context {
    folder: PathBuf,
    group: Option<String>,
    output: Output,
    patience: Patience,
}

/// Carries out a command; gives what the process ends with.
pub async fn run(cli: Cli, output: Output) -> Result<u8, Failure> {
    let Global {
        data_dir,
        group,
        timeout,
        ..
    } = cli.global;
    match cli.command {
        Command::Completions { shell } => return documents::completions(shell, output),
        Command::Man { out } => return documents::man(out.as_deref(), output),
        _ => {}
    }
    let context = Context {
        folder: folder::locate(data_dir.as_deref())?,
        group,
        output,
        patience: Patience::new(timeout),
    };
    if let Command::Init(init) = cli.command {
        return init::run(&context, init).await;
    }
    let interrupted = match &cli.command {
        // Its only end.
        Command::Pull(pull) if pull.follow => EXIT_DONE,
        _ => EXIT_INTERRUPTED,
    };
    let mut session = Session::open(&context.folder).await?;
    let command = async {
        let session = &mut session;
        match cli.command {
            Command::Pair(pair) => pair::run(&context, session, pair).await,
            Command::Push(push) => push::run(&context, session, push).await,
            Command::Pull(pull) => pull::run(&context, session, pull).await,
            Command::Status => groups::status(&context, session).await,
            Command::Groups => groups::list(&context, session).await,
            Command::Delete(delete) => delete::run(&context, session, delete).await,
            Command::Devices(_) => devices::list(&context, session).await,
            Command::Revoke(revoke) => devices::revoke(&context, session, revoke).await,
            Command::Rename(rename) => devices::rename(&context, session, rename).await,
            Command::Leave(leave) => groups::leave(&context, session, leave).await,
            Command::Init(_) | Command::Completions { .. } | Command::Man { .. } => Ok(EXIT_DONE),
        }
    };
    let result = signals::or_interrupted(command, interrupted).await;
    session.close().await;
    result
}

impl Context {
    /// The group to work on: the one that was asked for, or the only one.
    async fn group(&self, session: &mut Session) -> Result<GroupName, Failure> {
        let device = session.ask(Overview).await?;
        let found = self.find_group(&device)?;
        Ok(GroupName(found.id.clone()))
    }

    /// The group to work on, if this device is still a member.
    async fn membership(&self, session: &mut Session) -> Result<GroupName, Failure> {
        let device = session.ask(Overview).await?;
        let found = self.find_group(&device)?;
        if found.revoked {
            return Err(Failure::revoked());
        }
        Ok(GroupName(found.id.clone()))
    }

    fn find_group<'a>(&self, device: &'a DeviceStatus) -> Result<&'a GroupStatus, Failure> {
        let asked = self.group.as_deref().unwrap_or_default().to_lowercase();
        let mut found = device
            .groups
            .iter()
            .filter(|group| group.id.starts_with(&asked));
        match (found.next(), found.next()) {
            (Some(group), None) => Ok(group),
            (None, _) if device.groups.is_empty() => Err(Failure::new(
                code::UNKNOWN_GROUP,
                "no group yet: `zerok pair --create` founds one, `zerok pair --join CODE` joins one",
            )),
            (None, _) => Err(Failure::new(
                code::UNKNOWN_GROUP,
                "no group of this device has an id that starts so; `zerok groups` lists them",
            )),
            (Some(_), Some(_)) => Err(Failure::usage(
                "this device is in several groups: say which with --group ID; `zerok groups` lists them",
            )),
        }
    }
}

/// Asks whoever is at the terminal. Elsewhere it has to be said beforehand: `effect` is what would happen.
fn confirmed(effect: &str, question: &str) -> Result<bool, Failure> {
    if !std::io::stdin().is_terminal() {
        return Err(Failure::usage(format!("{effect}; say --yes")));
    }
    let mut terminal = std::io::stderr();
    let _ = write!(terminal, "{question} [y/N] ");
    let _ = terminal.flush();
    let mut answer = String::new();
    std::io::stdin()
        .read_line(&mut answer)
        .map_err(|error| Failure::usage(format!("no answer: {error}")))?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}

/// Enough of an id to tell it from others.
fn short(id: &str) -> &str {
    id.get(..8).unwrap_or(id)
}
