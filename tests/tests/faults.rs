//! A relay whose clock jumps, whose disk is slow or read-only, or whose database is damaged.
#![cfg(target_os = "linux")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    missing_docs,
    reason = "tests"
)]

mod common;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};

use common::{patient, wait_until};
use zerok_sync_client::shared::error::ErrorCode;
use zerok_sync_client::shared::message::{Message, Push, PushAck, Subscribe};
use zerok_sync_tests::raw::{Peer, Stream, blob_id, http, keys, push};
use zerok_sync_tests::relay::{Options, RelayProcess};

const YEAR: i64 = 365 * 24 * 3600;

/// A folder with a relay's options, and the file that tells its clock and its disk how to behave.
struct Faulty {
    folder: tempfile::TempDir,
    options: Options,
}

impl Faulty {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let library = library(folder.path());
        let mut options = Options::in_folder(folder.path());
        options.log_filter = "warn,zerok_sync_relay=info,iroh=off,iroh_relay=off".to_owned();
        options.args = vec!["--cleanup-interval".into(), "100ms".into()];
        options.wrapper = vec![
            "env".into(),
            format!("LD_PRELOAD={}", library.display()),
            format!("FAULTS={}", folder.path().join("faults").display()),
        ];
        let faulty = Self { folder, options };
        faulty.set(0, 0);
        faulty
    }

    /// The wall clock is ahead by so many seconds, and a flush takes so many milliseconds.
    fn set(&self, ahead: i64, flush: u64) {
        self.write(&format!("{ahead} {flush}\n"));
    }

    /// Nothing can be written to the database any more, or again.
    fn set_read_only(&self, read_only: bool) {
        self.write(&format!("0 0 {}\n", u8::from(read_only)));
    }

    fn write(&self, faults: &str) {
        let file = self.folder.path().join("faults");
        let new = file.with_extension("new");
        std::fs::write(&new, faults).unwrap();
        std::fs::rename(new, file).unwrap();
    }

    async fn start(&self) -> RelayProcess {
        RelayProcess::start(self.options.clone()).await.unwrap()
    }

    fn logged(&self, text: &str) -> bool {
        let log = std::fs::read(&self.options.log).unwrap_or_default();
        String::from_utf8_lossy(&log).contains(text)
    }
}

fn library(folder: &Path) -> PathBuf {
    let library = folder.join("faults.so");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/faults.c");
    let done = Command::new("cc")
        .args(["-shared", "-fPIC", "-O1", "-o"])
        .args([&library, &source])
        .status();
    assert!(done.unwrap().success(), "the library does not compile");
    library
}

async fn session(relay: &RelayProcess) -> (Peer, Stream) {
    let peer = Peer::connect(relay.url()).await.unwrap();
    let (stream, _) = peer.session(&keys(1)).await.unwrap();
    (peer, stream)
}

async fn store(stream: &mut Stream, id: u64, ttl: u32) -> PushAck {
    let Message::Push(blob) = push(id, b"kept") else {
        panic!()
    };
    let blob = Push { ttl, ..blob };
    stream.send(&Message::Push(blob)).await.unwrap();
    stream.acknowledged().await.unwrap()
}

/// Waits until a blob that lives for a second is deleted: the clean-up has run, by a clock that goes on.
async fn one_expires(stream: &mut Stream, id: u64) {
    store(stream, id, 1).await;
    patient(async {
        while !stream.has(&[id]).await.unwrap().is_empty() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_jumps_by_years_deletes_nothing_and_stamps_nothing_wrong() {
    let faulty = Faulty::new();
    let relay = faulty.start().await;
    let (_peer, mut stream) = session(&relay).await;
    let ids: Vec<u64> = (1..=5).collect();
    let mut newest = 0;
    for id in &ids {
        newest = store(&mut stream, *id, 0).await.timestamp.0;
    }
    let all = ids.iter().map(|id| blob_id(*id)).collect::<Vec<_>>();
    let jumps = [(10 * YEAR, "has jumped ahead"), (-20 * YEAR, "days behind")];
    for (number, (ahead, told)) in jumps.into_iter().enumerate() {
        faulty.set(ahead, 0);
        wait_until("it is told", || faulty.logged(told)).await;
        if ahead > 0 {
            one_expires(&mut stream, 100 + number as u64).await;
        }
        assert_eq!(
            stream.has(&ids).await.unwrap(),
            all,
            "nothing is deleted by a wrong clock"
        );
        let stamp = store(&mut stream, 200 + number as u64, 0).await.timestamp.0;
        let now = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap();
        assert!(stamp >= newest, "time goes back from {newest} to {stamp}");
        assert!(
            u128::from(stamp) < now.as_millis() + 60_000,
            "stamped {stamp}"
        );
        newest = stamp;
    }
    faulty.set(0, 0);
    wait_until("it is right again", || faulty.logged("is right again")).await;
    one_expires(&mut stream, 300).await;
    assert_eq!(stream.has(&ids).await.unwrap(), all);

    // The battery is empty: the machine boots in another decade.
    relay.terminate().await.unwrap();
    faulty.set(12 * YEAR, 0);
    let relay = faulty.start().await;
    assert!(faulty.logged("ahead of the last run"));
    let (_peer, mut stream) = session(&relay).await;
    store(&mut stream, 400, 0).await;
    faulty.set(0, 0);
    one_expires(&mut stream, 401).await;
    assert_eq!(stream.has(&ids).await.unwrap(), all);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_takes_seconds_makes_pushes_slow_and_nothing_worse() {
    let faulty = Faulty::new();
    let relay = faulty.start().await;
    let (_peer, mut stream) = session(&relay).await;
    store(&mut stream, 1, 0).await;
    faulty.set(0, 2_000);
    for id in 2..=40 {
        stream.writer.queue(&push(id, b"slow"));
    }
    stream.writer.flush().await.unwrap();
    for cursor in 2..=40 {
        assert_eq!(stream.acknowledged().await.unwrap().cursor, cursor);
    }
    faulty.set(0, 0);
    relay.terminate().await.unwrap();
    assert!(
        !faulty.logged("ERROR"),
        "nobody has to do anything about it"
    );
}

async fn health(relay: &RelayProcess) -> u16 {
    let url = format!("{}/health", relay.url());
    http()
        .unwrap()
        .get(url)
        .send()
        .await
        .unwrap()
        .status()
        .as_u16()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_is_read_only_for_a_while_loses_nothing_and_needs_no_restart() {
    let faulty = Faulty::new();
    let relay = faulty.start().await;
    let (_peer, mut stream) = session(&relay).await;
    store(&mut stream, 1, 0).await;
    faulty.set_read_only(true);
    for _ in 0..3 {
        let (_peer, mut refused) = session(&relay).await;
        refused.send(&push(2, b"refused")).await.unwrap();
        let error = refused.error().await.unwrap();
        assert_eq!(error.code, ErrorCode::StorageFailed);
        assert!(error.retry_after_ms.is_some());
        // What is stored can be read.
        assert_eq!(stream.has(&[1, 2]).await.unwrap().len(), 1);
        assert_eq!(health(&relay).await, 503);
    }
    assert!(
        faulty.logged("ERROR"),
        "somebody has to do something about it"
    );
    faulty.set_read_only(false);
    patient(async {
        while health(&relay).await != 200 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await;
    let (_peer, mut stream) = session(&relay).await;
    assert_eq!(store(&mut stream, 2, 0).await.cursor, 2);
    relay.terminate().await.unwrap();
    let relay = faulty.start().await;
    let (_peer, mut stream) = session(&relay).await;
    assert_eq!(stream.has(&[1, 2]).await.unwrap().len(), 2);
    drop(relay);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_database_is_refused_with_what_to_do() {
    let faulty = Faulty::new();
    let relay = faulty.start().await;
    let (_peer, mut stream) = session(&relay).await;
    store(&mut stream, 1, 0).await;
    let database = relay.database();
    relay.terminate().await.unwrap();
    let mut bytes = std::fs::read(&database).unwrap();
    // The first page: what the tables are.
    bytes[100..1_000].fill(0xA5);
    std::fs::write(&database, &bytes).unwrap();
    let Err(error) = RelayProcess::start(faulty.options.clone()).await else {
        panic!("it starts")
    };
    let text = format!("{error:#}");
    assert!(text.contains("it is damaged; restore a backup"), "{text}");
    assert_eq!(
        std::fs::read(&database).unwrap(),
        bytes,
        "nothing is made worse"
    );
}

/// One page of one group's blobs rots while the relay runs: its readers are told, everybody else goes on.
#[tokio::test(flavor = "multi_thread")]
async fn a_page_that_rots_concerns_only_those_who_read_it() {
    let faulty = Faulty::new();
    let relay = faulty.start().await;
    let peer = Peer::connect(relay.url()).await.unwrap();
    let (mut whole, _) = peer.session(&keys(1)).await.unwrap();
    let (mut rotten, _) = peer.session(&keys(2)).await.unwrap();
    let marked = b"rotting away ".repeat(4_000);
    whole.send(&push(1, b"whole")).await.unwrap();
    whole.acknowledged().await.unwrap();
    rotten.send(&push(2, &marked)).await.unwrap();
    rotten.acknowledged().await.unwrap();
    let database = relay.database();
    // Everything gets into the one file.
    let options = relay.kill().await.unwrap();
    rusqlite::Connection::open(&database)
        .unwrap()
        .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))
        .unwrap();
    let relay = RelayProcess::start(options).await.unwrap();
    rot(&database, &marked);

    let peer = Peer::connect(relay.url()).await.unwrap();
    for _ in 0..3 {
        let (mut reader, _) = peer.session(&keys(2)).await.unwrap();
        reader.send(&all()).await.unwrap();
        let Message::Error(error) = reader.receive().await.unwrap() else {
            panic!()
        };
        assert_eq!(error.code, ErrorCode::StorageFailed);
    }
    let (mut reader, _) = peer.session(&keys(1)).await.unwrap();
    reader.send(&all()).await.unwrap();
    assert!(matches!(reader.receive().await.unwrap(), Message::Blob(_)));
    reader.send(&push(3, b"goes on")).await.unwrap();
    relay.terminate().await.unwrap();
    let log = std::fs::read_to_string(&faulty.options.log).unwrap();
    let told = log.lines().filter(|line| line.contains("ERROR"));
    assert_eq!(told.count(), 1, "{log}");
    assert!(log.contains("it is damaged; restore a backup"), "{log}");
}

fn all() -> Message {
    Message::Subscribe(Subscribe {
        after_cursor: 0,
        window: 1 << 20,
    })
}

/// Breaks the chain of the pages that hold this payload: each begins with the number of the next.
fn rot(database: &Path, payload: &[u8]) {
    use std::os::unix::fs::FileExt as _;
    let bytes = std::fs::read(database).unwrap();
    let page = usize::from(u16::from_be_bytes([bytes[16], bytes[17]]));
    let piece = &payload[..64];
    let found = bytes.windows(64).enumerate().skip(2 * page);
    let inner = found
        .filter(|(_, window)| *window == piece)
        .map(|(at, _)| at);
    // A page in the middle holds nothing but the payload.
    let middle = inner.collect::<Vec<_>>();
    let at = middle[middle.len() / 2] / page * page;
    let file = std::fs::OpenOptions::new()
        .write(true)
        .open(database)
        .unwrap();
    file.write_all_at(&[0xFF, 0xFF, 0xFF, 0x7F], at as u64)
        .unwrap();
}
