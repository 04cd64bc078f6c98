//! Files that only their owner can read, from the moment they are made.

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io::Result;
use std::path::Path;

/// Makes the folder and those above it, unless they are there, and makes sure that they stay there after a power cut. One
/// that was there keeps its mode: it may be shared.
pub(super) fn make_folder(folder: &Path) -> Result<()> {
    let folder = std::path::absolute(folder)?;
    let missing = folder.ancestors().take_while(|folder| !folder.exists());
    let parents: Vec<_> = missing.filter_map(Path::parent).collect();
    let mut builder = DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(&folder)?;
    if cfg!(unix) {
        for parent in parents {
            File::open(parent)?.sync_all()?;
        }
    }
    Ok(())
}

/// Opens or makes a file that nobody else can read.
pub(super) fn open_private(path: &Path) -> Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let file = options.open(path)?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        // Copied by hand, or unpacked, with a wider mode.
        let mode = file.metadata()?.permissions().mode() & 0o777;
        if mode & 0o077 != 0 {
            file.set_permissions(PermissionsExt::from_mode(0o600))?;
        }
    }
    Ok(file)
}

/// A lock on a file, for one owner at a time.
#[derive(Debug)]
pub(super) struct Lock(File);

impl Lock {
    /// `None` while somebody has it.
    pub(super) fn take(path: &Path) -> Result<Option<Self>> {
        let file = open_private(path)?;
        match file.try_lock() {
            Ok(()) => Ok(Some(Self(file))),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Closing the file is not enough: a process that is just being started may have a copy of it.
        let _ = self.0.unlock();
    }
}

/// Which file a path points to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct FileId(u64, u64);

impl FileId {
    pub(super) fn of(path: &Path) -> Result<Self> {
        let data = std::fs::metadata(path)?;
        #[cfg(unix)]
        {
            use std::os::unix::fs::MetadataExt as _;
            Ok(Self(data.dev(), data.ino()))
        }
        #[cfg(not(unix))]
        {
            let _ = data;
            Ok(Self(0, 0))
        }
    }
}
