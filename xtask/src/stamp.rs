//! Skipping work whose inputs have not changed.

use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// Folders that are never an input, besides hidden ones.
const IGNORED: &[&str] = &["node_modules", "dist", "target", "dev-dist", "test-results"];

/// A file that remembers the fingerprint of the inputs of the last good run.
pub struct Stamp(PathBuf);

impl Stamp {
    /// The stamp that is kept at `path`.
    pub fn at(path: PathBuf) -> Self {
        Self(path)
    }

    /// True if the last good run had exactly this fingerprint.
    pub fn matches(&self, fingerprint: &str) -> bool {
        fs::read_to_string(&self.0).is_ok_and(|text| text == fingerprint)
    }

    /// Remembers a good run.
    pub fn set(&self, fingerprint: &str) -> Result<()> {
        write_if_changed(&self.0, fingerprint.as_bytes()).map(|_| ())
    }
}

/// Fingerprint of files and folders by name, size and modification time.
/// The hash is only compared with itself: a compiler that changes it costs one extra run.
pub fn fingerprint(inputs: &[PathBuf]) -> Result<String> {
    let mut hasher = DefaultHasher::new();
    for input in inputs {
        add(input, true, &mut hasher)?;
    }
    Ok(format!("{:016x}", hasher.finish()))
}

fn add(path: &Path, named: bool, hasher: &mut DefaultHasher) -> Result<()> {
    let Ok(meta) = fs::metadata(path) else {
        // A missing input is a state like any other: it changes the fingerprint when it appears.
        (path, "missing").hash(hasher);
        return Ok(());
    };
    if !meta.is_dir() {
        (path, meta.len(), meta.modified()?).hash(hasher);
        return Ok(());
    }
    // An input that was asked for by name counts even if it is called "dist".
    if !named
        && path.file_name().is_some_and(|name| {
            name.to_string_lossy().starts_with('.') || IGNORED.iter().any(|i| name == *i)
        })
    {
        return Ok(());
    }
    let mut entries: Vec<PathBuf> = fs::read_dir(path)
        .with_context(|| format!("can't read {}", path.display()))?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<_, _>>()?;
    entries.sort();
    entries
        .iter()
        .try_for_each(|entry| add(entry, false, hasher))
}

/// Fingerprint of a file's bytes.
pub fn content_hash(bytes: &[u8]) -> String {
    let mut hasher = DefaultHasher::new();
    bytes.hash(&mut hasher);
    format!("{:016x}", hasher.finish())
}

/// Writes a file only if its content differs, so that its modification time means something.
pub fn write_if_changed(path: &Path, bytes: &[u8]) -> Result<bool> {
    if fs::read(path).is_ok_and(|old| old == bytes) {
        return Ok(false);
    }
    if let Some(dir) = path.parent() {
        fs::create_dir_all(dir).with_context(|| format!("can't create {}", dir.display()))?;
    }
    fs::write(path, bytes).with_context(|| format!("can't write {}", path.display()))?;
    Ok(true)
}

/// True if `file` exists and is at least as new as `than`.
pub fn at_least_as_new(file: &Path, than: &Path) -> bool {
    let modified = |path: &Path| fs::metadata(path).and_then(|meta| meta.modified()).ok();
    match (modified(file), modified(than)) {
        (Some(file), Some(than)) => file >= than,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, SystemTime};

    fn folder(name: &str) -> PathBuf {
        let dir = std::env::temp_dir().join(format!("xtask-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&dir);
        fs::create_dir_all(&dir).unwrap();
        dir
    }

    #[test]
    fn a_changed_new_or_removed_file_changes_the_fingerprint() {
        let dir = folder("fingerprint");
        let inputs = [dir.join("src")];
        let missing = fingerprint(&inputs).unwrap();
        fs::create_dir(dir.join("src")).unwrap();
        fs::write(dir.join("src/a"), "1").unwrap();
        let first = fingerprint(&inputs).unwrap();
        assert_ne!(missing, first);
        assert_eq!(first, fingerprint(&inputs).unwrap());
        fs::write(dir.join("src/a"), "22").unwrap();
        let changed = fingerprint(&inputs).unwrap();
        assert_ne!(first, changed);
        fs::write(dir.join("src/b"), "").unwrap();
        assert_ne!(changed, fingerprint(&inputs).unwrap());
        fs::remove_file(dir.join("src/b")).unwrap();
        assert_eq!(changed, fingerprint(&inputs).unwrap());
        fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn outputs_inside_an_input_folder_do_not_count_unless_named() {
        let dir = folder("ignored");
        fs::create_dir(dir.join("dist")).unwrap();
        let (all, dist) = ([dir.clone()], [dir.join("dist")]);
        let (before_all, before_dist) = (fingerprint(&all).unwrap(), fingerprint(&dist).unwrap());
        fs::write(dir.join("dist/out.js"), "x").unwrap();
        assert_eq!(before_all, fingerprint(&all).unwrap());
        assert_ne!(before_dist, fingerprint(&dist).unwrap());
        fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn a_stamp_matches_only_what_it_was_set_to() {
        let dir = folder("stamp");
        let stamp = Stamp::at(dir.join("deep/stamp"));
        assert!(!stamp.matches("a"));
        stamp.set("a").unwrap();
        assert!(stamp.matches("a") && !stamp.matches("b"));
        fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn an_unchanged_file_is_not_written_again() {
        let dir = folder("write");
        let file = dir.join("x");
        assert!(write_if_changed(&file, b"1").unwrap());
        let long_ago = SystemTime::UNIX_EPOCH + Duration::from_secs(1);
        fs::File::options()
            .write(true)
            .open(&file)
            .unwrap()
            .set_modified(long_ago)
            .unwrap();
        assert!(!write_if_changed(&file, b"1").unwrap());
        assert_eq!(fs::metadata(&file).unwrap().modified().unwrap(), long_ago);
        fs::remove_dir_all(dir).unwrap();
    }
}
