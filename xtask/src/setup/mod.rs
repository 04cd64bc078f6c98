//! Puts in place what building and testing need. Every step looks first and does nothing when there
//! is nothing to do, so every command calls what it needs.

pub mod apt;
pub mod node;
pub mod rust_wasm;
mod wasm_std;

use std::env;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::process::{output, which};
use crate::setup::apt::Tool;
use crate::setup::rust_wasm::WasmToolchain;
use crate::ui;
use crate::workspace::Workspace;

/// The programs that compile ring's C code for wasm.
const C_TOOLS: &[Tool] = &[Tool::new("clang", "clang"), Tool::new("llvm-ar", "llvm")];

/// `cargo xtask setup`: all of it, for a machine that will do everything.
pub fn everything(ws: &Workspace) -> Result<()> {
    ui::heading("Set-up");
    let toolchain = for_wasm(ws)?;
    rust_components()?;
    toolchain.ensure_clippy()?;
    ui::done("rustfmt and clippy");
    browser()?;
    postgres()?;
    for folder in node::FOLDERS {
        node::packages(ws, folder)?;
        ui::done(&format!("npm packages of {folder}"));
    }
    Ok(())
}

/// What compiling client-wasm needs.
pub fn for_wasm(ws: &Workspace) -> Result<WasmToolchain> {
    apt::tools(C_TOOLS)?;
    rust_wasm::toolchain(ws)
}

/// rustfmt and clippy.
pub fn rust_components() -> Result<()> {
    for (tool, component) in [("cargo-fmt", "rustfmt"), ("cargo-clippy", "clippy")] {
        if which(tool).is_none() || output(Command::new(tool).arg("--version")).is_err() {
            ui::doing(&format!("installing {component} (rustup)…"));
            output(Command::new("rustup").args(["component", "add", component]))
                .with_context(|| format!("install the rustup component `{component}`"))?;
        }
    }
    Ok(())
}

/// A Chromium that tests can drive: `CHROMIUM`, or one in PATH, or the system's package.
pub fn browser() -> Result<PathBuf> {
    if let Some(path) = env::var_os("CHROMIUM").map(PathBuf::from) {
        if !path.is_file() {
            bail!("CHROMIUM names {}, which is not there", path.display());
        }
        return Ok(path);
    }
    let names = [
        "chromium",
        "chromium-browser",
        "google-chrome-stable",
        "google-chrome",
    ];
    let found = || names.iter().find_map(|name| which(name));
    if found().is_none() {
        apt::tools(&[Tool::new("chromium", "chromium")])?;
    }
    let path = found().context("no Chromium: install one and set CHROMIUM to its path")?;
    ui::done(&format!("browser ({})", path.display()));
    Ok(path)
}

/// PostgreSQL's programs; the tests start a server of their own.
pub fn postgres() -> Result<()> {
    let debians = || {
        let versions = std::fs::read_dir("/usr/lib/postgresql")
            .into_iter()
            .flatten()
            .flatten();
        versions
            .into_iter()
            .any(|version| version.path().join("bin/initdb").is_file())
    };
    if which("initdb").is_none() && !debians() {
        apt::install(&["postgresql"], "initdb")?;
    }
    ui::done("PostgreSQL");
    Ok(())
}
