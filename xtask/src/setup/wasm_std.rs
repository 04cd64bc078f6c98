//! The wasm standard library, built from the sources of the system's own compiler.
//!
//! It goes into a sysroot of its own under `target/`, so nothing of the system is changed and a
//! cached target directory brings it along.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::process::{self, output};
use crate::setup::apt;
use crate::setup::rust_wasm::{
    FLAG_SEPARATOR, LINKER, TARGET, is_libstd, remap_flag, remap_registries,
};
use crate::stamp::Stamp;
use crate::ui;
use crate::workspace::Workspace;

const RUSTC: &str = "/usr/bin/rustc";
const PACKAGES: &[&str] = &["rustc-web", "rust-web-src"];

/// True if it is built and belongs to the compiler that is installed now.
pub fn is_current(ws: &Workspace) -> bool {
    let built = fs::read_dir(libdir(&sysroot(ws)))
        .is_ok_and(|dir| dir.flatten().any(|file| is_libstd(&file.path())));
    built && version().is_ok_and(|version| stamp(ws).matches(&version))
}

/// Builds it if it isn't current, and returns the sysroot.
pub fn ensure(ws: &Workspace) -> Result<PathBuf> {
    apt::tools(&[LINKER])?;
    if is_current(ws) {
        return Ok(sysroot(ws));
    }
    if version().and_then(|version| sources(&version)).is_err() {
        apt::install(
            PACKAGES,
            "a compiler with the sources of its standard library",
        )
        .context("`rustup target add wasm32-unknown-unknown` failed as well")?;
    }
    let version = version()?;
    ui::doing("building the wasm standard library (about a minute)…");
    build(ws, &sources(&version)?).context("the wasm standard library could not be built")?;
    stamp(ws).set(&version)?;
    Ok(sysroot(ws))
}

fn sysroot(ws: &Workspace) -> PathBuf {
    ws.target.join("wasm-std/sysroot")
}

fn libdir(sysroot: &Path) -> PathBuf {
    sysroot.join("lib/rustlib").join(TARGET).join("lib")
}

fn stamp(ws: &Workspace) -> Stamp {
    Stamp::at(libdir(&sysroot(ws)).join("rustc-version"))
}

/// All of `rustc -vV`: a new build of the same release can't read the old library.
fn version() -> Result<String> {
    let mut rustc = Command::new(RUSTC);
    process::forget_outer_cargo(&mut rustc);
    output(rustc.arg("-vV"))
}

/// The library sources of exactly this compiler.
fn sources(version: &str) -> Result<PathBuf> {
    let release = release(version).context("`rustc -vV` names no release")?;
    let packages = fs::read_dir("/usr/src").into_iter().flatten().flatten();
    packages
        .map(|package| package.path())
        .filter(|path| {
            path.file_name()
                .is_some_and(|name| *name == *format!("rustc-{release}"))
        })
        .map(|path| path.join("library"))
        .find(|library| library.join("sysroot/Cargo.toml").is_file())
        .with_context(|| format!("/usr/src has no sources of rustc {release}"))
}

fn release(version: &str) -> Option<&str> {
    version
        .lines()
        .find_map(|line| line.strip_prefix("release: "))
}

fn build(ws: &Workspace, sources: &Path) -> Result<()> {
    let work = ws.target.join("wasm-std/build");
    let library = work.join("library");
    if work.exists() {
        fs::remove_dir_all(&work)?;
    }
    // Cargo wants to write beside the manifest.
    copy(sources, &library)?;

    let mut cargo = process::cargo(&library);
    cargo
        .args([
            "build",
            "--quiet",
            "--release",
            "--target",
            TARGET,
            "--no-default-features",
        ])
        .args(["--manifest-path", "sysroot/Cargo.toml", "--target-dir"])
        .arg(work.join("target"))
        .env("RUSTC", RUSTC)
        .env("RUSTC_BOOTSTRAP", "1")
        .env("__CARGO_DEFAULT_LIB_METADATA", "zerok")
        .env("CARGO_PROFILE_RELEASE_DEBUG", "0")
        .env_remove("RUSTFLAGS")
        .env("CARGO_ENCODED_RUSTFLAGS", rustflags(&library)?);
    process::run(&mut cargo)?;

    let libdir = libdir(&sysroot(ws));
    if libdir.exists() {
        fs::remove_dir_all(&libdir)?;
    }
    fs::create_dir_all(&libdir)?;
    let built = work.join("target").join(TARGET).join("release/deps");
    let mut found_std = false;
    for file in fs::read_dir(&built)?.flatten().map(|entry| entry.path()) {
        if let Some(name) = file.file_name()
            && file
                .extension()
                .is_some_and(|extension| extension == "rlib")
        {
            fs::copy(&file, libdir.join(name))?;
            found_std |= is_libstd(&file);
        }
    }
    if !found_std {
        bail!("cargo left no libstd in {}", built.display());
    }
    fs::remove_dir_all(&work)?;
    Ok(())
}

/// Without traces of this machine: parts of the library end up in what we publish.
fn rustflags(library: &Path) -> Result<OsString> {
    let mut flags: Vec<OsString> = vec![
        "-Cembed-bitcode=yes".into(),
        "-Zforce-unstable-if-unmarked".into(),
    ];
    flags.push(remap_flag(library, "rust/library"));
    flags.extend(remap_registries()?);
    Ok(flags.join(OsStr::new(FLAG_SEPARATOR)))
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from).with_context(|| format!("can't read {}", from.display()))? {
        let path = entry?.path();
        let target = to.join(path.file_name().unwrap_or_default());
        if path.is_dir() {
            copy(&path, &target)?;
        } else if path.is_file() {
            fs::copy(&path, &target)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_release_is_read_from_the_version_text() {
        let text =
            "rustc 1.96.0 (abc 2026-05-25)\nbinary: rustc\nrelease: 1.96.0\nLLVM version: 22\n";
        assert_eq!(release(text), Some("1.96.0"));
        assert_eq!(release("nonsense"), None);
    }
}
