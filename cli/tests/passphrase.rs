//! Groups by name and passphrase at terminals.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

mod common;

use common::world;

const WORDS: &[u8] = b"gravel ozone cactus tidal mustard plywood\n";
const FOUND: [&str; 6] = [
    "pair",
    "--create",
    "--name",
    "family",
    "--passphrase-file",
    "-",
];
const JOIN: [&str; 6] = [
    "pair",
    "--join",
    "--group",
    "family",
    "--passphrase-file",
    "-",
];

#[tokio::test]
async fn a_group_is_joined_by_its_name_and_passphrase() {
    let world = world().await;
    let (a, b, c) = (
        world.device("a").await,
        world.device("b").await,
        world.device("c").await,
    );
    let create = [&FOUND[..], &["--json"]].concat();
    let founded = a.run_with(&create, Some(WORDS)).await.objects();
    assert_eq!(founded[0]["name"], "family");
    assert!(founded[0]["passphrase"].is_null(), "it is known");
    assert!(founded[0]["link"].as_str().unwrap().contains("#0k="));
    a.ok(&["push", "from a"]).await;

    let typed = b"  gravel  ozone\tcactus tidal mustard\nplywood";
    let join = [&JOIN[..], &["--json"]].concat();
    let joined = b.run_with(&join, Some(typed)).await.objects();
    assert_eq!(joined[0]["group"], founded[0]["group"]);
    assert_eq!(joined[0]["joined"], true);
    assert_eq!(b.texts().await, ["from a"]);

    // --join may be left out, and whoever founds what is there joins it.
    let file = world.folder.path().join("passphrase");
    std::fs::write(&file, WORDS).unwrap();
    let file = file.to_str().unwrap();
    let again = b
        .ok(&["pair", "--group", "family", "--passphrase-file", file])
        .await;
    assert!(again.text().starts_with("Already in group"));
    let c_group = c
        .ok(&[&FOUND[..4], &["--passphrase-file", file, "--json"]].concat())
        .await;
    assert_eq!(c_group.objects()[0]["group"], founded[0]["group"]);
    assert_eq!(c.texts().await, ["from a"]);
}

#[tokio::test]
async fn a_generated_passphrase_is_printed_once_and_joins() {
    let world = world().await;
    let (a, b) = (world.device("a").await, world.device("b").await);
    let create = [&FOUND[..4], &["--generate", "--json"]].concat();
    let founded = a.ok(&create).await.objects();
    let passphrase = founded[0]["passphrase"].as_str().unwrap();
    assert_eq!(passphrase.split(' ').count(), 6);
    let joined = b.run_with(&JOIN, Some(passphrase.as_bytes())).await;
    assert_eq!(joined.code, Some(0), "{joined:?}");
    let groups = b.ok(&["groups", "--json"]).await.objects();
    assert_eq!(groups[0]["id"], founded[0]["group"]);

    // Another app has groups of its own.
    let other = [&JOIN[..], &["--app", "notes", "--json"]].concat();
    let other = b.run_with(&other, Some(passphrase.as_bytes())).await;
    assert_eq!(other.code, Some(1));
    assert_eq!(other.error_code(), "GROUP_NOT_FOUND");
}

#[tokio::test]
async fn weak_missing_and_mistyped_passphrases_are_told_apart() {
    let world = world().await;
    let a = world.device("a").await;
    let cases: [(&[&str], &[u8], i32, &str); 6] = [
        (&FOUND, b"correct horse", 1, "WEAK_PASSPHRASE"),
        (&FOUND, b"family family family family", 1, "WEAK_PASSPHRASE"),
        (&FOUND, b" \n", 2, "INVALID_ARGUMENT"),
        (&JOIN, b"gravel ozone", 1, "WEAK_PASSPHRASE"),
        (&JOIN, WORDS, 1, "GROUP_NOT_FOUND"),
        (&["pair", "--join"], b"", 2, "INVALID_ARGUMENT"),
    ];
    for (args, input, code, name) in cases {
        let ran = a.run_with(&[args, &["--json"]].concat(), Some(input)).await;
        assert_eq!(
            (ran.code, ran.error_code().as_str()),
            (Some(code), name),
            "{args:?}"
        );
    }
    assert!(a.ok(&["groups", "--json"]).await.objects().is_empty());
    let on_the_line = a
        .run(&["pair", "--create", "--name", "x", "a passphrase"])
        .await;
    assert_eq!(on_the_line.code, Some(2));
}
