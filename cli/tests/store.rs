//! The store on a real disk: conformance, and what happens when the process is killed or the disk is full.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]
#![cfg(unix)]

use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions as _, Connection as _, SqliteConnection};
use zerok_cli::SqliteStore;
use zerok_sync_client::shared::store::Write;
use zerok_sync_client::store::{Store, StoreError, suite};

/// Where the children of these tests find their store.
const FOLDER: &str = "ZEROK_TEST_FOLDER";

#[tokio::test(flavor = "multi_thread")]
async fn passes_the_suite() {
    let folder = tempfile::tempdir().unwrap();
    let open = async |name: &str| SqliteStore::open(&folder.path().join(name)).await.unwrap();
    let mut last = "";
    let passed = suite::run(&open, |name| last = name).await;
    assert_eq!(passed.last().copied(), Some(last));
}

#[tokio::test]
async fn one_process_at_a_time_owns_a_store() {
    let folder = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(folder.path()).await.unwrap();
    let second = SqliteStore::open(folder.path()).await;
    assert_eq!(second.err(), Some(StoreError::Taken));
    store.close().await;
    assert!(store.load().await.is_err());
    assert!(
        store
            .commit(&suite::batch([suite::state(suite::group(1))]))
            .await
            .is_err()
    );
    SqliteStore::open(folder.path())
        .await
        .unwrap()
        .close()
        .await;
}

#[tokio::test]
async fn others_can_read_nothing() {
    let parent = tempfile::tempdir().unwrap();
    let folder = parent.path().join("deep/inside");
    let store = SqliteStore::open(&folder).await.unwrap();
    let group = suite::group(1);
    let writes = suite::batch([suite::state(group), suite::append(group, 1, 10)]);
    store.commit(&writes).await.unwrap();
    store.read(group, 0, 1, 1).await.unwrap();
    assert_eq!(mode(&folder), 0o700);
    let files = files(&folder);
    assert!(files.len() >= 4, "database, WAL, index, lock: {files:?}");
    for file in files {
        assert_eq!(mode(&file), 0o600, "{}", file.display());
    }
    store.close().await;

    // A copy that was made with a wider mode is narrowed.
    let database = folder.join("device.db");
    std::fs::set_permissions(&database, PermissionsExt::from_mode(0o644)).unwrap();
    SqliteStore::open(&folder).await.unwrap();
    assert_eq!(mode(&database), 0o600);
}

/// Without regard to the umask: in a process of its own, because a umask is the whole process's.
#[test]
fn modes_do_not_depend_on_the_umask() {
    let parent = tempfile::tempdir().unwrap();
    let folder = parent.path().join("store");
    let mut child = helper("child_commits", &folder, "umask 000");
    wait_for_line(&mut child, "acknowledged 3");
    assert_eq!(mode(&folder), 0o700);
    for file in files(&folder) {
        assert_eq!(mode(&file), 0o600, "{}", file.display());
    }
    child.kill().unwrap();
    child.wait().unwrap();
}

#[tokio::test]
async fn what_is_removed_is_in_no_file_any_more() {
    let folder = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(folder.path()).await.unwrap();
    let group = suite::group(1);
    let mut writes = vec![suite::state(group)];
    for position in 1..=50 {
        let mut record = suite::record(position, 20_000);
        record.payload = b"a canary in a coal mine ".repeat(800).into();
        writes.push(Write::Append {
            group,
            record,
            unsent: false,
        });
    }
    store.commit(&suite::batch(writes)).await.unwrap();
    assert!(found_in(folder.path(), b"canary in a coal"));
    let before = size(folder.path());
    let remove = suite::batch([Write::Remove { group }]);
    store.commit(&remove).await.unwrap();
    assert!(!found_in(folder.path(), b"canary in a coal"));
    assert!(!found_in(folder.path(), &[7; 32]), "the group's secret");
    assert!(size(folder.path()) < before / 4, "room is given back");
    store.close().await;
}

#[tokio::test]
async fn a_newer_database_and_a_foreign_file_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    SqliteStore::open(folder.path())
        .await
        .unwrap()
        .close()
        .await;
    let mut database = database(folder.path()).await;
    let newer =
        "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time)
                 VALUES (9999, 'from the future', 1, x'00', 0)";
    sqlx::query(newer).execute(&mut database).await.unwrap();
    database.close().await.unwrap();
    let refused = SqliteStore::open(folder.path()).await.err();
    assert!(
        matches!(&refused, Some(StoreError::Failed(why)) if why.contains("newer version")),
        "{refused:?}"
    );

    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("device.db"), "x".repeat(5000)).unwrap();
    let refused = SqliteStore::open(folder.path()).await.err();
    assert!(
        matches!(&refused, Some(StoreError::Failed(why)) if why.contains("not a database")),
        "{refused:?}"
    );
}

#[tokio::test]
async fn a_database_that_was_deleted_acknowledges_nothing_more() {
    let folder = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(folder.path()).await.unwrap();
    std::fs::remove_file(folder.path().join("device.db")).unwrap();
    let write = suite::batch([suite::state(suite::group(1))]);
    assert!(matches!(
        store.commit(&write).await,
        Err(StoreError::Failed(_))
    ));
}

#[tokio::test]
async fn reads_do_not_wait_for_a_write() {
    let folder = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(folder.path()).await.unwrap();
    let group = suite::group(1);
    let first = suite::batch([suite::state(group), suite::append(group, 1, 100)]);
    store.commit(&first).await.unwrap();
    let mut writer = database(folder.path()).await;
    let mut writing = writer.begin_with("BEGIN IMMEDIATE").await.unwrap();
    sqlx::query("DELETE FROM log")
        .execute(&mut *writing)
        .await
        .unwrap();
    for _ in 0..5 {
        let reading = store.read(group, 0, 10, usize::MAX);
        // Far below the time for which a write waits for another.
        let page = tokio::time::timeout(Duration::from_secs(5), reading).await;
        assert_eq!(page.unwrap().unwrap(), [suite::record(1, 100)]);
    }
    writing.rollback().await.unwrap();
}

#[tokio::test]
async fn a_kill_in_the_middle_of_commits_loses_nothing_acknowledged() {
    let parent = tempfile::tempdir().unwrap();
    let folder = parent.path().join("store");
    for round in 1..=4_u64 {
        let mut child = helper("child_commits", &folder, "true");
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let mut acknowledged = 0;
        while acknowledged < round * 40 {
            let line = lines.next().unwrap().unwrap();
            if let Some(position) = line.strip_prefix("acknowledged ") {
                acknowledged = position.parse().unwrap();
            }
        }
        child.kill().unwrap();
        child.wait().unwrap();
        // What it said before it died, too.
        for line in lines.map_while(Result::ok) {
            if let Some(position) = line.strip_prefix("acknowledged ") {
                acknowledged = position.parse().unwrap();
            }
        }
        let store = SqliteStore::open(&folder).await.unwrap();
        let log = store
            .read(suite::group(1), 0, usize::MAX, usize::MAX)
            .await
            .unwrap();
        assert!(log.len() as u64 >= acknowledged);
        for (position, record) in (1..).zip(&log) {
            assert_eq!(*record, suite::record(position, 3_000));
        }
        store.close().await;
    }
}

#[tokio::test]
async fn a_full_disk_is_told_and_room_is_found_again() {
    let parent = tempfile::tempdir().unwrap();
    let folder = parent.path().join("store");
    // Half a mebibyte for a file, until the limit is lifted.
    let mut child = helper("child_fills", &folder, "trap '' XFSZ; ulimit -S -f 1024");
    let line = wait_for_line(&mut child, "full after ");
    let kept: u64 = line["full after ".len()..].parse().unwrap();
    assert!(kept > 0);
    let lifted = Command::new("prlimit")
        .args(["--fsize=unlimited", "--pid", &child.id().to_string()])
        .status()
        .unwrap();
    assert!(lifted.success());
    child.stdin.as_mut().unwrap().write_all(b"go on\n").unwrap();
    assert!(child.wait().unwrap().success());
    let store = SqliteStore::open(&folder).await.unwrap();
    let log = store
        .read(suite::group(1), 0, usize::MAX, usize::MAX)
        .await
        .unwrap();
    assert_eq!(log.len() as u64, kept + 1);
}

/// Commits for ever.
#[tokio::test]
#[ignore = "a child process of the other tests"]
async fn child_commits() {
    let Some((store, mut last)) = child_store().await else {
        return;
    };
    loop {
        last += 1;
        let append = suite::append(suite::group(1), last, 3_000);
        store.commit(&suite::batch([append])).await.unwrap();
        eprintln!("acknowledged {last}");
    }
}

/// Commits until the disk is full, and once more when it has been told to.
#[tokio::test]
#[ignore = "a child process of the other tests"]
async fn child_fills() {
    let Some((store, mut last)) = child_store().await else {
        return;
    };
    let group = suite::group(1);
    loop {
        let append = suite::batch([suite::append(group, last + 1, 20_000)]);
        match store.commit(&append).await {
            Ok(()) => last += 1,
            Err(error) => {
                assert_eq!(error, StoreError::Full);
                break;
            }
        }
    }
    let read = store.read(group, 0, usize::MAX, usize::MAX).await.unwrap();
    assert_eq!(read.len() as u64, last);
    eprintln!("full after {last}");
    std::io::stdin().read_line(&mut String::new()).unwrap();
    let append = suite::batch([suite::append(group, last + 1, 20_000)]);
    store.commit(&append).await.unwrap();
    store.close().await;
}

/// A group's store and where its log ends; `None` where the helper runs as a test of its own.
async fn child_store() -> Option<(SqliteStore, u64)> {
    let store = SqliteStore::open(Path::new(&std::env::var_os(FOLDER)?))
        .await
        .unwrap();
    let group = suite::group(1);
    store
        .commit(&suite::batch([suite::state(group)]))
        .await
        .unwrap();
    let log = store.read(group, 0, usize::MAX, usize::MAX).await.unwrap();
    Some((store, log.len() as u64))
}

/// One of the tests above in a process of its own, after some lines of shell.
fn helper(test: &str, folder: &Path, shell: &str) -> Child {
    Command::new("sh")
        .arg("-c")
        .arg(format!(
            "{shell}; exec \"$0\" --ignored --exact --nocapture {test}"
        ))
        .arg(std::env::current_exe().unwrap())
        .env(FOLDER, folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

/// The first line that starts like this. What follows is not read any more.
fn wait_for_line(child: &mut Child, start: &str) -> String {
    let mut seen = Vec::new();
    for line in BufReader::new(child.stderr.as_mut().unwrap()).lines() {
        let line = line.unwrap();
        if line.starts_with(start) {
            return line;
        }
        seen.push(line);
    }
    panic!("the child ended without {start:?}: {}", seen.join("\n"));
}

/// A connection of our own, beside the store's.
async fn database(folder: &Path) -> SqliteConnection {
    let options = SqliteConnectOptions::new().filename(folder.join("device.db"));
    options.connect().await.unwrap()
}

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap();
    entries.map(|entry| entry.unwrap().path()).collect()
}

fn found_in(folder: &Path, text: &[u8]) -> bool {
    files(folder).iter().any(|file| {
        let bytes = std::fs::read(file).unwrap();
        bytes.windows(text.len()).any(|window| window == text)
    })
}

fn size(folder: &Path) -> u64 {
    let length = |file: &PathBuf| std::fs::metadata(file).unwrap().len();
    files(folder).iter().map(length).sum()
}
