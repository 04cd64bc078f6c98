//! A Rust compiler for the browser.
//!
//! Normally that is rustup's own with its `wasm32-unknown-unknown` component. A machine that reaches
//! package registries but not rustup's servers gets Debian's compiler, and a standard library built
//! from Debian's sources (`wasm_std`).

use std::env;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::Result;

use crate::process::{self, forget_outer_cargo, output, succeeds_within, which};
use crate::setup::apt::{self, Tool};
use crate::setup::wasm_std;
use crate::ui;
use crate::workspace::{Workspace, cargo_home};

/// The target triple.
pub const TARGET: &str = "wasm32-unknown-unknown";

/// Between the flags of `CARGO_ENCODED_RUSTFLAGS`, which may have spaces.
pub const FLAG_SEPARATOR: &str = "\u{1f}";

/// Set to `rustup` or `system` to choose instead of looking.
const CHOICE: &str = "ZEROK_WASM_TOOLCHAIN";

/// Time that `rustup target add` may take before the fallback is used.
const RUSTUP_LIMIT: Duration = Duration::from_secs(90);

/// Where Debian puts its compiler, which stands behind rustup's in PATH.
const SYSTEM_BIN: &str = "/usr/bin";

/// How to compile for the browser on this machine.
pub struct WasmToolchain {
    /// The compiler, if it is not the one cargo finds.
    rustc: Option<PathBuf>,
    /// The cargo that belongs to `rustc`; clippy must run under it. Builds use the cargo in use.
    system_cargo: Option<PathBuf>,
    /// Standard library and linker.
    rustflags: Vec<OsString>,
    /// Where the standard library's sources may be, for removing their path from the binary.
    rust_sources: Vec<PathBuf>,
}

/// Finds or makes a toolchain.
pub fn toolchain(ws: &Workspace) -> Result<WasmToolchain> {
    let choice = env::var(CHOICE).unwrap_or_default();
    if choice != "system" {
        if let Some(found) = default_toolchain() {
            ui::done("wasm standard library");
            return Ok(found);
        }
        if choice == "rustup" || !wasm_std::is_current(ws) {
            ui::doing("installing the wasm standard library (rustup)…");
            if rustup_target_add()
                && let Some(found) = default_toolchain()
            {
                ui::done("wasm standard library");
                return Ok(found);
            }
            ui::note("rustup could not get it; building it from the system's sources instead");
        }
    }
    let sysroot = wasm_std::ensure(ws)?;
    ui::done("wasm standard library (the system's, built from source)");
    Ok(system_toolchain(&sysroot))
}

/// The compiler that cargo uses anyway, if it has the wasm standard library.
fn default_toolchain() -> Option<WasmToolchain> {
    let rustc = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let print = |what: &str| {
        let mut command = Command::new(&rustc);
        forget_outer_cargo(&mut command);
        output(command.args(["--print", what, "--target", TARGET])).ok()
    };
    let has_std = fs::read_dir(print("target-libdir")?.trim())
        .is_ok_and(|dir| dir.flatten().any(|file| is_libstd(&file.path())));
    let sources = Path::new(print("sysroot")?.trim()).join("lib/rustlib/src/rust");
    has_std.then(|| WasmToolchain {
        rustc: None,
        system_cargo: None,
        rustflags: Vec::new(),
        rust_sources: vec![sources],
    })
}

/// True for `libstd-….rlib`.
pub fn is_libstd(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    name.starts_with("libstd-") && name.ends_with(".rlib")
}

fn rustup_target_add() -> bool {
    let mut rustup = Command::new("rustup");
    rustup
        .args(["target", "add", TARGET])
        .env("RUSTUP_MAX_RETRIES", "0");
    forget_outer_cargo(&mut rustup);
    which("rustup").is_some() && succeeds_within(&mut rustup, RUSTUP_LIMIT)
}

fn system_toolchain(sysroot: &Path) -> WasmToolchain {
    let mut sysroot_flag = OsString::from("--sysroot=");
    sysroot_flag.push(sysroot);
    let bin = Path::new(SYSTEM_BIN);
    WasmToolchain {
        rustc: Some(bin.join("rustc")),
        system_cargo: Some(bin.join("cargo")),
        rustflags: vec![sysroot_flag, "-Clinker=wasm-ld".into()],
        rust_sources: Vec::new(),
    }
}

impl WasmToolchain {
    /// A cargo command on client-wasm: compiler, flags and target directory are set.
    pub fn cargo(&self, ws: &Workspace, subcommand: impl Into<OsString>) -> Result<Command> {
        let mut command = process::cargo(&ws.path("client-wasm"));
        if let Some(rustc) = &self.rustc {
            command.env("RUSTC", rustc);
        }
        self.prepare(ws, &mut command, subcommand.into())?;
        Ok(command)
    }

    /// `cargo clippy` on client-wasm. It must come with the compiler whose standard library it reads.
    pub fn clippy(&self, ws: &Workspace) -> Result<Command> {
        let Some(cargo) = &self.system_cargo else {
            return self.cargo(ws, "clippy");
        };
        let mut command = Command::new(cargo);
        command.current_dir(ws.path("client-wasm"));
        forget_outer_cargo(&mut command);
        let paths = env::var_os("PATH").unwrap_or_default();
        let system_first =
            std::iter::once(PathBuf::from(SYSTEM_BIN)).chain(env::split_paths(&paths));
        command.env("PATH", env::join_paths(system_first)?);
        // The outer cargo passes its own tools on.
        command
            .env_remove("RUSTC")
            .env_remove("RUSTDOC")
            .env_remove("CARGO");
        self.prepare(ws, &mut command, "clippy".into())?;
        Ok(command)
    }

    /// Installs the system's clippy if this is the system's toolchain.
    pub fn ensure_clippy(&self) -> Result<()> {
        if self.system_cargo.is_none() {
            return Ok(());
        }
        let missing = |name: &str| !Path::new(SYSTEM_BIN).join(name).is_file();
        if missing("cargo-clippy") || missing("clippy-driver") || missing("cargo") {
            apt::install(&["rust-web-clippy", "cargo-web"], "the system's clippy")?;
        }
        Ok(())
    }

    fn prepare(&self, ws: &Workspace, command: &mut Command, subcommand: OsString) -> Result<()> {
        command.arg(subcommand).env("CARGO_BUILD_TARGET", TARGET);
        command.env("CARGO_TARGET_DIR", ws.wasm_target());
        command.env("CC_wasm32_unknown_unknown", "clang");
        command.env("AR_wasm32_unknown_unknown", "llvm-ar");
        let flags = self.all_rustflags(ws)?;
        command.env(
            "CARGO_ENCODED_RUSTFLAGS",
            flags.join(OsStr::new(FLAG_SEPARATOR)),
        );
        command.env_remove("RUSTFLAGS");
        Ok(())
    }

    /// The same for every profile and for clippy, so that they can share what is compiled.
    fn all_rustflags(&self, ws: &Workspace) -> Result<Vec<OsString>> {
        let mut flags = self.rustflags.clone();
        flags.push("-Ctarget-feature=+simd128".into());
        flags.push("--cfg=getrandom_backend=\"wasm_js\"".into());
        flags.extend(remap_registries()?);
        // Relative to the repository, so that messages of the compiler lead to the file.
        flags.push(remap_flag(&ws.root, ""));
        flags.push(remap_flag(&ws.target, "target"));
        flags.extend(self.rust_sources.iter().map(|dir| remap_flag(dir, "rust")));
        Ok(flags)
    }
}

/// Makes the compiler write `to` instead of `from`. Of several that fit, the last one wins.
pub fn remap_flag(from: &Path, to: &str) -> OsString {
    let mut flag = OsString::from("--remap-path-prefix=");
    flag.push(from);
    flag.push(format!("={to}"));
    flag
}

/// The same for the places where cargo keeps the sources of dependencies.
pub fn remap_registries() -> Result<Vec<OsString>> {
    let cargo_home = cargo_home()?;
    let mut flags = vec![remap_flag(&cargo_home, "cargo")];
    flags.extend(
        registry_indexes(&cargo_home)
            .iter()
            .map(|index| remap_flag(index, "crates")),
    );
    Ok(flags)
}

/// The folders that hold unpacked crates, one per registry.
fn registry_indexes(cargo_home: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(cargo_home.join("registry/src"))
        .into_iter()
        .flatten()
        .flatten();
    let mut dirs: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
    dirs.sort();
    dirs
}

/// Program that only the system's toolchain needs; rustup's brings its own linker.
pub const LINKER: Tool = Tool::new("wasm-ld", "lld");
