//! Passphrases that are asked for at a terminal.
#![cfg(target_os = "linux")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

mod common;

use std::process::Stdio;

use common::{Zerok, patient, world};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::Command;

const WORDS: &str = "gravel ozone cactus tidal mustard plywood";

/// Runs it at a terminal of its own (util-linux), gives the answers to its questions, and what was on the screen.
async fn at_a_terminal(zerok: &Zerok, args: &str, answers: &[&str]) -> (Option<i32>, String) {
    let line = format!("{} {args}", env!("CARGO_BIN_EXE_zerok"));
    let mut child = Command::new("script")
        .args(["--quiet", "--return", "--command", &line, "/dev/null"])
        .env("ZEROK_DATA_DIR", &zerok.folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    let mut output = child.stdout.take().unwrap();
    let mut screen = Vec::new();
    for answer in answers {
        while !screen.ends_with(b": ") {
            screen.push(patient(output.read_u8()).await.unwrap());
        }
        input.write_all(answer.as_bytes()).await.unwrap();
        screen.push(b'|');
    }
    patient(output.read_to_end(&mut screen)).await.unwrap();
    let ended = patient(child.wait()).await.unwrap();
    (ended.code(), String::from_utf8_lossy(&screen).into_owned())
}

#[tokio::test]
async fn a_passphrase_is_asked_for_twice_and_never_shown() {
    let world = world().await;
    let (a, b) = (world.device("a").await, world.device("b").await);
    let words = format!("{WORDS}\n");
    let create = "pair --create --no-qr --name family";
    let (code, screen) = at_a_terminal(&a, create, &[&words, "something else\n"]).await;
    assert_eq!(code, Some(2), "{screen}");
    assert!(screen.contains("differ"), "{screen}");

    let (code, screen) = at_a_terminal(&a, create, &[&words, &words]).await;
    assert_eq!(code, Some(0), "{screen}");
    assert!(
        !screen.contains("gravel") && !screen.contains("plywood"),
        "{screen}"
    );
    let (code, screen) = at_a_terminal(&b, "pair --join --group family", &[&words]).await;
    assert_eq!(code, Some(0), "{screen}");
    assert!(!screen.contains("gravel"), "{screen}");
    assert!(screen.contains("Joined group"), "{screen}");

    let (code, screen) = at_a_terminal(&b, "pair --create --name x", &["\u{3}"]).await;
    assert_eq!(code, Some(130), "Ctrl-C: {screen}");
}
