//! The writer over a storage that can be told to fail or to wait.

use std::sync::Mutex;

use async_trait::async_trait;
use bytes::Bytes;
use zerok_sync_shared::ids::{BlobId, Incarnation, InviteLookup};
use zerok_sync_shared::message::{ListedDevice, Mark, SnapshotPart};
use zerok_sync_shared::session::{GroupInfo, KeysSince, NewRotation, Page};
use zerok_sync_shared::time::Timestamp;

use super::*;
use crate::invites::Invite;
use crate::storage::keys::{KeptKeys, RotateError};
use crate::storage::snapshots::{PutPart, PutPartError};
use crate::storage::{
    Census, Deletion, Deletions, InviteChange, OpenError, OpenGroup, PutInviteError, Stats,
    StorageError, Sweep, Swept,
};

const GROUP: GroupId = GroupId([1; 32]);

/// Stores ids in a list, whose length is the cursor.
#[derive(Default)]
struct Fake {
    stored: Mutex<Vec<u8>>,
    batches: Mutex<Vec<usize>>,
    seen: Mutex<Vec<Seen>>,
    fails: AtomicBool,
    gate: Gate,
}

/// Holds commits back until it is opened.
struct Gate(Semaphore);

impl Default for Gate {
    fn default() -> Self {
        Self(Semaphore::new(1_000))
    }
}

#[async_trait]
impl Storage for Fake {
    fn incarnation(&self) -> Incarnation {
        Incarnation([0; 16])
    }
    async fn open_group(&self, _: OpenGroup) -> Result<GroupInfo, OpenError> {
        Err(OpenError::Unknown)
    }
    async fn rotate(&self, _: NewRotation) -> Result<(), RotateError> {
        Err(RotateError::Stale)
    }
    async fn keys_since(&self, _: GroupId, _: DeviceId, _: u32) -> Result<KeysSince, StorageError> {
        Ok(KeysSince::default())
    }
    async fn keep_keys(&self, _: KeptKeys) -> Result<(), StorageError> {
        Ok(())
    }
    async fn commit(&self, batch: Batch<'_>) -> Result<Vec<Result<Kept, Refused>>, StorageError> {
        self.gate.0.acquire().await.unwrap().forget();
        if self.fails.load(Ordering::Relaxed) {
            return Err(StorageError("full".into()));
        }
        self.batches.lock().unwrap().push(batch.blobs.len());
        self.seen.lock().unwrap().extend_from_slice(batch.seen);
        let mut stored = self.stored.lock().unwrap();
        let store = |pending: &Pending| {
            stored.push(pending.blob.blob_id.0[0]);
            let stored = Stored {
                cursor: stored.len() as u64,
                timestamp: batch.now,
            };
            Ok(Kept { stored, new: true })
        };
        Ok(batch.blobs.iter().map(store).collect())
    }
    async fn read(&self, _: GroupId, _: u64, _: u32, _: usize) -> Result<Page, StorageError> {
        Err(StorageError(String::new()))
    }
    async fn has(&self, _: GroupId, _: Vec<BlobId>) -> Result<Vec<Mark>, StorageError> {
        Ok(vec![])
    }
    async fn devices(&self, _: GroupId, _: usize) -> Result<Vec<ListedDevice>, StorageError> {
        Ok(vec![])
    }
    async fn expire(&self, _: Timestamp, _: u32) -> Result<u64, StorageError> {
        Ok(0)
    }
    async fn delete_acked(&self, _: Sweep) -> Result<Swept, StorageError> {
        Ok(Swept {
            deleted: 0,
            after: None,
            done: true,
        })
    }
    async fn delete(&self, _: Deletion) -> Result<Deletions, StorageError> {
        Ok(Deletions::Done)
    }
    async fn drop_deleted(&self, _: Timestamp, _: u32) -> Result<u64, StorageError> {
        Ok(0)
    }
    async fn put_snapshot_part(&self, _: PutPart) -> Result<(), PutPartError> {
        Err(PutPartError::Unknown)
    }
    async fn snapshot_part(
        &self,
        _: GroupId,
        _: u32,
    ) -> Result<Option<SnapshotPart>, StorageError> {
        Ok(None)
    }
    async fn expire_snapshots(&self, _: Timestamp, _: Timestamp) -> Result<u64, StorageError> {
        Ok(0)
    }
    async fn forget_groups(&self, _: Timestamp, _: u32) -> Result<u64, StorageError> {
        Ok(0)
    }
    async fn forget_devices(&self, _: Timestamp, _: u32) -> Result<u64, StorageError> {
        Ok(0)
    }
    async fn shrink(&self) -> Result<bool, StorageError> {
        Ok(false)
    }
    async fn put_invite(&self, _: &Invite, _: u64, _: Timestamp) -> Result<(), PutInviteError> {
        Ok(())
    }
    async fn invite(&self, _: InviteLookup) -> Result<Option<Invite>, StorageError> {
        Ok(None)
    }
    async fn change_invite(
        &self,
        _: InviteLookup,
        _: InviteChange<'_>,
    ) -> Result<bool, StorageError> {
        Ok(false)
    }
    async fn expire_invites(&self, _: Timestamp) -> Result<(), StorageError> {
        Ok(())
    }
    async fn stats(&self) -> Result<Stats, StorageError> {
        Ok(Stats::default())
    }
    async fn census(&self, _: Timestamp) -> Result<Census, StorageError> {
        Ok(Census::default())
    }
    async fn check(&self) -> Result<(), StorageError> {
        Ok(())
    }
    async fn close(&self) {}
}

fn start(storage: &Arc<Fake>) -> (Writer, Arc<Groups>, JoinHandle<()>) {
    let groups = Arc::new(Groups::new(Incarnation([1; 16])));
    let context = WriterContext {
        storage: Arc::clone(storage) as Arc<dyn Storage>,
        groups: Arc::clone(&groups),
        metrics: Arc::default(),
        clock: Arc::default(),
        quota: 0,
    };
    let (writer, task) = Writer::start(context);
    (writer, groups, task)
}

fn blob(n: u8) -> NewBlob {
    NewBlob {
        group_id: GROUP,
        blob_id: BlobId([n; 16]),
        sender: DeviceId([2; 32]),
        epoch: 0,
        ttl: 1,
        payload: Bytes::from_static(b"payload"),
    }
}

#[tokio::test]
async fn what_waits_shares_a_transaction_and_is_announced_after_it() {
    let storage = Arc::new(Fake {
        gate: Gate(Semaphore::new(0)),
        ..Fake::default()
    });
    let (writer, groups, _task) = start(&storage);
    let mut member = groups.join(GROUP);
    let (sender, mut answers) = mpsc::channel(100);
    let session = writer.session(sender);
    session.store(blob(0)).await.unwrap();
    tokio::task::yield_now().await;
    for n in 1..50 {
        session.store(blob(n)).await.unwrap();
    }
    assert!(answers.try_recv().is_err(), "no answer before the commit");
    storage.gate.0.add_permits(2);
    for cursor in 1..=50 {
        assert_eq!(answers.recv().await.unwrap().unwrap().cursor, cursor);
    }
    assert_eq!(*storage.batches.lock().unwrap(), [1, 49]);
    while member.news().await.cursor < 50 {}
    let page = member.recent(0, 100, 1 << 20, Timestamp(0)).unwrap();
    assert_eq!(
        (page.blobs.len(), page.up_to, page.has_more),
        (50, 50, false)
    );
    assert_eq!(page.blobs[7].blob_id, BlobId([7; 16]));
}

#[tokio::test]
async fn a_group_that_pushes_without_end_leaves_the_next_transaction_to_others() {
    let storage = Arc::new(Fake {
        gate: Gate(Semaphore::new(0)),
        ..Fake::default()
    });
    let (writer, _groups, _task) = start(&storage);
    let (sender, _answers) = mpsc::channel(1000);
    let flood = writer.session(sender);
    flood.store(blob(0)).await.unwrap();
    tokio::task::yield_now().await;
    for n in 1..=200 {
        flood.store(blob(n)).await.unwrap();
    }
    let (sender, mut answers) = mpsc::channel(10);
    let other = NewBlob {
        group_id: GroupId([2; 32]),
        ..blob(255)
    };
    writer.session(sender).store(other).await.unwrap();
    storage.gate.0.add_permits(2);
    answers.recv().await.unwrap().unwrap();
    let second = storage.batches.lock().unwrap()[1];
    assert!(second <= limits::FIRST_WEIGHT / limits::BLOB_WEIGHT);
    // Nothing of the flood is lost, and none of it overtakes another.
    storage.gate.0.add_permits(1_000);
    while storage.stored.lock().unwrap().len() < 202 {
        tokio::task::yield_now().await;
    }
    let stored = storage.stored.lock().unwrap();
    let of_flood: Vec<u8> = stored.iter().copied().filter(|n| *n != 255).collect();
    assert!(of_flood.is_sorted());
}

#[tokio::test]
async fn after_a_failure_the_session_is_refused_and_others_go_on() {
    let storage = Arc::new(Fake::default());
    let (writer, _groups, _task) = start(&storage);
    let (sender, mut answers) = mpsc::channel(100);
    let session = writer.session(sender);
    storage.fails.store(true, Ordering::Relaxed);
    session.store(blob(1)).await.unwrap();
    let error = answers.recv().await.unwrap().unwrap_err();
    assert_eq!(error.code, ErrorCode::StorageFailed);
    assert!(error.retry_after_ms.is_some() && writer.is_failing());

    storage.fails.store(false, Ordering::Relaxed);
    session.store(blob(2)).await.unwrap();
    assert!(
        answers.recv().await.unwrap().is_err(),
        "nothing overtakes what was refused"
    );

    let (sender, mut answers) = mpsc::channel(100);
    let other = writer.session(sender);
    other.store(blob(3)).await.unwrap();
    assert_eq!(answers.recv().await.unwrap().unwrap().cursor, 1);
    assert!(!writer.is_failing());
    assert_eq!(*storage.stored.lock().unwrap(), [3]);
}

#[tokio::test]
async fn what_devices_said_they_hold_is_written_with_the_next_transaction_that_succeeds() {
    let storage = Arc::new(Fake::default());
    let (writer, _groups, _task) = start(&storage);
    let seen = |acked| Seen {
        group_id: GROUP,
        device: DeviceId([2; 32]),
        acked,
        at: Timestamp(acked),
    };
    storage.fails.store(true, Ordering::Relaxed);
    writer.seen(seen(7));
    let (sender, mut answers) = mpsc::channel(100);
    writer.session(sender).store(blob(1)).await.unwrap();
    answers.recv().await.unwrap().unwrap_err();

    storage.fails.store(false, Ordering::Relaxed);
    writer.seen(seen(3));
    let (sender, mut answers) = mpsc::channel(100);
    writer.session(sender).store(blob(2)).await.unwrap();
    answers.recv().await.unwrap().unwrap();
    let written = storage.seen.lock().unwrap();
    let written: Vec<u64> = written.iter().map(|seen| seen.acked).collect();
    assert_eq!(written, [7]);
}

#[tokio::test]
async fn what_was_handed_over_is_written_before_the_writer_ends() {
    let storage = Arc::new(Fake::default());
    let (writer, _groups, task) = start(&storage);
    let (sender, _answers) = mpsc::channel(100);
    let session = writer.session(sender);
    for n in 0..20 {
        session.store(blob(n)).await.unwrap();
    }
    drop((session, writer));
    task.await.unwrap();
    assert_eq!(storage.stored.lock().unwrap().len(), 20);
}

#[tokio::test]
async fn waiting_bytes_are_bounded_for_a_group_and_for_all() {
    let storage = Arc::new(Fake {
        gate: Gate(Semaphore::new(0)),
        ..Fake::default()
    });
    let (writer, _groups, _task) = start(&storage);
    let (sender, _answers) = mpsc::channel(1000);
    let size = 1024 * 1024 - limits::WAITING_BLOB;
    let large = |group| NewBlob {
        group_id: GroupId([group; 32]),
        payload: Bytes::from(vec![0; size]),
        ..blob(0)
    };
    let (of_group, of_all) = (limits::GROUP_BYTES >> 20, limits::WRITER_BYTES >> 20);
    let mut sessions = Vec::new();
    for group in 0..of_all / of_group {
        let session = writer.session(sender.clone());
        for _ in 0..of_group {
            session.store(large(group as u8)).await.unwrap();
        }
        sessions.push(session);
        if group == 0 {
            let another = writer.session(sender.clone());
            let more = tokio::time::timeout(Duration::from_millis(50), another.store(large(0)));
            assert!(
                more.await.is_err(),
                "a group has its room, whatever its sessions"
            );
        }
    }
    let session = writer.session(sender.clone());
    let more = tokio::time::timeout(Duration::from_millis(50), session.store(large(255)));
    assert!(more.await.is_err());

    drop((sessions, session));
    writer.rooms.forget_unused();
    let known = || writer.rooms.0.lock().unwrap().len();
    assert_eq!(known(), of_all / of_group, "there is something waiting");
    storage.gate.0.add_permits(1_000);
    while storage.stored.lock().unwrap().len() < of_all {
        tokio::task::yield_now().await;
    }
    while known() > 0 {
        tokio::task::yield_now().await;
        writer.rooms.forget_unused();
    }
}

#[tokio::test]
async fn a_group_that_had_its_share_rests_while_others_push() {
    let storage = Arc::new(Fake::default());
    let (writer, _groups, task) = start(&storage);
    let (sender, _answers) = mpsc::channel(1_000);
    let of = |group, payload: usize| NewBlob {
        group_id: GroupId([group; 32]),
        payload: Bytes::from(vec![0; payload]),
        ..blob(group)
    };
    let (flood, other) = (writer.session(sender.clone()), writer.session(sender));
    // From now on several groups push.
    flood.store(of(1, 1)).await.unwrap();
    other.store(of(2, 1)).await.unwrap();
    while storage.stored.lock().unwrap().len() < 2 {
        tokio::task::yield_now().await;
    }
    let started = std::time::Instant::now();
    let (size, blobs) = (1 << 20, (3 * limits::GROUP_BURST as usize) >> 20);
    let flooding = tokio::spawn(async move {
        for _ in 0..blobs {
            flood.store(of(1, size)).await.unwrap();
        }
    });
    let count = |n| {
        let stored = storage.stored.lock().unwrap();
        stored.iter().filter(|of| **of == n).count()
    };
    for n in 2..50 {
        other.store(of(2, 1)).await.unwrap();
        while count(2) < n {
            tokio::task::yield_now().await;
        }
        let may = f64::from(limits::GROUP_BURST)
            + f64::from(limits::GROUP_SHARE) * started.elapsed().as_secs_f64();
        assert!((count(1) * size) as f64 <= may + size as f64);
    }
    flooding.await.unwrap();
    drop((other, writer));
    task.await.unwrap();
    assert_eq!(count(1), blobs + 1, "nothing is lost at the end");
}
