//! The programs that end-to-end tests start.

use anyhow::Result;

use crate::process::{cargo, run};
use crate::workspace::Workspace;

/// Builds all of them together: picking one package changes the features of its dependencies, and most of those would be
/// compiled a second time. Not xtask: it is running.
pub fn build(ws: &Workspace) -> Result<()> {
    let all_but_us = [
        "build",
        "--workspace",
        "--exclude",
        "xtask",
        "--exclude",
        "xtask-bindgen",
        "--bins",
    ];
    run(cargo(&ws.root).args(all_but_us))
}
