//! `/.well-known/iroh`: how a device that knows a URL finds the endpoint behind it.

use std::net::SocketAddr;

use axum::Json;
use axum::extract::{Extension, State};
use axum::http::header::{AUTHORIZATION, CACHE_CONTROL, HOST};
use axum::http::{HeaderMap, HeaderName};
use iroh::Endpoint;
use serde::Serialize;
use url::{Host, Url};
use zerok_sync_shared::limits::MAX_RELAY_URL;
use zerok_sync_shared::message;

use super::app::Shared;
use super::bearer;
use super::error::ApiError;
use crate::access::AccessMode;
use crate::network::proxies::Client;
use crate::storage::postgres::NodeRow;

#[derive(Serialize)]
pub(super) struct Discovery {
    version: u16,
    access: AccessMode,
    endpoint_id: String,
    relay_url: String,
    nodes: Vec<Node>,
    limits: Limits,
    features: Vec<&'static str>,
}

#[derive(Serialize)]
struct Node {
    endpoint_id: String,
    relay_url: String,
    udp_addrs: Vec<SocketAddr>,
}

impl From<NodeRow> for Node {
    fn from(row: NodeRow) -> Self {
        Self {
            endpoint_id: row.endpoint_id.to_string(),
            relay_url: row.relay_url,
            udp_addrs: row.udp_addrs,
        }
    }
}

/// Any order, another each time: devices take the first that answers, so they spread over the nodes.
fn shuffle(nodes: &mut [Node]) {
    let mut random = [0; 8];
    for at in (1..nodes.len()).rev() {
        // Without randomness they stay as they are.
        let _ = getrandom::fill(&mut random);
        let other = u64::from_le_bytes(random) % (at as u64 + 1);
        nodes.swap(at, usize::try_from(other).unwrap_or(at));
    }
}

#[derive(Serialize)]
struct Limits {
    max_blob: usize,
    max_payload: u32,
    default_ttl_seconds: u64,
    group_quota: u64,
}

pub(super) async fn get(
    State(shared): State<Shared>,
    Extension(client): Extension<Client>,
    headers: HeaderMap,
) -> Result<([(HeaderName, &'static str); 1], Json<Discovery>), ApiError> {
    // Who brings no token may still ask, to learn that one is needed.
    if headers.contains_key(AUTHORIZATION) {
        bearer::check(&shared, &headers)?;
    }
    let used = used_url(&headers, client.https);
    // Whoever asked over the loopback interface can use it for UDP as well.
    let loopback = used.as_ref().is_some_and(is_loopback);
    let relay_url = relay_url(&shared, used);
    let endpoint_id = shared.endpoint.id().to_string();
    let own = Node {
        endpoint_id: endpoint_id.clone(),
        relay_url: relay_url.clone(),
        udp_addrs: udp_addresses(&shared.endpoint, &shared.public_udp, loopback),
    };
    let mut nodes = vec![own];
    nodes.extend(shared.nodes.others().into_iter().map(Node::from));
    shuffle(&mut nodes);
    let discovery = Discovery {
        version: message::VERSION,
        access: match shared.access.asks_for_token() {
            true => AccessMode::Token,
            false => AccessMode::Open,
        },
        endpoint_id,
        relay_url,
        nodes,
        limits: Limits {
            max_blob: zerok_sync_shared::limits::MAX_BODY,
            max_payload: shared.limits.max_payload,
            default_ttl_seconds: shared.limits.default_ttl,
            group_quota: shared.limits.group_quota,
        },
        features: vec!["invites"],
    };
    Ok(([(CACHE_CONTROL, "no-cache")], Json(discovery)))
}

/// The URL to give to a client that used this one, as far as that is known.
pub(super) fn relay_url(shared: &Shared, used: Option<Url>) -> String {
    let url = shared.public_url.clone().or(used);
    url.map_or_else(
        || {
            let scheme = if shared.tls { "https" } else { "http" };
            format!("{scheme}://localhost:{}/", shared.tcp.port())
        },
        Into::into,
    )
}

/// The URL that the client itself used.
pub(super) fn used_url(headers: &HeaderMap, https: bool) -> Option<Url> {
    let host = headers.get(HOST)?.to_str().ok()?;
    let scheme = if https { "https" } else { "http" };
    let text = format!("{scheme}://{host}/");
    let url = Url::parse(&text).ok()?;
    // Nothing but a host and a port, whatever the header held.
    let plain = url.path() == "/"
        && url.query().is_none()
        && url.fragment().is_none()
        && url.username().is_empty()
        && url.password().is_none();
    (plain && text.len() <= MAX_RELAY_URL).then_some(url)
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        Some(Host::Ipv4(ip)) => ip.is_loopback(),
        Some(Host::Ipv6(ip)) => ip.is_loopback(),
        None => false,
    }
}

/// Where native devices reach an endpoint: where its settings say, else where it found that it can be reached.
pub(crate) fn udp_addresses(
    endpoint: &Endpoint,
    public: &[SocketAddr],
    loopback: bool,
) -> Vec<SocketAddr> {
    if !public.is_empty() {
        return public.to_vec();
    }
    let mut addresses: Vec<SocketAddr> = Vec::new();
    if loopback {
        let bound = endpoint.bound_sockets();
        let v4 = bound.iter().find(|address| address.is_ipv4());
        if let Some(bound) = v4
            && (bound.ip().is_unspecified() || bound.ip().is_loopback())
        {
            addresses.push(SocketAddr::from(([127, 0, 0, 1], bound.port())));
        }
    }
    for address in endpoint.addr().ip_addrs() {
        if !addresses.contains(address) {
            addresses.push(*address);
        }
    }
    addresses
}

#[cfg(test)]
mod tests {
    use super::*;

    fn used(host: &str, https: bool) -> Option<String> {
        let headers = HeaderMap::from_iter([(HOST, host.parse().unwrap())]);
        used_url(&headers, https).map(Into::into)
    }

    #[test]
    fn the_url_is_that_of_the_host_header() {
        let at = |host| used(host, false);
        assert_eq!(
            at("192.168.1.7:8080").as_deref(),
            Some("http://192.168.1.7:8080/")
        );
        assert_eq!(at("[::1]:8080").as_deref(), Some("http://[::1]:8080/"));
        assert_eq!(
            used("sync.example.com", true).as_deref(),
            Some("https://sync.example.com/")
        );
    }

    #[test]
    fn a_host_header_that_is_more_than_a_host_is_ignored() {
        for host in ["a/b", "user@a", "a?b", "a#b", "", " "] {
            assert_eq!(used(host, false), None, "{host}");
        }
        assert_eq!(used_url(&HeaderMap::new(), false), None);
    }
}
