//! What the relay keeps, behind one small trait. Every implementation passes the suite in `storage/suite.rs`.

use async_trait::async_trait;
use zerok_sync_shared::crypto::rotation::Certificate;
use zerok_sync_shared::ids::{BlobId, DeviceId, GroupId, Incarnation, InviteLookup};
use zerok_sync_shared::message::{Blob, ListedDevice, Mark, SnapshotPart};
use zerok_sync_shared::session::{GroupInfo, KeysSince, NewBlob, NewRotation, Page, Stored};
use zerok_sync_shared::time::Timestamp;

use crate::invites::Invite;
use crate::limits;
use keys::{KeptKeys, RotateError};
pub use room::Bounds;
use snapshots::{PutPart, PutPartError};

pub mod keys;
mod plan;
pub mod postgres;
mod room;
pub mod snapshots;
pub mod sqlite;
#[cfg(test)]
pub(crate) mod suite;

/// A group to look up, and to make if it may be made.
#[derive(Debug, Clone)]
pub struct OpenGroup {
    /// Which one.
    pub group_id: GroupId,
    /// For whom.
    pub device: DeviceId,
    /// The proven access key.
    pub access_pub: [u8; 32],
    /// Its epoch.
    pub epoch: u32,
    /// Whether the key founds the group.
    pub create: bool,
    /// The checked chain of rotations up to that epoch, if the device has brought it.
    pub chain: Vec<Certificate>,
    /// Groups that may exist.
    pub max_groups: u64,
    /// The relay's clock.
    pub now: Timestamp,
    /// One that was last opened before is noted as opened now, so that it is not forgotten.
    pub renew_before: Timestamp,
    /// Cursors of which the device wants to know what is there.
    pub marks: Vec<u64>,
    /// Its bookmark: whether something after it is lacking.
    pub after_cursor: u64,
}

/// Why a group was not opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// It is not there and may not be made.
    #[error("the group is unknown")]
    Unknown,
    /// There are as many groups as are allowed.
    #[error("there are too many groups")]
    TooMany,
    /// There is no room for anything new.
    #[error("there is no room left")]
    Full,
    /// The storage failed.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

/// A blob to store, and which session it comes from.
#[derive(Debug)]
pub struct Pending {
    /// The blob.
    pub blob: NewBlob,
    /// After one refusal, everything later of the same session is refused.
    pub session: u64,
}

/// A device was here.
#[derive(Debug, Clone, Copy)]
pub struct Seen {
    /// In which group.
    pub group_id: GroupId,
    /// Which one.
    pub device: DeviceId,
    /// It holds everything up to this cursor.
    pub acked: u64,
    /// When.
    pub at: Timestamp,
}

/// Why one blob was not stored, while others of the same transaction were.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// The group's storage is used up.
    Quota,
    /// That of all groups together is.
    Full,
    /// The group does not exist.
    UnknownGroup,
    /// An earlier blob of the session was refused.
    AfterRefusal,
}

/// Where a blob is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kept {
    /// Its place.
    pub stored: Stored,
    /// Whether it was stored just now. Otherwise its id was there before, perhaps with other bytes.
    pub new: bool,
}

/// Everything that one transaction writes.
#[derive(Debug)]
pub struct Batch<'a> {
    /// In the order of arrival.
    pub blobs: &'a [Pending],
    /// Devices that were seen.
    pub seen: &'a [Seen],
    /// Bytes that a group may store; 0 means no limit.
    pub quota: u64,
    /// Timestamp of what is stored.
    pub now: Timestamp,
}

/// A blob to let go of.
#[derive(Debug, Clone, Copy)]
pub struct Deletion {
    /// Its group.
    pub group_id: GroupId,
    /// The blob.
    pub blob_id: BlobId,
    /// The device that asks.
    pub by: DeviceId,
    /// At once, which only its sender may ask for.
    pub force: bool,
}

/// What becomes of a [`Deletion`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deletions {
    /// It will go, has gone, or was never there.
    Done,
    /// It stays: somebody else has sent it.
    NotOwner,
}

/// A step on the way through all groups, dropping what everybody has.
#[derive(Debug, Clone, Copy)]
pub struct Sweep {
    /// The group after which it begins.
    pub after: Option<GroupId>,
    /// Devices that were not seen since hold nothing back.
    pub active_since: Timestamp,
    /// Groups to look at, at most.
    pub max_groups: u32,
    /// Payloads to drop, at most.
    pub max_blobs: u32,
    /// Whether what every active device has goes even where no snapshot has it.
    pub acknowledged: bool,
}

/// What a step did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Swept {
    /// Blobs whose payloads it dropped.
    pub deleted: u64,
    /// After which group to go on.
    pub after: Option<GroupId>,
    /// Whether all groups were looked at.
    pub done: bool,
}

impl Sweep {
    /// What to say after a step that looked at groups up to `last`.
    fn result(&self, deleted: u64, last: Option<GroupId>) -> Swept {
        // What is left of these groups comes first the next time.
        let again = deleted >= u64::from(self.max_blobs);
        Swept {
            deleted,
            after: if again { self.after } else { last },
            done: !again && last.is_none(),
        }
    }
}

/// The storage could not do it; nothing has changed. The text is for the log, never for a device.
#[derive(Debug, Clone, thiserror::Error)]
#[error("storage: {0}")]
pub struct StorageError(pub String);

impl StorageError {
    /// What a database says, and what to do if that is that its file is damaged.
    #[must_use]
    pub fn from_database(error: &dyn std::error::Error) -> Self {
        let text = error.to_string();
        // As SQLite puts it, whatever wraps it.
        let damaged = ["is malformed", "malformed database", "is not a database"];
        if damaged.iter().any(|damaged| text.contains(damaged)) {
            return Self(format!(
                "{text}: it is damaged; restore a backup, as docs/operations.md says"
            ));
        }
        Self(text)
    }
}

impl From<sqlx::Error> for StorageError {
    fn from(error: sqlx::Error) -> Self {
        Self::from_database(&error)
    }
}

/// Numbers for health and metrics.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stats {
    /// Groups.
    pub groups: u64,
    /// Blobs of all of them.
    pub blobs: u64,
    /// Their payload bytes.
    pub bytes: u64,
}

/// The bounds by which [`Census::lag_up_to`] sorts devices, in blobs.
pub const LAG_BOUNDS: [u64; 6] = [0, 10, 100, 1_000, 10_000, 100_000];

/// What is there and who uses it. Counting it reads every device, so it is for the clean-up, not for every question.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Census {
    /// What is stored.
    pub stats: Stats,
    /// Devices that were seen since the time that was asked for.
    pub active_devices: u64,
    /// How many of them have at most so many blobs yet to acknowledge, for each of [`LAG_BOUNDS`].
    pub lag_up_to: [u64; LAG_BOUNDS.len()],
    /// What all of them together have yet to acknowledge.
    pub lag_sum: u64,
}

/// A change of an invite, decided from what is stored.
pub type InviteChange<'a> = &'a mut (dyn FnMut(&mut Invite) + Send);

/// Why an invite was not kept.
#[derive(Debug, thiserror::Error)]
pub enum PutInviteError {
    /// The lookup id is taken.
    #[error("the lookup is taken")]
    Taken,
    /// There are as many invites as are allowed.
    #[error("there are too many invites")]
    TooMany,
    /// The storage failed.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

/// A page of what was `found`, of which as many are there as were to be read. `first` is the first cursor that is stored after
/// the one that was asked for.
fn page(blobs: Vec<Blob>, found: usize, first: Option<u64>, max_cursor: u64) -> Page {
    let walked = first.map_or(max_cursor, |first| {
        first
            .saturating_add(limits::WALKED_ROWS - 1)
            .min(max_cursor)
    });
    let up_to = match blobs.last() {
        Some(last) if blobs.len() < found => last.cursor,
        _ => walked,
    };
    Page {
        has_more: up_to < max_cursor,
        blobs,
        up_to,
        max_cursor,
    }
}

/// The relay's data. Whatever returns `Ok` would survive a power cut.
#[async_trait]
pub trait Storage: Send + Sync + 'static {
    /// The life of this database: made with it, and kept as long as it is.
    fn incarnation(&self) -> Incarnation;

    /// Looks a group up, or makes it; with a chain that leads on from its keys, it has the newer ones from then on.
    async fn open_group(&self, open: OpenGroup) -> Result<GroupInfo, OpenError>;

    /// Changes the keys of a group: all of the rotation is kept, or nothing.
    async fn rotate(&self, rotation: NewRotation) -> Result<(), RotateError>;

    /// How the keys of a group have changed since an epoch, and the newest packet of a device.
    async fn keys_since(
        &self,
        group_id: GroupId,
        device: DeviceId,
        after_epoch: u32,
    ) -> Result<KeysSince, StorageError>;

    /// Keeps what is missing of the newest epoch's keys; nothing if that is another epoch.
    async fn keep_keys(&self, keys: KeptKeys) -> Result<(), StorageError>;

    /// Stores a batch in one transaction, and answers for each blob in order. Cursors are assigned here, without holes;
    /// an id that the group has already gives its old cursor and timestamp.
    async fn commit(&self, batch: Batch<'_>) -> Result<Vec<Result<Kept, Refused>>, StorageError>;

    /// A page of blobs after a cursor, as one moment sees them: at most `max_blobs` and `max_bytes` of payload, but at
    /// least one blob if there is one among the next [`limits::WALKED_ROWS`] cursors. A page can have none and say that there is
    /// more, so that no single question walks over millions of erased blobs.
    async fn read(
        &self,
        group_id: GroupId,
        after: u64,
        max_blobs: u32,
        max_bytes: usize,
    ) -> Result<Page, StorageError>;

    /// Which of these the group has, in the order of the question, and where.
    async fn has(&self, group_id: GroupId, ids: Vec<BlobId>) -> Result<Vec<Mark>, StorageError>;

    /// The devices that were last here, at most so many of them; none is said to be there now.
    async fn devices(
        &self,
        group_id: GroupId,
        max: usize,
    ) -> Result<Vec<ListedDevice>, StorageError>;

    /// Deletes at most `max_blobs` expired blobs, and gives how many they were.
    async fn expire(&self, now: Timestamp, max_blobs: u32) -> Result<u64, StorageError>;

    /// Drops the payloads of blobs that every active device of their group has acknowledged and its snapshot covers. Without
    /// a snapshot, if `acknowledged` asks for that, where there are at least two of them: a device that is alone will want its
    /// log for the one that joins. Nobody reads these blobs any more and they
    /// count for nothing, but until they expire the storage knows their ids and cursors, so that devices see that they
    /// were not lost.
    async fn delete_acked(&self, sweep: Sweep) -> Result<Swept, StorageError>;

    /// Drops a blob's payload at once, or marks it for [`Self::drop_deleted`]. What is left of it is the same as after
    /// [`Self::delete_acked`].
    async fn delete(&self, deletion: Deletion) -> Result<Deletions, StorageError>;

    /// Drops the payloads of at most `max_blobs` marked blobs that all devices seen since `active_since` have acknowledged; gives
    /// how many marks that were.
    async fn drop_deleted(
        &self,
        active_since: Timestamp,
        max_blobs: u32,
    ) -> Result<u64, StorageError>;

    /// Stores a part of a snapshot, after those before it. The last one makes it the group's snapshot instead of the former.
    async fn put_snapshot_part(&self, put: PutPart) -> Result<(), PutPartError>;

    /// A part of the group's snapshot.
    async fn snapshot_part(
        &self,
        group_id: GroupId,
        part: u32,
    ) -> Result<Option<SnapshotPart>, StorageError>;

    /// Deletes some of the snapshots that nobody finishes, and of those of groups without devices that were made before; gives
    /// how many.
    async fn expire_snapshots(
        &self,
        now: Timestamp,
        abandoned_before: Timestamp,
    ) -> Result<u64, StorageError>;

    /// Forgets at most `max_devices` devices that were last seen before, and gives how many they were.
    async fn forget_devices(
        &self,
        seen_before: Timestamp,
        max_devices: u32,
    ) -> Result<u64, StorageError>;

    /// Forgets at most `max_groups` groups that were last opened before and have nothing: no blob, no snapshot, no device,
    /// and no change of keys. Gives how many they were. Whoever comes back to one founds it anew.
    async fn forget_groups(
        &self,
        opened_before: Timestamp,
        max_groups: u32,
    ) -> Result<u64, StorageError>;

    /// Gives some of the room that deleted blobs left back to the disk; whether there is more to give.
    async fn shrink(&self) -> Result<bool, StorageError>;

    /// Keeps an invite, if its lookup is free and fewer than `max` can be claimed.
    async fn put_invite(
        &self,
        invite: &Invite,
        max: u64,
        now: Timestamp,
    ) -> Result<(), PutInviteError>;

    /// An invite or its tombstone.
    async fn invite(&self, lookup: InviteLookup) -> Result<Option<Invite>, StorageError>;

    /// Changes an invite in one transaction; `false` if there is none.
    async fn change_invite(
        &self,
        lookup: InviteLookup,
        change: InviteChange<'_>,
    ) -> Result<bool, StorageError>;

    /// Wipes what expired invites sealed, and forgets tombstones that are due.
    async fn expire_invites(&self, now: Timestamp) -> Result<(), StorageError>;

    /// Numbers for people.
    async fn stats(&self) -> Result<Stats, StorageError>;

    /// Numbers for curves; a device is active if it was seen at `active_since` or later.
    async fn census(&self, active_since: Timestamp) -> Result<Census, StorageError>;

    /// Fails if the next write would.
    async fn check(&self) -> Result<(), StorageError>;

    /// Writes everything out and lets go of the files.
    async fn close(&self);
}
