//! The suite on a real server, and what only several nodes or a server that goes away can do wrong.

use std::collections::HashSet;
use std::sync::Mutex;

use sqlx::postgres::PgRow;
use sqlx::{Executor as _, Row as _};
use tokio::task::JoinSet;
use tokio::time::sleep;
use zerok_sync_test_postgres::Postgres;

use super::*;
use crate::storage::suite::snapshots::part;
use crate::storage::suite::{NOW, batch, bounds, conformance, id, open, pending};
use crate::storage::{Pending, Seen};

const A: GroupId = GroupId([1; 32]);
const B: GroupId = GroupId([2; 32]);

fn groups() -> Arc<Groups> {
    Arc::new(Groups::new(Incarnation([1; 16])))
}

async fn at(url: &str) -> Arc<PostgresStorage> {
    Arc::new(PostgresStorage::open(url, &groups()).await.unwrap())
}

async fn connection(url: &str) -> PgConnection {
    PgConnection::connect(url).await.unwrap()
}

/// What the database holds of a group: cursors and ids in order.
async fn rows(url: &str, group: GroupId) -> Vec<(i64, Vec<u8>)> {
    let sql = "SELECT b.cursor, b.blob_id FROM blobs b JOIN groups g ON g.id = b.group_ref \
               WHERE g.group_id = $1 ORDER BY b.cursor";
    sqlx::query_as(sql)
        .bind(group.0.as_slice())
        .fetch_all(&mut connection(url).await)
        .await
        .unwrap()
}

/// Looks again and again until it holds.
async fn wait_until(holds: impl AsyncFn() -> bool) {
    let looking = async {
        while !holds().await {
            sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(Duration::from_secs(30), looking).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn postgres_conforms() {
    let server = Mutex::new(Postgres::start().unwrap());
    conformance(async || {
        let url = server.lock().unwrap().database().unwrap();
        let storage: Arc<dyn Storage> = at(&url).await;
        storage
    })
    .await;
    let url = server.lock().unwrap().database().unwrap();
    let storage = PostgresStorage::open(&url, &groups()).await.unwrap();
    bounds::all_groups_together(&storage.bounded(1 << 20)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_that_push_to_the_same_groups_give_gapless_cursors_and_each_id_once() {
    const NODES: u64 = 3;
    const BATCHES: u64 = 60;
    let mut server = Postgres::start().unwrap();
    let url = server.database().unwrap();
    // Together, as after a power cut: one makes the tables, the others wait.
    let (one, two, three) = tokio::join!(at(&url), at(&url), at(&url));
    assert!(one.incarnation() == two.incarnation() && two.incarnation() == three.incarnation());
    one.open_group(open(A)).await.unwrap();
    two.open_group(open(B)).await.unwrap();
    let mut tasks = JoinSet::new();
    for (node, storage) in [one, two, three.clone()].into_iter().enumerate() {
        tasks.spawn(async move {
            let mut stored = Vec::new();
            for n in 0..BATCHES {
                let own = node as u64 * 10_000 + n;
                // Their own blobs, in an order of groups that differs, and one that all nodes push.
                let mut blobs = vec![pending(A, own, 100), pending(B, own, 100)];
                if node == 1 {
                    blobs.reverse();
                }
                blobs.push(pending(A, 1_000_000 + n, 100));
                let answers = storage.commit(batch(&blobs)).await.unwrap();
                for (blob, answer) in blobs.iter().zip(answers) {
                    let blob = &blob.blob;
                    stored.push((blob.group_id, blob.blob_id, answer.unwrap().stored.cursor));
                }
            }
            stored
        });
    }
    let mut after = 0;
    let total = (NODES + 1) * BATCHES;
    while after < total {
        let page = three.read(A, after, 7, 1 << 20).await.unwrap();
        for blob in &page.blobs {
            assert_eq!(blob.cursor, after + 1, "no cursor is ever skipped");
            after = blob.cursor;
        }
        assert_eq!(
            page.up_to, after,
            "nothing that is not there yet is passed over"
        );
    }
    let answers: HashSet<_> = tasks.join_all().await.into_iter().flatten().collect();
    assert_eq!(
        answers.len() as u64,
        total + NODES * BATCHES,
        "an id has one cursor, whichever node is asked"
    );
    for (group, count) in [(A, total), (B, NODES * BATCHES)] {
        let rows = rows(&url, group).await;
        let cursors: Vec<_> = rows.iter().map(|(cursor, _)| *cursor).collect();
        assert_eq!(cursors, (1..=int(count)).collect::<Vec<_>>());
        let ids: HashSet<_> = rows.into_iter().map(|(_, id)| id).collect();
        assert_eq!(ids.len() as u64, count);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_restarts_under_load_loses_nothing_and_needs_no_hand() {
    let mut server = Postgres::start().unwrap();
    let url = server.database().unwrap();
    let storage = at(&url).await;
    let life = storage.incarnation();
    storage.open_group(open(A)).await.unwrap();
    let pusher = Arc::clone(&storage);
    let (stop, mut stopped) = tokio::sync::watch::channel(false);
    let pushing = tokio::spawn(async move {
        let mut acknowledged = Vec::new();
        let mut n = 0;
        while !*stopped.borrow_and_update() {
            let blobs = [pending(A, n, 100)];
            // What failed is pushed again, as a device does.
            if let Ok(answers) = pusher.commit(batch(&blobs)).await {
                acknowledged.push((answers[0].unwrap().stored.cursor, id(n)));
                n += 1;
            }
        }
        acknowledged
    });
    let grown = async |than: u64| storage.read(A, u64::MAX, 1, 1).await.unwrap().max_cursor > than;
    wait_until(async || grown(20).await).await;
    for kill in [false, true] {
        let before = storage.read(A, u64::MAX, 1, 1).await.unwrap().max_cursor;
        if kill {
            server.kill().unwrap();
        } else {
            server.stop().unwrap();
        }
        server.resume().unwrap();
        wait_until(async || storage.check().await.is_ok()).await;
        wait_until(async || grown(before + 20).await).await;
    }
    stop.send(true).unwrap();
    let acknowledged: Vec<_> = pushing.await.unwrap();
    let found: Vec<_> = rows(&url, A).await;
    let expected: Vec<_> = acknowledged
        .iter()
        .map(|(cursor, id)| (int(*cursor), id.0.to_vec()))
        .collect();
    assert_eq!(found, expected, "each once, in order, without a hole");
    assert_eq!(at(&url).await.incarnation(), life);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_that_the_server_undoes_is_made_again() {
    let mut server = Postgres::start().unwrap();
    let url = server.database().unwrap();
    let storage = at(&url).await;
    storage.open_group(open(A)).await.unwrap();
    storage.open_group(open(B)).await.unwrap();
    // Somebody takes the locks in the other order. The server ends the deadlock by undoing whoever has waited longer.
    let mut other = connection(&url).await;
    let lock = "SELECT 1 FROM groups WHERE group_id = $1 FOR UPDATE";
    other.execute("BEGIN").await.unwrap();
    let locked = sqlx::query(lock).bind(B.0.as_slice()).execute(&mut other);
    locked.await.unwrap();
    let committing = Arc::clone(&storage);
    let commit = tokio::spawn(async move {
        let blobs = [pending(A, 1, 10), pending(B, 1, 10)];
        committing.commit(batch(&blobs)).await
    });
    let waits = async || {
        let sql = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'";
        let mut asking = connection(&url).await;
        let row = sqlx::query(sql).fetch_one(&mut asking);
        row.await.unwrap().get::<i64, _>(0) == 1
    };
    wait_until(waits).await;
    let locked = sqlx::query(lock).bind(A.0.as_slice()).execute(&mut other);
    locked.await.unwrap();
    other.execute("COMMIT").await.unwrap();
    let answers = commit.await.unwrap().unwrap();
    assert!(
        answers
            .iter()
            .all(|answer| answer.is_ok_and(|kept| kept.stored.cursor == 1))
    );
    let log = std::fs::read_to_string(server.log()).unwrap();
    assert!(log.contains("deadlock detected"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_nodes_that_clean_up_at_once_share_the_work() {
    let mut server = Postgres::start().unwrap();
    let url = server.database().unwrap();
    let (one, two) = (at(&url).await, at(&url).await);
    one.open_group(open(A)).await.unwrap();
    one.open_group(open(B)).await.unwrap();
    let blobs: Vec<Pending> = (0..500)
        .flat_map(|n| [pending(A, n, 10), pending(B, n, 10)])
        .collect();
    one.commit(batch(&blobs)).await.unwrap();
    let late = NOW.plus(Duration::from_secs(100));
    let clean = async |storage: &PostgresStorage| {
        let mut deleted = 0;
        loop {
            match storage.expire(late, 64).await.unwrap() {
                0 => return deleted,
                count => deleted += count,
            }
        }
    };
    let (by_one, by_two) = tokio::join!(clean(&one), clean(&two));
    assert_eq!(by_one + by_two, 1_000);
    let left = Stats {
        groups: 2,
        blobs: 0,
        bytes: 0,
    };
    assert_eq!(one.stats().await.unwrap(), left);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_that_gets_its_last_part_while_old_ones_are_deleted_stays() {
    let mut server = Postgres::start().unwrap();
    let url = server.database().unwrap();
    let storage = at(&url).await;
    storage.open_group(open(A)).await.unwrap();
    let first = part(1, 7, 0, 0, 2);
    storage.put_snapshot_part(first).await.unwrap();
    let later = NOW.plus(Duration::from_secs(2 * 3600));
    let mut other = connection(&url).await;
    let due = snapshots::due(&mut other, later, NOW).await.unwrap();
    assert_eq!(due.len(), 1);
    // After the look at what is old, and before the group's lock.
    let last = part(1, 7, 0, 1, 2);
    storage.put_snapshot_part(last).await.unwrap();
    let removed = snapshots::remove_due(&mut other, &due, later, NOW).await;
    assert_eq!(removed.unwrap(), 0);
    let found = storage.snapshot_part(A, 1).await.unwrap();
    assert!(found.is_some());
    assert_eq!(storage.stats().await.unwrap().bytes, 200);
    // A group to which somebody comes in between.
    let due = snapshots::due(&mut other, later, later).await.unwrap();
    assert_eq!(due.len(), 1);
    let seen = [Seen {
        group_id: A,
        device: DeviceId([7; 32]),
        acked: 0,
        at: NOW,
    }];
    let both = Batch {
        seen: &seen,
        ..batch(&[])
    };
    storage.commit(both).await.unwrap();
    let removed = snapshots::remove_due(&mut other, &due, later, later).await;
    assert_eq!(removed.unwrap(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_standby_that_takes_over_ends_the_run_and_a_restart_does_not() {
    let mut server = Postgres::start().unwrap();
    let url = server.database().unwrap();
    let groups = groups();
    let storage = PostgresStorage::open(&url, &groups).await.unwrap();
    storage.open_group(open(A)).await.unwrap();
    let first = groups.run();
    server.save().unwrap();
    storage.open_group(open(B)).await.unwrap();
    server.kill().unwrap();
    server.resume().unwrap();
    wait_until(async || storage.check().await.is_ok()).await;
    assert_eq!(storage.stats().await.unwrap().groups, 2);
    assert!(!first.is_over());
    server.fail_over().unwrap();
    // Whoever sees what the standby has knows already that it is not what there was.
    wait_until(async || storage.stats().await.is_ok_and(|stats| stats.groups == 1)).await;
    assert!(first.is_over());
    let second = groups.run();
    storage.open_group(open(B)).await.unwrap();
    storage.now().await.unwrap();
    assert!(!second.is_over(), "once is enough");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_commit_is_flushed_whatever_the_account_has_set() {
    let mut server = Postgres::start().unwrap();
    let url = server.database().unwrap();
    let mut other = connection(&url).await;
    let off = "ALTER ROLE sync SET synchronous_commit = off";
    other.execute(off).await.unwrap();
    let storage = at(&url).await;
    let shown = async |name: &'static str| {
        let row = in_transaction!(storage.commits, Retry::Undone, |connection| sqlx::query(
            "SELECT current_setting($1)"
        )
        .bind(name)
        .fetch_one(connection));
        let row: Result<PgRow, StorageError> = row;
        row.unwrap().get::<String, _>(0)
    };
    assert_eq!(shown("synchronous_commit").await, "on");
    assert_eq!(shown("statement_timeout").await, "8s");
    assert_eq!(shown("transaction_isolation").await, "read committed");
    let strict = "ALTER ROLE sync SET synchronous_commit = remote_apply";
    other.execute(strict).await.unwrap();
    let storage = at(&url).await;
    let row = reading!(storage.readers, |connection| sqlx::query(
        "SHOW synchronous_commit"
    )
    .fetch_one(connection));
    let row: Result<PgRow, StorageError> = row;
    assert_eq!(row.unwrap().get::<String, _>(0), "remote_apply");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_reached_or_entered_says_so_without_the_password() {
    let mut server = Postgres::start().unwrap();
    let url = server.database().unwrap();
    let wrong = url.replace("a%2Fpassword", "another");
    let error = PostgresStorage::open(&wrong, &groups()).await.unwrap_err();
    assert!(error.0.contains("authentication failed"), "{error}");
    assert!(!error.0.contains("another"), "{error}");
    server.stop().unwrap();
    let error = PostgresStorage::open(&url, &groups()).await.unwrap_err();
    assert!(!error.0.contains("password:with"), "{error}");
}
