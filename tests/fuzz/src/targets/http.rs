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
const HEX: &str = "07070707070707070707070707070707";

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
    let routes = [
        ("POST", "/v1/invites".to_owned()),
        ("GET", format!("/v1/invites/{HEX}")),
        ("POST", format!("/v1/invites/{HEX}/claim")),
        ("DELETE", format!("/v1/invites/{HEX}")),
        ("GET", "/.well-known/iroh".to_owned()),
        ("GET", "/health".to_owned()),
        ("GET", "/metrics".to_owned()),
        ("OPTIONS", "/v1/invites".to_owned()),
    ];
    let which = usize::from(source.u8());
    let Some((method, path)) = routes.get(which) else {
        return source.0.to_vec();
    };
    let body = source.0;
    let head = format!(
        "{method} {path} HTTP/1.1\r\nhost: relay\r\nconnection: close\r\ncontent-type: application/json\r\n\
         content-length: {}\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
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
        r#"{{"version":1,"lookup":"{HEX}","claim_hash":"{HEX}{HEX}","offer":"AAAA","secrets":"AAAA","ttl":60}}"#
    );
    let token = format!(r#"{{"token":"{HEX}{HEX}","claimant":"{HEX}"}}"#);
    let mut seeds: Vec<Vec<u8>> = (0..8).map(|which| vec![which]).collect();
    seeds.push([vec![0], invite.into_bytes()].concat());
    seeds.push([vec![2], token.clone().into_bytes()].concat());
    seeds.push([vec![3], token.into_bytes()].concat());
    seeds.push(
        b"\xFFGET /relay HTTP/1.1\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n".to_vec(),
    );
    seeds.push(b"\xFFGET / HTTP/1.1\r\n\r\n".to_vec());
    seeds
}
