//! `zerok-relay gc`: deletes what is due and gives storage back to the disk, now instead of little by little.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use zerok_sync_relay::clock::Clock;
use zerok_sync_relay::folder::FolderLock;
use zerok_sync_relay::limits;
use zerok_sync_relay::storage::Storage as _;
use zerok_sync_relay::storage::sqlite::SqliteStorage;
use zerok_sync_relay::storage::sqlite::keeper::Keeper;

use super::progress::Progress;
use super::words;

/// A clock that is doubted is further ahead than this.
const AHEAD: Duration = Duration::from_secs(3600);

/// Cleans up and gives what to tell the user.
pub async fn run(data: &Path, vacuum: bool) -> Result<String> {
    let mut keeper = Keeper::open(data).await?;
    let schema = keeper.schema().await?;
    ensure!(
        schema.found == schema.known,
        "the database has another version than this program; start this version's relay once, or use the other's `gc`"
    );
    let lock = if vacuum {
        let lock = FolderLock::take(data);
        Some(lock.context("--vacuum writes the whole database anew; stop the relay first")?)
    } else {
        None
    };
    let before = keeper.space().await?;
    let deleted = expire(data).await?;
    if vacuum {
        eprintln!("writing the database anew");
        keeper
            .rewrite()
            .await
            .context("cannot write the database anew")?;
    } else {
        give_back(&mut keeper).await?;
    }
    let after = keeper.space().await?;
    keeper.close().await?;
    drop(lock);
    Ok(format!(
        "deleted {}, gave {} back; the database has {}\n",
        words::count(deleted, "blob"),
        words::bytes(before.used.saturating_sub(after.used)),
        words::bytes(after.used)
    ))
}

async fn expire(data: &Path) -> Result<u64> {
    let storage = SqliteStorage::open(data).await?;
    // What the relay would not delete is not deleted here either: docs/decisions/0014.
    let now = Clock::open(data, None).expiry();
    let ahead = super::now().since(now);
    if ahead > AHEAD {
        eprintln!(
            "the clock of this machine is {} ahead of what the relay remembers; what fell due since is left to the relay",
            words::time(ahead)
        );
    }
    let mut progress = Progress::new("deleting");
    let mut deleted = 0;
    loop {
        let started = Instant::now();
        let step = storage.expire(now, limits::EXPIRE_BLOBS).await?;
        deleted += step;
        if step < u64::from(limits::EXPIRE_BLOBS) {
            break;
        }
        progress.tell(|| words::count(deleted, "blob"));
        let_others(started.elapsed()).await;
    }
    storage.expire_invites(now).await?;
    storage.close().await;
    Ok(deleted)
}

async fn give_back(keeper: &mut Keeper) -> Result<()> {
    let mut progress = Progress::new("giving back");
    let mut free = keeper.space().await?.free;
    let of = free;
    while free > 0 {
        let started = Instant::now();
        keeper.give_back(limits::VACUUM_PAGES).await?;
        let left = keeper.space().await?.free;
        // A relay that pushes are coming in for may use the pages again as fast.
        if left >= free {
            break;
        }
        free = left;
        progress.bytes(of - free, of);
        let_others(started.elapsed()).await;
    }
    Ok(keeper.checkpoint().await?)
}

/// As long as a step took, so that a relay that waits for the lock gets it.
async fn let_others(step: Duration) {
    tokio::time::sleep(step.max(Duration::from_millis(5))).await;
}
