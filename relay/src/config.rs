//! What a self-hoster can set: each as a flag and as an environment variable, none of them needed.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, ValueEnum};
use url::Url;
use zerok_sync_shared::limits::{DEFAULT_TTL, MAX_RELAY_URL};

use crate::limits;

/// The settings of a relay.
///
/// A relay that anyone can host: it moves encrypted blobs between the devices of a group and learns nothing but their
/// sizes and times. It runs without any configuration: it makes ./data, listens on port 8080 (TCP for browsers, UDP for
/// native devices) and prints the URL to give to clients.
#[derive(Debug, Clone, Parser)]
#[command(name = "zerok-relay", version, about, long_about, max_term_width = 100)]
pub struct Config {
    /// Folder of the database and of the relay's key; made if it is not there. Back it up
    #[arg(
        long,
        env = "ZEROK_RELAY_DATA_DIR",
        value_name = "DIR",
        default_value = "./data"
    )]
    pub data_dir: PathBuf,

    /// TCP port of everything HTTP; 0 takes a free one
    #[arg(long, env = "ZEROK_RELAY_PORT", default_value_t = 8080)]
    pub port: u16,

    /// UDP port for native devices [default: the number of the TCP port if it is free]
    #[arg(long, env = "ZEROK_RELAY_UDP_PORT")]
    pub udp_port: Option<u16>,

    /// Address to listen on
    #[arg(
        long,
        env = "ZEROK_RELAY_BIND",
        value_name = "IP",
        default_value = "0.0.0.0"
    )]
    pub bind: IpAddr,

    /// URL under which clients reach this relay, needed behind a proxy that ends TLS
    /// [default: http://localhost:PORT, and for a client the address that it used itself]
    #[arg(long, env = "ZEROK_RELAY_PUBLIC_URL", value_name = "URL", value_parser = public_url)]
    pub public_url: Option<Url>,

    /// UDP addresses under which native devices reach this relay, told to them instead of those that it finds out
    /// itself. Needed behind port mapping or NAT, such as in a container: the public address and the mapped port. Can be
    /// given several times or separated by commas
    #[arg(
        long,
        env = "ZEROK_RELAY_PUBLIC_UDP",
        value_name = "IP:PORT",
        value_delimiter = ','
    )]
    pub public_udp: Vec<SocketAddr>,

    /// Serve the files of a web app at /
    #[arg(long, env = "ZEROK_RELAY_WEB", value_name = "DIR")]
    pub web: Option<PathBuf>,

    /// How long blobs are kept if the sender asks for nothing else: 90s, 15m, 12h, 30d
    #[arg(long, env = "ZEROK_RELAY_BLOB_TTL", value_name = "TIME", default_value = "30d", value_parser = time)]
    pub blob_ttl: Duration,

    /// Bytes that one group may store: 500M, 2G; 0 means no limit
    #[arg(long, env = "ZEROK_RELAY_GROUP_QUOTA", value_name = "SIZE", default_value = "1G", value_parser = size)]
    pub group_quota: u64,

    /// Groups that may exist
    #[arg(long, env = "ZEROK_RELAY_MAX_GROUPS", value_name = "COUNT", default_value_t = limits::DEFAULT_MAX_GROUPS)]
    pub max_groups: u64,

    /// Requests a second that one address may make to the invites API, after a first burst
    #[arg(
        long,
        env = "ZEROK_RELAY_INVITE_RATE",
        value_name = "COUNT",
        default_value = "1"
    )]
    pub invite_rate: std::num::NonZeroU32,

    /// Form of the log lines on stderr. RUST_LOG chooses what is logged
    #[arg(
        long,
        env = "ZEROK_RELAY_LOG_FORMAT",
        value_name = "FORM",
        default_value = "text"
    )]
    pub log_format: LogFormat,

    /// How often expired blobs are looked for.
    #[arg(long, env = "ZEROK_RELAY_CLEANUP_INTERVAL", default_value = "60s", value_parser = time, hide = true)]
    pub cleanup_interval: Duration,
}

/// Form of log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// For machines.
    Json,
}

impl Config {
    /// The defaults, with another data folder: what tests and embedders start from.
    #[must_use]
    pub fn new(data_dir: impl Into<PathBuf>) -> Self {
        Self {
            data_dir: data_dir.into(),
            port: 8080,
            udp_port: None,
            bind: IpAddr::from([0, 0, 0, 0]),
            public_url: None,
            public_udp: Vec::new(),
            web: None,
            blob_ttl: DEFAULT_TTL,
            group_quota: limits::DEFAULT_GROUP_QUOTA,
            max_groups: limits::DEFAULT_MAX_GROUPS,
            invite_rate: std::num::NonZeroU32::MIN,
            log_format: LogFormat::Text,
            cleanup_interval: Duration::from_secs(60),
        }
    }

    /// Where to listen for TCP.
    #[must_use]
    pub fn tcp_address(&self) -> SocketAddr {
        SocketAddr::new(self.bind, self.port)
    }
}

fn public_url(text: &str) -> Result<Url, String> {
    let url = Url::parse(text).map_err(|error| format!("{error}; it starts with https://"))?;
    if !matches!(url.scheme(), "http" | "https") || url.host().is_none() {
        return Err("a URL that starts with https:// or http:// is needed".into());
    }
    if url.query().is_some() || url.fragment().is_some() || url.path() != "/" {
        return Err("only scheme, host and port; the relay is not served below a path".into());
    }
    if url.as_str().len() > MAX_RELAY_URL {
        return Err(format!("longer than {MAX_RELAY_URL} bytes"));
    }
    Ok(url)
}

fn time(text: &str) -> Result<Duration, String> {
    let wrong = || "a number and s, m, h or d is needed, such as 30d".to_owned();
    let unit_at = text.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?;
    let (number, unit) = text.split_at(unit_at);
    let number: u64 = number.parse().map_err(|_| wrong())?;
    let unit = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 24 * 3600,
        "ms" if number > 0 => return Ok(Duration::from_millis(number)),
        _ => return Err(wrong()),
    };
    match number.checked_mul(unit) {
        Some(seconds @ 1..) => Ok(Duration::from_secs(seconds)),
        _ => Err("between one second and the end of time".into()),
    }
}

fn size(text: &str) -> Result<u64, String> {
    let wrong = || "a number of bytes is needed, perhaps with K, M, G or T".to_owned();
    let (number, factor) = match text.char_indices().last() {
        Some((at, 'K' | 'k')) => (&text[..at], 1 << 10),
        Some((at, 'M' | 'm')) => (&text[..at], 1 << 20),
        Some((at, 'G' | 'g')) => (&text[..at], 1 << 30),
        Some((at, 'T' | 't')) => (&text[..at], 1u64 << 40),
        _ => (text, 1),
    };
    let number: u64 = number.parse().map_err(|_| wrong())?;
    number.checked_mul(factor).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_sound_and_its_defaults_are_those_of_new() {
        use clap::CommandFactory as _;
        Config::command().debug_assert();
        let parsed = Config::parse_from(["zerok-relay"]);
        assert_eq!(
            format!("{parsed:?}"),
            format!("{:?}", Config::new("./data"))
        );
    }

    #[test]
    fn public_udp_addresses_are_repeated_or_separated_by_commas() {
        let parsed = Config::parse_from([
            "zerok-relay",
            "--public-udp",
            "203.0.113.7:8080,[2001:db8::7]:8080",
            "--public-udp",
            "127.0.0.1:9000",
        ]);
        let addresses: Vec<_> = parsed.public_udp.iter().map(ToString::to_string).collect();
        assert_eq!(
            addresses,
            ["203.0.113.7:8080", "[2001:db8::7]:8080", "127.0.0.1:9000"]
        );
        assert!(Config::try_parse_from(["zerok-relay", "--public-udp", "relay:1"]).is_err());
    }

    #[test]
    fn times_sizes_and_urls_are_read_or_refused() {
        assert_eq!(time("30d"), Ok(DEFAULT_TTL));
        assert_eq!(time("90s"), Ok(Duration::from_secs(90)));
        for wrong in ["", "d", "30", "-1d", "0s", "3 d", "99999999999999999999d"] {
            assert!(time(wrong).is_err(), "{wrong}");
        }
        assert_eq!(size("1G"), Ok(1 << 30));
        assert_eq!(size("0"), Ok(0));
        for wrong in ["", "G", "1.5G", "-1", "99999999999T"] {
            assert!(size(wrong).is_err(), "{wrong}");
        }
        assert!(public_url("https://sync.example.com").is_ok());
        for wrong in [
            "sync.example.com",
            "ftp://a",
            "https://a/b",
            "https://a?b",
            "https://a#b",
        ] {
            assert!(public_url(wrong).is_err(), "{wrong}");
        }
    }
}
