//! What the program says: exit codes, errors, documents, and nothing that a member could smuggle in.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

mod common;

use common::{Zerok, world};

const COMMANDS: [&str; 12] = [
    "init",
    "pair",
    "push",
    "pull",
    "status",
    "groups",
    "devices",
    "revoke",
    "rename",
    "leave",
    "completions",
    "man",
];

#[tokio::test]
async fn without_a_device_or_a_group_it_says_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let zerok = Zerok::new(&folder.path().join("new"));
    let refused = zerok.run(&["push", "x"]).await;
    assert_eq!(refused.code, Some(1));
    assert!(refused.err.contains("zerok init --relay"), "{refused:?}");
    let refused = zerok.run(&["status", "--json"]).await;
    assert_eq!(refused.error_code(), "NO_DEVICE");
    assert!(!zerok.folder.exists(), "looking makes nothing");

    let made = zerok
        .ok(&["init", "--name", "here", "--json"])
        .await
        .objects();
    assert_eq!(
        (&made[0]["created"], &made[0]["name"]),
        (&true.into(), &"here".into())
    );
    let refused = zerok.run(&["push", "x"]).await;
    assert!(refused.err.contains("zerok pair --create"), "{refused:?}");
    let refused = zerok.run(&["pair", "--create", "--json"]).await;
    assert_eq!(
        (refused.code, refused.error_code().as_str()),
        (Some(2), "INVALID_ARGUMENT")
    );
    let empty = zerok.ok(&["status", "--json"]).await.objects();
    assert_eq!(empty[0]["groups"], serde_json::json!([]));

    let changed = zerok
        .ok(&["init", "--relay", "http://localhost:1", "--json"])
        .await
        .objects();
    assert_eq!(
        (&changed[0]["created"], &changed[0]["name"]),
        (&false.into(), &"here".into())
    );
    assert_eq!(changed[0]["device"], made[0]["device"]);
    let wrong = zerok
        .run(&["init", "--relay", "localhost:1", "--json"])
        .await;
    assert_eq!(
        (wrong.code, wrong.error_code().as_str()),
        (Some(2), "INVALID_ARGUMENT")
    );
    let kept = std::fs::read_to_string(zerok.folder.join("settings.json")).unwrap();
    assert!(kept.contains("\"http://localhost:1\""), "{kept}");
}

#[tokio::test]
async fn wrong_usage_has_its_own_exit_code() {
    let folder = tempfile::tempdir().unwrap();
    let zerok = Zerok::new(folder.path());
    for wrong in [
        &[][..],
        &["fly"],
        &["push"],
        &["push", "text", "--file", "x"],
        &["pair"],
        &["pair", "--create", "--join", "x"],
        &["pull", "--limit", "0"],
        &["pull", "--after", "-1"],
        &["pull", "--raw", "--json"],
        &["status", "--timeout", "soon"],
    ] {
        let refused = zerok.run(wrong).await;
        assert_eq!(refused.code, Some(2), "{wrong:?}: {refused:?}");
        assert!(refused.out.is_empty(), "{wrong:?}");
    }
    let refused = zerok.run(&["push", "--json"]).await;
    assert_eq!(refused.error_code(), "INVALID_ARGUMENT");
    for right in [&["--help"][..], &["push", "--help"], &["--version"]] {
        let told = zerok.ok(right).await;
        assert!(told.err.is_empty() && !told.out.is_empty());
    }
}

#[tokio::test]
async fn a_member_cannot_control_the_terminal() {
    let world = world().await;
    let (a, b) = world.pair().await;
    let evil = "\u{1b}[2J\u{1b}]0;owned\u{7}\r\u{9b}31m\u{202e}gnp.exe\nsecond line\u{7f}";
    a.run_with(&["push", "-"], Some(evil.as_bytes())).await;
    let plain = b.ok(&["pull"]).await.text();
    assert_eq!(plain.lines().count(), 1, "{plain:?}");
    assert!(plain.contains("\\e[2J\\e]0;owned"), "{plain:?}");
    let json = b.ok(&["pull", "--json"]).await;
    assert_eq!(json.objects()[0]["text"], evil);
    for shown in [plain, json.text()] {
        let shown = shown.strip_suffix('\n').unwrap();
        let harmless = |character: char| !character.is_control() && character != '\u{202e}';
        assert!(shown.chars().all(harmless), "{shown:?}");
    }
}

#[tokio::test]
async fn logs_hold_no_link_and_no_ids() {
    let world = world().await;
    let (a, b) = (world.device("a").await, world.device("b").await);
    let created = a.ok(&["pair", "--create", "--json", "-vv"]).await;
    let link = created.objects()[0]["link"].as_str().unwrap().to_owned();
    let secret = link.rsplit_once('.').unwrap().1;
    let group = created.objects()[0]["group"].as_str().unwrap().to_owned();
    let joined = b.ok(&["pair", "--join", &link, "-vv"]).await;
    for ran in [created, joined] {
        assert!(!ran.err.contains(secret), "{}", ran.err);
        assert!(!ran.err.contains(&group), "{}", ran.err);
    }
}

#[tokio::test]
async fn completions_and_pages_name_every_command() {
    let folder = tempfile::tempdir().unwrap();
    let zerok = Zerok::new(&folder.path().join("none"));
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        let script = zerok.ok(&["completions", shell]).await.text();
        for command in COMMANDS {
            assert!(script.contains(command), "{shell}: {command}");
        }
    }
    let page = zerok.ok(&["man"]).await.text();
    assert!(page.contains(".TH zerok 1"), "{page}");
    let out = folder.path().join("man");
    zerok.ok(&["man", "--out", out.to_str().unwrap()]).await;
    for command in COMMANDS {
        let page = std::fs::read_to_string(out.join(format!("zerok-{command}.1"))).unwrap();
        assert!(page.contains(".SH SYNOPSIS"), "{command}");
    }
    assert!(out.join("zerok.1").exists());
    assert!(!zerok.folder.exists());
}
