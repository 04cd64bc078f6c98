//! Formatting and clippy, for the native workspace and for the browser's.

use anyhow::{Context, Result};

use crate::process::{cargo, run};
use crate::setup;
use crate::workspace::Workspace;

const DENY_WARNINGS: [&str; 3] = ["--", "-D", "warnings"];

/// Formatting of the native workspace.
pub fn format_native(ws: &Workspace) -> Result<()> {
    setup::rust_components()?;
    run(cargo(&ws.root).args(["fmt", "--all", "--check"])).context("`cargo fmt --all` repairs it")
}

/// Formatting of client-wasm.
pub fn format_browser(ws: &Workspace) -> Result<()> {
    run(cargo(&ws.path("client-wasm")).args(["fmt", "--check"]))
        .context("`cargo fmt` in client-wasm/ repairs it")
}

/// Clippy on everything that runs natively.
pub fn clippy_native(ws: &Workspace) -> Result<()> {
    setup::rust_components()?;
    run(cargo(&ws.root)
        .args(["clippy", "--workspace", "--all-targets"])
        .args(DENY_WARNINGS))
}

/// Clippy on everything that runs in a browser.
pub fn clippy_browser(ws: &Workspace) -> Result<()> {
    let toolchain = setup::for_wasm(ws)?;
    toolchain.ensure_clippy()?;
    run(toolchain.clippy(ws)?.args(DENY_WARNINGS))
}
