//! What the relay must not know is in no byte that it keeps, logs or answers.
//!
//! About ids in the log: the relay's own crates redact every id, at every level, and that is tested here. At `trace` and
//! `debug`, the crates of iroh log endpoint ids, which are public keys and named in every handshake; neither is logged unless
//! an operator asks for it. From `info` on, no line of anybody holds the id of a device or a group.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

use std::net::SocketAddr;
use std::sync::Arc;

use crate::common::{Device, PATIENCE, patient, wait_until};
use data_encoding::{BASE64, BASE64URL_NOPAD, HEXLOWER, HEXUPPER};
use hkdf::Hkdf;
use sha2::Sha256;
use zerok_sync_client::shared::crypto::invite::{InviteKey, hash_claim};
use zerok_sync_client::shared::crypto::token::TokenHash;
use zerok_sync_client::store::{MemoryStore, Store as _};
use zerok_sync_client::{Client, ClientEvent, Config, Invite, InviteOptions, Path};
use zerok_sync_tests::canary::{Needle, answers, files};
use zerok_sync_tests::raw;
use zerok_sync_tests::relay::{Options, RelayProcess};

const CANARY: &str = "canary-7f3Kq0 Vögel-singen.";
const TOKEN: &str = "0kt_canary-5hN2vQ8w";
const DEVICE_NAME: &str = "canary-device Zoë's phone";

#[test]
fn the_search_finds_every_form_wherever_it_lies() {
    let secret: Vec<u8> = (0..32).map(|n| n * 7 + 3).collect();
    let needle = Needle::new("secret", &secret);
    let text = Needle::text("text", CANARY);
    for shift in 0..3 {
        let inside = |bytes: &[u8]| [&vec![b'#'; shift], bytes, b"tail"].concat();
        for haystack in [
            inside(&secret),
            HEXLOWER.encode(&inside(&secret)).into_bytes(),
            HEXUPPER.encode(&inside(&secret)).into_bytes(),
            BASE64.encode(&inside(&secret)).into_bytes(),
            BASE64URL_NOPAD.encode(&inside(&secret)).into_bytes(),
            format!("{:?}", inside(&secret)).into_bytes(),
            format!("{:?}", bytes::Bytes::from(inside(&secret))).into_bytes(),
        ] {
            assert!(needle.is_in(&haystack), "{}", haystack.escape_ascii());
        }
        for haystack in [
            inside(CANARY.as_bytes()),
            BASE64.encode(&inside(CANARY.as_bytes())).into_bytes(),
            format!("{CANARY:?}").into_bytes(),
            CANARY.encode_utf16().flat_map(u16::to_le_bytes).collect(),
        ] {
            assert!(text.is_in(&haystack), "{}", haystack.escape_ascii());
        }
    }
    assert!(!needle.is_in(&secret[1..]) && !text.is_in(b"canary"));
}

async fn open(url: &str, path: Path, store: &MemoryStore) -> Device {
    let events = Arc::new(std::sync::Mutex::new(Vec::new()));
    let told = events.clone();
    let mut config = Config::new(vec![url.to_owned()], Arc::new(store.clone()));
    config.device_name = DEVICE_NAME.into();
    config.access_token = Some(TOKEN.to_owned());
    config.path = path;
    config.on_event = Box::new(move |event: ClientEvent| told.lock().unwrap().push(event));
    Device {
        client: Client::open(config).await.unwrap(),
        events,
    }
}

fn derive(secret: &[u8; 32], info: &str) -> [u8; 32] {
    let mut out = [0; 32];
    Hkdf::<Sha256>::new(None, secret)
        .expand(info.as_bytes(), &mut out)
        .unwrap();
    out
}

/// The device's key, and of each group its secret and what is derived from it.
async fn secrets_of(who: &str, store: &MemoryStore) -> Vec<Needle> {
    let loaded = store.load().await.unwrap();
    let mut needles = vec![Needle::new(
        &format!("device key of {who}"),
        loaded.device_key.unwrap().expose(),
    )];
    for (_, secret) in loaded
        .groups
        .iter()
        .flat_map(|group| &group.membership)
        .flat_map(|membership| &membership.epochs)
    {
        needles.push(Needle::new("secret of the group", secret.expose()));
        for purpose in ["access", "blob", "content"] {
            let key = derive(secret.expose(), &format!("0k-sync/1 {purpose}"));
            needles.push(Needle::new(&format!("{purpose} key"), &key));
        }
    }
    assert!(needles.len() >= 5);
    needles
}

fn secrets_of_invite(invite: &Invite) -> Vec<Needle> {
    let (key, _) = InviteKey::parse(&invite.link).unwrap();
    let data = invite.link.split_once("#0k=1.").unwrap().1;
    let secret: [u8; 32] = BASE64URL_NOPAD.decode(data.as_bytes()).unwrap()[16..48]
        .try_into()
        .unwrap();
    assert_eq!(
        derive(&secret, "0k-sync/1 invite claim"),
        key.claim_token(),
        "this is the secret of the invite"
    );
    vec![
        Needle::new("key of an invite", &secret),
        Needle::new(
            "key of an offer",
            &derive(&secret, "0k-sync/1 invite offer"),
        ),
        Needle::new(
            "key of an invite's secrets",
            &derive(&secret, "0k-sync/1 invite secrets"),
        ),
        Needle::new("claim token", &key.claim_token()),
    ]
}

/// A line of the log: its level and where it comes from.
fn level_and_rest(line: &str) -> Option<(&str, &str)> {
    let (_time, rest) = line.split_once(' ')?;
    let rest = rest.trim_start();
    let (level, rest) = rest.split_once(' ')?;
    ["ERROR", "WARN", "INFO", "DEBUG", "TRACE"]
        .contains(&level)
        .then_some((level, rest))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_relay_learns_nothing_that_it_should_not_know() {
    let folder = tempfile::tempdir().unwrap();
    let mut options = Options::in_folder(folder.path());
    let hash = format!("sha256:{}", HEXLOWER.encode(TokenHash::of(TOKEN).expose()));
    let args = ["--access", "token", "--access-tokens", &hash];
    options.args = args.map(str::to_owned).into();
    let (data, log) = (options.data.clone(), options.log.clone());
    let relay = RelayProcess::start(options).await.unwrap();
    let port = relay.port();
    let stores = [
        MemoryStore::default(),
        MemoryStore::default(),
        MemoryStore::default(),
    ];
    let a = open(relay.url(), Path::Any, &stores[0]).await;
    let b = open(relay.url(), Path::WebSocket, &stores[1]).await;
    let group = a.client.create_group().await.unwrap();
    a.push(group, CANARY).await;

    let invites = [
        a.client
            .create_invite(
                group,
                InviteOptions {
                    app_url: Some("https://app.example/".into()),
                    code: true,
                    confirm: false,
                },
            )
            .await
            .unwrap(),
        a.client
            .create_invite(group, InviteOptions::default())
            .await
            .unwrap(),
        a.client
            .create_invite(group, InviteOptions::default())
            .await
            .unwrap(),
    ];
    // Claimed, withdrawn, and one that stays open.
    patient(b.client.join(&invites[0].link)).await.unwrap();
    a.client.cancel_invite(invites[1].lookup).await.unwrap();
    assert_eq!(
        b.client.join(&invites[2].link).await.unwrap(),
        group,
        "a member already"
    );
    for n in 0..30 {
        a.push(group, &format!("{n} {CANARY} {}", "x".repeat(n * 500)))
            .await;
        b.push(group, &format!("{CANARY}{n}")).await;
        a.client.broadcast(group, CANARY.into()).unwrap();
    }
    a.flush(group).await;
    b.flush(group).await;
    a.wait_texts(group, 61).await;
    let first_blob = a.log(group).await[0].blob_id;
    let early_answers = answers(relay.url()).await;

    // Killed, started again, and stopped in order.
    let options = relay.kill().await.unwrap();
    for device in [&a, &b] {
        // They would notice by themselves, but later.
        device.client.network_changed(false);
    }
    a.push(group, &format!("offline {CANARY}")).await;
    let relay = RelayProcess::start(options).await.unwrap();
    let c = open(relay.url(), Path::Any, &stores[2]).await;
    for device in [&a, &b] {
        device.client.network_changed(true);
    }
    let stranger = format!("{}x", invites[0].link);
    assert!(c.client.join(&stranger).await.is_err());
    patient(c.client.join(&invites[2].link)).await.unwrap();
    c.wait_texts(group, 62).await;
    a.flush(group).await;
    let late_answers = answers(relay.url()).await;
    wait_until("all are synced", || {
        [&a, &b, &c]
            .iter()
            .all(|device| device.client.group_view(group).unwrap().pending == 0)
    })
    .await;
    let devices = [&a, &b, &c].map(|device| device.client.device_id());
    let running = files(&data);
    for device in [a, b, c] {
        tokio::time::timeout(PATIENCE, device.client.close())
            .await
            .unwrap();
    }
    relay.terminate().await.unwrap();

    let mut needles = vec![
        Needle::text("what was pushed", CANARY),
        Needle::text("the name of a device", DEVICE_NAME),
        Needle::text("the access token", TOKEN),
        Needle::text("the app's address", "https://app.example/"),
    ];
    for (who, store) in ["a", "b", "c"].into_iter().zip(&stores) {
        needles.extend(secrets_of(who, store).await);
    }
    needles.extend(invites.iter().flat_map(secrets_of_invite));

    let mut places = files(&data);
    places.extend(
        running
            .into_iter()
            .map(|(name, bytes)| (format!("{name}, while running"), bytes)),
    );
    places.extend(early_answers);
    places.extend(late_answers);
    let log_bytes = std::fs::read(&log).unwrap();
    places.push(("the log".into(), log_bytes.clone()));
    for (place, bytes) in &places {
        for needle in &needles {
            assert!(!needle.is_in(bytes), "{} is in {place}", needle.name);
        }
    }

    // The search does find what is there: what a relay has to know, where it has to be.
    let database = files(&data)
        .into_iter()
        .find(|(name, _)| name.ends_with("relay.db"))
        .unwrap()
        .1;
    let (key, _) = InviteKey::parse(&invites[0].link).unwrap();
    for (what, bytes) in [
        ("a blob id", first_blob.0.to_vec()),
        ("the group id", group.0.to_vec()),
        ("a device id", devices[0].0.to_vec()),
        (
            "the hash of a claim token",
            hash_claim(&key.claim_token()).to_vec(),
        ),
    ] {
        assert!(
            Needle::new(what, &bytes).is_in(&database),
            "{what} is not found in the database"
        );
    }

    let log = String::from_utf8_lossy(&log_bytes);
    let mut ids = vec![group.to_string(), group.to_string().to_uppercase()];
    for invite in &invites {
        let (key, _) = InviteKey::parse(&invite.link).unwrap();
        let lookup = key.lookup;
        ids.extend([
            HEXLOWER.encode(&lookup.0),
            BASE64URL_NOPAD.encode(&lookup.0),
        ]);
    }
    check_log(&log, &ids, &devices.map(|device| device.to_string()), port);
}

/// Addresses with a port in a line; those with the relay's own port are its own.
fn addresses(line: &str, own_port: u16) -> Vec<SocketAddr> {
    let words = line.split(|c: char| !c.is_ascii_hexdigit() && !".:[]".contains(c));
    words
        .filter_map(|word| word.trim_end_matches(['.', ':']).parse().ok())
        .filter(|address: &SocketAddr| address.port() != own_port)
        .collect()
}

#[test]
fn addresses_are_found_in_a_line() {
    let line = "INFO x: from=127.0.0.1:4711, to [::1]:8080. took 1.5 a::b 10:11";
    assert_eq!(addresses(line, 8080), ["127.0.0.1:4711".parse().unwrap()]);
    assert_eq!(addresses(line, 4711), ["[::1]:8080".parse().unwrap()]);
}

/// The rules of the log, on everything that was logged in a normal run.
fn check_log(log: &str, ids: &[String], devices: &[String], own_port: u16) {
    let mut own_lines = 0;
    let mut traces = 0;
    for line in log.lines() {
        let Some((level, rest)) = level_and_rest(line) else {
            continue;
        };
        // What iroh says when its own endpoint closes in good order; the default log does not show it.
        let closing = rest.ends_with("iroh::socket::transports::relay: relay_recv_channel closed");
        assert!(
            level != "ERROR" || closing,
            "a person would have to act: {line}"
        );
        for id in ids {
            assert!(!line.contains(id), "the id of a group or an invite: {line}");
        }
        let own = rest.contains("zerok_sync") || rest.contains("zerok_relay");
        if own {
            assert_eq!(
                addresses(rest, own_port),
                [],
                "the address of a client: {line}"
            );
        }
        own_lines += usize::from(own);
        traces += usize::from(level == "TRACE");
        if own || !matches!(level, "DEBUG" | "TRACE") {
            for device in devices {
                assert!(
                    !line.contains(device.as_str()),
                    "the id of a device: {line}"
                );
            }
        }
    }
    assert!(
        own_lines > 0 && traces > 1_000,
        "the log is not what it seems: {own_lines} own lines, {traces} traces"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_for_machines_is_json_on_every_line() {
    let folder = tempfile::tempdir().unwrap();
    let mut options = Options::in_folder(folder.path());
    options.args = ["--log-format", "json"].map(str::to_owned).to_vec();
    let relay = RelayProcess::start(options.clone()).await.unwrap();
    let store = MemoryStore::default();
    let a = open(relay.url(), Path::WebSocket, &store).await;
    let group = a.client.create_group().await.unwrap();
    a.push(group, CANARY).await;
    a.flush(group).await;
    patient(a.client.close()).await;
    relay.terminate().await.unwrap();
    let log = std::fs::read_to_string(&options.log).unwrap();
    let mut own = 0;
    for line in log.lines() {
        let line: serde_json::Value = serde_json::from_str(line).expect(line);
        for key in ["timestamp", "level", "target", "fields"] {
            assert!(line.get(key).is_some(), "no {key}: {line}");
        }
        own += usize::from(line["target"].as_str().unwrap().starts_with("zerok"));
    }
    assert!(own > 0, "this is the log: {log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_normal_run_logs_no_warning_and_no_error_by_default() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("default.log");
    let test = std::env::current_exe().unwrap();
    let beside = || {
        test.ancestors()
            .skip(1)
            .map(|folder| folder.join("zerok-relay"))
            .find(|path| path.is_file())
    };
    let binary = std::env::var_os("RELAY_BIN")
        .map(Into::into)
        .or_else(beside)
        .expect("the relay is built");
    let mut command = tokio::process::Command::new(binary);
    command
        .arg("--data-dir")
        .arg(folder.path().join("data"))
        .args(["--bind", "127.0.0.1", "--port", "0"]);
    command
        .env_remove("RUST_LOG")
        .env("NO_COLOR", "1")
        .stderr(std::fs::File::create(&log).unwrap());
    let (mut child, url) = raw::spawn_relay(&mut command).await.unwrap();
    let stores = [MemoryStore::default(), MemoryStore::default()];
    let (a, b) = (
        open(&url, Path::Any, &stores[0]).await,
        open(&url, Path::WebSocket, &stores[1]).await,
    );
    let group = a.client.create_group().await.unwrap();
    patient(b.join(&a, group)).await;
    a.push(group, "hello").await;
    b.wait_texts(group, 1).await;
    a.client.close().await;
    // While one device is still connected.
    let pid = child.id().unwrap().to_string();
    assert!(
        std::process::Command::new("kill")
            .args(["-TERM", &pid])
            .status()
            .unwrap()
            .success()
    );
    assert!(patient(child.wait()).await.unwrap().success());
    let log = std::fs::read_to_string(&log).unwrap();
    for line in log.lines() {
        let level = level_and_rest(line).map(|(level, _)| level);
        assert_eq!(level, Some("INFO"), "{line}");
    }
    assert!(log.contains("stopping"), "this is the log: {log}");
}
