//! HTTP by reqwest.

use std::sync::LazyLock;

use futures_util::StreamExt as _;
use iroh::tls::CaTlsConfig;
use reqwest::{Client, Method};
use zerok_sync_transport::tls;

use super::{HTTP_TIMEOUT, HttpResponse, MAX_HTTP_BODY};

static CLIENT: LazyLock<Result<Client, String>> = LazyLock::new(|| {
    let tls = CaTlsConfig::default()
        .client_config(tls::provider())
        .map_err(|error| error.to_string())?;
    Client::builder()
        .tls_backend_preconfigured(tls)
        .timeout(HTTP_TIMEOUT)
        .build()
        .map_err(|error| error.to_string())
});

/// One HTTP request with an optional JSON body.
pub(crate) async fn fetch(
    method: &str,
    url: &str,
    json: Option<Vec<u8>>,
) -> Result<HttpResponse, String> {
    let client = CLIENT.as_ref().map_err(Clone::clone)?;
    let method = Method::from_bytes(method.as_bytes()).map_err(|error| error.to_string())?;
    let mut request = client.request(method, url);
    if let Some(json) = json {
        request = request
            .header("content-type", "application/json")
            .body(json);
    }
    // The URL of a request can hold a lookup id: it does not belong into a message.
    let response = request
        .send()
        .await
        .map_err(|error| describe(&error.without_url()))?;
    let status = response.status().as_u16();
    let mut body = Vec::new();
    let mut chunks = response.bytes_stream();
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk.map_err(|error| describe(&error.without_url()))?;
        if body.len() + chunk.len() > MAX_HTTP_BODY {
            return Err("the answer is too long".into());
        }
        body.extend_from_slice(&chunk);
    }
    Ok(HttpResponse { status, body })
}

/// The innermost cause says what happened ("connection refused"), the outer ones only where.
fn describe(error: &dyn std::error::Error) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}
