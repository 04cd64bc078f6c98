//! Which file a path points to.

use std::path::Path;

use crate::storage::StorageError;

/// Which file a path points to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct FileId(u64, u64);

impl FileId {
    pub(super) fn of(path: &Path) -> Result<Self, StorageError> {
        let data = std::fs::metadata(path)
            .map_err(|error| StorageError(format!("the database file is gone: {error}")))?;
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
