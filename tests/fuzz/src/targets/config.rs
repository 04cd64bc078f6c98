//! Configuration: a file, the environment, and the command line.

use std::io::Write as _;

use clap::Command;
use zerok_sync_relay::config::load::{Loaded, with_flags};

use crate::source::Source;

pub fn run(data: &[u8]) {
    let mut source = Source(data);
    let how = source.u8();
    let Ok(text) = core::str::from_utf8(source.0) else {
        return;
    };
    let loaded = match how % 3 {
        0 => {
            let mut file = tempfile::NamedTempFile::new().expect("a file");
            file.write_all(text.as_bytes()).expect("room");
            let named = ("ZEROK_RELAY_CONFIG".into(), file.path().into());
            Loaded::new(&[], [named])
        }
        1 => {
            let variables = text.lines().filter_map(|line| line.split_once('='));
            let variables =
                variables.map(|(name, value)| (format!("ZEROK_RELAY_{name}").into(), value.into()));
            Loaded::new(&[], variables)
        }
        _ => {
            let words = std::iter::once("zerok-relay").chain(text.lines());
            match with_flags(Command::new("zerok-relay")).try_get_matches_from(words) {
                Ok(matches) => Loaded::new(&[&matches], []),
                Err(error) => {
                    assert!(!error.to_string().is_empty(), "an error has a text");
                    return;
                }
            }
        }
    };
    match loaded {
        Ok(loaded) => drop(format!("{:?}", loaded.config)),
        Err(error) => assert!(!error.to_string().is_empty(), "an error has a text"),
    }
}

pub fn seeds() -> Vec<Vec<u8>> {
    let inputs: [&[u8]; 5] = [
        b"\0blob_ttl = \"12h\"\nport = 8080\npublic_udp = [\"203.0.113.7:1\"]\n",
        b"\0group_quota = \"500M\"\nbind = \"::\"\nunknown = 1\n",
        b"\x01BLOB_TTL=90s\nPORT=0\nPUBLIC_URL=https://sync.example.com",
        b"\x02--blob-ttl\n12h\n--group-quota=500M\n--port\n0",
        b"\x02--public-udp\n203.0.113.7:1,[::1]:2\n--log-format\njson",
    ];
    inputs.map(<[u8]>::to_vec).into()
}
