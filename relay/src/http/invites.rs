//! `/v1/invites`: sealed invites are left, looked at, claimed, confirmed and withdrawn here.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{Path, Request, State};
use axum::http::header::CONTENT_LENGTH;
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use data_encoding::BASE64URL_NOPAD;
use governor::clock::{Clock as _, DefaultClock};
use governor::state::keyed::HashMapStateStore;
use governor::{Quota, RateLimiter};
use serde::{Deserialize, Serialize};
use zerok_sync_shared::crypto::invite::VERSION;
use zerok_sync_shared::ids::InviteLookup;
use zerok_sync_shared::limits::{INVITE_TTL, MAX_INVITE};

use super::app::Shared;
use super::bearer;
use super::error::ApiError;
use crate::invites::{Answer, Claim, Invite, InviteState, Unusable};
use crate::limits;
use crate::network::Network;
use crate::network::proxies::Client;
use crate::storage::PutInviteError;

const INVALID: &str = "INVITE_INVALID";

type Rates = RateLimiter<Option<Network>, HashMapStateStore<Option<Network>>, DefaultClock>;

pub(super) fn router(rate: NonZeroU32) -> Router<Shared> {
    let burst = NonZeroU32::new(limits::INVITE_BURST)
        .unwrap_or(NonZeroU32::MIN)
        .max(rate);
    let quota = Quota::per_second(rate).allow_burst(burst);
    let rates: Arc<Rates> = Arc::new(RateLimiter::hashmap(quota));
    Router::new()
        .route("/", post(create))
        .route("/{lookup}", get(look).delete(cancel))
        .route("/{lookup}/claim", post(claim))
        .route("/{lookup}/watch", post(watch))
        .route("/{lookup}/answer", post(answer))
        .method_not_allowed_fallback(wrong_method)
        .layer(middleware::from_fn(limit_announced_length))
        .layer(middleware::from_fn(move |request: Request, next: Next| {
            limit_rate(Arc::clone(&rates), request, next)
        }))
}

async fn wrong_method() -> ApiError {
    let text = "this path does not take this method";
    ApiError::new(StatusCode::METHOD_NOT_ALLOWED, INVALID, text)
}

/// Refuses a body that is too long by what its header says, instead of waiting for it.
async fn limit_announced_length(request: Request, next: Next) -> Response {
    let length = request.headers().get(CONTENT_LENGTH);
    let length = length.and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    if length.is_some_and(|length| length > limits::MAX_HTTP_BODY as u64) {
        return too_long().into_response();
    }
    next.run(request).await
}

async fn limit_rate(rates: Arc<Rates>, request: Request, next: Next) -> Response {
    let network = request
        .extensions()
        .get::<Client>()
        .and_then(|client| client.network);
    if rates.len() >= limits::MAX_RATED_ADDRESSES {
        rates.retain_recent();
    }
    // With still too many, newcomers share one allowance rather than memory without bound.
    let full = rates.len() >= limits::MAX_RATED_ADDRESSES;
    let key = if full { None } else { network };
    match rates.check_key(&key) {
        Ok(()) => next.run(request).await,
        Err(until) => {
            let wait = until.wait_time_from(DefaultClock::default().now());
            let text = "too many requests from this address; wait and try again";
            ApiError::new(StatusCode::TOO_MANY_REQUESTS, "RATE_LIMITED", text)
                .retry_after(wait.max(Duration::from_millis(1)))
                .into_response()
        }
    }
}

#[derive(Deserialize)]
struct Create {
    version: u32,
    #[serde(default)]
    lookup: String,
    #[serde(default)]
    claim_hash: String,
    #[serde(default)]
    owner_hash: String,
    #[serde(default)]
    offer: String,
    #[serde(default)]
    secrets: String,
    #[serde(default)]
    ttl_seconds: u64,
}

#[derive(Serialize)]
struct Created {
    expires_at: u64,
}

#[derive(Serialize)]
struct Offered {
    version: u8,
    offer: String,
    expires_at: u64,
}

#[derive(Deserialize)]
struct ClaimBody {
    token: String,
    claimant: String,
    #[serde(default)]
    request: String,
}

/// Each is empty while there is none.
#[derive(Serialize)]
struct ClaimedBody {
    secrets: String,
    reply: String,
}

#[derive(Deserialize)]
struct Token {
    token: String,
}

#[derive(Deserialize)]
struct CancelBody {
    token: String,
    claimant: Option<String>,
}

#[derive(Serialize)]
struct Watched {
    state: &'static str,
    request: String,
}

#[derive(Deserialize)]
struct AnswerBody {
    token: String,
    #[serde(default)]
    reply: String,
    #[serde(default)]
    secrets: String,
}

/// A body as it came, or why it did not.
type Body = Result<Bytes, BytesRejection>;

async fn create(
    State(shared): State<Shared>,
    headers: HeaderMap,
    body: Body,
) -> Result<(StatusCode, Json<Created>), ApiError> {
    // Only here: the device that joins gets its token by the invite, and what it does is proven by the invite's key.
    bearer::check(&shared, &headers)?;
    let create: Create = read(body)?;
    if create.version != u32::from(VERSION) {
        let text = "this relay keeps invites of version 1; update the app or the relay";
        return Err(ApiError::new(StatusCode::BAD_REQUEST, INVALID, text).reason("version"));
    }
    let ttl = Duration::from_secs(create.ttl_seconds);
    if ttl.is_zero() || ttl > INVITE_TTL {
        return Err(malformed("ttl_seconds is between 1 and 600"));
    }
    let now = shared.clock.now();
    let invite = Invite {
        lookup: InviteLookup(fixed(&create.lookup)?),
        claim_hash: fixed(&create.claim_hash)?,
        owner_hash: fixed(&create.owner_hash)?,
        offer: sealed(&create.offer)?,
        // Without them its creator confirms first.
        secrets: sealed_or_none(&create.secrets)?,
        request: Vec::new(),
        reply: Vec::new(),
        state: InviteState::Open,
        expires_at: now.plus(ttl),
    };
    match shared
        .storage
        .put_invite(&invite, limits::MAX_INVITES, now)
        .await
    {
        Ok(()) => {
            shared.metrics.invites_created.inc();
            Ok((
                StatusCode::CREATED,
                Json(Created {
                    expires_at: invite.expires_at.0,
                }),
            ))
        }
        Err(PutInviteError::Taken) => {
            let text = "an invite with this lookup exists; make another";
            Err(ApiError::new(StatusCode::CONFLICT, INVALID, text).reason("taken"))
        }
        Err(PutInviteError::TooMany) => {
            let text = "this relay holds as many invites as it can; try again in a minute";
            Err(
                ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "RELAY_OVERLOADED", text)
                    .retry_after(limits::INVITES_RETRY),
            )
        }
        Err(PutInviteError::Storage(error)) => Err(error.into()),
    }
}

async fn look(
    State(shared): State<Shared>,
    Path(lookup): Path<String>,
    uri: Uri,
) -> Result<Json<Offered>, ApiError> {
    let lookup = lookup_of(&lookup)?;
    let by = uri
        .query()
        .and_then(|query| query.strip_prefix("claimant="));
    let by = by.map(fixed).transpose()?;
    let invite = shared
        .storage
        .invite(lookup)
        .await?
        .ok_or_else(|| refuse(Unusable::Unknown))?;
    invite.look(by, shared.clock.now()).map_err(refuse)?;
    Ok(Json(Offered {
        version: VERSION,
        offer: BASE64URL_NOPAD.encode(&invite.offer),
        expires_at: invite.expires_at.0,
    }))
}

async fn claim(
    State(shared): State<Shared>,
    Path(lookup): Path<String>,
    body: Body,
) -> Result<Json<ClaimedBody>, ApiError> {
    let body: ClaimBody = read(body)?;
    let claim = Claim {
        token: fixed(&body.token)?,
        claimant: fixed(&body.claimant)?,
        request: sealed_or_none(&body.request)?,
    };
    let lookup = lookup_of(&lookup)?;
    let now = shared.clock.now();
    // Whoever waits to be let in asks again and again: that is no matter for the writer.
    let known = shared.storage.invite(lookup).await?;
    let mut known = known.ok_or_else(|| refuse(Unusable::Unknown))?;
    let before = known.state;
    let result = known.claim(claim.clone(), now);
    let claimed = if known.state == before {
        result
    } else {
        let mut result = Err(Unusable::Unknown);
        let mut change = |invite: &mut Invite| result = invite.claim(claim.clone(), now);
        shared.storage.change_invite(lookup, &mut change).await?;
        if result.is_ok() {
            shared.metrics.invites_claimed.inc();
        }
        result
    };
    let claimed = claimed.map_err(refuse)?;
    Ok(Json(ClaimedBody {
        secrets: BASE64URL_NOPAD.encode(&claimed.secrets),
        reply: BASE64URL_NOPAD.encode(&claimed.reply),
    }))
}

/// What its creator sees of an invite.
async fn watch(
    State(shared): State<Shared>,
    Path(lookup): Path<String>,
    body: Body,
) -> Result<Json<Watched>, ApiError> {
    let Token { token } = read(body)?;
    let token = fixed(&token)?;
    let invite = shared.storage.invite(lookup_of(&lookup)?).await?;
    let invite = invite.ok_or_else(|| refuse(Unusable::Unknown))?;
    invite.check_owner(&token).map_err(refuse)?;
    let over = shared.clock.now() >= invite.expires_at;
    Ok(Json(Watched {
        state: match invite.state {
            InviteState::Cancelled => "cancelled",
            InviteState::Open if over => "expired",
            InviteState::Open => "open",
            InviteState::Claimed { .. } if invite.secrets.is_empty() => "waiting",
            InviteState::Claimed { .. } => "claimed",
        },
        request: BASE64URL_NOPAD.encode(&invite.request),
    }))
}

async fn answer(
    State(shared): State<Shared>,
    Path(lookup): Path<String>,
    body: Body,
) -> Result<StatusCode, ApiError> {
    let body: AnswerBody = read(body)?;
    let token = fixed(&body.token)?;
    let answer = match (body.reply.is_empty(), body.secrets.is_empty()) {
        (false, true) => Answer::Reply(sealed(&body.reply)?),
        (true, false) => Answer::Secrets(sealed(&body.secrets)?),
        _ => return Err(malformed("an answer has a reply, or the secrets")),
    };
    let now = shared.clock.now();
    let mut result = Err(Unusable::Unknown);
    let mut change = |invite: &mut Invite| result = invite.answer(&token, answer.clone(), now);
    shared
        .storage
        .change_invite(lookup_of(&lookup)?, &mut change)
        .await?;
    result.map_err(refuse)?;
    Ok(StatusCode::NO_CONTENT)
}

async fn cancel(
    State(shared): State<Shared>,
    Path(lookup): Path<String>,
    body: Body,
) -> Result<StatusCode, ApiError> {
    let body: CancelBody = read(body)?;
    let token = fixed(&body.token)?;
    let claimant = body.claimant.as_deref().map(fixed).transpose()?;
    let mut result = Err(Unusable::Unknown);
    let mut change = |invite: &mut Invite| result = invite.cancel(&token, claimant);
    shared
        .storage
        .change_invite(lookup_of(&lookup)?, &mut change)
        .await?;
    result.map_err(refuse)?;
    Ok(StatusCode::NO_CONTENT)
}

fn refuse(why: Unusable) -> ApiError {
    let (status, code, text) = match why {
        Unusable::Unknown => (
            StatusCode::NOT_FOUND,
            INVALID,
            "there is no such invite here; check the link or ask for a new one",
        ),
        Unusable::Expired => (
            StatusCode::GONE,
            "INVITE_EXPIRED",
            "the invite is over; ask for a new one",
        ),
        Unusable::Claimed => (
            StatusCode::GONE,
            INVALID,
            "the invite was used by another device; ask for a new one",
        ),
        Unusable::Cancelled => (
            StatusCode::GONE,
            INVALID,
            "the invite was withdrawn, or the other device said no; ask for a new one",
        ),
        Unusable::WrongToken => (
            StatusCode::FORBIDDEN,
            INVALID,
            "the key does not fit this invite; check the code, or copy the whole link",
        ),
    };
    let error = ApiError::new(status, code, text);
    match why {
        Unusable::Unknown => error.reason("unknown"),
        Unusable::Expired => error.reason("expired"),
        Unusable::Claimed => error.reason("claimed"),
        Unusable::Cancelled => error.reason("cancelled"),
        Unusable::WrongToken => error.reason("wrong-key"),
    }
}

fn malformed(text: &'static str) -> ApiError {
    ApiError::new(StatusCode::BAD_REQUEST, INVALID, text).reason("malformed")
}

fn too_long() -> ApiError {
    let text = "the body is longer than 32 KiB";
    ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, INVALID, text).reason("malformed")
}

fn read<T: for<'de> Deserialize<'de>>(body: Body) -> Result<T, ApiError> {
    let body = body.map_err(|rejection| match rejection.status() {
        StatusCode::PAYLOAD_TOO_LARGE => too_long(),
        _ => malformed("the body did not arrive"),
    })?;
    serde_json::from_slice(&body).map_err(|_| malformed("the body is not JSON of the right shape"))
}

/// A byte string of a known length.
fn fixed<const N: usize>(text: &str) -> Result<[u8; N], ApiError> {
    let bytes = BASE64URL_NOPAD.decode(text.as_bytes()).ok();
    bytes
        .and_then(|bytes| bytes.try_into().ok())
        .ok_or_else(|| malformed("a field is missing, or not base64url of the right length"))
}

fn sealed_or_none(text: &str) -> Result<Vec<u8>, ApiError> {
    if text.is_empty() {
        return Ok(Vec::new());
    }
    sealed(text)
}

fn sealed(text: &str) -> Result<Vec<u8>, ApiError> {
    let bytes = BASE64URL_NOPAD
        .decode(text.as_bytes())
        .map_err(|_| malformed("something sealed is not base64url without padding"))?;
    if bytes.is_empty() || bytes.len() > MAX_INVITE {
        return Err(malformed("what is sealed has 1 to 8192 bytes each"));
    }
    Ok(bytes)
}

/// A lookup id that cannot be one is simply unknown: that is what a mistyped link looks like.
fn lookup_of(text: &str) -> Result<InviteLookup, ApiError> {
    fixed(text)
        .map(InviteLookup)
        .map_err(|_| refuse(Unusable::Unknown))
}
