//! wasm-bindgen as a workspace member: its version is pinned by our lock file, and nobody has to install a tool.

use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Parser;
use wasm_bindgen_cli_support::Bindgen;

/// Writes the JavaScript glue, the types and the final module for a wasm file.
#[derive(Parser)]
struct Args {
    /// The module that cargo built.
    input: PathBuf,
    /// Where the four output files go.
    out_dir: PathBuf,
    /// Base name of the output files.
    #[arg(long, default_value = "core")]
    name: String,
    /// Leaves out the function names and the list of producers.
    #[arg(long)]
    strip: bool,
}

fn main() -> Result<()> {
    let args = Args::parse();
    Bindgen::new()
        .input_path(&args.input)
        .out_name(&args.name)
        .web(true)?
        .omit_default_module_path(true)
        .typescript(true)
        .remove_name_section(args.strip)
        .remove_producers_section(args.strip)
        .generate(&args.out_dir)
        .with_context(|| format!("wasm-bindgen could not process {}", args.input.display()))
}
