//! `zerok-relay check`: whether a relay with these settings would run, or runs, and what to do where it would not.

mod network;

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::ExitCode;

use anyhow::Result;
use serde::Serialize;
use sqlx::{Connection as _, PgConnection};
use zerok_sync_relay::Config;
use zerok_sync_relay::config::DatabaseUrl;
use zerok_sync_relay::config::load::{ConfigError, Loaded};
use zerok_sync_relay::folder::{self, FolderLock};
use zerok_sync_relay::identity::{self, IdentityError};
use zerok_sync_relay::limits;
use zerok_sync_relay::storage::sqlite::keeper::Keeper;

use super::words;

/// Less free space than this is a warning.
const LITTLE_SPACE: u64 = 1 << 30;
/// Less than this and the relay would soon refuse pushes.
const NO_SPACE: u64 = 64 << 20;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum State {
    Ok,
    Warning,
    Failed,
}

/// One thing that was looked at.
#[derive(Debug, Serialize)]
struct Finding {
    name: &'static str,
    state: State,
    says: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    advice: Option<String>,
}

impl Finding {
    fn ok(name: &'static str, says: impl Into<String>) -> Self {
        let (state, says) = (State::Ok, says.into());
        Self {
            name,
            state,
            says,
            advice: None,
        }
    }

    fn warning(name: &'static str, says: impl Into<String>, advice: impl Into<String>) -> Self {
        let state = State::Warning;
        Self {
            state,
            advice: Some(advice.into()),
            ..Self::ok(name, says)
        }
    }

    fn failed(name: &'static str, says: impl Into<String>, advice: impl Into<String>) -> Self {
        let state = State::Failed;
        Self {
            state,
            ..Self::warning(name, says, advice)
        }
    }
}

#[derive(Serialize)]
struct Report {
    ok: bool,
    running: bool,
    checks: Vec<Finding>,
}

/// Looks at everything. The text to print, and how the process ends: with success if nothing failed.
pub async fn run(loaded: Result<Loaded, ConfigError>, json: bool) -> Result<(String, ExitCode)> {
    let mut running = false;
    let checks = match loaded {
        Err(error) => vec![Finding::failed(
            "configuration",
            error.to_string(),
            "correct it; nothing else was looked at",
        )],
        Ok(loaded) => {
            running = FolderLock::is_held(&loaded.config.data_dir);
            look(&loaded, running).await
        }
    };
    let ok = checks.iter().all(|finding| finding.state != State::Failed);
    let code = if ok {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    };
    let report = Report {
        ok,
        running,
        checks,
    };
    let text = if json {
        super::json(&report)?
    } else {
        text(&report)
    };
    Ok((text, code))
}

fn text(report: &Report) -> String {
    let mut text = String::new();
    for finding in &report.checks {
        let mark = match finding.state {
            State::Ok => '✓',
            State::Warning => '!',
            State::Failed => '✗',
        };
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{mark} {:<15} {}", finding.name, finding.says);
        if let Some(advice) = &finding.advice {
            let _ = writeln!(text, "  {:<15} → {advice}", "");
        }
    }
    text
}

async fn look(loaded: &Loaded, running: bool) -> Vec<Finding> {
    let config = &loaded.config;
    let mut checks = vec![configuration(loaded), data_folder(config)];
    checks.extend(free_space(config));
    let (key, id) = key(config);
    checks.push(key);
    checks.extend(database(config).await);
    checks.extend(web(config));
    checks.extend(tls(config));
    checks.extend(authority(config).await);
    checks.extend(network::look(config, running, id).await);
    checks
}

fn configuration(loaded: &Loaded) -> Finding {
    let says = match &loaded.file {
        Some(file) => format!("{} is valid", file.display()),
        None => "valid; there is no file".to_owned(),
    };
    Finding::ok("configuration", says)
}

fn data_folder(config: &Config) -> Finding {
    const NAME: &str = "data folder";
    let folder = &config.data_dir;
    let shown = folder.display();
    if !folder.exists() {
        let above = folder.ancestors().skip(1).find(|folder| folder.exists());
        let above = above.filter(|above| !above.as_os_str().is_empty());
        return match writable(above.unwrap_or(Path::new("."))) {
            Ok(()) => Finding::ok(NAME, format!("{shown} will be made at the first start")),
            Err(error) => Finding::failed(
                NAME,
                format!("{shown} cannot be made: {error}"),
                "make it, owned by the user that the relay runs as, or choose another with --data-dir",
            ),
        };
    }
    match writable(folder) {
        Ok(()) => Finding::ok(NAME, format!("{shown} can be written")),
        Err(error) => Finding::failed(
            NAME,
            format!("{shown} cannot be written: {error}"),
            "it has to belong to the user that the relay runs as: chown it, or run this check as that user",
        ),
    }
}

/// Writes something, because permissions alone do not say whether a disk takes it.
fn writable(folder: &Path) -> std::io::Result<()> {
    use std::io::Write as _;
    let path = folder.join(format!("check-{}.tmp", std::process::id()));
    let written = folder::create_private(&path).and_then(|mut file| {
        file.write_all(&[0; 4096])?;
        file.sync_all()
    });
    let _ = fs::remove_file(&path);
    written
}

fn free_space(config: &Config) -> Option<Finding> {
    const NAME: &str = "disk";
    let mut folders = config.data_dir.ancestors();
    let free = folders.find_map(folder::free_space)?;
    let says = format!("{} free", words::bytes(free));
    Some(if free < NO_SPACE {
        Finding::failed(NAME, says, "make room; a relay without room refuses pushes")
    } else if free < LITTLE_SPACE {
        Finding::warning(
            NAME,
            says,
            "make room; with less than --min-free-disk new blobs are refused",
        )
    } else {
        Finding::ok(NAME, says)
    })
}

/// The key, and the id that it gives.
fn key(config: &Config) -> (Finding, Option<String>) {
    const NAME: &str = "key";
    let path = config.data_dir.join(identity::FILE_NAME);
    match identity::load(&config.data_dir) {
        Ok(None)
            if config
                .data_dir
                .join(zerok_sync_relay::storage::sqlite::FILE_NAME)
                .exists() =>
        {
            let finding = Finding::failed(
                NAME,
                format!("{} is missing, while the database is there", path.display()),
                "restore it from a backup; a new one would make this another relay, which devices do not know",
            );
            (finding, None)
        }
        Ok(None) => (Finding::ok(NAME, "will be made at the first start"), None),
        Ok(Some(key)) => {
            let finding = Finding::ok(
                NAME,
                format!("{} is readable by its owner only", path.display()),
            );
            (finding, Some(key.public().to_string()))
        }
        Err(error) => {
            let advice = match error {
                IdentityError::TooOpen(_) | IdentityError::Malformed(_) => "as it says",
                _ => "it has to belong to the user that the relay runs as",
            };
            (Finding::failed(NAME, error.to_string(), advice), None)
        }
    }
}

async fn database(config: &Config) -> Vec<Finding> {
    const NAME: &str = "database";
    if let Some(url) = &config.database_url {
        return vec![postgres(url).await];
    }
    let path = config
        .data_dir
        .join(zerok_sync_relay::storage::sqlite::FILE_NAME);
    if !path.exists() {
        return vec![Finding::ok(NAME, "will be made at the first start")];
    }
    match examine(config).await {
        Ok(findings) => findings,
        Err(error) => vec![Finding::failed(
            NAME,
            format!("{error:#}"),
            "if it is damaged, restore a backup: docs/operations.md",
        )],
    }
}

async fn postgres(url: &DatabaseUrl) -> Finding {
    const NAME: &str = "PostgreSQL";
    let answer = async {
        let mut connection = PgConnection::connect(url.expose()).await?;
        let version = sqlx::query_scalar::<_, String>("SHOW server_version");
        let version = version.fetch_one(&mut connection).await?;
        connection.close().await?;
        Ok::<_, sqlx::Error>(version)
    };
    match tokio::time::timeout(limits::DATABASE_TIMEOUT, answer).await {
        Ok(Ok(version)) => Finding::ok(NAME, format!("{url} answers, version {version}")),
        Ok(Err(error)) => Finding::failed(
            NAME,
            format!("{url}: {error}"),
            "look at the address, the user and the password of database_url, and whether the server runs",
        ),
        Err(_) => Finding::failed(
            NAME,
            format!("{url} does not answer"),
            "look at the address and the firewall",
        ),
    }
}

/// Whether the files of the certificate are there for the relay.
fn tls(config: &Config) -> Option<Finding> {
    const NAME: &str = "certificate";
    let files = [&config.tls_cert, &config.tls_key];
    let files: Vec<_> = files.into_iter().flatten().collect();
    if files.is_empty() {
        return None;
    }
    if files.len() == 1 {
        let says = "only one of tls_cert and tls_key is set";
        return Some(Finding::failed(NAME, says, "set both or neither"));
    }
    let unreadable = files.into_iter().find_map(|file| {
        let error = fs::read(file).err()?;
        Some(format!("cannot read {}: {error}", file.display()))
    });
    Some(match unreadable {
        None => Finding::ok(NAME, "certificate and key can be read"),
        Some(says) => {
            let advice = "they have to be readable for the user that the relay runs as";
            Finding::failed(NAME, says, advice)
        }
    })
}

/// Whether an authority can find this machine by the names that a certificate is wanted for.
async fn authority(config: &Config) -> Option<Finding> {
    const NAME: &str = "authority";
    if config.acme_domain.is_empty() {
        return None;
    }
    let names = config.acme_domain.join(", ");
    if config.tls_cert.is_some() || config.tls_key.is_some() {
        return Some(Finding::failed(
            NAME,
            format!("a certificate of files is set, and one for {names} too"),
            "set either tls_cert and tls_key, or acme_domain",
        ));
    }
    if let Some(name) = config.acme_domain.iter().find(|name| name.contains('*')) {
        return Some(Finding::failed(
            NAME,
            format!("no certificate is given for {name} in this way"),
            "name each host; for all of them get a certificate elsewhere and set tls_cert and tls_key",
        ));
    }
    for name in &config.acme_domain {
        let found = tokio::net::lookup_host((name.as_str(), 443));
        let found = tokio::time::timeout(limits::DATABASE_TIMEOUT, found).await;
        let address = found
            .ok()
            .and_then(|found| found.ok())
            .and_then(|mut found| found.next());
        if address.is_none() {
            return Some(Finding::warning(
                NAME,
                format!("{name} leads to no address"),
                "make a DNS record for it that leads to this machine; without one there is no certificate",
            ));
        }
    }
    let says = match config.port {
        443 => format!("{names} can be asked for"),
        port => {
            format!("{names} can be asked for if port 443 of that address leads to {port} here")
        }
    };
    Some(Finding::ok(NAME, says))
}

async fn examine(config: &Config) -> Result<Vec<Finding>> {
    const NAME: &str = "database";
    let mut keeper = Keeper::open(&config.data_dir).await?;
    let schema = keeper.schema().await?;
    let size = words::bytes(keeper.space().await?.used);
    let mut findings = Vec::new();
    findings.push(if schema.found > schema.known {
        Finding::failed(
            "schema",
            format!(
                "version {}, and this program knows {}",
                schema.found, schema.known
            ),
            "the database comes from a newer relay: install that version or a later one",
        )
    } else if schema.found < schema.known {
        let says = format!(
            "version {}, becomes {} at the next start",
            schema.found, schema.known
        );
        Finding::ok("schema", says)
    } else {
        Finding::ok("schema", format!("version {}", schema.found))
    });
    findings.push(match keeper.damage(false).await?.first() {
        None => Finding::ok(NAME, format!("sound, {size}")),
        Some(first) => Finding::failed(
            NAME,
            format!("damaged: {first}"),
            "stop the relay, move the folder away and restore a backup: docs/operations.md",
        ),
    });
    let now = super::now();
    if let Some(newest) = keeper.newest().await?
        && newest > now
    {
        let ahead = words::time(newest.since(now));
        findings.push(Finding::failed(
            "clock",
            format!("{ahead} behind the newest blob"),
            "set the clock of this machine, and let it be kept by NTP",
        ));
    }
    keeper.close().await?;
    Ok(findings)
}

fn web(config: &Config) -> Option<Finding> {
    let folder = config.web.as_ref()?;
    Some(if folder.join("index.html").is_file() {
        Finding::ok("web app", format!("{} has an index.html", folder.display()))
    } else {
        let says = format!("{} has no index.html", folder.display());
        Finding::failed("web app", says, "--web takes the folder of a built web app")
    })
}
