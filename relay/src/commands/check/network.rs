//! Ports and URLs: free if the relay does not run, answering if it does.

use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::time::Duration;

use iroh::tls::CaTlsConfig;
use reqwest::Client;
use serde_json::Value;
use url::Url;
use zerok_sync_relay::Config;
use zerok_sync_relay::probe::{self, ProbeError};
use zerok_sync_transport::tls;

use super::Finding;

/// An answer that has not come by then does not come.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Longest answer that is read.
const MAX_ANSWER: usize = 64 * 1024;

pub async fn look(config: &Config, running: bool, id: Option<String>) -> Vec<Finding> {
    let mut findings = if running {
        vec![health(config).await]
    } else {
        ports(config)
    };
    if let Some(url) = &config.public_url {
        findings.push(public_url(url, running, id).await);
    }
    findings
}

fn ports(config: &Config) -> Vec<Finding> {
    let tcp = config.tcp_address();
    let taken = "end the program that has it, or choose another";
    let listen = |name, address, flag: &str| match TcpListener::bind(address) {
        Ok(_) => Finding::ok(name, format!("{address} is free")),
        Err(error) => Finding::failed(
            name,
            format!("cannot listen on {address}: {error}"),
            format!("{taken} with {flag}"),
        ),
    };
    let mut findings = vec![listen("TCP port", tcp, "--port")];
    let metrics = config.metrics_bind;
    findings.extend(metrics.map(|address| listen("metrics port", address, "--metrics-bind")));
    let udp = SocketAddr::new(config.bind, config.udp_port.unwrap_or(config.port));
    findings.push(match (UdpSocket::bind(udp), config.udp_port) {
        (Ok(_), _) => Finding::ok("UDP port", format!("{udp} is free")),
        (Err(_), None) => Finding::warning(
            "UDP port",
            format!("{udp} is taken; the relay will take another, which changes with each start"),
            "name a free one with --udp-port",
        ),
        (Err(error), Some(_)) => Finding::failed(
            "UDP port",
            format!("cannot listen on {udp}: {error}"),
            format!("{taken} with --udp-port"),
        ),
    });
    findings
}

async fn health(config: &Config) -> Finding {
    const NAME: &str = "health";
    if config.port == 0 && config.metrics_bind.is_none() {
        return Finding::ok(NAME, "a relay runs here, on a port of its own choice");
    }
    match probe::ask(config).await {
        Ok(answer) => {
            let answer: Value = serde_json::from_str(&answer).unwrap_or_default();
            let version = answer.get("version").and_then(Value::as_str);
            let version = version.map_or_else(String::new, |version| format!("version {version} "));
            Finding::ok(NAME, format!("{version}runs and is well"))
        }
        Err(error @ ProbeError::Unwell(_)) => {
            Finding::failed(NAME, error.to_string(), "look into its log")
        }
        Err(error) => Finding::failed(
            NAME,
            format!("a relay runs in the data folder, but {error}"),
            "is it still starting, or was it started with another port?",
        ),
    }
}

/// Whether the world finds this relay there, and no other.
async fn public_url(url: &Url, running: bool, id: Option<String>) -> Finding {
    const NAME: &str = "public URL";
    let directory = format!("{url}.well-known/iroh");
    let found = match get(&directory).await {
        Ok((200, answer)) => Ok(answer
            .get("endpoint_id")
            .and_then(Value::as_str)
            .map(str::to_owned)),
        Ok((status, _)) => Err(format!("answers {status}")),
        Err(error) => Err(format!("does not answer: {error}")),
    };
    match found {
        Ok(Some(found)) if Some(&found) == id.as_ref() => {
            Finding::ok(NAME, format!("{url} leads to this relay"))
        }
        Ok(Some(_)) => Finding::failed(
            NAME,
            format!("{url} leads to a relay with another key"),
            "does the proxy point to this machine, and was relay.key restored?",
        ),
        Ok(None) => Finding::failed(
            NAME,
            format!("{url} leads to something that is no relay"),
            "point the proxy to this relay's TCP port, with all paths",
        ),
        Err(says) if running => Finding::failed(
            NAME,
            format!("{directory} {says}"),
            "look at the name's DNS entry, the certificate, the proxy and the firewall",
        ),
        Err(says) => Finding::warning(
            NAME,
            format!("{directory} {says}"),
            "check again while the relay runs",
        ),
    }
}

/// The status and whatever JSON the answer is.
async fn get(url: &str) -> Result<(u16, Value), String> {
    let tls = CaTlsConfig::default().client_config(tls::provider());
    let client = Client::builder()
        .tls_backend_preconfigured(tls.map_err(|error| error.to_string())?)
        .timeout(TIMEOUT)
        .no_proxy()
        .build()
        .map_err(|error| error.to_string())?;
    let response = client.get(url).send().await;
    let mut response = response.map_err(|error| innermost(&error))?;
    let status = response.status().as_u16();
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| innermost(&error))? {
        if body.len() + chunk.len() > MAX_ANSWER {
            return Err("the answer is too long".into());
        }
        body.extend_from_slice(&chunk);
    }
    Ok((status, serde_json::from_slice(&body).unwrap_or_default()))
}

/// The innermost cause says what happened ("connection refused"), the outer ones only where.
fn innermost(error: &dyn std::error::Error) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}
