//! A process that goes on, and others beside it on the same data folder.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]
#![cfg(unix)]

mod common;

use std::os::unix::fs::PermissionsExt as _;
use std::process::Stdio;

use common::{patient, world};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use zerok_sync_tests::relay::RelayProcess;

#[tokio::test]
async fn follow_shows_what_arrives_and_survives_a_new_relay_process() {
    let world = world().await;
    let (a, b) = world.pair().await;
    a.ok(&["push", "before"]).await;
    let mut follow = b.start(&["pull", "--follow", "--json"]);
    assert_eq!(follow.text().await, "before");
    a.ok(&["push", "live"]).await;
    assert_eq!(follow.text().await, "live");
    let stopped = world.relay.terminate().await.unwrap();
    assert_eq!(a.run(&["push", "while it is down"]).await.code, Some(3));
    let _relay = RelayProcess::start(stopped).await.unwrap();
    a.ok(&["push", "up again"]).await;
    assert_eq!(follow.text().await, "while it is down");
    assert_eq!(follow.text().await, "up again");
    follow.signal("INT").await;
    assert_eq!(follow.end().await, Some(0));
    assert!(!b.folder.join("socket").exists());

    let some = b.ok(&["pull", "--follow", "--limit", "2"]).await;
    assert_eq!(some.text().lines().count(), 2);
}

#[tokio::test]
async fn other_commands_work_while_one_follows() {
    let world = world().await;
    let (a, b) = world.pair().await;
    let mut follow = b.start(&["pull", "--follow", "--json"]);
    let input: Vec<_> = (0..100).map(|n| format!("line {n}\n")).collect();
    let pushed = b
        .run_with(&["push", "--lines", "-"], Some(input.concat().as_bytes()))
        .await;
    assert_eq!(pushed.code, Some(0), "{pushed:?}");
    for n in 0..100 {
        assert_eq!(follow.text().await, format!("line {n}"));
    }
    assert_eq!(b.texts().await.len(), 100);
    let status = b.ok(&["status", "--json"]).await.objects();
    assert_eq!(status[0]["state"], "synced");
    let largest = vec![b'x'; 1024 * 1024];
    assert_eq!(
        b.run_with(&["push", "-"], Some(&largest)).await.code,
        Some(0)
    );
    assert_eq!(follow.text().await.len(), largest.len());
    assert_eq!(a.texts().await.len(), 101);
    let link = b.invite().await;
    world.device("c").await.ok(&["pair", "--join", &link]).await;

    // Two at a time, each with the whole log.
    let mut second = b.start(&["pull", "--follow", "--json", "--after", "101"]);
    a.ok(&["push", "for both"]).await;
    assert_eq!(follow.text().await, "for both");
    assert_eq!(second.text().await, "for both");
    let refused = b.run(&["init", "--name", "other", "--json"]).await;
    assert_eq!(
        (refused.code, refused.error_code().as_str()),
        (Some(1), "ALREADY_OPEN")
    );
    // The one that has the device open dies; the other one takes over, and misses nothing.
    assert!(b.folder.join("socket").exists());
    follow.child.kill().await.unwrap();
    a.ok(&["push", "for the heir"]).await;
    assert_eq!(second.text().await, "for the heir");
    b.ok(&["push", "beside the heir"]).await;
    assert_eq!(second.text().await, "beside the heir");
    second.signal("TERM").await;
    assert_eq!(second.end().await, Some(0));
}

#[tokio::test]
async fn many_pushes_at_once_are_all_there() {
    let world = world().await;
    let (a, b) = world.pair().await;
    let texts: Vec<_> = (0..12).map(|n| format!("push {n}")).collect();
    let pushes = texts.iter().map(|text| a.start(&["push", text, "--quiet"]));
    let pushes: Vec<_> = pushes.collect();
    for push in pushes {
        assert_eq!(push.end().await, Some(0));
    }
    let mut found = b.texts().await;
    found.sort();
    let mut expected = texts;
    expected.sort();
    assert_eq!(found, expected);
}

#[tokio::test]
async fn a_socket_that_was_left_behind_does_no_harm() {
    let world = world().await;
    let (a, b) = world.pair().await;
    let mut follow = b.start(&["pull", "--follow"]);
    a.ok(&["push", "x"]).await;
    follow.line().await.unwrap();
    follow.child.kill().await.unwrap();
    assert!(b.folder.join("socket").exists());
    b.ok(&["push", "y"]).await;
    assert_eq!(b.texts().await, ["x", "y"]);
}

#[tokio::test]
async fn nonsense_on_the_socket_is_not_answered_and_does_no_harm() {
    let world = world().await;
    let (a, b) = world.pair().await;
    let mut follow = b.start(&["pull", "--follow", "--json"]);
    a.ok(&["push", "x"]).await;
    assert_eq!(follow.text().await, "x");
    for nonsense in [
        "\n",
        "{}\n",
        "{\"Fly\":null}\n",
        "\u{0}\u{0}\n",
        "half a li",
    ] {
        let mut stream = tokio::net::UnixStream::connect(b.folder.join("socket"))
            .await
            .unwrap();
        stream.write_all(nonsense.as_bytes()).await.unwrap();
        stream.shutdown().await.unwrap();
        let mut answer = Vec::new();
        patient(stream.read_to_end(&mut answer)).await.unwrap();
        assert!(answer.is_empty(), "{nonsense:?}");
    }
    b.ok(&["push", "y"]).await;
    assert_eq!(follow.text().await, "y");
}

#[tokio::test]
async fn files_are_the_users_alone() {
    let world = world().await;
    let (a, b) = world.pair().await;
    let mut follow = b.start(&["pull", "--follow"]);
    a.ok(&["push", "x"]).await;
    follow.line().await.unwrap();
    let mode = |path: &std::path::Path| {
        std::fs::symlink_metadata(path)
            .unwrap()
            .permissions()
            .mode()
            & 0o777
    };
    assert_eq!(mode(&b.folder), 0o700);
    let mut names = Vec::new();
    for entry in std::fs::read_dir(&b.folder).unwrap() {
        let path = entry.unwrap().path();
        assert_eq!(mode(&path), 0o600, "{}", path.display());
        names.push(path.file_name().unwrap().to_str().unwrap().to_owned());
    }
    for name in ["device.db", "device.db-wal", "settings.json", "socket"] {
        assert!(names.iter().any(|found| found == name), "{names:?}");
    }
}

#[tokio::test]
async fn a_reader_that_goes_away_is_no_error() {
    let world = world().await;
    let (a, b) = world.pair().await;
    let lines: Vec<_> = (0..3000)
        .map(|n| format!("a rather long line {n}\n"))
        .collect();
    a.run_with(&["push", "--lines", "-"], Some(lines.concat().as_bytes()))
        .await;
    for args in [&["pull"][..], &["pull", "--follow"]] {
        let mut child = b.command(args).stderr(Stdio::piped()).spawn().unwrap();
        let mut out = tokio::io::BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        tokio::io::AsyncBufReadExt::read_line(&mut out, &mut line)
            .await
            .unwrap();
        drop(out);
        let ended = patient(child.wait_with_output()).await.unwrap();
        assert_eq!(ended.status.code(), Some(0));
        let err = String::from_utf8(ended.stderr).unwrap();
        assert!(
            !err.contains("panicked") && !err.contains("zerok:"),
            "{err}"
        );
    }
}

#[tokio::test]
async fn a_full_disk_is_told_and_loses_nothing() {
    let world = world().await;
    let (a, b) = world.pair().await;
    a.ok(&["push", "fits"]).await;
    let file = world.folder.path().join("file");
    std::fs::write(&file, vec![b'x'; 900_000]).unwrap();
    let limited = "trap '' XFSZ; ulimit -f 1000; exec \"$0\" push --json --file \"$1\"";
    let refused = tokio::process::Command::new("sh")
        .args(["-c", limited, env!("CARGO_BIN_EXE_zerok")])
        .arg(&file)
        .env("ZEROK_DATA_DIR", &a.folder)
        .output();
    let refused = patient(refused).await.unwrap();
    let err = String::from_utf8(refused.stderr).unwrap();
    assert_eq!(refused.status.code(), Some(1), "{err}");
    assert!(err.contains("\"STORAGE_FULL\""), "{err}");
    a.ok(&["push", "--file", file.to_str().unwrap()]).await;
    let texts = b.texts().await;
    assert_eq!(texts.len(), 2);
    assert_eq!((texts[0].as_str(), texts[1].len()), ("fits", 900_000));
}
