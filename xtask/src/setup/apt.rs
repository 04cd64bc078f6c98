//! Programs from the system's package manager.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::process::{output, succeeds_within, which};
use crate::ui;

/// A program and the Debian package that has it.
pub struct Tool {
    program: &'static str,
    package: &'static str,
}

impl Tool {
    /// `program` is what must be in PATH.
    pub const fn new(program: &'static str, package: &'static str) -> Self {
        Self { program, package }
    }
}

/// Makes sure that all these programs are in PATH.
pub fn tools(tools: &[Tool]) -> Result<()> {
    let missing: Vec<&Tool> = tools
        .iter()
        .filter(|tool| which(tool.program).is_none())
        .collect();
    let names = |tools: &[&Tool]| {
        tools
            .iter()
            .map(|t| t.program)
            .collect::<Vec<_>>()
            .join(", ")
    };
    if !missing.is_empty() {
        let packages: Vec<&str> = missing.iter().map(|tool| tool.package).collect();
        install(&packages, &names(&missing))?;
        if let Some(tool) = missing.iter().find(|tool| which(tool.program).is_none()) {
            bail!(
                "`{}` is still not in PATH after installing {}",
                tool.program,
                tool.package
            );
        }
    }
    ui::done(&names(&tools.iter().collect::<Vec<_>>()));
    Ok(())
}

/// Installs Debian packages, or says how to get `what` by hand.
pub fn install(packages: &[&str], what: &str) -> Result<()> {
    if which("apt-get").is_none() {
        bail!(
            "{what} is missing: please install it (Debian calls it: {})",
            packages.join(" ")
        );
    }
    let by_hand = format!("sudo apt-get install {}", packages.join(" "));
    let Some(prefix) = root_prefix() else {
        bail!("{what} is missing. Please run: {by_hand}");
    };
    ui::doing(&format!("installing {} (apt-get)…", packages.join(", ")));
    let apt_get = |args: &[&str]| {
        let words: Vec<&str> = prefix.iter().copied().chain(["apt-get"]).collect();
        let mut command = Command::new(words[0]);
        command
            .args(&words[1..])
            .args(args)
            .env("DEBIAN_FRONTEND", "noninteractive");
        output(&mut command)
    };
    let mut args = vec!["install", "--yes", "--no-install-recommends"];
    args.extend(packages);
    // The package lists of a fresh container are empty or old: look again before giving up.
    if apt_get(&args).is_err() {
        apt_get(&["update"]).context("apt-get can't reach its servers")?;
        apt_get(&args).with_context(|| format!("{what} could not be installed ({by_hand})"))?;
    }
    Ok(())
}

/// What to put before `apt-get`: nothing for root, sudo if it asks no password, else None.
fn root_prefix() -> Option<&'static [&'static str]> {
    let is_root = output(Command::new("id").arg("-u")).is_ok_and(|id| id.trim() == "0");
    if is_root {
        return Some(&[]);
    }
    let sudo = succeeds_within(
        Command::new("sudo").args(["-n", "true"]),
        Duration::from_secs(5),
    );
    sudo.then_some(&["sudo", "-n"])
}
