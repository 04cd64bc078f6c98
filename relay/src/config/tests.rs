//! The settings from all sources, and the example file.

use std::fs;

use clap::Command;
use proptest::prelude::*;
use tempfile::TempDir;

use super::load::{ConfigError, Loaded, with_flags};
use super::*;

/// Loads with a data folder of its own, so that no file of this machine is read unless it is named.
fn load(
    folder: &TempDir,
    flags: &[&str],
    variables: &[(&str, &str)],
) -> Result<Loaded, ConfigError> {
    let data = folder.path().join("data");
    fs::create_dir_all(&data).unwrap();
    let own = data.join("relay.toml");
    if !own.exists() {
        fs::write(own, "").unwrap();
    }
    let start = ["zerok-relay", "--data-dir", data.to_str().unwrap()];
    let command = with_flags(Command::new("zerok-relay"));
    let matches = command.get_matches_from(start.iter().chain(flags));
    let variables = variables
        .iter()
        .map(|(name, value)| (name.into(), value.into()));
    Loaded::new(&[&matches], variables)
}

fn file(folder: &TempDir, text: &str) -> String {
    let file = folder.path().join("some.toml");
    fs::write(&file, text).unwrap();
    file.to_str().unwrap().to_owned()
}

fn refusal(result: Result<Loaded, ConfigError>) -> String {
    result.map(|loaded| loaded.config).unwrap_err().to_string()
}

#[test]
fn the_flags_are_sound_and_without_any_source_there_are_the_defaults() {
    let command = with_flags(Command::new("zerok-relay"));
    command.clone().debug_assert();
    let folder = tempfile::tempdir().unwrap();
    let empty = file(&folder, "");
    let matches = command.get_matches_from(["zerok-relay", "--config", &empty]);
    let loaded = Loaded::new(&[&matches], []).unwrap();
    assert_eq!(
        format!("{:?}", loaded.config),
        format!("{:?}", Config::new("./data"))
    );
    assert_eq!(loaded.source("port"), "default");
}

#[test]
fn later_sources_win_and_each_value_knows_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let text = "port = 1\nblob_ttl = '1h'\ngroup_quota = 500\nweb = 'app'\ncleanup_interval = '5s'";
    let file = file(&folder, text);
    let flags = ["--config", &file, "--port", "3"];
    let variables = [
        ("ZEROK_RELAY_PORT", "2"),
        ("ZEROK_RELAY_BLOB_TTL", "2h"),
        ("ZEROK_RELAY_WEB", ""),
        ("OTHER", "x"),
    ];
    let loaded = load(&folder, &flags, &variables).unwrap();
    let config = &loaded.config;
    assert_eq!((config.port, config.blob_ttl.as_secs()), (3, 7200));
    assert_eq!(
        (config.group_quota, config.max_groups),
        (500, limits::DEFAULT_MAX_GROUPS)
    );
    assert_eq!(
        config.web.as_deref(),
        Some("app".as_ref()),
        "an empty variable is none"
    );
    assert_eq!(config.cleanup_interval.as_secs(), 5);
    let sources = ["port", "blob_ttl", "group_quota", "max_groups"].map(|key| loaded.source(key));
    assert_eq!(
        sources,
        ["--port", "ZEROK_RELAY_BLOB_TTL", &file, "default"]
    );

    let effective = loaded.effective().unwrap();
    let back: toml::Table = effective.parse().unwrap();
    assert_eq!(back["blob_ttl"].as_str(), Some("2h"), "{effective}");
    assert!(effective.contains("# udp_port is not set"), "{effective}");
}

#[test]
fn every_form_of_value_comes_from_every_source() {
    let folder = tempfile::tempdir().unwrap();
    let check = |loaded: Loaded| {
        let config = loaded.config;
        let addresses: Vec<_> = config.public_udp.iter().map(ToString::to_string).collect();
        assert_eq!(addresses, ["203.0.113.7:8080", "[2001:db8::7]:8080"]);
        assert_eq!(config.udp_port, Some(7));
        assert_eq!(config.bind.to_string(), "::1");
        assert_eq!(config.public_url.unwrap().as_str(), "https://sync.example/");
        assert_eq!(config.invite_rate.get(), 4);
        assert_eq!(config.log_format, LogFormat::Json);
    };
    let values = [
        ("public_udp", "203.0.113.7:8080,[2001:db8::7]:8080"),
        ("udp_port", "7"),
        ("bind", "::1"),
        ("public_url", "https://sync.example"),
        ("invite_rate", "4"),
        ("log_format", "json"),
    ];
    let variables =
        values.map(|(key, value)| (format!("ZEROK_RELAY_{}", key.to_uppercase()), value));
    let variables: Vec<_> = variables
        .iter()
        .map(|(name, value)| (name.as_str(), *value))
        .collect();
    check(load(&folder, &[], &variables).unwrap());

    let flags = values.map(|(key, value)| format!("--{}={value}", key.replace('_', "-")));
    let flags: Vec<_> = flags.iter().map(String::as_str).collect();
    check(load(&folder, &flags, &[]).unwrap());

    let text = "public_udp = ['203.0.113.7:8080', '[2001:db8::7]:8080']\nudp_port = 7\nbind = '::1'\n\
                public_url = 'https://sync.example'\ninvite_rate = 4\nlog_format = 'json'";
    check(load(&folder, &["--config", &file(&folder, text)], &[]).unwrap());
}

#[test]
fn a_file_in_the_data_folder_is_read_unless_another_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let own = folder.path().join("data").join("relay.toml");
    load(&folder, &[], &[]).unwrap();
    fs::write(&own, "port = 5").unwrap();
    assert_eq!(load(&folder, &[], &[]).unwrap().config.port, 5);
    let other = file(&folder, "port = 6");
    let named = [("ZEROK_RELAY_CONFIG", other.as_str())];
    assert_eq!(load(&folder, &[], &named).unwrap().config.port, 6);
    fs::write(&own, "data_dir = '/elsewhere'").unwrap();
    let error = refusal(load(&folder, &[], &[]));
    assert!(error.contains("found in the data folder"), "{error}");
}

#[test]
fn sections_are_for_people() {
    let folder = tempfile::tempdir().unwrap();
    let url = "postgres://relay@db.example/relay";
    let text = format!("port = 1\n[storage]\ndatabase = '{url}'\nblob_ttl = '3d'");
    let file = file(&folder, &text);
    let variables = [
        ("ZEROK_RELAY__STORAGE__DATABASE", url),
        ("ZEROK_RELAY__PORT", "2"),
    ];
    for (flags, variables) in [
        (&["--config", &*file][..], &[][..]),
        (&[][..], &variables[..]),
    ] {
        let config = load(&folder, flags, variables).unwrap().config;
        assert!(config.database_url.is_some());
        assert_eq!(config.port, if flags.is_empty() { 2 } else { 1 });
    }
    let wrong = self::file(&folder, "[storage]\ndatabas_url = 1");
    let error = refusal(load(&folder, &["--config", &wrong], &[]));
    assert!(error.contains("did you mean `database_url`?"), "{error}");
}

#[test]
fn what_is_unknown_is_refused_with_what_was_meant() {
    let folder = tempfile::tempdir().unwrap();
    for (text, expected) in [
        ("blob_tll = '3d'", "unknown key `blob_tll` in "),
        ("blob_tll = '3d'", "some.toml; did you mean `blob_ttl`?"),
        ("blob-ttl = '3d'", "did you mean `blob_ttl`?"),
        ("xyzzy = 1", "`zerok-relay --help` has all of them"),
        ("[relay]\nprt = 1", "did you mean `port`?"),
    ] {
        let error = refusal(load(&folder, &["--config", &file(&folder, text)], &[]));
        assert!(error.contains(expected), "{error}");
    }
    let error = refusal(load(&folder, &[], &[("ZEROK_RELAY_BLOB_TLL", "3d")]));
    assert!(
        error.contains(
            "ZEROK_RELAY_BLOB_TLL in the environment; did you mean ZEROK_RELAY_BLOB_TTL?"
        ),
        "{error}"
    );
    let error = refusal(load(&folder, &[], &[("ZEROK_RELAY_port", "1")]));
    assert!(error.contains("did you mean ZEROK_RELAY_PORT?"), "{error}");
}

#[test]
fn a_wrong_value_is_named_with_its_source_and_what_is_needed() {
    let folder = tempfile::tempdir().unwrap();
    for (text, expected) in [
        ("blob_ttl = 30", "such as 30d"),
        ("port = 'x'", "u16"),
        ("port = 70000", "u16"),
        ("invite_rate = 0", "nonzero"),
        ("log_format = 'xml'", "text, json"),
        ("public_url = 'sync.example'", "https://"),
        ("public_udp = ['x']", "socket address"),
        ("public_udp = 3", "sequence"),
        ("port = { a = 1 }", "u16"),
    ] {
        let file = file(&folder, text);
        let error = refusal(load(&folder, &["--config", &file], &[]));
        let key = text.split(' ').next().unwrap();
        let start = format!("`{key}` in {file} is not right: ");
        assert!(
            error.starts_with(&start) && error.contains(expected),
            "{error}"
        );
    }
    let error = refusal(load(&folder, &[], &[("ZEROK_RELAY_GROUP_QUOTA", "many")]));
    assert_eq!(
        error,
        "ZEROK_RELAY_GROUP_QUOTA is not right: a number of bytes is needed, perhaps with K, M, G or T"
    );
    let error = refusal(load(
        &folder,
        &["--config", &file(&folder, "port = 1\nport")],
        &[],
    ));
    assert!(
        error.contains("is not TOML") && error.contains("(line 2)"),
        "{error}"
    );
    let error = refusal(load(&folder, &["--config", "/not/there.toml"], &[]));
    assert!(
        error.contains("cannot read the configuration /not/there.toml"),
        "{error}"
    );
}

#[test]
fn secrets_are_not_shown() {
    let folder = tempfile::tempdir().unwrap();
    let hash = format!("sha256:{}", "5f".repeat(32));
    let variables = [("ZEROK_RELAY_ACCESS_TOKENS", hash.as_str())];
    let loaded = load(&folder, &[], &variables).unwrap();
    assert_eq!(loaded.config.access_tokens.len(), 1);
    let effective = loaded.effective().unwrap();
    assert!(
        effective.contains("# access_tokens = set, not shown"),
        "{effective}"
    );
    assert!(!effective.contains("5f5f"), "{effective}");
    for wrong in [
        "access_tokens = 'canary'",
        "access_tokens = ['canary']",
        "access_tokens = { canary = 1 }",
    ] {
        let error = refusal(load(&folder, &["--config", &file(&folder, wrong)], &[]));
        assert!(
            error.contains("access_tokens") && !error.contains("canary"),
            "{error}"
        );
    }
}

/// `UPDATE_EXAMPLE=1 cargo test -p zerok-sync-relay` writes it anew.
#[test]
fn the_example_file_has_every_setting_and_its_default() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/relay.example.toml");
    let example = show::example().unwrap();
    if std::env::var_os("UPDATE_EXAMPLE").is_some() {
        fs::write(path, &example).unwrap();
    }
    let kept = fs::read_to_string(path).unwrap_or_default();
    assert!(
        kept == example,
        "relay.example.toml is old: run with UPDATE_EXAMPLE=1"
    );

    let folder = tempfile::tempdir().unwrap();
    let set: String = example
        .lines()
        .filter_map(|line| line.strip_prefix('#'))
        .filter(|line| !line.starts_with(' ') && !line.ends_with('='))
        .filter(|line| !line.starts_with("data_dir"))
        .fold(String::new(), |text, line| text + line + "\n");
    let loaded = load(&folder, &["--config", &file(&folder, &set)], &[]).unwrap();
    let defaults = Config::new(folder.path().join("data"));
    assert_eq!(format!("{:?}", loaded.config), format!("{defaults:?}"));
}

proptest! {
    #[test]
    fn no_file_and_no_variable_is_a_panic(text in "\\PC*|[a-z_]{1,12} = [-0-9a-z'\\[\\]{}]{0,9}", value in "\\PC*") {
        let folder = tempfile::tempdir().unwrap();
        let file = file(&folder, &text);
        let _ = load(&folder, &["--config", &file], &[("ZEROK_RELAY_PUBLIC_UDP", &value)]);
    }
}
