//! Where things are.

use std::env;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// The folders of this checkout.
pub struct Workspace {
    /// The repository.
    pub root: PathBuf,
    /// Cargo's target directory: `target/`, or what `CARGO_TARGET_DIR` says.
    pub target: PathBuf,
}

impl Workspace {
    /// Finds the repository from the manifest that cargo ran.
    pub fn find() -> Result<Self> {
        let manifest_dir = env::var_os("CARGO_MANIFEST_DIR")
            .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
        let root = manifest_dir
            .parent()
            .context("xtask has no parent folder")?
            .to_path_buf();
        let target = match env::var_os("CARGO_TARGET_DIR") {
            Some(dir) => root.join(dir),
            None => root.join("target"),
        };
        Ok(Self { root, target })
    }

    /// A path inside the repository.
    pub fn path(&self, relative: impl AsRef<Path>) -> PathBuf {
        self.root.join(relative)
    }

    /// Where xtask keeps stamps and intermediate files.
    pub fn scratch(&self, relative: impl AsRef<Path>) -> PathBuf {
        self.target.join("xtask").join(relative)
    }

    /// Target directory of everything that is built for the browser: other flags, maybe another compiler.
    pub fn wasm_target(&self) -> PathBuf {
        self.target.join("wasm")
    }

    /// A binary of ours; `profile_dir` is `debug` or `release`.
    pub fn binary(&self, profile_dir: &str, name: &str) -> PathBuf {
        self.target
            .join(profile_dir)
            .join(format!("{name}{}", env::consts::EXE_SUFFIX))
    }
}

/// Cargo's home, which holds the sources of all dependencies.
pub fn cargo_home() -> Result<PathBuf> {
    if let Some(home) = env::var_os("CARGO_HOME") {
        return Ok(PathBuf::from(home));
    }
    Ok(home()?.join(".cargo"))
}

/// The user's home.
pub fn home() -> Result<PathBuf> {
    env::home_dir().context("no home directory: set HOME")
}
