//! Why something failed, and what of it others are told.

use std::fs::OpenOptions;
use std::io::{Error, ErrorKind, Seek as _, SeekFrom, Write as _};
use std::path::Path;

use zerok_sync_client::store::StoreError;

/// SQLite's primary result codes, the low byte of what it answers.
mod sqlite {
    pub(super) const IO_ERROR: i32 = 10;
    pub(super) const CORRUPT: i32 = 11;
    pub(super) const FULL: i32 = 13;
    pub(super) const NOT_A_DATABASE: i32 = 26;
}

/// What is written to see whether there is room: a page of the database.
const PROBE: [u8; 4096] = [0; 4096];

#[derive(Debug)]
pub(super) enum Failure {
    Database(sqlx::Error),
    /// A batch that is impossible, or a store that is over.
    Refused(&'static str),
    /// Something is there that this version didn't write.
    Unreadable,
}

impl From<sqlx::Error> for Failure {
    fn from(error: sqlx::Error) -> Self {
        Self::Database(error)
    }
}

impl Failure {
    /// As the store's user sees it.
    pub(super) fn outside(self, path: &Path) -> StoreError {
        let error = match self {
            Self::Database(error) => error,
            Self::Refused(why) => return StoreError::Failed(why.to_owned()),
            Self::Unreadable => {
                return StoreError::Failed(format!(
                    "{} holds something that this version can't read",
                    path.display()
                ));
            }
        };
        match code(&error) {
            Some(sqlite::FULL) => StoreError::Full,
            // A quota or a limit on the size of files is an ordinary write error to SQLite.
            Some(sqlite::IO_ERROR) if !has_room(path) => StoreError::Full,
            Some(sqlite::CORRUPT) => StoreError::Failed(format!("{} is damaged", path.display())),
            Some(sqlite::NOT_A_DATABASE) => StoreError::Failed(format!(
                "{} is not a database of this program",
                path.display()
            )),
            _ => StoreError::Failed(format!("{}: {error}", path.display())),
        }
    }

    pub(super) fn is_outside_transaction(&self) -> bool {
        matches!(self, Self::Database(error) if error.to_string().contains("no transaction is active"))
    }
}

/// Of a failure while files were opened.
pub(super) fn of_io(folder: &Path, error: &Error) -> StoreError {
    if is_no_room(error) {
        return StoreError::Full;
    }
    StoreError::Failed(format!("{} can't be used: {error}", folder.display()))
}

fn code(error: &sqlx::Error) -> Option<i32> {
    let code = error.as_database_error()?.code()?;
    code.parse::<i32>().ok().map(|code| code & 0xff)
}

fn is_no_room(error: &Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge
    )
}

/// Whether a file beside the database can grow as large as the database and its WAL.
fn has_room(path: &Path) -> bool {
    let length = |path: &Path| std::fs::metadata(path).map_or(0, |data| data.len());
    let mut wal = path.as_os_str().to_owned();
    wal.push("-wal");
    let end = length(path).max(length(Path::new(&wal)));
    let probe = path.with_extension("probe");
    let grow = || -> Result<(), Error> {
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let mut file = options.open(&probe)?;
        file.seek(SeekFrom::Start(end))?;
        file.write_all(&PROBE)?;
        file.sync_all()
    };
    let grown = grow();
    let _ = std::fs::remove_file(&probe);
    !grown.is_err_and(|error| is_no_room(&error))
}
