//! Joining over a network that loses answers, through a real relay process.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::common::{Device, patient, world};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use zerok_sync_client::{InviteOptions, Path};

/// Forwards connections to a relay; as long as it is told to, it loses the answers to claims, which the relay has carried out.
async fn losing_answers_to_claims(relay: SocketAddr, losing: Arc<AtomicBool>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            tokio::spawn(forward(client, relay, Arc::clone(&losing)));
        }
    });
    url
}

async fn forward(client: TcpStream, relay: SocketAddr, losing: Arc<AtomicBool>) {
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_relay, mut to_relay) = TcpStream::connect(relay).await.unwrap().into_split();
    let claims = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&claims);
    let asking = async move {
        let mut bytes = [0; 16 * 1024];
        loop {
            let length = from_client.read(&mut bytes).await.unwrap_or(0);
            let text = String::from_utf8_lossy(&bytes[..length]);
            if text.starts_with("POST") && text.contains("/claim ") {
                seen.store(true, Ordering::Relaxed);
            }
            if length == 0 || to_relay.write_all(&bytes[..length]).await.is_err() {
                return;
            }
        }
    };
    let answering = async move {
        let mut bytes = [0; 16 * 1024];
        loop {
            let length = from_relay.read(&mut bytes).await.unwrap_or(0);
            let lost = claims.load(Ordering::Relaxed) && losing.load(Ordering::Relaxed);
            if length == 0 || lost || to_client.write_all(&bytes[..length]).await.is_err() {
                return;
            }
        }
    };
    tokio::select! {
        () = asking => {}
        () = answering => {}
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_was_lost_does_not_cost_the_invite() {
    let world = world().await;
    let relay = world.relay.url().trim_start_matches("http://");
    let losing = Arc::new(AtomicBool::new(true));
    let url = losing_answers_to_claims(relay.parse().unwrap(), Arc::clone(&losing)).await;
    let creator = Device::named(&url, Path::WebSocket, "creator").await;
    let joiner = Device::named(&url, Path::WebSocket, "joiner").await;
    let other = Device::named(world.relay.url(), Path::WebSocket, "other").await;
    let group = creator.client.create_group().await.unwrap();
    creator.push(group, "before").await;
    creator.flush(group).await;
    let invite = creator
        .client
        .create_invite(group, InviteOptions::default());
    let invite = invite.await.unwrap();

    let lost = patient(joiner.client.join(&invite.link)).await.unwrap_err();
    assert_eq!((lost.code, lost.retryable), ("RELAY_UNREACHABLE", true));
    losing.store(false, Ordering::Relaxed);
    let used_up = patient(other.client.join(&invite.link)).await.unwrap_err();
    assert_eq!(used_up.reason, Some("claimed"), "it was carried out");
    let joined = patient(joiner.client.join(&invite.link)).await.unwrap();
    assert_eq!(joined, group);
    assert_eq!(joiner.wait_texts(group, 1).await, ["before"]);
}
