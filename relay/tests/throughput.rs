//! How the writer compares with a bare loop: run with `--release -- --ignored --nocapture`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod common;

use std::time::{Duration, Instant};

use common::{Device, Way, keys, start};
use sqlx::{Connection as _, SqliteConnection};
use zerok_sync_shared::message::Message;

const CLIENTS: u8 = 50;
const TIME: Duration = Duration::from_secs(8);

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement"]
async fn durable_pushes_a_second() {
    let (relay, folder) = start().await;
    let started = Instant::now();
    let mut tasks = Vec::new();
    for client in 0..CLIENTS {
        let url = relay.http_url().to_owned();
        tasks.push(tokio::spawn(async move {
            let device = Device::connect(&url, Way::Udp).await;
            let mut session = device.session(&keys(client)).await;
            let payload = bytes::Bytes::from(vec![client; 1024]);
            let (mut sent, mut acked) = (0u64, 0u64);
            while started.elapsed() < TIME {
                while sent < acked + 64 {
                    let mut id = [client; 16];
                    id[..8].copy_from_slice(&sent.to_le_bytes());
                    let Message::Push(mut push) = common::push(0, b"") else {
                        panic!()
                    };
                    push.blob_id = zerok_sync_shared::ids::BlobId(id);
                    push.payload = payload.clone();
                    session.writer.queue(&Message::Push(push));
                    sent += 1;
                }
                session.writer.flush().await.unwrap();
                let Message::PushAck(_) = session.receive().await else {
                    panic!()
                };
                acked += 1;
                while let Some(frame) = session.reader.try_next(1 << 20) {
                    let Message::PushAck(_) = frame.unwrap() else {
                        panic!()
                    };
                    acked += 1;
                }
            }
            acked
        }));
    }
    let mut pushes = 0;
    for task in tasks {
        pushes += task.await.unwrap();
    }
    let rate = pushes as f64 / started.elapsed().as_secs_f64();
    let metrics = common::http()
        .get(format!("{}/metrics", relay.http_url()))
        .send()
        .await
        .unwrap();
    let metrics = metrics.text().await.unwrap();
    let value = |name: &str| -> f64 {
        let line = metrics.lines().find(|line| line.starts_with(name)).unwrap();
        line.rsplit(' ').next().unwrap().parse().unwrap()
    };
    let commits = value("zerok_relay_commit_blobs_count");
    let mean = value("zerok_relay_commit_blobs_sum") / commits;
    let commit_ms = value("zerok_relay_commit_seconds_sum") / commits * 1000.0;

    let path = format!(
        "sqlite://{}?mode=rwc",
        folder.path().join("bare.db").display()
    );
    let mut bare = SqliteConnection::connect(&path).await.unwrap();
    let setup = "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL;
                 CREATE TABLE blobs (id INTEGER PRIMARY KEY, blob_id BLOB UNIQUE, payload BLOB)";
    sqlx::raw_sql(setup).execute(&mut bare).await.unwrap();
    let (started, mut rows, mut batches) = (Instant::now(), 0u64, 0u64);
    let payload = vec![1u8; 1024];
    while started.elapsed() < TIME {
        sqlx::query("BEGIN").execute(&mut bare).await.unwrap();
        // As many rows as a statement takes well, so that the loop measures SQLite and not the way to it.
        let mut left = mean.round() as usize;
        while left > 0 {
            let some = left.min(256);
            let values = vec!["(?, ?)"; some].join(", ");
            let sql = format!("INSERT INTO blobs (blob_id, payload) VALUES {values}");
            let mut query = sqlx::query(sqlx::AssertSqlSafe(sql));
            for _ in 0..some {
                let mut id = [0u8; 16];
                getrandom::fill(&mut id).unwrap();
                query = query.bind(id.to_vec()).bind(payload.clone());
            }
            query.execute(&mut bare).await.unwrap();
            (left, rows) = (left - some, rows + some as u64);
        }
        sqlx::query("COMMIT").execute(&mut bare).await.unwrap();
        batches += 1;
    }
    let bare_rate = rows as f64 / started.elapsed().as_secs_f64();
    println!("relay {rate:.0}/s, {commits} commits of {mean:.0} blobs in {commit_ms:.1} ms each");
    println!(
        "bare loop {bare_rate:.0}/s, {batches} commits; ratio {:.2}",
        rate / bare_rate
    );
    relay.shutdown().await;
}
