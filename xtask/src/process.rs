//! Starting other programs.

use std::env;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// Arguments for the program that a command builds and starts.
#[derive(clap::Args)]
#[command(disable_help_flag = true)]
pub struct HandedOn {
    /// Handed on to it; its own `--help` explains them
    #[arg(
        trailing_var_arg = true,
        allow_hyphen_values = true,
        value_name = "ARGUMENT"
    )]
    pub arguments: Vec<OsString>,
}

/// Runs a command with our own output; an error names the command and where it ran.
pub fn run(command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| could_not_start(command))?;
    if !status.success() {
        bail!(
            "`{}` failed ({status}){}",
            describe(command),
            place(command)
        );
    }
    Ok(())
}

/// Runs a command and returns what it printed.
pub fn output(command: &mut Command) -> Result<String> {
    let output = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| could_not_start(command))?;
    if !output.status.success() {
        let stderr = String::from_utf8_lossy(&output.stderr);
        bail!(
            "`{}` failed ({}){}: {}",
            describe(command),
            output.status,
            place(command),
            stderr.trim()
        );
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Runs a command silently and says whether it succeeded. One that takes longer than `limit` is stopped.
pub fn succeeds_within(command: &mut Command, limit: Duration) -> bool {
    let child = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    let Ok(mut child) = child else { return false };
    let start = Instant::now();
    loop {
        match child.try_wait() {
            Ok(Some(status)) => return status.success(),
            Ok(None) if start.elapsed() < limit => thread::sleep(Duration::from_millis(20)),
            _ => {
                // Nothing more can be done about a child that can't be stopped.
                let _ = child.kill();
                let _ = child.wait();
                return false;
            }
        }
    }
}

/// Finds a program as the shell would.
pub fn which(name: &str) -> Option<PathBuf> {
    let file = format!("{name}{}", env::consts::EXE_SUFFIX);
    env::split_paths(&env::var_os("PATH")?)
        .map(|dir| dir.join(&file))
        .find(|path| path.is_file())
}

/// The cargo that started us, without the traces of that start: build scripts that watch `CARGO_*`
/// variables would otherwise run again each time xtask and a plain cargo take turns.
pub fn cargo(dir: &Path) -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(dir);
    forget_outer_cargo(&mut command);
    command
}

/// Removes what `cargo run` put into our environment.
pub fn forget_outer_cargo(command: &mut Command) {
    for (name, _) in env::vars_os() {
        let Some(name) = name.to_str() else { continue };
        let about_xtask = [
            "CARGO_PKG_",
            "CARGO_MANIFEST_",
            "CARGO_BIN_",
            "CARGO_CRATE_",
        ];
        if about_xtask.iter().any(|prefix| name.starts_with(prefix))
            || name == "CARGO_PRIMARY_PACKAGE"
        {
            command.env_remove(name);
        }
    }
    if let Some(paths) = env::var_os("LD_LIBRARY_PATH") {
        let is_cargos = |path: &PathBuf| {
            path.ends_with("deps")
                || path.ends_with("debug")
                || path.to_string_lossy().contains("/toolchains/")
        };
        let rest = env::join_paths(env::split_paths(&paths).filter(|path| !is_cargos(path)));
        match rest {
            Ok(rest) if !rest.is_empty() => command.env("LD_LIBRARY_PATH", rest),
            _ => command.env_remove("LD_LIBRARY_PATH"),
        };
    }
}

fn could_not_start(command: &Command) -> String {
    format!("could not start `{}`{}", describe(command), place(command))
}

fn describe(command: &Command) -> String {
    let program = Path::new(command.get_program())
        .file_name()
        .unwrap_or(command.get_program());
    let words = std::iter::once(program)
        .chain(command.get_args())
        .map(OsStr::to_string_lossy);
    words.collect::<Vec<_>>().join(" ")
}

fn place(command: &Command) -> String {
    command
        .get_current_dir()
        .map_or_else(String::new, |dir| format!(" in {}", dir.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failing_command_is_named_in_the_error() {
        let error = run(Command::new("false").arg("--why")).unwrap_err();
        assert!(
            error.to_string().starts_with("`false --why` failed"),
            "{error}"
        );
    }

    #[test]
    fn a_slow_command_is_stopped() {
        let start = Instant::now();
        assert!(!succeeds_within(
            Command::new("sleep").arg("30"),
            Duration::from_millis(50)
        ));
        assert!(start.elapsed() < Duration::from_secs(10));
        assert!(succeeds_within(
            &mut Command::new("true"),
            Duration::from_secs(10)
        ));
    }
}
