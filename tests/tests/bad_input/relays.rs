//! URLs behind which there is no relay, or not the one from before.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use zerok_sync_client::{ClientEvent, Path, State, SyncError};
use zerok_sync_tests::relay::RelayProcess;

use crate::common::{Device, patient, wait_until, world};

/// A web server that gives every request the same answer; `None` closes the connection at once.
async fn web_server(answer: Option<String>) -> String {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            if let Some(answer) = &answer {
                let _ = stream.read(&mut [0; 4096]).await;
                let _ = stream.write_all(answer.as_bytes()).await;
                let _ = stream.shutdown().await;
            }
        }
    });
    format!("http://127.0.0.1:{port}")
}

fn http(status: &str, kind: &str, body: &str) -> Option<String> {
    let head = format!("HTTP/1.1 {status}\r\ncontent-type: {kind}\r\nconnection: close\r\n");
    Some(format!(
        "{head}content-length: {}\r\n\r\n{body}",
        body.len()
    ))
}

fn first_error(device: &Device) -> Option<SyncError> {
    device
        .events
        .lock()
        .unwrap()
        .iter()
        .find_map(|event| match event {
            ClientEvent::Error { error, .. } => Some(error.clone()),
            _ => None,
        })
}

/// Opens a client with the URL, pushes, and gives the error that it shows.
async fn shown(url: &str) -> SyncError {
    let device = Device::open(url, Path::Any).await;
    let group = device.client.create_group().await.unwrap();
    device.push(group, "waits").await;
    wait_until("the client shows an error", || {
        first_error(&device).is_some()
    })
    .await;
    let error = first_error(&device).unwrap();
    let view = device.client.group_view(group).unwrap();
    assert_eq!(view.pending, 1);
    assert_ne!(view.state, State::Synced);
    assert_eq!(
        view.error.as_ref(),
        Some(&error),
        "the status says the same"
    );
    assert_eq!(
        device.texts(group).await,
        ["waits"],
        "the device works without it"
    );
    device.client.close().await;
    error
}

#[tokio::test(flavor = "multi_thread")]
async fn a_url_that_is_not_a_relay_is_named_as_such_and_pushes_wait() {
    let page = "<!doctype html><title>Not Found</title>";
    let strange = r#"{"version":1,"nodes":[{"endpoint_id":"nobody","relay_url":"nowhere"}]}"#;
    let answers = [
        http("404 Not Found", "text/html", page),
        http("200 OK", "text/html", page),
        http("200 OK", "application/json", "{}"),
        http("200 OK", "application/json", r#"{"version":1,"nodes":[]}"#),
        http("200 OK", "application/json", strange),
        http("403 Forbidden", "text/plain", ""),
    ];
    for answer in answers {
        let url = web_server(answer.clone()).await;
        let error = shown(&url).await;
        assert_eq!(
            (error.code, error.reason),
            ("RELAY_UNREACHABLE", Some("not-a-relay")),
            "{answer:?}"
        );
        assert!(
            error.message.contains("is not a 0k-Sync relay") && error.message.contains(&url),
            "{}",
            error.message
        );
        assert!(error.retryable, "somebody may put a relay there");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_that_does_not_answer_or_answers_strangely_is_unreachable() {
    let closed = TcpListener::bind(("127.0.0.1", 0))
        .await
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let long = "x".repeat(100_000);
    let urls = [
        format!("http://127.0.0.1:{closed}"),
        web_server(None).await,
        web_server(http(
            "502 Bad Gateway",
            "text/html",
            "the proxy is up, the relay is not",
        ))
        .await,
        web_server(http("200 OK", "application/json", &long)).await,
        web_server(Some("SSH-2.0-OpenSSH_9.2\r\n".into())).await,
        "http://no-such-host.invalid".into(),
    ];
    for url in urls {
        let error = shown(&url).await;
        assert_eq!(
            (error.code, error.reason),
            ("RELAY_UNREACHABLE", None),
            "{url}"
        );
        assert!(
            error.retryable && error.message.contains(&url),
            "{}",
            error.message
        );
    }
    let newer = r#"{"version":2,"nodes":[]}"#;
    let error = shown(&web_server(http("200 OK", "application/json", newer)).await).await;
    assert_eq!(error.code, "UNSUPPORTED_VERSION");
}

async fn relay_with_another_identity(lost: &[&str], noticed: bool) {
    let world = world().await;
    let a = Device::open(world.relay.url(), Path::Any).await;
    let b = Device::open(world.relay.url(), Path::Any).await;
    let group = a.client.create_group().await.unwrap();
    patient(b.join(&a, group)).await;
    a.push(group, "from a, before").await;
    b.wait_texts(group, 1).await;
    b.push(group, "from b, before").await;
    a.wait_texts(group, 2).await;
    b.flush(group).await;

    let options = world.relay.kill().await.unwrap();
    a.push(group, "from a, between").await;
    for file in lost {
        std::fs::remove_file(options.data.join(file)).unwrap();
    }
    let relay = RelayProcess::start(options).await.unwrap();
    for device in [&a, &b] {
        device.client.network_changed(true);
    }
    let expected = ["from a, before", "from b, before", "from a, between"];
    assert_eq!(b.wait_texts(group, 3).await, expected);
    a.flush(group).await;
    b.push(group, "from b, after").await;
    assert_eq!(
        a.wait_texts(group, 4).await.last().unwrap(),
        "from b, after"
    );
    for device in [&a, &b] {
        if noticed {
            wait_until("the new identity is shown", || {
                device.errors().contains(&"RELAY_IDENTITY_CHANGED")
            })
            .await;
        }
        let count = device
            .errors()
            .iter()
            .filter(|code| **code == "RELAY_IDENTITY_CHANGED")
            .count();
        assert_eq!(count, usize::from(noticed), "once, not at every session");
    }
    // It has everything again: a device that comes now gets it from there alone.
    let c = Device::open(relay.url(), Path::Any).await;
    patient(c.join(&a, group)).await;
    for device in [a, b] {
        device.client.close().await;
    }
    let mut texts = c.wait_texts(group, 4).await;
    texts.sort();
    assert_eq!(
        texts,
        [
            "from a, before",
            "from a, between",
            "from b, after",
            "from b, before"
        ]
    );
    assert!(c.errors().is_empty(), "{:?}", c.errors());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_with_a_new_key_and_the_old_database_goes_on_where_it_was() {
    relay_with_another_identity(&["relay.key"], false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_that_was_set_up_anew_is_noticed_and_gets_everything_again() {
    let everything = ["relay.key", "relay.db", "relay.db-wal", "relay.db-shm"];
    relay_with_another_identity(&everything, true).await;
}
