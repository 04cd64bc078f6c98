//! The relay's identity: a secret key in its data folder, made once, readable by its owner only.

use std::io::{ErrorKind, Read as _, Write as _};
use std::path::{Path, PathBuf};

use iroh::SecretKey;

use crate::folder::{create_private, sync_folder};

/// Name of the file in the data folder.
pub const FILE_NAME: &str = "relay.key";

/// A key that cannot be used. Without it devices would not recognise the relay, so there is no going on.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// The file system says no.
    #[error("cannot read or make the relay's key {0}: {1}")]
    Io(PathBuf, std::io::Error),
    /// Others can read it.
    #[error("others can read the relay's key {0}; run: chmod 600 {0}")]
    TooOpen(PathBuf),
    /// It is something else.
    #[error(
        "{0} is not a relay's key (64 hex digits); restore it, or remove it for a new identity that every device has to be told of"
    )]
    Malformed(PathBuf),
    /// No random bytes.
    #[error("the system gives no random bytes")]
    NoRandomness,
}

/// Reads the key, or makes it if there is none.
///
/// # Errors
/// [`IdentityError`]
pub fn load_or_create(folder: &Path) -> Result<SecretKey, IdentityError> {
    match load(folder)? {
        Some(key) => Ok(key),
        None => create(&folder.join(FILE_NAME)),
    }
}

/// Reads the key, if there is one.
///
/// # Errors
/// [`IdentityError`]
pub fn load(folder: &Path) -> Result<Option<SecretKey>, IdentityError> {
    match read(&folder.join(FILE_NAME)) {
        Err(IdentityError::Io(_, error)) if error.kind() == ErrorKind::NotFound => Ok(None),
        result => result.map(Some),
    }
}

fn read(path: &Path) -> Result<SecretKey, IdentityError> {
    let io = |error| IdentityError::Io(path.into(), error);
    let mut file = std::fs::File::open(path).map_err(io)?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        if file.metadata().map_err(io)?.permissions().mode() & 0o077 != 0 {
            return Err(IdentityError::TooOpen(path.into()));
        }
    }
    let mut text = String::new();
    file.read_to_string(&mut text)
        .map_err(|_| IdentityError::Malformed(path.into()))?;
    let bytes = data_encoding::HEXLOWER_PERMISSIVE
        .decode(text.trim().as_bytes())
        .ok();
    let bytes: Option<[u8; 32]> = bytes.and_then(|bytes| bytes.try_into().ok());
    let bytes = bytes.ok_or_else(|| IdentityError::Malformed(path.into()))?;
    Ok(SecretKey::from_bytes(&bytes))
}

fn create(path: &Path) -> Result<SecretKey, IdentityError> {
    let io = |error| IdentityError::Io(path.into(), error);
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).map_err(|_| IdentityError::NoRandomness)?;
    // Written beside its place and moved there, so that a crash leaves no half key.
    let temporary = path.with_extension("key.new");
    let _ = std::fs::remove_file(&temporary);
    let mut file = create_private(&temporary).map_err(io)?;
    let text = format!("{}\n", data_encoding::HEXLOWER.encode(&bytes));
    file.write_all(text.as_bytes()).map_err(io)?;
    file.sync_all().map_err(io)?;
    std::fs::rename(&temporary, path).map_err(io)?;
    if let Some(folder) = path.parent() {
        sync_folder(folder);
    }
    Ok(SecretKey::from_bytes(&bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn made_once_and_kept() {
        let folder = tempfile::tempdir().unwrap();
        let first = load_or_create(folder.path()).unwrap();
        assert_eq!(
            load_or_create(folder.path()).unwrap().public(),
            first.public()
        );
    }

    #[cfg(unix)]
    #[test]
    fn a_key_that_others_can_read_or_that_is_damaged_is_refused() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        load_or_create(folder.path()).unwrap();
        let path = folder.path().join(FILE_NAME);
        let mode = |mode| {
            let permissions = std::fs::Permissions::from_mode(mode);
            std::fs::set_permissions(&path, permissions).unwrap();
        };
        assert_eq!(
            std::fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );
        mode(0o644);
        assert!(matches!(
            load_or_create(folder.path()),
            Err(IdentityError::TooOpen(_))
        ));
        mode(0o600);
        std::fs::write(&path, "not a key").unwrap();
        assert!(matches!(
            load_or_create(folder.path()),
            Err(IdentityError::Malformed(_))
        ));
    }
}
