//! What sessions ask of the storage and others hear of, and what devices are told where it cannot be done.

use std::sync::{Mutex, PoisonError};

use tokio::time::Instant;
use zerok_sync_shared::error::ErrorCode;
use zerok_sync_shared::message::WireError;
use zerok_sync_shared::session::{GroupInfo, NewRotation, NewSnapshotPart};

use super::SessionContext;
use crate::limits;
use crate::network::Network;
use crate::storage::keys::RotateError;
use crate::storage::snapshots::{PutPart, PutPartError};
use crate::storage::{Deletion, Deletions, OpenError, OpenGroup, StorageError};
use crate::writer::{full, millis, storage_failed};

/// Looks a group up. Only one that is not there counts as founded.
pub(super) async fn open_or_found(
    context: &SessionContext,
    mut open: OpenGroup,
    network: Option<Network>,
) -> Result<GroupInfo, WireError> {
    let (group, advances) = (open.group_id, !open.chain.is_empty());
    let may_found = std::mem::replace(&mut open.create, false);
    let storage = &context.storage;
    let known = context.groups.known([group]);
    match storage.open_group(open.clone()).await {
        Err(OpenError::Unknown) if may_found => {
            context.rates.found_group(network)?;
            open.create = true;
            storage.open_group(open).await.map_err(open_error)
        }
        result => result.map_err(open_error),
    }
    .inspect(|info| {
        context.groups.check(&known, group, info.max_cursor);
        if advances {
            context.groups.rotated(group, info.epoch);
        }
    })
}

/// Changes the keys of a group, and tells its sessions.
pub(super) async fn rotate(
    context: &SessionContext,
    rotation: NewRotation,
) -> Result<(), WireError> {
    let (group, epoch) = (rotation.group_id, rotation.certificate.claims.epoch);
    let refused = |text: &str| WireError {
        retry_after_ms: Some(0),
        ..WireError::new(ErrorCode::StaleEpoch, text)
    };
    match context.storage.rotate(rotation).await {
        Ok(()) => {
            context.metrics.rotations.inc();
            context.groups.rotated(group, epoch);
            Ok(())
        }
        Err(RotateError::Stale) => Err(refused("the keys were changed by somebody else first")),
        Err(RotateError::Unaware) => Err(refused(
            "a member has pushed something that the author has not seen yet; catch up first",
        )),
        Err(RotateError::Storage(error)) => Err(read_failed(error)),
    }
}

/// Lets go of a blob, and of what memory holds of it.
pub(super) async fn delete(context: &SessionContext, deletion: Deletion) -> Result<(), WireError> {
    match context.storage.delete(deletion).await {
        Ok(Deletions::Done) => {
            if deletion.force {
                context.groups.erased(deletion.group_id);
            }
            Ok(())
        }
        Ok(Deletions::NotOwner) => Err(WireError::new(
            ErrorCode::NotBlobOwner,
            "only the device that sent a blob can have it erased at once",
        )),
        Err(error) => Err(read_failed(error)),
    }
}

/// Stores a part of a snapshot.
pub(super) async fn store_snapshot(
    context: &SessionContext,
    new: NewSnapshotPart,
) -> Result<(), WireError> {
    let last = new.part.part + 1 == new.part.parts;
    let put = PutPart {
        new,
        quota: context.group_quota,
        now: context.clock.now(),
    };
    let refused = |code, text: &str| Err(WireError::new(code, text));
    match context.storage.put_snapshot_part(put).await {
        Ok(()) => {
            if last {
                context.metrics.snapshots.inc();
            }
            Ok(())
        }
        Err(PutPartError::Stale) => refused(
            ErrorCode::StaleEpoch,
            "a snapshot that covers more is stored already, or the keys have changed",
        ),
        Err(PutPartError::Differs) => refused(
            ErrorCode::InvalidMessage,
            "the part is not of the snapshot that was begun under this id; begin another one",
        ),
        Err(PutPartError::Unknown) => refused(
            ErrorCode::NotFound,
            "the parts of the snapshot before this one are not here",
        ),
        Err(PutPartError::Busy) => Err(later(
            ErrorCode::RateLimited,
            "too many snapshots of this group are on their way",
        )),
        Err(PutPartError::Quota) => Err(later(
            ErrorCode::GroupQuotaExceeded,
            "the group's storage is used up",
        )),
        Err(PutPartError::Full) => Err(full()),
        Err(PutPartError::Storage(error)) => Err(read_failed(error)),
    }
}

pub(super) fn read_failed(error: StorageError) -> WireError {
    // Once in a while, not for every device that tries again.
    static TOLD: Mutex<Option<Instant>> = Mutex::new(None);
    let mut told = TOLD.lock().unwrap_or_else(PoisonError::into_inner);
    if told.is_none_or(|told| told.elapsed() > limits::TELL_AGAIN) {
        *told = Some(Instant::now());
        tracing::error!(%error, "cannot read from the database; check the disk");
    } else {
        tracing::debug!(%error, "cannot read from the database");
    }
    storage_failed()
}

/// What is refused until there is room again.
fn later(code: ErrorCode, text: &str) -> WireError {
    WireError {
        retry_after_ms: Some(millis(limits::QUOTA_RETRY)),
        ..WireError::new(code, text)
    }
}

/// Work whose end others have to hear of, though the device that asked for it hangs up before: it goes on then.
pub(super) async fn to_its_end<T: Send + 'static>(
    work: impl Future<Output = Result<T, WireError>> + Send + 'static,
) -> Result<T, WireError> {
    match tokio::spawn(work).await {
        Ok(result) => result,
        Err(_) => Err(storage_failed()),
    }
}

fn open_error(error: OpenError) -> WireError {
    match error {
        OpenError::Unknown => WireError::new(
            ErrorCode::UnknownGroup,
            "this relay does not know the group; a device that has its first key has to come first",
        ),
        OpenError::TooMany => later(
            ErrorCode::RelayOverloaded,
            "this relay takes no further groups",
        ),
        OpenError::Full => full(),
        OpenError::Storage(error) => read_failed(error),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    #[tokio::test]
    async fn work_that_others_hear_of_goes_on_when_nobody_waits_for_it() {
        let (done, is_done) = tokio::sync::oneshot::channel();
        let work = to_its_end(async move {
            tokio::time::sleep(Duration::from_millis(50)).await;
            let _ = done.send(());
            Ok(())
        });
        assert!(timeout(Duration::from_millis(1), work).await.is_err());
        assert!(is_done.await.is_ok());
    }
}
