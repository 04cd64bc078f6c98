//! Devices at terminals in one group.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

mod common;

use common::{Zerok, world};
use serde_json::json;
use tokio::io::AsyncWriteExt as _;
use zerok_sync_tests::relay::RelayProcess;

#[tokio::test]
async fn two_devices_share_a_log() {
    let world = world().await;
    let (a, b) = world.pair().await;
    let pushed = a.ok(&["push", "from a", "--json"]).await.objects();
    assert_eq!(pushed.len(), 2);
    assert_eq!(pushed[0]["position"], 1);
    assert_eq!(pushed[0]["size"], 6);
    assert_eq!(pushed[1]["pushed"], 1);
    assert_eq!(pushed[1]["sent"], true);
    assert_eq!(pushed[1]["pending"], 0);
    b.ok(&["push", "from b"]).await;

    let log = a.ok(&["pull", "--json"]).await.objects();
    assert_eq!(log.len(), 2);
    assert_eq!(log[0]["id"], pushed[0]["id"]);
    assert_eq!(log[0]["text"], "from a");
    assert_eq!(
        (&log[0]["own"], &log[1]["own"]),
        (&json!(true), &json!(false))
    );
    // The relay has also stored what each of the two devices says of itself.
    assert_eq!(
        (&log[0]["cursor"], &log[1]["cursor"]),
        (&json!(3), &json!(4))
    );
    for blob in &log {
        assert_eq!(blob["sender"].as_str().unwrap().len(), 64);
        assert!(blob["timestamp"].as_u64().unwrap() > 1_600_000_000_000);
    }
    let others = a.ok(&["pull", "--json", "--no-own"]).await.objects();
    assert_eq!(others, log[1..]);
    let second = a.ok(&["pull", "--json", "--after", "1"]).await.objects();
    assert_eq!(second, log[1..]);
    let first = a.ok(&["pull", "--json", "--limit", "1"]).await.objects();
    assert_eq!(first, log[..1]);

    let status = b.ok(&["status", "--json"]).await.objects();
    assert_eq!(status.len(), 1);
    assert_eq!(status[0]["state"], "synced");
    assert_eq!(status[0]["name"], "b");
    assert_eq!(status[0]["device"], log[1]["sender"]);
    assert_eq!(status[0]["relay"], world.relay.url());
    assert_eq!(status[0]["groups"][0]["position"], 2);
    let groups = b.ok(&["groups", "--json"]).await.objects();
    assert_eq!(groups[0]["id"], status[0]["groups"][0]["id"]);
}

#[tokio::test]
async fn a_blob_is_deleted_by_its_position_or_its_id_also_offline() {
    let world = world().await;
    let (a, b) = world.pair().await;
    for text in ["one", "two", "three"] {
        a.ok(&["push", text]).await;
    }
    let log = b.ok(&["pull", "--json"]).await.objects();
    assert_eq!(log.len(), 3);
    let id = log[1]["id"].as_str().unwrap();
    let deleted = b.ok(&["delete", id, "--json"]).await.objects();
    assert_eq!(
        (&deleted[0]["id"], &deleted[0]["sent"]),
        (&log[1]["id"], &json!(true))
    );
    let positions = |log: Vec<serde_json::Value>| -> Vec<_> {
        log.iter().map(|blob| blob["position"].clone()).collect()
    };
    let left = a.ok(&["pull", "--json"]).await.objects();
    assert_eq!(positions(left), [1, 3]);
    let forced = b.run(&["delete", "1", "--force", "--json"]).await;
    assert_eq!(forced.code, Some(1));
    assert_eq!(forced.error_code(), "NOT_BLOB_OWNER");
    let gone = b.run(&["delete", "2", "--json"]).await;
    assert_eq!(gone.error_code(), "NOT_FOUND");
    assert_eq!(b.run(&["delete", "x"]).await.code, Some(2));
    a.ok(&["delete", "1", "--force"]).await;

    let stopped = world.relay.kill().await.unwrap();
    let queued = a.run(&["delete", "3", "--json"]).await;
    assert_eq!(queued.code, Some(3));
    assert_eq!(queued.objects()[0]["sent"], false);
    assert_eq!(a.run(&["pull", "--json"]).await.objects().len(), 0);
    let _relay = RelayProcess::start(stopped).await.unwrap();
    a.ok(&["pull"]).await;
    assert_eq!(b.ok(&["pull", "--json"]).await.objects().len(), 0);
}

#[tokio::test]
async fn what_is_pushed_offline_is_queued_and_sent_later() {
    let world = world().await;
    let (a, b) = world.pair().await;
    a.ok(&["push", "before"]).await;
    b.ok(&["pull"]).await;
    let stopped = world.relay.kill().await.unwrap();

    let queued = a.run(&["push", "offline 1"]).await;
    assert_eq!(queued.code, Some(3));
    assert!(
        queued.text().starts_with("queued, 1 waiting"),
        "{}",
        queued.text()
    );
    let queued = a.run(&["push", "offline 2", "--json"]).await;
    assert_eq!(queued.code, Some(3));
    let summary = &queued.objects()[1];
    assert_eq!(
        (&summary["sent"], &summary["pending"]),
        (&json!(false), &json!(2))
    );
    let local = b.run(&["pull", "--json"]).await;
    assert_eq!(local.code, Some(3), "what is here is printed: {local:?}");
    assert_eq!(local.objects().len(), 1);
    let invite = a.run(&["pair", "--create", "--json"]).await;
    assert_eq!(invite.code, Some(3));
    assert_eq!(invite.error_code(), "RELAY_UNREACHABLE");
    let status = a.ok(&["status", "--json"]).await.objects();
    assert_eq!(status[0]["state"], "offline");
    assert_eq!(status[0]["error"]["code"], "RELAY_UNREACHABLE");

    let _relay = RelayProcess::start(stopped).await.unwrap();
    a.ok(&["push", "online"]).await;
    assert_eq!(
        b.texts().await,
        ["before", "offline 1", "offline 2", "online"]
    );
}

#[tokio::test]
async fn a_killed_push_loses_nothing_that_it_reported() {
    let world = world().await;
    let (a, b) = world.pair().await;
    let mut reported = 0;
    for _ in 0..3 {
        let mut push = a.start(&["push", "--lines", "-", "--json"]);
        let mut input = push.input.take().unwrap();
        let feeding = tokio::spawn(async move {
            let mut number = reported;
            // Until nobody reads any more.
            while input
                .write_all(format!("line {number}\n").as_bytes())
                .await
                .is_ok()
            {
                number += 1;
            }
        });
        for _ in 0..60 {
            let line = push.line().await.unwrap();
            assert!(line.contains("\"position\""), "{line}");
            reported += 1;
        }
        push.child.kill().await.unwrap();
        // What it said before it died, too.
        while let Some(line) = push.line().await {
            assert!(line.contains("\"position\""), "{line}");
            reported += 1;
        }
        feeding.await.unwrap();
        let texts = a.texts().await;
        assert!(texts.len() >= reported, "{} of {reported}", texts.len());
        // The next round goes on with the numbers that are really there.
        reported = texts.len();
    }
    a.ok(&["push", "the last"]).await;
    let texts = b.texts().await;
    assert_eq!(texts, a.texts().await);
    assert_eq!(texts.len(), reported + 1);
    for (number, text) in texts[..reported].iter().enumerate() {
        assert_eq!(*text, format!("line {number}"));
    }
}

#[tokio::test]
async fn files_and_bytes_come_back_as_they_were() {
    let world = world().await;
    let (a, b) = world.pair().await;
    let bytes: Vec<u8> = (0..=255).cycle().take(100_000).collect();
    let (first, second) = (
        world.folder.path().join("bytes"),
        world.folder.path().join("text"),
    );
    std::fs::write(&first, &bytes).unwrap();
    std::fs::write(&second, "a file\n").unwrap();
    let files = ["--file", first.to_str().unwrap(), second.to_str().unwrap()];
    let pushed = a
        .ok(&[&["push", "--json"], &files[..]].concat())
        .await
        .objects();
    assert_eq!(pushed.len(), 3);
    let piped = a.run_with(&["push", "-"], Some(b"from a pipe")).await;
    assert_eq!(piped.code, Some(0), "{piped:?}");

    let log = b.ok(&["pull", "--json"]).await.objects();
    assert!(log[0].get("text").is_none());
    let decoded = data_encoding::BASE64.decode(log[0]["data_base64"].as_str().unwrap().as_bytes());
    assert_eq!(decoded.unwrap(), bytes);
    assert_eq!(log[1]["text"], "a file\n");
    assert_eq!(log[2]["text"], "from a pipe");
    let raw = b.ok(&["pull", "--raw", "--limit", "1"]).await;
    assert_eq!(raw.out, bytes);

    let too_large = vec![b'x'; 1024 * 1024 + 1];
    let refused = a.run_with(&["push", "-", "--json"], Some(&too_large)).await;
    assert_eq!(
        (refused.code, refused.error_code().as_str()),
        (Some(1), "BLOB_TOO_LARGE")
    );
    let fits = a.run_with(&["push", "-"], Some(&too_large[1..])).await;
    assert_eq!(fits.code, Some(0), "{fits:?}");
    let raw = b.ok(&["pull", "--raw", "--after", "3"]).await;
    assert_eq!(raw.out.len(), 1024 * 1024);
}

#[tokio::test]
async fn invites_say_what_is_wrong_with_them() {
    let world = world().await;
    let (a, _b) = world.pair().await;
    let link = a.invite().await;
    assert!(
        link.starts_with(&format!("{}/#0k=1.", world.relay.url())),
        "{link}"
    );
    let c = Zerok::new(&world.folder.path().join("c"));
    c.ok(&["init", "--name", "needs no relay"]).await;
    let piped = c
        .run_with(&["pair", "--join", "-", "--json"], Some(link.as_bytes()))
        .await;
    assert_eq!(piped.code, Some(0), "{piped:?}");
    assert_eq!(piped.objects()[1]["joined"], true);

    let d = world.device("d").await;
    for wrong in [
        link.as_str(),
        "https://app.example/",
        &link[..link.len() - 9],
        &link.replace("#0k=1", "#0k=2"),
    ] {
        let refused = d.run(&["pair", "--join", wrong, "--json"]).await;
        assert_eq!(
            (refused.code, refused.error_code().as_str()),
            (Some(1), "INVITE_INVALID"),
            "{refused:?}"
        );
    }
    let nowhere = a
        .ok(&[
            "pair",
            "--create",
            "--app-url",
            "https://app.example/list",
            "--no-qr",
        ])
        .await;
    assert!(nowhere.text().contains("\nhttps://app.example/list#0k=1."));
    assert!(!nowhere.text().contains('█'));
    let drawn = a.ok(&["pair", "--create"]).await.text();
    assert!(drawn.contains("█▀") && drawn.contains("Good for one device"));
}

#[tokio::test]
async fn a_code_is_typed_where_a_relay_is_known() {
    let world = world().await;
    let (a, b) = (world.device("a").await, world.device("b").await);
    a.ok(&["pair", "--create"]).await;
    a.ok(&["push", "hello"]).await;
    let printed = a.ok(&["pair", "--create", "--no-qr"]).await.text();
    let (_, rest) = printed.split_once("Or type this code: ").unwrap();
    let code = rest.lines().next().unwrap();

    let lost = Zerok::new(&world.folder.path().join("lost"));
    lost.ok(&["init", "--name", "knows no relay"]).await;
    let refused = lost.run(&["pair", "--join", code, "--json"]).await;
    assert_eq!(refused.error_code(), "INVALID_ARGUMENT", "{refused:?}");

    let typed = code.to_lowercase().replace('-', "");
    b.ok(&["pair", "--join", &typed]).await;
    assert_eq!(b.texts().await, ["hello"]);
    let again = b.run(&["pair", "--join", "7KQ2-9F3M", "--json"]).await;
    assert_eq!(again.error_code(), "INVITE_INVALID", "{again:?}");
}

#[tokio::test]
async fn who_waits_hears_of_a_device_that_joins() {
    let world = world().await;
    let (a, b) = (world.device("a").await, world.device("b").await);
    let mut waiting = a.start(&["pair", "--create", "--wait", "--json"]);
    let created: serde_json::Value = serde_json::from_str(&waiting.line().await.unwrap()).unwrap();
    let link = created["link"].as_str().unwrap();
    b.ok(&["pair", "--join", link]).await;
    let joined = waiting.line().await.unwrap();
    assert!(joined.contains("\"joined\":true"), "{joined}");
    assert_eq!(waiting.end().await, Some(0));
}

#[tokio::test]
async fn the_one_who_invites_is_asked_and_both_see_the_same_code() {
    let world = world().await;
    for accept in [true, false] {
        let (a, b) = (
            world.device(&format!("a{accept}")).await,
            world.device(&format!("b{accept}")).await,
        );
        let mut asking = a.start(&["pair", "--create", "--confirm", "--json"]);
        let created: serde_json::Value =
            serde_json::from_str(&asking.line().await.unwrap()).unwrap();
        let link = created["link"].as_str().unwrap();
        let mut joining = b.start(&["pair", "--join", link, "--json"]);
        let asked: serde_json::Value = serde_json::from_str(&asking.line().await.unwrap()).unwrap();
        assert_eq!(asked["request"]["name"], format!("b{accept}"));
        let told: serde_json::Value = serde_json::from_str(&joining.line().await.unwrap()).unwrap();
        assert_eq!(told["comparisonCode"], asked["request"]["comparisonCode"]);
        let answer: &[u8] = if accept { b"y\n" } else { b"n\n" };
        let mut input = asking.input.take().unwrap();
        input.write_all(answer).await.unwrap();
        let ended: serde_json::Value = serde_json::from_str(&asking.line().await.unwrap()).unwrap();
        assert_eq!(ended["joined"], accept);
        let done = i32::from(!accept);
        assert_eq!(asking.end().await, Some(done));
        if accept {
            let joined = joining.line().await.unwrap();
            assert!(joined.contains("\"joined\":true"), "{joined}");
        }
        assert_eq!(joining.end().await, Some(done));
    }
}

#[tokio::test]
async fn what_became_of_an_invite_is_told() {
    let world = world().await;
    let a = world.device("a").await;
    let b = world.device("b").await;
    let link = a.invite().await;
    // The same place with another key, and another place with the same key.
    let spoilt = |at: usize| {
        let (head, data) = link.split_once("#0k=1.").unwrap();
        let mut data = data.as_bytes().to_vec();
        data[at] = if data[at] == b'A' { b'B' } else { b'A' };
        format!("{head}#0k=1.{}", String::from_utf8(data).unwrap())
    };
    for (wrong, says) in [
        (spoilt(0), "there is no such invite"),
        (spoilt(30), "check the code, or copy the whole link again"),
    ] {
        let refused = b.run(&["pair", "--join", &wrong]).await;
        assert_eq!(refused.code, Some(1));
        assert!(refused.err.contains(says), "{refused:?}");
    }
    b.ok(&["pair", "--join", &link]).await;
    let c = world.device("c").await;
    let refused = c.run(&["pair", "--join", &link]).await;
    assert!(
        refused.err.contains("used by another device"),
        "{refused:?}"
    );
}

#[tokio::test]
async fn several_groups_are_told_apart_and_left() {
    let world = world().await;
    let a = world.device("a").await;
    let found = async || {
        let created = a.ok(&["pair", "--create", "--new", "--json"]).await;
        created.objects()[0]["group"].as_str().unwrap().to_owned()
    };
    let (first, second) = (found().await, found().await);
    let unclear = a.run(&["push", "where?", "--json"]).await;
    assert_eq!(
        (unclear.code, unclear.error_code().as_str()),
        (Some(2), "INVALID_ARGUMENT")
    );
    a.ok(&["push", "into the second", "--group", &second[..12]])
        .await;
    let pulled = a.ok(&["pull", "--group", &second.to_uppercase()]).await;
    assert!(pulled.text().contains("into the second"));
    assert!(a.ok(&["pull", "--group", &first]).await.out.is_empty());

    let unsure = a.run(&["leave", "--group", &second, "--json"]).await;
    assert_eq!(
        (unsure.code, unsure.error_code().as_str()),
        (Some(2), "INVALID_ARGUMENT")
    );
    a.ok(&["leave", "--group", &second, "--yes"]).await;
    let left = a.ok(&["groups", "--json"]).await.objects();
    assert_eq!(left.len(), 1);
    assert_eq!(left[0]["id"], first.as_str());
    let gone = a.run(&["pull", "--group", &second, "--json"]).await;
    assert_eq!(
        (gone.code, gone.error_code().as_str()),
        (Some(1), "UNKNOWN_GROUP")
    );
}
