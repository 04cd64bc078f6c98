//! What a finished module must not contain.

use anyhow::{Context, Result, bail};

use super::Profile;
use super::module::imports;
use crate::workspace::{Workspace, cargo_home, home};

/// Parts of paths that only exist where it was compiled.
const MACHINE_PATHS: &[&str] = &[
    "/root/",
    "/home/",
    "/Users/",
    "C:\\Users\\",
    "/.cargo/",
    "/.rustup/",
    "registry/src",
];

/// Fails if the module would not load in a browser, or tells where it was compiled.
pub fn check(ws: &Workspace, profile: Profile, wasm: &[u8]) -> Result<()> {
    let unresolved: Vec<String> = imports(wasm)?
        .into_iter()
        .filter(|import| import.module == "env")
        .map(|import| import.name)
        .collect();
    if !unresolved.is_empty() {
        bail!(
            "the module imports {} from \"env\", which no browser has: some C code is not linked in, \
             or a crate does not know wasm",
            unresolved.join(", ")
        );
    }
    if profile == Profile::Publish {
        let mut paths: Vec<String> = MACHINE_PATHS.iter().map(|&path| path.to_owned()).collect();
        for dir in [&ws.root, &ws.target, &cargo_home()?, &home()?] {
            paths.push(format!("{}/", dir.display()));
        }
        no_machine_path(wasm, &paths).context("--remap-path-prefix must cover it")?;
    }
    Ok(())
}

fn no_machine_path(wasm: &[u8], paths: &[String]) -> Result<()> {
    const SHOWN: usize = 80;
    for path in paths {
        if let Some(at) = wasm
            .windows(path.len())
            .position(|window| window == path.as_bytes())
        {
            let excerpt = &wasm[at..wasm.len().min(at + SHOWN)];
            bail!(
                "the module contains a path of this machine: {}",
                String::from_utf8_lossy(excerpt)
            );
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_path_is_found_and_shown() {
        let paths = ["/home/".to_owned()];
        let error = no_machine_path(b"xx/home/someone/a.rs", &paths).unwrap_err();
        assert!(error.to_string().ends_with("/home/someone/a.rs"), "{error}");
        assert!(no_machine_path(b"crates/a.rs", &paths).is_ok());
        assert!(no_machine_path(b"", &paths).is_ok());
    }
}
