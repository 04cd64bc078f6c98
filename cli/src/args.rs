//! What can be typed.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueHint};
use clap_complete::Shell;

/// Folder of a device's data, for those who don't want the platform's.
pub const DATA_DIR_ENV: &str = "ZEROK_DATA_DIR";

/// The access token, for those who keep it out of the shell's history.
pub const ACCESS_TOKEN_ENV: &str = "ZEROK_ACCESS_TOKEN";

const ABOUT: &str = "End-to-end encrypted sync from the terminal";
const LONG_ABOUT: &str = "\
End-to-end encrypted sync from the terminal.

A group of devices shares a log of blobs. What you push is stored here first and sent when a relay can be reached; \
the relay can read none of it. Devices join by a link that is good for one device and a few minutes.";
const EXAMPLES: &str = "\
First steps:
  zerok init --name laptop --relay https://sync.example.com
  zerok pair --create                     on this device: prints a link, a QR code and a short code
  zerok pair --join CODE                  on the other one, after its own `zerok init`
  zerok push \"hello\"
  zerok pull --follow

Exit codes: 0 done, 1 failed, 2 wrong usage, 3 offline (what was pushed is stored and will be sent).";

/// The command line.
#[derive(Debug, Parser)]
#[command(name = "zerok", version, about = ABOUT, long_about = LONG_ABOUT, after_help = EXAMPLES)]
#[command(max_term_width = 100, disable_help_subcommand = true)]
pub struct Cli {
    #[command(flatten)]
    pub global: Global,
    #[command(subcommand)]
    pub command: Command,
}

/// What every command takes.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Global options")]
pub struct Global {
    /// Folder of this device's keys and data [default: the platform's data folder]
    #[arg(long, global = true, env = DATA_DIR_ENV, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub data_dir: Option<PathBuf>,

    /// Group to work on: the first digits of its id. Needed only with several groups
    #[arg(long, global = true, value_name = "ID")]
    pub group: Option<String>,

    /// Seconds to try to reach a relay [default: 10, or until every relay has refused]
    #[arg(long, global = true, value_name = "SECONDS", value_parser = seconds)]
    pub timeout: Option<Duration>,

    /// Print JSON, one object a line; errors, too, on standard error
    #[arg(long, global = true)]
    pub json: bool,

    /// Print results and errors only: no notes, no progress
    #[arg(short, long, global = true)]
    pub quiet: bool,

    /// Log what happens to standard error; -vv logs more, -vvv the network as well
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub verbose: u8,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    Init(Init),
    Pair(Pair),
    Push(Push),
    Pull(Pull),
    /// How this device and its groups stand
    Status,
    /// The groups that this device is in
    Groups,
    Delete(Delete),
    Devices(Devices),
    Revoke(Revoke),
    Rename(Rename),
    Leave(Leave),
    /// Print completions for a shell
    Completions {
        /// Which shell
        shell: Shell,
    },
    /// Print the manual page, or write one for every command into a folder
    Man {
        /// Folder for the pages; made if it is not there
        #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
        out: Option<PathBuf>,
    },
}

/// Make this a device, or change its name and relays.
///
/// Works offline. The relays are those of groups that this device founds; one that it joins has its own. Run again,
/// what is named replaces what was set before.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  zerok init --name laptop --relay https://sync.example.com --relay https://backup.example.com")]
pub struct Init {
    /// How people call this device [default: the machine's name]
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,

    /// URL of a relay; several in order of preference. A device that only joins groups needs none
    #[arg(long, value_name = "URL", value_hint = ValueHint::Url)]
    pub relay: Vec<String>,

    /// Access token for relays that ask for one; an empty one takes it away. Devices that are invited by this one get it
    #[arg(long, env = ACCESS_TOKEN_ENV, hide_env_values = true, value_name = "TOKEN")]
    pub token: Option<String>,
}

/// Let another device join, or join one.
///
/// --create prints a link, as a QR code, too. It holds the group's key: give it to one person, over a channel that you
/// trust. It works once, for ten minutes. Without a group, one is founded first. A group with a name is also joined with that
/// and its passphrase, until a device is revoked from it.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  zerok pair --create                                 for another terminal
  zerok pair --create --app-url https://app.example/  for a browser: the link opens this page
  zerok pair --create --wait                          stays until a device has joined
  zerok pair --create --confirm                       shows who wants to join, and asks
  zerok pair --join 7KQ2-9F3M-XW41-ZPD8               a code, looked for at this device's relays
  zerok pair --join 'https://app.example/#0k=1.…'     a link, which says where the invite is
  pbpaste | zerok pair --join -                       keeps it out of the shell's history
  zerok pair --create --name family --generate        a group that is joined with its name and a passphrase
  zerok pair --join --group family                    joins it; asks for the passphrase")]
#[group(skip)]
pub struct Pair {
    /// Make an invite: a link, a QR code and a short code
    #[arg(long, required_unless_present_any = ["join", "group"], conflicts_with = "join")]
    pub create: bool,

    /// Join by an invite link or a short code; - reads it from standard input. A code is read in any case, with or without
    /// dashes. Or, with --group NAME, by the passphrase of the group of this name
    #[arg(long, value_name = "LINK|CODE")]
    pub join: Option<Option<String>>,

    /// Found the group of this name, which others join with its passphrase, unless it is there already. Asks for the
    /// passphrase
    #[arg(long, value_name = "NAME", requires = "create", conflicts_with_all = ["group", "new"])]
    pub name: Option<String>,

    /// Make the passphrase up: six words, which are printed
    #[arg(long, requires = "name", conflicts_with = "passphrase_file")]
    pub generate: bool,

    /// Read the passphrase from a file; - is standard input
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub passphrase_file: Option<PathBuf>,

    /// App that the name belongs to: the same on all devices, for a browser the `appId` that it is opened with
    #[arg(long, value_name = "APP", default_value = "0k-sync")]
    pub app: String,

    /// Page of an app that the link opens [default: the relay's URL]
    #[arg(long, value_name = "URL", requires = "create", value_hint = ValueHint::Url)]
    pub app_url: Option<String>,

    /// Found another group, also where there is one
    #[arg(long, requires = "create", conflicts_with = "group")]
    pub new: bool,

    /// Wait until a device has joined, or the invite has ended
    #[arg(long, requires = "create")]
    pub wait: bool,

    /// Ask here before a device joins. Both show a code of six digits: say yes if they are the same
    #[arg(long, requires = "create")]
    pub confirm: bool,

    /// Don't draw the QR code
    #[arg(long, requires = "create")]
    pub no_qr: bool,
}

/// Add to the group's log.
///
/// Everything is stored on this device first, then sent. When no relay can be reached it stays queued, the exit code is
/// 3, and the next command that reaches a relay sends it. One blob holds up to 1 MiB.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  zerok push \"hello\"
  zerok push --file notes.txt --file photo.jpg        each file is one blob
  date | zerok push -                                 standard input as one blob
  tail -f app.log | zerok push --lines -              every line is a blob, as it comes")]
pub struct Push {
    /// The text; - reads standard input
    #[arg(required_unless_present = "file", conflicts_with = "file")]
    pub text: Option<String>,

    /// A file, as one blob; - is standard input
    #[arg(short, long, value_name = "FILE", num_args = 1.., value_hint = ValueHint::FilePath)]
    pub file: Vec<PathBuf>,

    /// Take every line for a blob of its own
    #[arg(long)]
    pub lines: bool,

    /// Seconds that relays keep it [default: the relay's limit]
    #[arg(
        long,
        value_name = "SECONDS",
        default_value_t = 0,
        hide_default_value = true
    )]
    pub ttl: u32,
}

/// Print the group's log.
///
/// Fetches what is new first. When no relay can be reached, what is on this device is printed and the exit code is 3.
/// A line has the position, the sender, the time (UTC) and the text, in which control characters are shown as escapes;
/// --json has everything, --raw the exact bytes. Positions rise without gaps and never change: save the last one and go
/// on with --after.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  zerok pull --after 120                              what came after position 120
  zerok pull --follow --json | jq -r .text            goes on for ever
  zerok pull --after 4 --limit 1 --raw > photo.jpg    the blob at position 5, byte for byte")]
pub struct Pull {
    /// Start after this position
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true)]
    pub after: u64,

    /// Stop after so many blobs
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub limit: Option<u64>,

    /// Go on with what arrives, until Ctrl-C
    #[arg(short, long)]
    pub follow: bool,

    /// Leave out what this device pushed
    #[arg(long)]
    pub no_own: bool,

    /// Print the blobs' bytes as they are, with nothing between them
    #[arg(long, conflicts_with = "json")]
    pub raw: bool,
}

/// Delete a blob, here and on every device.
///
/// Its data is gone from this device at once, and from the others as soon as they hear of it, also from those that are away now.
/// The relay drops it once every active device has read past it. Every device of the group may delete every blob; other blobs
/// keep their positions. When no relay can be reached the exit code is 3, and the next command that reaches one tells the others.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  zerok delete 12                                     the blob at position 12
  zerok delete 12 --force                             the relay drops it at once")]
pub struct Delete {
    /// The blob: its position, or its id as `pull --json` prints it
    #[arg(value_name = "POSITION|ID")]
    pub blob: String,

    /// Have the relay drop it at once: devices that have not read it yet never will. Only for what this device pushed
    #[arg(long)]
    pub force: bool,
}

/// The devices of the group.
///
/// With the beginning of their id, the name that they gave themselves, what they run on, and whether they were removed. Fetches
/// what is new first; without a relay it shows what is known here. A device that was removed has no name any more.
#[derive(Debug, Args)]
pub struct Devices {}

/// Remove another device from the group, for ever.
///
/// The others get new keys, without noticing; it reads nothing that is pushed from then on, and can't come back. What it has it
/// keeps. When no relay can be reached the exit code is 3, and the next command that reaches one removes it.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  zerok revoke phone                                  by its name; `zerok devices` lists them
  zerok revoke 81cc50da --reason compromised --yes    by the beginning of its id, without a question")]
pub struct Revoke {
    /// The device: the beginning of its id, or its name
    #[arg(value_name = "ID|NAME")]
    pub device: String,

    /// Why, for the other devices to show
    #[arg(long, default_value = "lost", value_parser = ["lost", "decommissioned", "compromised"])]
    pub reason: String,

    /// Don't ask
    #[arg(short, long)]
    pub yes: bool,
}

/// Give this device another name in the group.
///
/// The other devices see it. `zerok init --name` sets the name for groups that are founded or joined after it.
#[derive(Debug, Args)]
pub struct Rename {
    /// The new name
    pub name: String,
}

/// Forget a group, its keys and its log on this device.
///
/// Other devices keep theirs. To come back, this device needs a new invite.
#[derive(Debug, Args)]
pub struct Leave {
    /// Don't ask
    #[arg(short, long)]
    pub yes: bool,
}

fn seconds(text: &str) -> Result<Duration, String> {
    text.parse()
        .ok()
        .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
        .ok_or_else(|| "expected a number of seconds, such as 10 or 0.5".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn seconds_are_positive_numbers() {
        assert_eq!(seconds("0.5"), Ok(Duration::from_millis(500)));
        for wrong in ["", "-1", "x", "inf", "nan", "1e99"] {
            assert!(seconds(wrong).is_err(), "{wrong}");
        }
    }
}
