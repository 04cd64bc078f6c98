//! The data folder: which one, and the settings in it.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};

use etcetera::base_strategy::{BaseStrategy as _, choose_native_strategy};
use serde::{Deserialize, Serialize};
use zerok_sync_client::shared::failure::code;

use crate::failure::{Failure, NO_DEVICE};

const SETTINGS: &str = "settings.json";

/// What `zerok init` sets.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settings {
    /// How people call this device.
    pub name: String,
    /// Relays of groups that this device founds, in order of preference.
    pub relays: Vec<String>,
    /// What those relays ask for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
}

/// The folder that was asked for, or the platform's.
pub fn locate(asked: Option<&Path>) -> Result<PathBuf, Failure> {
    if let Some(folder) = asked {
        return std::path::absolute(folder)
            .map_err(|error| Failure::usage(format!("{}: {error}", folder.display())));
    }
    let base = choose_native_strategy()
        .map_err(|_| Failure::usage("this user has no home folder; say --data-dir DIR"))?;
    // On Windows the folder that does not roam: two machines with one key would be one device.
    #[cfg(windows)]
    let data = base.cache_dir();
    #[cfg(not(windows))]
    let data = base.data_dir();
    Ok(data.join("0k-sync"))
}

impl Settings {
    /// The settings in a folder; `None` if there is no device yet.
    pub fn find(folder: &Path) -> Result<Option<Self>, Failure> {
        let path = folder.join(SETTINGS);
        let unreadable = |why: String| {
            let text = format!("{} can't be read: {why}", path.display());
            Failure::new(code::STORAGE_FAILED, text)
        };
        match std::fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes)
                .map(Some)
                .map_err(|error| unreadable(error.to_string())),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(unreadable(error.to_string())),
        }
    }

    /// The settings in a folder.
    pub fn load(folder: &Path) -> Result<Self, Failure> {
        Self::find(folder)?.ok_or_else(|| {
            let text = format!(
                "no device here yet ({}): run `zerok init --relay URL`",
                folder.display()
            );
            Failure::new(NO_DEVICE, text)
        })
    }

    /// Replaces the settings in a folder, whole or not at all.
    pub fn save(&self, folder: &Path) -> Result<(), Failure> {
        let fresh = folder.join(format!("{SETTINGS}.new"));
        let write = || -> std::io::Result<()> {
            let mut options = OpenOptions::new();
            options.write(true).create(true).truncate(true);
            #[cfg(unix)]
            std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
            let mut file = options.open(&fresh)?;
            serde_json::to_writer_pretty(&mut file, self)?;
            file.write_all(b"\n")?;
            file.sync_all()?;
            std::fs::rename(&fresh, folder.join(SETTINGS))?;
            if cfg!(unix) {
                File::open(folder)?.sync_all()?;
            }
            Ok(())
        };
        write().map_err(|error| match error.kind() {
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge => {
                Failure::passing(code::STORAGE_FULL, "no room left; free some space")
            }
            _ => Failure::new(
                code::STORAGE_FAILED,
                format!("{} can't be written: {error}", folder.display()),
            ),
        })
    }
}
