//! Requests to a real relay's TCP port: through hyper and the router to the database.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, TcpStream};
use std::sync::LazyLock;
use std::time::Duration;

use tempfile::TempDir;
use tokio::runtime::Runtime;
use zerok_sync_relay::{Config, Relay};

use crate::source::Source;

/// An answer that takes longer means that the relay hangs. Above its own time limit for requests.
const PATIENCE: Duration = Duration::from_secs(30);
/// Sixteen and thirty-two bytes, as the API has them.
const LOOKUP: &str = "BwcHBwcHBwcHBwcHBwcHBw";
const LONG: &str = "BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc";
/// In the first byte: what a proxy says comes before the rest.
const FORWARDED: u8 = 0x80;
/// The first byte of a request that is sent as it is.
const AS_IT_IS: u8 = 0xFF;

struct Server {
    port: u16,
    _relay: Relay,
    _runtime: Runtime,
    _folder: TempDir,
}

static SERVER: LazyLock<Server> = LazyLock::new(|| {
    let folder = tempfile::tempdir().expect("a folder");
    let mut config = Config::new(folder.path());
    config.port = 0;
    config.bind = Ipv4Addr::LOCALHOST.into();
    config.invite_rate = std::num::NonZeroU32::MAX;
    config.connections_per_address = 0;
    config.trusted_proxies = vec!["loopback".parse().expect("a range")];
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .expect("a runtime");
    let relay = runtime.block_on(Relay::start(config)).expect("a relay");
    let port = relay
        .http_url()
        .rsplit(':')
        .next()
        .and_then(|port| port.parse().ok());
    Server {
        port: port.expect("a port"),
        _relay: relay,
        _runtime: runtime,
        _folder: folder,
    }
});

/// What a request is made of: the fuzzer's bytes as they are, or a request to one of the routes.
fn request(data: &[u8]) -> Vec<u8> {
    let mut source = Source(data);
    // Not `watch`, which waits for somebody.
    let routes = [
        ("POST", "/v1/invites".to_owned()),
        ("GET", format!("/v1/invites/{LOOKUP}")),
        ("POST", format!("/v1/invites/{LOOKUP}/claim")),
        ("DELETE", format!("/v1/invites/{LOOKUP}")),
        ("GET", "/.well-known/iroh".to_owned()),
        ("GET", "/health".to_owned()),
        ("GET", "/metrics".to_owned()),
        ("OPTIONS", "/v1/invites".to_owned()),
        ("POST", format!("/v1/invites/{LOOKUP}/answer")),
        ("GET", "/status".to_owned()),
        ("GET", "/".to_owned()),
    ];
    let which = source.u8();
    let forwarded = match which & FORWARDED {
        0 => Vec::new(),
        _ => forwarded(&mut source),
    };
    let route = routes.get(usize::from(which & !FORWARDED));
    let Some((method, path)) = route.filter(|_| which != AS_IT_IS) else {
        return source.0.to_vec();
    };
    let body = source.0;
    let head = format!(
        "{method} {path} HTTP/1.1\r\nhost: relay\r\nconnection: close\r\ncontent-type: application/json\r\n\
         content-length: {}\r\n\r\n",
        body.len()
    );
    let head = head.as_bytes();
    // Before the empty line.
    let (head, end) = head.split_at(head.len() - 2);
    [head, &forwarded, end, body].concat()
}

/// What a trusted proxy says of a client: any bytes that a header can have.
fn forwarded(source: &mut Source<'_>) -> Vec<u8> {
    let mut lines = Vec::new();
    for name in ["x-forwarded-for", "forwarded", "x-forwarded-proto"] {
        let value = source.bytes().iter().copied();
        let value: Vec<u8> = value.filter(|byte| !byte.is_ascii_control()).collect();
        if !value.is_empty() {
            lines.extend([name.as_bytes(), b": ", &value, b"\r\n"].concat());
        }
    }
    lines
}

pub fn run(data: &[u8]) {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, SERVER.port)).expect("it listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("a time-out");
    // A relay that has seen enough closes before it has read everything.
    let _ = stream.write_all(&request(data));
    let _ = stream.shutdown(Shutdown::Write);
    let mut answer = Vec::new();
    if let Err(error) = stream.read_to_end(&mut answer) {
        let hangs = matches!(
            error.kind(),
            std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut
        );
        assert!(!hangs, "the relay does not answer");
    }
    if !answer.is_empty() {
        let status = answer
            .strip_prefix(b"HTTP/1.")
            .and_then(|rest| rest.get(2..5));
        let status = status.expect("an answer is HTTP");
        assert!(status != b"500", "{}", String::from_utf8_lossy(&answer));
    }
}

pub fn seeds() -> Vec<Vec<u8>> {
    let invite = format!(
        r#"{{"version":1,"lookup":"{LOOKUP}","claim_hash":"{LONG}","owner_hash":"{LONG}","offer":"AAAA","secrets":"AAAA","ttl_seconds":60}}"#
    );
    let claim = format!(r#"{{"token":"{LONG}","claimant":"{LONG}","request":"AAAA"}}"#);
    let cancel = format!(r#"{{"token":"{LONG}","claimant":null}}"#);
    let answer = format!(r#"{{"token":"{LONG}","reply":"AAAA","secrets":"AAAA"}}"#);
    let mut seeds: Vec<Vec<u8>> = (0..11).map(|which| vec![which]).collect();
    for (which, body) in [(0, invite), (2, claim), (3, cancel), (8, answer)] {
        seeds.push([vec![which], body.into_bytes()].concat());
    }
    let said = |values: [&str; 3]| {
        let mut seed = vec![FORWARDED | 9];
        for value in values {
            seed.extend(u16::try_from(value.len()).unwrap_or(0).to_le_bytes());
            seed.extend(value.as_bytes());
        }
        seed
    };
    seeds.push(said([
        "192.0.2.1, [2001:db8::1]:443, 127.0.0.1",
        "",
        "https",
    ]));
    seeds.push(said([
        "",
        r#"for="[2001:db8::1]:9";proto=https, for=_hidden"#,
        "",
    ]));
    let requests: [&[u8]; 3] = [
        b"GET /relay HTTP/1.1\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        // Upgraded, so what follows is frames.
        b"GET /relay HTTP/1.1\r\nhost: relay\r\nupgrade: websocket\r\nconnection: upgrade\r\n\
          sec-websocket-version: 13\r\nsec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\
          sec-websocket-protocol: iroh-relay-v2, iroh-relay-v1\r\n\r\n\x82\x84\x00\x00\x00\x00\x01\x02\x03\x04",
    ];
    seeds.extend(requests.map(|request| [&[AS_IT_IS], request].concat()));
    seeds
}
