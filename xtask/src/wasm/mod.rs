//! The browser core: cargo, wasm-bindgen, wasm-opt, then the gate.

mod gate;
mod module;
mod optimise;

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use clap::ValueEnum;
use serde_json::{Value, json};

use crate::process::{self, output};
use crate::setup::{self, rust_wasm::TARGET, rust_wasm::WasmToolchain};
use crate::stamp::{content_hash, write_if_changed};
use crate::ui;
use crate::workspace::Workspace;

/// Folder of the finished files, in the repository.
const OUT: &str = "npm/wasm";
const FILES: &[&str] = &["core.js", "core.d.ts", "core_bg.wasm", "core_bg.wasm.d.ts"];
const MODULE: &str = "core_bg.wasm";
/// Says what the files beside it were made from, and how large they are.
const STAMP: &str = "stamp.json";

#[derive(clap::Args)]
pub struct Args {
    /// `dev` compiles quickly, `publish` is small and fast.
    #[arg(long, value_enum, default_value_t = Profile::Dev)]
    profile: Profile,
    /// Adds what only tests and benchmarks in a browser call, and leaves npm/wasm/ alone.
    #[arg(long)]
    testing: bool,
}

/// How the core is compiled.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Profile {
    /// Quick to compile.
    Dev,
    /// What goes into the npm package.
    Publish,
}

impl Profile {
    fn name(self) -> &'static str {
        match self {
            Self::Dev => "dev",
            Self::Publish => "publish",
        }
    }

    /// Cargo's name of the profile and of its output folder; it keeps "publish" for itself.
    fn cargo(self) -> (&'static str, &'static str) {
        match self {
            Self::Dev => ("dev", "debug"),
            Self::Publish => ("published", "published"),
        }
    }
}

/// Sizes of the finished module.
#[derive(Clone, Copy)]
pub struct Sizes {
    /// Bytes.
    pub raw: u64,
    /// Bytes after brotli at its best, which is what a browser downloads.
    pub brotli: u64,
}

/// `cargo xtask wasm`.
pub fn run(ws: &Workspace, args: &Args) -> Result<()> {
    if args.testing {
        build_testing(ws, args.profile).map(|_| ())
    } else {
        build(ws, args.profile).map(|_| ())
    }
}

/// `cargo xtask wasm-cargo …`.
pub fn cargo(ws: &Workspace, args: &[OsString]) -> Result<()> {
    let toolchain = setup::for_wasm(ws)?;
    let Some((subcommand, rest)) = args.split_first() else {
        return Ok(());
    };
    let mut command = if subcommand == "clippy" {
        toolchain.ensure_clippy()?;
        toolchain.clippy(ws)?
    } else {
        toolchain.cargo(ws, subcommand)?
    };
    process::run(command.args(rest))
}

/// Builds the core into `npm/wasm/`.
pub fn build(ws: &Workspace, profile: Profile) -> Result<Sizes> {
    let toolchain = setup::for_wasm(ws)?;
    setup::node::packages(ws, "npm")?;
    let input = compile(ws, &toolchain, profile, &[])?;
    let built = fs::read(&input).with_context(|| format!("cargo left no {}", input.display()))?;

    // Each profile keeps its own result, so going back and forth between them costs nothing.
    let finished = ws.scratch(format!("wasm-{}", profile.name()));
    let recipe = format!("{} {}", content_hash(&built), optimise::version(ws)?);
    let sizes = match read_stamp(&finished, &recipe) {
        Some(sizes) => sizes,
        None => {
            finish(ws, profile, &input, &finished)?;
            let sizes = measure(&finished.join(MODULE))?;
            write_stamp(&finished, &recipe, sizes)?;
            sizes
        }
    };
    for file in FILES {
        write_if_changed(&ws.path(OUT).join(file), &fs::read(finished.join(file))?)?;
    }
    ui::done(&format!(
        "{OUT}/{MODULE} ({}): {}, {} in brotli",
        profile.name(),
        ui::kilobytes(sizes.raw),
        ui::kilobytes(sizes.brotli)
    ));
    Ok(sizes)
}

/// Builds the core with what only tests and benchmarks in a browser call; gives the folder of the finished files.
pub fn build_testing(ws: &Workspace, profile: Profile) -> Result<PathBuf> {
    let toolchain = setup::for_wasm(ws)?;
    setup::node::packages(ws, "npm")?;
    let input = compile(ws, &toolchain, profile, &["testing", "bench"])?;
    let recipe = content_hash(&fs::read(&input)?);
    let finished = ws.scratch(format!("wasm-{}-testing", profile.name()));
    if read_stamp(&finished, &recipe).is_none() {
        finish(ws, profile, &input, &finished)?;
        write_stamp(&finished, &recipe, measure(&finished.join(MODULE))?)?;
    }
    ui::done(&format!("{}", finished.display()));
    Ok(finished)
}

fn compile(
    ws: &Workspace,
    toolchain: &WasmToolchain,
    profile: Profile,
    features: &[&str],
) -> Result<PathBuf> {
    ui::doing(&format!("compiling client-wasm ({})…", profile.name()));
    let (cargo_profile, folder) = profile.cargo();
    let mut rustc = toolchain.cargo(ws, "rustc")?;
    // Only the one: with an rlib beside it, cargo would leave out link-time optimisation.
    rustc.args([
        "--lib",
        "--crate-type",
        "cdylib",
        "--profile",
        cargo_profile,
        "--features",
        &features.join(","),
    ]);
    process::run(&mut rustc)?;
    Ok(ws
        .wasm_target()
        .join(TARGET)
        .join(folder)
        .join("zerok_sync_client_wasm.wasm"))
}

/// wasm-bindgen, wasm-opt and the gate. Nothing counts as finished before the stamp is written.
fn finish(ws: &Workspace, profile: Profile, input: &Path, out: &Path) -> Result<()> {
    if out.exists() {
        fs::remove_dir_all(out)?;
    }
    fs::create_dir_all(out)?;
    ui::doing("wasm-bindgen…");
    let mut bindgen = process::cargo(&ws.root);
    bindgen.args(["run", "--quiet", "--package", "xtask-bindgen", "--"]);
    bindgen.arg(input).arg(out).args(["--name", "core"]);
    if profile == Profile::Publish {
        bindgen.arg("--strip");
    }
    process::run(&mut bindgen)?;
    let module = out.join(MODULE);
    if profile == Profile::Publish {
        ui::doing("wasm-opt -Oz…");
        optimise::run(ws, &module)?;
    }
    gate::check(ws, profile, &fs::read(&module)?)
}

/// Size as it is and as it is downloaded. Node has brotli built in.
fn measure(module: &Path) -> Result<Sizes> {
    const SCRIPT: &str = "const { readFileSync } = require('node:fs');
        const { brotliCompressSync } = require('node:zlib');
        console.log(brotliCompressSync(readFileSync(process.argv[1])).length);";
    let brotli = output(Command::new("node").args(["-e", SCRIPT]).arg(module))?;
    let brotli = brotli.trim().parse().context("node printed no size")?;
    Ok(Sizes {
        raw: fs::metadata(module)?.len(),
        brotli,
    })
}

fn read_stamp(finished: &Path, recipe: &str) -> Option<Sizes> {
    let text = fs::read(finished.join(STAMP)).ok()?;
    let stamp: Value = serde_json::from_slice(&text).ok()?;
    if stamp["recipe"] != recipe || FILES.iter().any(|file| !finished.join(file).is_file()) {
        return None;
    }
    Some(Sizes {
        raw: stamp["raw"].as_u64()?,
        brotli: stamp["brotli"].as_u64()?,
    })
}

fn write_stamp(finished: &Path, recipe: &str, sizes: Sizes) -> Result<()> {
    let stamp = json!({ "recipe": recipe, "raw": sizes.raw, "brotli": sizes.brotli });
    write_if_changed(&finished.join(STAMP), stamp.to_string().as_bytes()).map(|_| ())
}
