//! HTTP by reqwest, JSON by serde_json.

use std::sync::LazyLock;

use futures_util::StreamExt as _;
use iroh::tls::CaTlsConfig;
use reqwest::{Client, Method};
use serde_json::Value;
use zerok_sync_shared::crypto::token::AccessToken;
use zerok_sync_transport::tls;

use super::{Field, HTTP_TIMEOUT, HttpResponse, MAX_HTTP_BODY};

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

/// Runs what takes long without holding up everything else; `None` when the program is ending.
pub(crate) async fn compute<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Option<T> {
    tokio::task::spawn_blocking(work).await.ok()
}

/// One HTTP request with an optional access token and an optional JSON body.
pub(crate) async fn fetch(
    method: &str,
    url: &str,
    token: Option<&AccessToken>,
    json: Option<Vec<u8>>,
) -> Result<HttpResponse, String> {
    let client = CLIENT.as_ref().map_err(Clone::clone)?;
    let method = Method::from_bytes(method.as_bytes()).map_err(|error| error.to_string())?;
    let mut request = client.request(method, url);
    if let Some(token) = token {
        request = request.bearer_auth(token.expose());
    }
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

/// A JSON value that was received.
pub(crate) struct Json(Value);

impl Json {
    pub(crate) fn parse(text: &[u8]) -> Option<Self> {
        serde_json::from_slice(text).ok().map(Self)
    }

    /// An object as text.
    pub(crate) fn object(fields: &[(&str, Field<'_>)]) -> Vec<u8> {
        let object = fields.iter().map(|(name, field)| {
            let value = match field {
                Field::Text(text) => Value::from(*text),
                Field::Number(number) => Value::from(*number),
            };
            ((*name).to_owned(), value)
        });
        Value::Object(object.collect()).to_string().into_bytes()
    }

    /// A field of an object; something that is neither text nor number nor list where there is none.
    pub(crate) fn field(&self, name: &str) -> Self {
        Self(self.0.get(name).cloned().unwrap_or_default())
    }

    pub(crate) fn items(&self) -> Vec<Self> {
        let items = self.0.as_array().into_iter().flatten();
        items.cloned().map(Self).collect()
    }

    pub(crate) fn text(&self) -> Option<String> {
        self.0.as_str().map(str::to_owned)
    }

    pub(crate) fn whole(&self) -> Option<u64> {
        self.0.as_u64()
    }
}
