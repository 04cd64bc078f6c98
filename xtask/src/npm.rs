//! The npm package.

use anyhow::Result;

use crate::setup::node;
use crate::stamp::{Stamp, fingerprint};
use crate::ui;
use crate::wasm::{self, Profile};
use crate::workspace::Workspace;

#[derive(clap::Args)]
pub struct Args {
    /// Compiles the browser core quickly (the default).
    #[arg(long, conflicts_with = "publish")]
    dev: bool,
    /// Compiles the browser core as it is published: small and fast, takes minutes.
    #[arg(long)]
    publish: bool,
}

/// `cargo xtask npm`.
pub fn run(ws: &Workspace, args: &Args) -> Result<()> {
    build(
        ws,
        if args.publish {
            Profile::Publish
        } else {
            Profile::Dev
        },
    )
}

/// Builds the browser core and then the package, each only if its inputs have changed.
pub fn build(ws: &Workspace, profile: Profile) -> Result<()> {
    wasm::build(ws, profile)?;
    build_if_changed(ws, "npm", &["npm", "shared/words"])
}

/// Runs `npm run build` in a folder unless none of `inputs` has changed since it last succeeded.
pub fn build_if_changed(ws: &Workspace, folder: &str, inputs: &[&str]) -> Result<()> {
    let stamp = Stamp::at(ws.scratch(format!("{folder}.stamp")));
    let inputs: Vec<_> = inputs.iter().map(|input| ws.path(input)).collect();
    let has_output = ws.path(folder).join("dist").is_dir();
    if !has_output || !stamp.matches(&fingerprint(&inputs)?) {
        ui::doing(&format!("building {folder}…"));
        node::script(ws, folder, "build", &[])?;
        // Taken afterwards: installing packages may have touched the lock file.
        stamp.set(&fingerprint(&inputs)?)?;
    }
    ui::done(&format!("{folder}/dist"));
    Ok(())
}
