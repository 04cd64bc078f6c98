//! What a backup says about itself, so that a damaged one is noticed before it is needed.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::path::Path;

use anyhow::{Context as _, Result, bail, ensure};
use data_encoding::HEXLOWER;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use zerok_sync_relay::folder;

use super::progress::Progress;

/// Name of the file that holds it.
pub const FILE_NAME: &str = "backup.json";
/// Only this one is understood.
const FORMAT: u32 = 1;
const CHUNK: usize = 256 * 1024;

#[derive(Debug, Serialize, Deserialize)]
pub struct Manifest {
    pub format: u32,
    /// Of the relay that wrote it.
    pub version: String,
    /// Milliseconds since 1970.
    pub made_at: u64,
    /// None where the data is in PostgreSQL.
    pub groups: Option<u64>,
    pub blobs: Option<u64>,
    pub files: BTreeMap<String, Entry>,
}

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    pub size: u64,
    pub sha256: String,
}

impl Manifest {
    pub fn new(made_at: u64, counts: Option<(u64, u64)>) -> Self {
        Self {
            format: FORMAT,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            made_at,
            groups: counts.map(|(groups, _)| groups),
            blobs: counts.map(|(_, blobs)| blobs),
            files: BTreeMap::new(),
        }
    }

    /// Takes up a file of the folder, and makes sure that it is on the disk.
    pub fn add(&mut self, folder: &Path, name: &str) -> Result<()> {
        let path = folder.join(name);
        let file = File::open(&path);
        let mut file = file.with_context(|| format!("cannot read {}", path.display()))?;
        file.sync_all().context("cannot flush to the disk")?;
        let entry = copy(&mut file, &mut std::io::sink(), "checking what was written")?;
        self.files.insert(name.to_owned(), entry);
        Ok(())
    }

    pub fn write(&self, folder: &Path) -> Result<()> {
        let mut file = folder::create_private(&folder.join(FILE_NAME))?;
        file.write_all(super::json(self)?.as_bytes())?;
        file.sync_all()?;
        Ok(())
    }

    pub fn read(folder: &Path) -> Result<Self> {
        let path = folder.join(FILE_NAME);
        let text = match std::fs::read_to_string(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                bail!(
                    "{} is not a backup: it has no {FILE_NAME}",
                    folder.display()
                )
            }
            text => text.with_context(|| format!("cannot read {}", path.display()))?,
        };
        let manifest: Self = serde_json::from_str(&text)
            .with_context(|| format!("{} is damaged; use another backup", path.display()))?;
        ensure!(
            manifest.format == FORMAT,
            "{} comes from a newer relay ({}); restore it with that version",
            folder.display(),
            manifest.version
        );
        Ok(manifest)
    }

    /// Copies a file of the backup, and compares it on the way.
    pub fn copy(&self, name: &str, from: &Path, to: &Path) -> Result<()> {
        let path = from.join(name);
        let expected = self.files.get(name);
        let expected = expected
            .with_context(|| format!("{} has no {name}; use another backup", from.display()))?;
        let source = File::open(&path);
        let mut source = source.with_context(|| format!("cannot read {}", path.display()))?;
        let mut target =
            folder::create_private(to).with_context(|| format!("cannot write {}", to.display()))?;
        let entry = copy(&mut source, &mut target, "copying")?;
        ensure!(
            entry == *expected,
            "{} is damaged: it is not what was written; use another backup",
            path.display()
        );
        target.sync_all().context("cannot flush to the disk")
    }
}

fn copy(source: &mut File, target: &mut impl Write, what: &'static str) -> Result<Entry> {
    let of = source.metadata()?.len();
    let mut progress = Progress::new(what);
    let mut hash = Sha256::new();
    let mut size = 0;
    let mut chunk = vec![0; CHUNK];
    loop {
        let read = source.read(&mut chunk)?;
        let Some(bytes) = chunk.get(..read).filter(|bytes| !bytes.is_empty()) else {
            break;
        };
        hash.update(bytes);
        target.write_all(bytes)?;
        size += read as u64;
        progress.bytes(size, of);
    }
    let sha256 = HEXLOWER.encode(&hash.finalize());
    Ok(Entry { size, sha256 })
}
