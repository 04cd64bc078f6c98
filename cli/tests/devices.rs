//! The devices of a group: who they are, and removing one.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

mod common;

use common::{World, Zerok, world};
use serde_json::{Value, json};
use zerok_sync_tests::relay::RelayProcess;

/// Three devices in one group, of which the first knows the others.
async fn three(world: &World) -> (Zerok, Zerok, Zerok) {
    let (a, b) = world.pair().await;
    let c = world.device("c").await;
    c.ok(&["pair", "--join", &a.invite().await]).await;
    let names: Vec<_> = listed(&a).await.iter().map(name).collect();
    for name in ["a", "b", "c"] {
        assert!(names.contains(&name.to_owned()), "{names:?}");
    }
    (a, b, c)
}

async fn listed(zerok: &Zerok) -> Vec<Value> {
    zerok.ok(&["devices", "--json"]).await.objects()
}

fn name(device: &Value) -> String {
    device["name"].as_str().unwrap().to_owned()
}

async fn id(zerok: &Zerok) -> String {
    let status = zerok.ok(&["status", "--json"]).await.objects();
    status[0]["device"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn who_is_removed_is_out_and_the_others_go_on() {
    let world = world().await;
    let (a, b, c) = three(&world).await;
    let (own, gone) = (id(&a).await, id(&c).await);
    let devices = listed(&a).await;
    assert_eq!(devices.len(), 3);
    let platform = devices[0]["platform"].clone();
    assert!(!platform.as_str().unwrap().is_empty());
    let mut devices = devices.clone();
    for device in &mut devices {
        // The others were here a moment ago, or still are.
        let here = device["online"] == true && device["lastSeen"].as_u64() > Some(0);
        assert!(here || device["self"] == false, "{device}");
        let device = device.as_object_mut().unwrap();
        assert!(device.remove("online").is_some() && device.remove("lastSeen").is_some());
    }
    let of = |id: &str| devices.iter().find(|device| device["id"] == id).unwrap();
    let expected = |id: &str, name: &str, own: bool| json!({ "id": id, "name": name, "platform": platform, "self": own, "revoked": false, "revoking": false });
    assert_eq!(*of(&own), expected(&own, "a", true));
    assert_eq!(*of(&gone), expected(&gone, "c", false));
    let table = a.ok(&["devices"]).await.text();
    assert_eq!(table.lines().count(), 3);
    let line = table.lines().find(|line| line.starts_with(&own[..8]));
    assert!(line.unwrap().ends_with("this device"), "{table}");
    assert!(line.unwrap().contains("  online  "), "{table}");

    for (args, code, error) in [
        (&["revoke", "nobody", "--yes"][..], 1, "NOT_FOUND"),
        (&["revoke", "a", "--yes"], 2, "INVALID_ARGUMENT"),
        (&["revoke", "c"], 2, "INVALID_ARGUMENT"),
    ] {
        let refused = a.run(&[args, &["--json"]].concat()).await;
        assert_eq!(refused.code, Some(code), "{args:?}: {refused:?}");
        assert_eq!(refused.error_code(), error);
    }
    let own_refused = a.run(&["revoke", &own, "--yes"]).await;
    assert!(own_refused.err.contains("zerok leave"), "{own_refused:?}");

    c.ok(&["push", "from c"]).await;
    let revoked = a
        .ok(&[
            "revoke",
            &gone[..10],
            "--reason",
            "compromised",
            "--yes",
            "--json",
        ])
        .await
        .objects();
    assert_eq!(revoked.len(), 1);
    assert_eq!(revoked[0]["device"], gone.as_str());
    assert_eq!(
        (&revoked[0]["name"], &revoked[0]["reason"]),
        (&json!("c"), &json!("compromised"))
    );
    assert_eq!(
        (&revoked[0]["revoked"], &revoked[0]["revoking"]),
        (&json!(true), &json!(false))
    );
    a.ok(&["push", "without c"]).await;
    assert_eq!(b.texts().await, ["from c", "without c"]);
    b.ok(&["push", "from b"]).await;
    assert_eq!(a.texts().await.len(), 3);
    for device in [&a, &b] {
        let devices = listed(device).await;
        let out = devices.iter().find(|device| device["id"] == gone.as_str());
        assert_eq!(out.unwrap()["revoked"], true);
    }

    // The first command hears of it from the relay, the later ones know it.
    for _ in 0..2 {
        let pulled = c.run(&["pull", "--json"]).await;
        assert_eq!(pulled.code, Some(1), "{pulled:?}");
        assert_eq!(pulled.error_code(), "DEVICE_REVOKED");
        assert!(pulled.err.contains("zerok leave"), "{pulled:?}");
        assert_eq!(pulled.objects().len(), 1, "what it has stays readable");
    }
    for args in [
        &["push", "x"][..],
        &["pair", "--create"],
        &["rename", "x"],
        &["revoke", "a", "--yes"],
        &["devices"],
        &["pull", "--follow"],
    ] {
        let refused = c.run(&[args, &["--json"]].concat()).await;
        assert_eq!(refused.code, Some(1), "{args:?}: {refused:?}");
        assert_eq!(refused.error_code(), "DEVICE_REVOKED");
    }
    let status = c.ok(&["status", "--json"]).await.objects();
    assert_eq!(status[0]["error"]["code"], "DEVICE_REVOKED");
    assert_eq!(status[0]["groups"][0]["revoked"], true);
    c.ok(&["leave", "--yes"]).await;
}

#[tokio::test]
async fn what_is_removed_offline_is_out_after_the_next_command() {
    let world = world().await;
    let (a, b, c) = three(&world).await;
    let gone = id(&c).await;
    let stopped = world.relay.kill().await.unwrap();
    let queued = a.run(&["revoke", "c", "--yes", "--json"]).await;
    assert_eq!(queued.code, Some(3), "{queued:?}");
    assert_eq!(queued.objects()[0]["revoked"], false);
    assert_eq!(queued.objects()[0]["revoking"], true);
    let devices = listed(&a).await;
    let out = devices.iter().find(|device| device["id"] == gone.as_str());
    assert_eq!(out.unwrap()["revoking"], true);
    let table = a.ok(&["devices"]).await.text();
    assert!(table.contains("being removed"), "{table}");
    let renamed = a.run(&["rename", "desk", "--json"]).await;
    assert_eq!(renamed.code, Some(3), "{renamed:?}");
    assert_eq!(renamed.objects()[0]["sent"], false);

    let _relay = RelayProcess::start(stopped).await.unwrap();
    a.ok(&["status"]).await;
    let refused = c.run(&["push", "x", "--json"]).await;
    assert_eq!(refused.code, Some(1), "{refused:?}");
    assert_eq!(refused.error_code(), "DEVICE_REVOKED");
    let devices = listed(&b).await;
    let out = devices.iter().find(|device| device["id"] == gone.as_str());
    assert_eq!(out.unwrap()["revoked"], true);
    assert!(devices.iter().any(|device| device["name"] == "desk"));
}

#[cfg(unix)]
#[tokio::test]
async fn it_all_works_beside_a_process_that_has_the_device_open() {
    let world = world().await;
    let (a, b, c) = three(&world).await;
    let mut follow = a.start(&["pull", "--follow", "--json"]);
    b.ok(&["push", "here"]).await;
    assert_eq!(follow.text().await, "here");
    assert!(a.folder.join("socket").exists());
    let renamed = a.ok(&["rename", "desk", "--json"]).await.objects();
    assert_eq!(
        (&renamed[0]["name"], &renamed[0]["sent"]),
        (&json!("desk"), &json!(true))
    );
    assert!(listed(&a).await.iter().any(|d| d["name"] == "desk"));
    assert!(listed(&b).await.iter().any(|d| d["name"] == "desk"));
    let gone = a.ok(&["revoke", "c", "--yes"]).await.text();
    assert!(gone.starts_with("removed: \"c\" (device "), "{gone}");
    let refused = c.run(&["push", "x", "--json"]).await;
    assert_eq!(refused.error_code(), "DEVICE_REVOKED");
    b.ok(&["push", "still here"]).await;
    assert_eq!(follow.text().await, "still here");
}
