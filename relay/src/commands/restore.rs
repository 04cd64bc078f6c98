//! `zerok-relay restore`: a backup into a data folder that has no relay yet.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail, ensure};
use zerok_sync_relay::config::load::FILE_NAME as CONFIG_NAME;
use zerok_sync_relay::folder::{self, FolderLock};
use zerok_sync_relay::identity::FILE_NAME as KEY_NAME;
use zerok_sync_relay::storage::sqlite::FILE_NAME as DATABASE_NAME;
use zerok_sync_relay::storage::sqlite::keeper::Keeper;

use super::backup::ELSEWHERE_NAME;
use super::manifest::Manifest;
use super::words;

/// Restores a backup and gives what to tell the user.
pub async fn run(data: &Path, source: &Path) -> Result<String> {
    let manifest = Manifest::read(source)?;
    fs::create_dir_all(data).with_context(|| format!("cannot make {}", data.display()))?;
    let _lock = FolderLock::take(data)
        .with_context(|| format!("cannot restore into {}", data.display()))?;
    for entry in fs::read_dir(data)? {
        let name = entry?.file_name();
        let name = name.to_string_lossy();
        // A log that belongs to another database would destroy this one.
        ensure!(
            name != KEY_NAME && !name.starts_with(DATABASE_NAME),
            "{} has a relay already ({name}); move it away or name another folder with --data-dir",
            data.display()
        );
    }
    let unfinished = data.join("restore.unfinished");
    let _ = fs::remove_dir_all(&unfinished);
    fs::create_dir(&unfinished)?;
    let result = restore(&manifest, source, &unfinished, data).await;
    let _ = fs::remove_dir_all(&unfinished);
    result?;

    let made_at = zerok_sync_shared::time::Timestamp(manifest.made_at);
    let what = match (manifest.groups, manifest.blobs) {
        (Some(groups), Some(blobs)) => format!(
            "{} and {}",
            words::count(groups, "group"),
            words::count(blobs, "blob")
        ),
        _ => "the relay's key".to_owned(),
    };
    let mut text = format!(
        "{} has {what} again, as of {} ago\n\
         Start the relay under the address that it had: devices notice by themselves that it is set back, and send again \
         what it lost.\n",
        data.display(),
        words::time(super::now().since(made_at)),
    );
    if manifest.groups.is_none() {
        text += "The data was in PostgreSQL: restore it with pg_restore before.\n";
    }
    if manifest.files.contains_key(ELSEWHERE_NAME) {
        let file = source.join(ELSEWHERE_NAME);
        text += &format!(
            "The configuration was not in the data folder. If it is gone, it is in {}\n",
            file.display()
        );
    }
    Ok(text)
}

async fn restore(manifest: &Manifest, source: &Path, unfinished: &Path, data: &Path) -> Result<()> {
    manifest.copy(KEY_NAME, source, &unfinished.join(KEY_NAME))?;
    let has_database = manifest.files.contains_key(DATABASE_NAME);
    ensure!(
        has_database || manifest.groups.is_none(),
        "{} has no {DATABASE_NAME}; use another backup",
        source.display()
    );
    if has_database {
        copy_database(manifest, source, unfinished.join(DATABASE_NAME)).await?;
    }
    let mut names = vec![KEY_NAME];
    if manifest.files.contains_key(CONFIG_NAME) && !data.join(CONFIG_NAME).exists() {
        manifest.copy(CONFIG_NAME, source, &unfinished.join(CONFIG_NAME))?;
        names.push(CONFIG_NAME);
    }
    // The database last: as long as it is missing, this can be done again.
    if has_database {
        names.push(DATABASE_NAME);
    }
    for name in names {
        fs::rename(unfinished.join(name), data.join(name))
            .with_context(|| format!("cannot move {name} to its place"))?;
    }
    folder::sync_folder(data);
    Ok(())
}

/// Copies the database and makes sure that it can be used.
async fn copy_database(manifest: &Manifest, source: &Path, database: PathBuf) -> Result<()> {
    manifest.copy(DATABASE_NAME, source, &database)?;
    let mut keeper = Keeper::open_file(database).await?;
    let schema = keeper.schema().await?;
    ensure!(
        schema.found <= schema.known,
        "the backup comes from a newer relay ({}); restore it with that version",
        manifest.version
    );
    eprintln!("checking the database");
    if let Some(first) = keeper.damage(true).await?.first() {
        bail!("the database of the backup is damaged: {first}; use another backup");
    }
    keeper.close().await?;
    Ok(())
}
