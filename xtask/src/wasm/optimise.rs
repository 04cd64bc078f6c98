//! wasm-opt, from the npm package binaryen: distributions ship versions that are too old.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::process;
use crate::workspace::Workspace;

const PACKAGE: &str = "npm/node_modules/binaryen/package.json";
const PROGRAM: &str = "npm/node_modules/.bin/wasm-opt";

/// What rustc emits by default, and SIMD. All of it is in every browser since 2023.
const FEATURES: &[&str] = &[
    "--enable-bulk-memory",
    "--enable-multivalue",
    "--enable-mutable-globals",
    "--enable-nontrapping-float-to-int",
    "--enable-reference-types",
    "--enable-sign-ext",
    "--enable-simd",
];

/// Until nothing gets smaller any more, and without what only tells tools how it was made.
const PASSES: &[&str] = &[
    "-Oz",
    "--converge",
    "--strip-producers",
    "--strip-target-features",
];

/// What the result depends on besides the module: the installed version and what it is asked for.
pub fn version(ws: &Workspace) -> Result<String> {
    let text = fs::read_to_string(ws.path(PACKAGE)).with_context(|| {
        format!("{PACKAGE} is missing: binaryen must be a devDependency of npm/")
    })?;
    let json: Value = serde_json::from_str(&text).context(PACKAGE)?;
    let version = json["version"].as_str().unwrap_or("unknown");
    Ok(format!("{version} {}", PASSES.join(" ")))
}

/// Makes a module smaller, in place.
pub fn run(ws: &Workspace, module: &Path) -> Result<()> {
    let before = fs::metadata(module)?.len();
    let smaller = module.with_extension("opt");
    let mut wasm_opt = Command::new(ws.path(PROGRAM));
    wasm_opt
        .args(PASSES)
        .args(FEATURES)
        .arg(module)
        .arg("-o")
        .arg(&smaller);
    process::run(&mut wasm_opt)?;
    let after = fs::metadata(&smaller)?.len();
    if after == 0 || after > before {
        bail!("wasm-opt turned {before} bytes into {after}");
    }
    fs::rename(&smaller, module)?;
    Ok(())
}
