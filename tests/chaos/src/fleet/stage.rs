//! What all fleets of a run have in common.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};

use crate::page::Pages;

/// What scenarios have in common.
#[derive(Debug, Clone)]
pub struct Stage {
    /// The binary of native devices.
    pub device: PathBuf,
    /// How a page is started: program and arguments; its profile comes after them. `None` without a browser.
    pub page: Option<Vec<String>>,
    /// Where folders of scenarios are made.
    pub scratch: PathBuf,
}

impl Stage {
    /// With folders of scenarios below the folder of the report, and binaries beside this one.
    ///
    /// # Errors
    /// When the devices are not built or the folder cannot be made.
    pub fn new(out: &Path, pages: Option<&Pages>) -> Result<Self> {
        let scratch = out.join("scratch");
        std::fs::create_dir_all(&scratch)
            .with_context(|| format!("can't create {}", scratch.display()))?;
        let device = std::env::current_exe()?.with_file_name("zerok-chaos-device");
        ensure!(device.is_file(), "{} is not built", device.display());
        Ok(Self {
            device,
            page: pages.map(Pages::command),
            scratch: scratch.canonicalize()?,
        })
    }
}
