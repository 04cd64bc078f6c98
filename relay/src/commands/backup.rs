//! `zerok-relay backup`: database, key and configuration as one moment sees them, in a new folder.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail, ensure};
use zerok_sync_relay::config::load::{FILE_NAME as CONFIG_NAME, Loaded};
use zerok_sync_relay::folder;
use zerok_sync_relay::identity::FILE_NAME as KEY_NAME;
use zerok_sync_relay::storage::sqlite::FILE_NAME as DATABASE_NAME;
use zerok_sync_relay::storage::sqlite::keeper::Keeper;

use super::manifest::Manifest;
use super::progress::Progress;
use super::words;

/// Name of a configuration that does not belong into the data folder.
pub const ELSEWHERE_NAME: &str = "configuration.toml";

/// Makes a backup and gives what to tell the user.
pub async fn run(loaded: &Loaded, target: &Path) -> Result<String> {
    let data = &loaded.config.data_dir;
    ensure!(
        fs::symlink_metadata(target).is_err(),
        "{} is there already; a backup is never overwritten, name another folder",
        target.display()
    );
    let unfinished = Unfinished::new(target)?;
    let folder = unfinished.0.as_path();
    let counts = match &loaded.config.database_url {
        None => Some(copy_database(data, folder, target).await?),
        Some(_) => None,
    };
    let mut manifest = Manifest::new(super::now().0, counts);
    if counts.is_some() {
        manifest.add(folder, DATABASE_NAME)?;
    }
    let key = data.join(KEY_NAME);
    copy_private(&key, &folder.join(KEY_NAME))
        .with_context(|| format!("cannot copy the relay's key {}", key.display()))?;
    manifest.add(folder, KEY_NAME)?;
    if let Some(file) = &loaded.file {
        let own = *file == data.join(CONFIG_NAME);
        let name = if own { CONFIG_NAME } else { ELSEWHERE_NAME };
        copy_private(file, &folder.join(name))
            .with_context(|| format!("cannot copy the configuration {}", file.display()))?;
        manifest.add(folder, name)?;
    }
    manifest.write(folder)?;
    folder::sync_folder(folder);
    let size = manifest.files.values().map(|file| file.size).sum();
    unfinished.finish(target)?;
    let shown = target.display();
    Ok(match (counts, &loaded.config.database_url) {
        (Some((groups, blobs)), _) => format!(
            "{shown} has {}, {}, {}, and the relay's key: keep it where nobody else reads it\n",
            words::count(groups, "group"),
            words::count(blobs, "blob"),
            words::bytes(size),
        ),
        (None, url) => format!(
            "{shown} has the relay's key: keep it where nobody else reads it\n\
             The data is in {}. Copy it with PostgreSQL's own program:\n\n  \
             pg_dump --format=custom --file=relay.dump \"$ZEROK_RELAY_DATABASE_URL\"\n",
            url.as_ref().map(ToString::to_string).unwrap_or_default()
        ),
    })
}

/// Copies the database as one moment sees it, and reads the copy. Gives its groups and blobs.
async fn copy_database(data: &Path, folder: &Path, target: &Path) -> Result<(u64, u64)> {
    let mut keeper = Keeper::open(data)
        .await
        .with_context(|| format!("cannot back up {}; is --data-dir right?", data.display()))?;
    let schema = keeper.schema().await?;
    ensure!(
        schema.found <= schema.known,
        "the database comes from a newer relay; back it up with that version"
    );
    let copy = folder.join(DATABASE_NAME);
    let space = keeper.space().await?;
    let size = space.used - space.free;
    if let Some(free) = folder::free_space(folder) {
        ensure!(
            free > size,
            "{} are needed in {} and {} are free; name a folder on another disk",
            words::bytes(size),
            target.display(),
            words::bytes(free)
        );
    }
    // Made first, so that nobody else can ever read it.
    folder::create_private(&copy)?;
    let progress = Progress::new("copying the database");
    let copied = progress.of_file(&copy, size, keeper.copy_to(&copy)).await;
    copied.context("cannot copy the database")?;
    keeper.close().await?;

    // A backup that nobody can restore is none, so it is read before it counts.
    let mut written = Keeper::open_file(copy).await?;
    let damage = written.damage(false).await?;
    if let Some(first) = damage.first() {
        bail!("the database is damaged: {first}; see `zerok-relay check`");
    }
    let contents = written.contents(super::now(), &[]).await?;
    written.close().await?;
    Ok((contents.groups, contents.blobs))
}

fn copy_private(from: &Path, to: &Path) -> std::io::Result<()> {
    let mut source = fs::File::open(from)?;
    std::io::copy(&mut source, &mut folder::create_private(to)?)?;
    Ok(())
}

/// A folder beside its place, which is removed unless it gets there.
struct Unfinished(PathBuf);

impl Unfinished {
    fn new(target: &Path) -> Result<Self> {
        let name = target.file_name().context("the backup needs a name")?;
        let mut unfinished = name.to_owned();
        unfinished.push(format!(".unfinished-{}", std::process::id()));
        let path = target.with_file_name(unfinished);
        let mut builder = fs::DirBuilder::new();
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        builder
            .create(&path)
            .with_context(|| format!("cannot make {}", path.display()))?;
        Ok(Self(path))
    }

    fn finish(mut self, target: &Path) -> Result<()> {
        let path = std::mem::take(&mut self.0);
        fs::rename(&path, target)
            .with_context(|| format!("cannot move {} to its place", path.display()))?;
        folder::sync_folder(parent(target));
        Ok(())
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        if !self.0.as_os_str().is_empty() {
            let _ = fs::remove_dir_all(&self.0);
        }
    }
}

fn parent(path: &Path) -> &Path {
    let parent = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty());
    parent.unwrap_or(Path::new("."))
}
