//! Access tokens in HTTP requests: `Authorization: Bearer …`.

use axum::http::header::AUTHORIZATION;
use axum::http::{HeaderMap, StatusCode};
use zerok_sync_shared::error::ErrorCode;

use super::Services;
use super::error::ApiError;

/// Refuses a request whose token this relay does not take, or that has none where one is asked for.
pub(super) fn check(services: &Services, headers: &HeaderMap) -> Result<(), ApiError> {
    if services.access.admit(token(headers)).is_ok() {
        return Ok(());
    }
    let text = match headers.contains_key(AUTHORIZATION) {
        true => {
            "this relay does not take this access token; ask the person who runs it for a new one"
        }
        false => "this relay asks for an access token; ask the person who runs it for one",
    };
    let code = ErrorCode::Unauthorized.name();
    Err(ApiError::new(StatusCode::UNAUTHORIZED, code, text))
}

/// The token of a request.
pub(super) fn token(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    scheme
        .eq_ignore_ascii_case("bearer")
        .then(|| token.trim_start())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_token_is_what_follows_bearer() {
        let of = |value: &str| {
            let headers = HeaderMap::from_iter([(AUTHORIZATION, value.parse().unwrap())]);
            token(&headers).map(str::to_owned)
        };
        assert_eq!(of("Bearer abc").as_deref(), Some("abc"));
        assert_eq!(of("bearer  abc").as_deref(), Some("abc"));
        for wrong in ["abc", "Basic abc", "Bearer"] {
            assert_eq!(of(wrong), None, "{wrong}");
        }
        assert_eq!(token(&HeaderMap::new()), None);
    }
}
