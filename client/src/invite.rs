//! Making, claiming and cancelling invites over a relay's HTTP interface.

use data_encoding::BASE64URL_NOPAD;
use n0_future::time;
use zerok_sync_shared::crypto::invite::{
    self, ComparisonCode, Invitation, InviteCode, InviteError, InviteKey, InviteOwner, Offer,
    SealedInvite,
};
use zerok_sync_shared::crypto::token::AccessToken;
use zerok_sync_shared::failure::{SyncError, code};
use zerok_sync_shared::ids::{DeviceId, InviteLookup};
use zerok_sync_shared::limits;
use zerok_sync_shared::time::Timestamp;

use crate::config::normal_url;
use crate::driver::closed;
use crate::platform::{self, Field, HttpResponse, Json};

/// How often a request that got no answer is made again.
const ATTEMPTS: u32 = 3;
/// Longest wait that a relay can ask for before a request is made again by itself; longer ones are told to the app.
const MAX_WAIT: time::Duration = time::Duration::from_secs(5);

/// What an invite looks like to people.
#[derive(Debug, Clone, Default)]
pub struct InviteOptions {
    /// The page that the link opens.
    pub app_url: Option<String>,
    /// Whether the invite can also be typed, as a short code. Making the code takes a good part of a second and 64 MiB.
    pub code: bool,
    /// Whether this device is asked before a joiner gets the group's keys. It has to be online then: see
    /// [`crate::Client::invite_state`] and [`crate::Client::answer_invite`].
    pub confirm: bool,
}

/// An invite that waits to be claimed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invite {
    /// To be opened, or scanned, on the device that joins. Whoever has it can join once.
    pub link: String,
    /// To be typed on the device that joins, if one was asked for. The same invite: link or code, once.
    pub code: Option<InviteCode>,
    /// Names the invite for cancelling it.
    pub lookup: InviteLookup,
    /// When it ends.
    pub expires: Timestamp,
}

/// A device that has claimed an invite, as it says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Joiner {
    /// The device.
    pub device: DeviceId,
    /// What people call it.
    pub name: String,
    /// Both devices show this code. If they differ, somebody is between them.
    pub comparison_code: ComparisonCode,
}

/// What has become of an invite.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum InviteState {
    /// Nobody has used it yet.
    Open,
    /// A device waits to be let in.
    Requested(Joiner),
    /// A device has joined with it, or can now. What it says of itself is missing when it cannot be read.
    Claimed(Option<Joiner>),
    /// Its time is over, or it was cancelled.
    Over,
}

/// An invite that was found: its key, the relay that holds it, and what it offers.
pub(crate) type Found = (InviteKey, String, Offer);

/// Finds the invite that somebody opened, scanned or typed, without using it up. `relays` are those of this device: a code
/// does not say which one holds its invite.
pub(crate) async fn find(
    text: &str,
    relays: &[String],
    device: DeviceId,
) -> Result<Found, SyncError> {
    match Invitation::parse(text).map_err(|error| invite_error(&error))? {
        Invitation::Link(key, relay) => {
            let relay = normal_url(&relay).map_err(|error| {
                SyncError::new(code::INVITE_INVALID, error.message).because("malformed")
            })?;
            let sealed = match fetch_sealed(&relay, key.lookup, None).await {
                Err(error) if is_claimed(&error) => fetch_again(&relay, &key, device).await?,
                sealed => sealed?,
            };
            let offer = open_offer(&key, &sealed)?;
            Ok((key, relay, offer))
        }
        Invitation::Code(typed) => find_code(&typed, relays, device).await,
    }
}

async fn find_code(
    typed: &InviteCode,
    relays: &[String],
    device: DeviceId,
) -> Result<Found, SyncError> {
    let mut failure: Option<SyncError> = None;
    for relay in relays {
        match fetch_sealed(relay, typed.lookup(), None).await {
            Ok(sealed) => {
                // Only now, because it is slow.
                let key = key_of(typed.clone()).await?;
                let offer = open_offer(&key, &sealed)?;
                return Ok((key, relay.clone(), offer));
            }
            Err(error) if is_claimed(&error) => {
                let key = key_of(typed.clone()).await?;
                let sealed = fetch_again(relay, &key, device).await?;
                let offer = open_offer(&key, &sealed)?;
                return Ok((key, relay.clone(), offer));
            }
            Err(error) => {
                if failure
                    .as_ref()
                    .is_none_or(|known| weight(&error) > weight(known))
                {
                    failure = Some(error);
                }
            }
        }
    }
    Err(failure.unwrap_or_else(|| {
        let text = "a code does not say where its invite is: open the device with the relay's URL, or use the link";
        SyncError::new(code::INVALID_ARGUMENT, text)
    }))
}

/// How much an answer to a code tells: one relay that knew it beats others that did not.
fn weight(error: &SyncError) -> u8 {
    match (error.code, error.reason) {
        (code::INVITE_EXPIRED, _) => 2,
        (code::INVITE_INVALID, Some("unknown")) => 1,
        (code::INVITE_INVALID, _) => 2,
        _ => 0,
    }
}

/// The key of a code, computed where it holds nothing up.
pub(crate) async fn key_of(typed: InviteCode) -> Result<InviteKey, SyncError> {
    platform::compute(move || typed.key())
        .await
        .ok_or_else(closed)?
        .map_err(|error| invite_error(&error))
}

/// Leaves a sealed invite at the relay; gives the end of its time.
pub(crate) async fn create(
    relay: &str,
    sealed: &SealedInvite,
    owner: &InviteOwner,
    token: Option<&AccessToken>,
) -> Result<Timestamp, SyncError> {
    let ttl = u32::try_from(limits::INVITE_TTL.as_secs()).unwrap_or(u32::MAX);
    let body = Json::object(&[
        ("version", Field::Number(invite::VERSION.into())),
        ("lookup", Field::Text(&encode(sealed.lookup.as_bytes()))),
        ("claim_hash", Field::Text(&encode(&sealed.claim_hash))),
        (
            "owner_hash",
            Field::Text(&encode(&invite::hash_claim(&owner.token()))),
        ),
        ("offer", Field::Text(&encode(&sealed.offer))),
        ("secrets", Field::Text(&encode(&sealed.secrets))),
        ("ttl_seconds", Field::Number(ttl)),
    ]);
    let answer = request(relay, "POST", "/v1/invites", token, Some(body)).await?;
    let expires = parse(relay, &answer)?.field("expires_at").whole();
    expires.map(Timestamp).ok_or_else(|| strange(relay))
}

fn open_offer(key: &InviteKey, sealed: &[u8]) -> Result<Offer, SyncError> {
    key.open_offer(sealed).map_err(|error| invite_error(&error))
}

/// Fetches what an invite offers, without using it up; what somebody has claimed only as that claimant.
async fn fetch_sealed(
    relay: &str,
    lookup: InviteLookup,
    claimant: Option<[u8; 16]>,
) -> Result<Vec<u8>, SyncError> {
    let mut path = path(lookup);
    if let Some(claimant) = claimant {
        path = format!("{path}?claimant={}", encode(&claimant));
    }
    let answer = request(relay, "GET", &path, None, None).await?;
    binary(relay, &answer, "offer")
}

/// Somebody has used it up: perhaps this device, and the answer was lost.
fn is_claimed(error: &SyncError) -> bool {
    error.reason == Some("claimed")
}

async fn fetch_again(relay: &str, key: &InviteKey, device: DeviceId) -> Result<Vec<u8>, SyncError> {
    fetch_sealed(relay, key.lookup, Some(key.claimant(device))).await
}

/// What a relay gives whoever claims an invite.
pub(crate) struct Claimed {
    /// Sealed; empty while the creator has not confirmed.
    pub(crate) secrets: Vec<u8>,
    /// The creator's nonce, sealed; empty before the creator has seen the request.
    pub(crate) reply: Vec<u8>,
}

/// Uses an invite up. The same claimant may ask again: an answer that got lost does not cost the invite, and one that waits
/// to be let in sees what the creator has answered.
pub(crate) async fn claim(
    relay: &str,
    key: &InviteKey,
    claimant: [u8; 16],
    request: &[u8],
) -> Result<Claimed, SyncError> {
    let body = Json::object(&[
        ("token", Field::Text(&encode(&key.claim_token()))),
        ("claimant", Field::Text(&encode(&claimant))),
        ("request", Field::Text(&encode(request))),
    ]);
    let answer = post(relay, key, "/claim", body).await?;
    Ok(Claimed {
        secrets: binary(relay, &answer, "secrets")?,
        reply: binary(relay, &answer, "reply")?,
    })
}

/// What a relay says of an invite to the device that made it.
pub(crate) enum Seen {
    Open,
    /// Somebody waits to be let in, and has sealed this.
    Waiting(Vec<u8>),
    /// Somebody has joined, or can now, and has sealed this.
    Claimed(Vec<u8>),
    Over,
}

/// Looks at an invite that this device made.
pub(crate) async fn watch(
    relay: &str,
    key: &InviteKey,
    owner: &InviteOwner,
) -> Result<Seen, SyncError> {
    let body = Json::object(&[("token", Field::Text(&encode(&owner.token())))]);
    let answer = match post(relay, key, "/watch", body).await {
        Err(error) if error.code == code::INVITE_INVALID => return Ok(Seen::Over),
        answer => answer?,
    };
    let state = parse(relay, &answer)?.field("state").text();
    match state.as_deref() {
        Some("open") => Ok(Seen::Open),
        Some("waiting") => binary(relay, &answer, "request").map(Seen::Waiting),
        Some("claimed") => binary(relay, &answer, "request").map(Seen::Claimed),
        Some("cancelled" | "expired") => Ok(Seen::Over),
        _ => Err(strange(relay)),
    }
}

/// Tells whoever waits to be let in something sealed: the `reply`, or the `secrets`.
pub(crate) async fn answer(
    relay: &str,
    key: &InviteKey,
    owner: &InviteOwner,
    field: &str,
    sealed: &[u8],
) -> Result<(), SyncError> {
    let body = Json::object(&[
        ("token", Field::Text(&encode(&owner.token()))),
        (field, Field::Text(&encode(sealed))),
    ]);
    post(relay, key, "/answer", body).await.map(|_| ())
}

/// Takes an invite back, or turns away whoever waits.
pub(crate) async fn cancel(
    relay: &str,
    key: &InviteKey,
    owner: &InviteOwner,
) -> Result<(), SyncError> {
    delete(relay, key, &[("token", &owner.token())]).await
}

/// Waits no longer to be let in.
pub(crate) async fn give_up(
    relay: &str,
    key: &InviteKey,
    claimant: [u8; 16],
) -> Result<(), SyncError> {
    let fields: [(&str, &[u8]); 2] = [("token", &key.claim_token()), ("claimant", &claimant)];
    delete(relay, key, &fields).await
}

async fn delete(relay: &str, key: &InviteKey, fields: &[(&str, &[u8])]) -> Result<(), SyncError> {
    let fields: Vec<_> = fields
        .iter()
        .map(|(name, bytes)| (*name, encode(bytes)))
        .collect();
    let fields: Vec<_> = fields
        .iter()
        .map(|(name, text)| (*name, Field::Text(text)))
        .collect();
    let body = Json::object(&fields);
    request(relay, "DELETE", &path(key.lookup), None, Some(body))
        .await
        .map(|_| ())
}

async fn post(
    relay: &str,
    key: &InviteKey,
    to: &str,
    body: Vec<u8>,
) -> Result<HttpResponse, SyncError> {
    let path = format!("{}{to}", path(key.lookup));
    request(relay, "POST", &path, None, Some(body)).await
}

/// The error for a link or code that is not one.
pub(crate) fn invite_error(error: &InviteError) -> SyncError {
    let reason = match error {
        InviteError::OutOfMemory => {
            return SyncError::passing(code::OUT_OF_MEMORY, error.to_string());
        }
        InviteError::Malformed => "malformed",
        InviteError::Version => "version",
        InviteError::WrongKey => "wrong-key",
    };
    SyncError::new(code::INVITE_INVALID, error.to_string()).because(reason)
}

fn path(lookup: InviteLookup) -> String {
    format!("/v1/invites/{}", encode(lookup.as_bytes()))
}

async fn request(
    relay: &str,
    method: &str,
    path: &str,
    token: Option<&AccessToken>,
    body: Option<Vec<u8>>,
) -> Result<HttpResponse, SyncError> {
    let url = format!("{relay}{path}");
    let mut attempt = 1;
    let answer = loop {
        match platform::fetch(method, &url, token, body.clone()).await {
            // Nothing has happened there, and a person would only press the button again.
            Ok(answer)
                if attempt < ATTEMPTS
                    && let Some(wait) = short_wait(&answer) =>
            {
                attempt += 1;
                time::sleep(wait).await;
            }
            Ok(answer) => break answer,
            Err(error) if attempt == ATTEMPTS => {
                let text = format!("{relay} cannot be reached: {error}");
                return Err(SyncError::passing(code::RELAY_UNREACHABLE, text));
            }
            Err(_) => attempt += 1,
        }
    };
    if (200..300).contains(&answer.status) {
        Ok(answer)
    } else {
        Err(refusal(relay, &answer))
    }
}

/// How long a relay that has too much to do asks to wait, if people would.
fn short_wait(answer: &HttpResponse) -> Option<time::Duration> {
    if !matches!(answer.status, 429 | 503) {
        return None;
    }
    let asked = Json::parse(&answer.body)?.field("retry_after_ms").whole()?;
    Some(time::Duration::from_millis(asked)).filter(|wait| *wait <= MAX_WAIT)
}

fn refusal(relay: &str, answer: &HttpResponse) -> SyncError {
    let refusal = Json::parse(&answer.body);
    let text = |name| {
        refusal
            .as_ref()
            .and_then(|refusal| refusal.field(name).text())
    };
    let message = text("message")
        .filter(|message| !message.is_empty())
        .unwrap_or_else(|| format!("{relay} answers with HTTP status {}", answer.status));
    let given = text("reason");
    let reason = [
        "unknown",
        "claimed",
        "cancelled",
        "wrong-key",
        "version",
        "malformed",
    ]
    .into_iter()
    .find(|reason| given.as_deref() == Some(reason));
    let error = match text("code").unwrap_or_default().as_str() {
        "INVITE_EXPIRED" => SyncError::new(code::INVITE_EXPIRED, message),
        "INVITE_INVALID" => SyncError::new(code::INVITE_INVALID, message),
        "RATE_LIMITED" => SyncError::passing("RATE_LIMITED", message),
        "UNAUTHORIZED" => SyncError::new("UNAUTHORIZED", message),
        "RELAY_OVERLOADED" => SyncError::passing("RELAY_OVERLOADED", message),
        _ => SyncError::passing(code::RELAY_UNREACHABLE, message),
    };
    SyncError {
        reason,
        retry_after_ms: refusal
            .as_ref()
            .and_then(|refusal| refusal.field("retry_after_ms").whole()),
        ..error
    }
}

fn parse(relay: &str, answer: &HttpResponse) -> Result<Json, SyncError> {
    Json::parse(&answer.body).ok_or_else(|| strange(relay))
}

fn strange(relay: &str) -> SyncError {
    let text = format!("{relay} does not answer as a 0k-Sync relay; check the URL");
    SyncError::passing(code::RELAY_UNREACHABLE, text).because("not-a-relay")
}

fn encode(bytes: &[u8]) -> String {
    BASE64URL_NOPAD.encode(bytes)
}

/// A field with bytes.
fn binary(relay: &str, answer: &HttpResponse, field: &str) -> Result<Vec<u8>, SyncError> {
    let text = parse(relay, answer)?.field(field).text();
    text.and_then(|text| BASE64URL_NOPAD.decode(text.as_bytes()).ok())
        .ok_or_else(|| strange(relay))
}
