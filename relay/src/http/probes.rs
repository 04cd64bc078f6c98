//! The two requests with which iroh endpoints measure a relay.

use axum::body::Body;
use axum::http::header::{ACCESS_CONTROL_ALLOW_ORIGIN, CACHE_CONTROL};
use axum::http::{HeaderName, HeaderValue, Method, Request, Response, StatusCode};
use iroh_relay::http::RELAY_PROBE_PATH;

const NO_CONTENT_PATH: &str = "/generate_204";
const CHALLENGE: HeaderName = HeaderName::from_static("x-iroh-challenge");
const RESPONSE: HeaderName = HeaderName::from_static("x-iroh-response");
/// Longest challenge that is echoed.
const MAX_CHALLENGE: usize = 64;

/// The answer, if the request is one of the two.
pub(super) fn answer<B>(request: &Request<B>) -> Option<Response<Body>> {
    let status = match (request.method(), request.uri().path()) {
        (&Method::GET, RELAY_PROBE_PATH) => StatusCode::OK,
        (&Method::GET, NO_CONTENT_PATH) => StatusCode::NO_CONTENT,
        _ => return None,
    };
    let mut response = super::plain(status);
    let headers = response.headers_mut();
    headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    // Shows that it is this relay that answers, and not a captive portal.
    if let Some(challenge) = request
        .headers()
        .get(CHALLENGE)
        .and_then(|value| value.to_str().ok())
        && challenge.len() < MAX_CHALLENGE
        && challenge
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_'))
        && let Ok(value) = HeaderValue::try_from(format!("response {challenge}"))
    {
        headers.insert(RESPONSE, value);
    }
    Some(response)
}
