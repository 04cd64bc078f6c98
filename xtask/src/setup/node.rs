//! Node and the npm packages of the three JavaScript folders.

use std::fs;
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::process::{output, run, which};
use crate::stamp::at_least_as_new;
use crate::ui;
use crate::workspace::Workspace;

/// The folders with a package.json.
pub const FOLDERS: &[&str] = &["npm", "web-demo", "tests/browser"];

const OLDEST_NODE: u32 = 20;

/// Checks that Node and npm are here and recent enough.
pub fn node() -> Result<()> {
    let advice = format!("install Node {OLDEST_NODE} or newer, see https://nodejs.org");
    if which("node").is_none() || which("npm").is_none() {
        bail!("node or npm is missing: {advice}");
    }
    let version = output(Command::new("node").arg("--version"))?;
    let major = version
        .trim_start_matches('v')
        .split('.')
        .next()
        .and_then(|n| n.parse::<u32>().ok());
    match major {
        Some(major) if major >= OLDEST_NODE => Ok(()),
        _ => bail!("Node {} is too old: {advice}", version.trim()),
    }
}

/// Installs a folder's npm packages, unless they are newer than its lock file.
pub fn packages(ws: &Workspace, folder: &str) -> Result<()> {
    let dir = ws.path(folder);
    if !dir.join("package.json").is_file() {
        bail!("{folder}/package.json does not exist");
    }
    let lock = dir.join("package-lock.json");
    if !at_least_as_new(&dir.join("node_modules/.package-lock.json"), &lock) {
        node()?;
        let how = if lock.is_file() { "ci" } else { "install" };
        ui::doing(&format!("installing the packages of {folder} (npm {how})…"));
        let mut npm = Command::new("npm");
        npm.current_dir(&dir)
            .args([how, "--no-audit", "--no-fund", "--loglevel=error"]);
        // Tests use the browser of the system.
        npm.env("PLAYWRIGHT_SKIP_BROWSER_DOWNLOAD", "1");
        run(&mut npm)?;
    }
    Ok(())
}

/// Runs a script of a folder's package.json, after installing its packages.
pub fn script(ws: &Workspace, folder: &str, script: &str, env: &[(&str, String)]) -> Result<()> {
    let manifest = ws.path(folder).join("package.json");
    let text = fs::read_to_string(&manifest)
        .with_context(|| format!("{folder}/package.json does not exist"))?;
    let json: Value = serde_json::from_str(&text)
        .with_context(|| format!("{folder}/package.json is not valid JSON"))?;
    if json["scripts"][script].as_str().is_none() {
        bail!("{folder}/package.json has no script \"{script}\"");
    }
    packages(ws, folder)?;
    let mut npm = Command::new("npm");
    npm.current_dir(ws.path(folder))
        .args(["run", "--silent", script]);
    npm.envs(env.iter().map(|(name, value)| (name, value)));
    run(&mut npm)
}
