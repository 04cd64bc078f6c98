//! The data folder: one relay at a time uses it, and what is written there survives a power cut.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

/// Name of the file that a running relay holds locked. Its content means nothing, and it may stay.
pub const LOCK_NAME: &str = "relay.lock";
/// How long a start waits for a relay that is ending, or for somebody who only looks.
const PATIENCE: Duration = Duration::from_secs(3);
const RETRY: Duration = Duration::from_millis(50);

/// The data folder is this process's own until this is dropped, or the process ends in whatever way.
#[derive(Debug)]
pub struct FolderLock {
    /// `None` where the file system has no locks.
    _file: Option<File>,
}

/// Why the folder is not ours.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another process has it.
    #[error("another relay is running in this folder")]
    Held,
    /// The file system says no.
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl FolderLock {
    /// Locks a folder, and waits a little if it is taken.
    ///
    /// # Errors
    /// [`LockError`]
    pub async fn wait(folder: &Path) -> Result<Self, LockError> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match Self::take(folder) {
                Err(LockError::Held) if Instant::now() < deadline => {
                    tokio::time::sleep(RETRY).await;
                }
                result => return result,
            }
        }
    }

    /// Locks a folder.
    ///
    /// # Errors
    /// [`LockError`]
    pub fn take(folder: &Path) -> Result<Self, LockError> {
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(false);
        let file = options.open(folder.join(LOCK_NAME))?;
        match file.try_lock() {
            Ok(()) => Ok(Self { _file: Some(file) }),
            Err(TryLockError::WouldBlock) => Err(LockError::Held),
            // Some network file systems have none; the relay runs there too, only without this protection.
            Err(TryLockError::Error(error)) => {
                tracing::warn!(%error, "cannot lock the data folder; do not run two relays in it");
                Ok(Self { _file: None })
            }
        }
    }

    /// Whether a relay runs in a folder.
    #[must_use]
    pub fn is_held(folder: &Path) -> bool {
        let file = File::open(folder.join(LOCK_NAME));
        let locked = file.map(|file| file.try_lock_shared());
        matches!(locked, Ok(Err(TryLockError::WouldBlock)))
    }
}

/// Makes a file for its owner only, which must not be there yet.
///
/// # Errors
/// When it is there, or cannot be made.
pub fn create_private(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

/// Makes the names in a folder survive a power cut.
pub fn sync_folder(folder: &Path) {
    if let Ok(folder) = File::open(folder) {
        // Not every file system can flush a folder; the names are in place either way.
        let _ = folder.sync_all();
    }
}

/// Bytes that can still be written to the disk of a folder, where the system tells.
#[cfg(unix)]
#[must_use]
pub fn free_space(folder: &Path) -> Option<u64> {
    let disk = rustix::fs::statvfs(folder).ok()?;
    // What only root may still use would not help the relay.
    Some(disk.f_bavail.saturating_mul(disk.f_frsize))
}

/// Bytes that can still be written to the disk of a folder, where the system tells.
#[cfg(not(unix))]
#[must_use]
pub fn free_space(_: &Path) -> Option<u64> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_has_one_owner_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        assert!(!FolderLock::is_held(folder.path()));
        let lock = FolderLock::take(folder.path()).unwrap();
        assert!(FolderLock::is_held(folder.path()));
        let second = FolderLock::take(folder.path());
        assert!(matches!(second, Err(LockError::Held)));
        drop(lock);
        assert!(!FolderLock::is_held(folder.path()));
        FolderLock::take(folder.path()).unwrap();
    }
}
