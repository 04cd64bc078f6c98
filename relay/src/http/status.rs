//! The page for people: whether the relay is well, what it holds, what the last hour was like, and the URL for apps.
//!
//! It has no ids, loads nothing, and needs no script; the one that it has only copies the URL.

use std::sync::LazyLock;
use std::time::Duration;

use axum::extract::{Extension, State};
use axum::http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY};
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use axum::response::{IntoResponse, Response};
use data_encoding::BASE64;
use sha2::{Digest as _, Sha256};
use url::Url;

use super::app::Shared;
use super::discovery::{relay_url, used_url};
use crate::history::Minute;
use crate::network::proxies::Client;
use crate::storage::Stats;

mod plot;
mod qr;
mod words;

use words::{bytes, count, escape, time};

const STYLE: &str = include_str!("status/style.css");
const SCRIPT: &str = include_str!("status/script.js");

/// Allows the page's own style and script, by their hashes, and nothing else at all.
static POLICY: LazyLock<Option<HeaderValue>> = LazyLock::new(|| {
    let hash = |text: &str| BASE64.encode(&Sha256::digest(text));
    let policy = format!(
        "default-src 'none'; style-src 'sha256-{}'; script-src 'sha256-{}'; img-src data:; \
         base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
        hash(STYLE),
        hash(SCRIPT)
    );
    HeaderValue::try_from(policy).ok()
});

/// The whole page.
pub(super) async fn numbers(
    State(shared): State<Shared>,
    Extension(client): Extension<Client>,
    headers: HeaderMap,
) -> Response {
    let numbers = sections(&shared).await;
    page(&shared, used_url(&headers, client.https), &numbers)
}

/// The whole page on the operator's own listener, whose address is none for apps.
pub(super) async fn operator(State(shared): State<Shared>) -> Response {
    let numbers = sections(&shared).await;
    page(&shared, None, &numbers)
}

/// The page without a number, for a relay whose numbers are the operator's alone.
pub(super) async fn brief(
    State(shared): State<Shared>,
    Extension(client): Extension<Client>,
    headers: HeaderMap,
) -> Response {
    page(&shared, used_url(&headers, client.https), "")
}

fn page(shared: &Shared, used: Option<Url>, numbers: &str) -> Response {
    let url = relay_url(shared, used);
    let url = url.trim_end_matches('/');
    let (state, headline) = if shared.shutdown.is_cancelled() {
        ("unwell", "This relay is stopping")
    } else if shared.writer.is_failing() {
        ("unwell", "This relay cannot write to its disk")
    } else {
        ("well", "This relay is well")
    };
    let access = if shared.access.asks_for_token() {
        "An app needs an access token of this relay too."
    } else {
        "It is open to everybody who has the URL."
    };
    let quota = match shared.limits.group_quota {
        0 => "as much as there is room for".to_owned(),
        quota => format!("up to {}", bytes(quota)),
    };
    let html = format!(
        include_str!("status/page.html"),
        style = STYLE,
        script = SCRIPT,
        state = state,
        headline = headline,
        url = escape(url),
        qr = qr::svg(url),
        access = access,
        ttl = time(Duration::from_secs(shared.limits.default_ttl)),
        quota = quota,
        numbers = numbers,
        version = env!("CARGO_PKG_VERSION"),
        uptime = time(shared.started.elapsed()),
    );
    let headers: [(HeaderName, HeaderValue); 3] = [
        (
            CONTENT_TYPE,
            HeaderValue::from_static("text/html; charset=utf-8"),
        ),
        (CACHE_CONTROL, HeaderValue::from_static("no-store")),
        (REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
    ];
    let mut response = (headers, html).into_response();
    if let Some(policy) = POLICY.clone() {
        response
            .headers_mut()
            .insert(CONTENT_SECURITY_POLICY, policy);
    }
    response
}

async fn sections(shared: &Shared) -> String {
    let metrics = &shared.metrics;
    // A database that cannot be read has no numbers; the rest of the page still says something.
    let Stats {
        groups,
        blobs,
        bytes: stored,
    } = shared.holdings.get().await.unwrap_or_default();
    let files = metrics.live.files().unwrap_or_default();
    let database = files
        .database
        .map(|size| format!("{} on disk", bytes(size + files.log.unwrap_or(0))));
    let free = files.free.map(|free| format!("{} free", bytes(free)));
    let disk: Vec<String> = database.into_iter().chain(free).collect();
    let [udp, relayed] = [crate::metrics::Path::Udp, crate::metrics::Path::Relayed]
        .map(|path| u64::try_from(metrics.connections_by(path).get()).unwrap_or(0));
    let active = u64::try_from(metrics.active_devices.get()).unwrap_or(0);
    let minutes = shared.history.minutes();
    let plot = |title, unit: fn(u64) -> String, of: fn(&Minute) -> u64| {
        let values: Vec<u64> = minutes.iter().map(of).collect();
        plot::figure(title, &values, unit)
    };
    format!(
        include_str!("status/numbers.html"),
        connected = count(udp + relayed),
        udp = count(udp),
        relayed = count(relayed),
        active = count(active),
        groups = count(groups),
        blobs = count(blobs),
        stored = bytes(stored),
        disk = disk.join(", "),
        pushes = plot("Pushes a minute", count, |minute| minute.pushes),
        bytes_in = plot("Received a minute", bytes, |minute| minute.bytes_in),
        bytes_out = plot("Delivered a minute", bytes, |minute| minute.bytes_out),
        connections = plot("Connections", count, |minute| minute.connections),
    )
}
