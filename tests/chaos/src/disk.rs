//! What happens to files of processes that are off.

use std::path::Path;

use aho_corasick::AhoCorasick;
use anyhow::{Context as _, Result, ensure};
use rusqlite::Connection;

/// How long the piece is by which a blob is found in its database's file.
const PIECE: usize = 64;

/// The size of the largest file of a folder.
///
/// # Errors
/// When it cannot be read.
pub fn largest_file(folder: &Path) -> Result<u64> {
    let sizes = std::fs::read_dir(folder)?.map(|entry| Ok(entry?.metadata()?.len()));
    sizes
        .collect::<Result<Vec<_>>>()?
        .into_iter()
        .max()
        .context("no files")
}

/// Turns one bit of the bytes that a query selects, in the database's file and behind the database's back.
///
/// # Errors
/// When the bytes are not found in the file.
pub fn turn_bit(database: &Path, query: &str) -> Result<()> {
    let connection = Connection::open(database)?;
    let bytes: Vec<u8> = connection.query_row(query, [], |row| row.get(0))?;
    // The last to close moves everything into the one file.
    connection.close().map_err(|(_, error)| error)?;
    let middle = bytes.len() / 2;
    let piece = bytes.get(middle..middle + PIECE).context("too short")?;
    let mut file = std::fs::read(database)?;
    let found = AhoCorasick::new([piece])?
        .find(&file)
        .context("the bytes are not in the file")?;
    file[found.start() + PIECE / 2] ^= 1;
    std::fs::write(database, file)?;
    let connection = Connection::open(database)?;
    let changed: Vec<u8> = connection.query_row(query, [], |row| row.get(0))?;
    ensure!(changed != bytes, "the bit that was turned was another's");
    Ok(())
}

/// Removes a database with all that belongs to it.
///
/// # Errors
/// When it cannot be removed.
pub fn remove_database(database: &Path) -> Result<()> {
    for suffix in ["", "-wal", "-shm"] {
        let mut file = database.as_os_str().to_owned();
        file.push(suffix);
        match std::fs::remove_file(&file) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error.into()),
            _ => {}
        }
    }
    Ok(())
}
