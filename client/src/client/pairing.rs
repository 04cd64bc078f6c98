//! Invites: making and watching them, letting devices in, and joining with one.

use std::future::{Future, pending};
use std::sync::PoisonError;

use n0_future::time::{self, Duration, Instant};
use zerok_sync_shared::crypto::exchange::ExchangeSecret;
use zerok_sync_shared::crypto::invite::{
    ComparisonCode, InviteCode, InviteError, InviteKey, InviteOwner, JoinRequest, Offer, Pair,
    Secrets,
};
use zerok_sync_shared::crypto::keys::EpochKeys;
use zerok_sync_shared::failure::{SyncError, code};
use zerok_sync_shared::ids::{DeviceId, GroupId, InviteLookup};
use zerok_sync_shared::limits;
use zerok_sync_shared::map::SortedMap;

use super::Client;
use crate::config::normal_url;
use crate::driver::{Command, GroupMirror, closed};
use crate::invite::{self, Claimed, Invite, InviteOptions, InviteState, Joiner, Seen};
use crate::platform;

/// Between two looks of a joiner that waits to be let in. Relays answer one request a second of an address, which both
/// devices may share.
const WAIT_INTERVAL: Duration = Duration::from_secs(2);

/// An invite that was made here.
#[derive(Clone)]
pub(super) struct Made {
    group: GroupId,
    relay: String,
    key: InviteKey,
    owner: InviteOwner,
    confirm: bool,
    /// The request that was shown. The nonce was revealed to it, so no other one counts from then on.
    shown: Option<JoinRequest>,
    revealed: bool,
}

/// A device that waits to be let in.
struct Asked {
    exchange: ExchangeSecret,
    request: Vec<u8>,
    claimant: [u8; 16],
    claimed: Claimed,
}

/// How a device joins.
pub struct JoinOptions<F, C> {
    /// Called with the code that the other device shows, too: where the creator confirms, while this device waits to be let
    /// in; otherwise when it was let in.
    pub on_comparison_code: F,
    /// Ends the waiting.
    pub cancelled: C,
}

impl Client {
    /// Joins a group by an invite link or a short code; a code is looked for at the relays of [`crate::Config`]. A device that
    /// is a member already stays one; the invite is not used up then.
    ///
    /// # Errors
    /// As those of [`Client::join_with`].
    pub async fn join(&self, invitation: &str) -> Result<GroupId, SyncError> {
        let options = JoinOptions {
            on_comparison_code: |_| {},
            cancelled: pending(),
        };
        self.join_with(invitation, options).await
    }

    /// The same, where people compare codes. Waits for the creator's answer where it confirms.
    ///
    /// # Errors
    /// `INVITE_INVALID`, `INVITE_EXPIRED`, `INVITE_REJECTED`, `CANCELLED`, `RELAY_UNREACHABLE`, `STORAGE_FULL`,
    /// `STORAGE_FAILED`, `CLOSED`; for a code also `INVALID_ARGUMENT` without relays and `OUT_OF_MEMORY`
    pub async fn join_with<F, C>(
        &self,
        invitation: &str,
        options: JoinOptions<F, C>,
    ) -> Result<GroupId, SyncError>
    where
        F: FnOnce(ComparisonCode),
        C: Future<Output = ()>,
    {
        let (key, relay, offer) =
            invite::find(invitation, &self.inner.relays, self.inner.device).await?;
        let group = offer.group_id;
        // A member whose keys are older was left out of a change of keys: the invite brings the newer ones.
        let held = self.inner.mirror.group(group);
        let newest = held.and_then(|held| held.keys.last().map(EpochKeys::epoch));
        if newest.is_some_and(|newest| newest >= offer.epoch) {
            return Ok(group);
        }
        let relays = offered_relays(&offer, &relay)?;
        let secrets = match offer.confirm {
            None => {
                let on_code = options.on_comparison_code;
                self.claim(&relay, &key, &offer, on_code).await?
            }
            Some(committed) => {
                let asked = self.ask(&relay, &key).await?;
                let claimant = asked.claimant;
                let waiting = self.wait_for_grant(
                    &relay,
                    &key,
                    &offer,
                    asked,
                    committed,
                    options.on_comparison_code,
                );
                let answered = tokio::select! {
                    answered = waiting => answered,
                    () = options.cancelled => Err(SyncError::new(
                        code::CANCELLED,
                        "joining was given up on this device",
                    )),
                    () = self.inner.commands.closed() => Err(closed()),
                };
                if answered.is_err() {
                    // So that nobody confirms what nobody waits for; if it fails, the invite ends by itself.
                    let _ = invite::give_up(&relay, &key, claimant).await;
                }
                answered?
            }
        };
        check_secrets(&secrets, group)?;
        let mut tokens = secrets.tokens;
        tokens.retain(|url, _| relays.contains(url));
        let membership = self.membership(secrets.epochs, relays, tokens, false);
        self.request(|reply| Command::AddGroup {
            group,
            membership: Box::new(membership),
            reply,
        })
        .await?;
        Ok(group)
    }

    async fn claim(
        &self,
        relay: &str,
        key: &InviteKey,
        offer: &Offer,
        on_code: impl FnOnce(ComparisonCode),
    ) -> Result<Secrets, SyncError> {
        let request = self.seal_request(key, None);
        let claimant = key.claimant(self.inner.device);
        let claimed = invite::claim(relay, key, claimant, &request).await?;
        let secrets = key
            .open_secrets(&claimed.secrets)
            .map_err(|error| invite::invite_error(&error))?;
        on_code(key.comparison_code(&self.pair_with(offer.created_by)));
        Ok(secrets)
    }

    /// Asks to be let in.
    async fn ask(&self, relay: &str, key: &InviteKey) -> Result<Asked, SyncError> {
        let exchange = ExchangeSecret::random(&mut random);
        let request = self.seal_request(key, Some(&exchange));
        let claimant = random_id();
        let claimed = invite::claim(relay, key, claimant, &request).await?;
        Ok(Asked {
            exchange,
            request,
            claimant,
            claimed,
        })
    }

    async fn wait_for_grant(
        &self,
        relay: &str,
        key: &InviteKey,
        offer: &Offer,
        asked: Asked,
        committed: [u8; 32],
        on_code: impl FnOnce(ComparisonCode),
    ) -> Result<Secrets, SyncError> {
        let Asked {
            exchange,
            request,
            claimant,
            mut claimed,
        } = asked;
        let public = exchange.public();
        let deadline = Instant::now() + limits::INVITE_TTL;
        let (mut on_code, mut nonce) = (Some(on_code), None);
        loop {
            if nonce.is_none() && !claimed.reply.is_empty() {
                let opened = key.open_nonce(&claimed.reply, &committed);
                nonce = Some(opened.map_err(|error| invite::invite_error(&error))?);
            }
            if let Some(nonce) = &nonce {
                let pair = Pair {
                    confirmed: Some((&public, nonce)),
                    ..self.pair_with(offer.created_by)
                };
                if let Some(on_code) = on_code.take() {
                    on_code(key.comparison_code(&pair));
                }
                if !claimed.secrets.is_empty() {
                    let secrets = key.open_grant(&pair, &exchange, &claimed.secrets);
                    return secrets.map_err(|error| invite::invite_error(&error));
                }
            }
            time::sleep(WAIT_INTERVAL).await;
            match invite::claim(relay, key, claimant, &request).await {
                Ok(next) => claimed = next,
                Err(error) if error.reason == Some("cancelled") => {
                    return Err(SyncError::new(
                        code::INVITE_REJECTED,
                        "the other device did not let this one in; ask for a new invite if that was a mistake",
                    ));
                }
                // The network may come back before the invite ends.
                Err(error) if error.retryable && Instant::now() < deadline => {}
                Err(error) => return Err(error),
            }
        }
    }

    fn seal_request(&self, key: &InviteKey, exchange: Option<&ExchangeSecret>) -> Vec<u8> {
        let request = JoinRequest {
            device: self.inner.device,
            name: self.inner.name.clone(),
            exchange: exchange.map(ExchangeSecret::public),
        };
        key.seal_request(request, &mut random)
    }

    /// This device as joiner.
    fn pair_with(&self, creator: DeviceId) -> Pair<'static> {
        Pair {
            creator,
            joiner: self.inner.device,
            confirmed: None,
        }
    }

    /// Makes a single-use invite.
    ///
    /// # Errors
    /// `UNKNOWN_GROUP`, `RELAY_UNREACHABLE`, `RATE_LIMITED`, `UNAUTHORIZED`; with a code also `OUT_OF_MEMORY`
    pub async fn create_invite(
        &self,
        group: GroupId,
        options: InviteOptions,
    ) -> Result<Invite, SyncError> {
        let GroupMirror {
            view, keys, tokens, ..
        } = self.mirror(group)?;
        let relays: Vec<String> = view.relays.into_iter().map(|(url, _)| url).collect();
        let relay = view
            .relay
            .or_else(|| relays.first().cloned())
            .unwrap_or_default();
        let (key, code) = if options.code {
            let code = InviteCode::random(&mut random);
            (invite::key_of(code.clone()).await?, Some(code))
        } else {
            (InviteKey::random(&mut random), None)
        };
        let owner = InviteOwner::random(&mut random);
        let offer = Offer {
            relays,
            group_id: group,
            epoch: keys.last().map_or(0, EpochKeys::epoch),
            created_by: self.inner.device,
            expires: platform::Clock::start().now().plus(limits::INVITE_TTL),
            confirm: options.confirm.then(|| owner.commitment()),
        };
        let sealed = if options.confirm {
            key.seal_offer(&offer, &mut random)
        } else {
            key.seal(&offer, &self.secrets(group)?, &mut random)
        };
        let expires = invite::create(&relay, &sealed, &owner, tokens.get(&relay)).await?;
        let link = key.link(options.app_url.as_deref().unwrap_or_default(), &relay);
        let lookup = key.lookup;
        let made = Made {
            group,
            relay,
            key,
            owner,
            confirm: options.confirm,
            shown: None,
            revealed: false,
        };
        self.invites().insert(lookup, made);
        Ok(Invite {
            link,
            code,
            lookup,
            expires,
        })
    }

    /// What a joiner is given.
    fn secrets(&self, group: GroupId) -> Result<Secrets, SyncError> {
        let GroupMirror { keys, tokens, .. } = self.mirror(group)?;
        Ok(Secrets {
            epochs: keys
                .iter()
                .map(|keys| (keys.epoch(), keys.secret().clone()))
                .collect(),
            tokens,
        })
    }

    /// What has become of an invite that this client made. A joiner that waits sees the comparison code only after this was
    /// called.
    ///
    /// # Errors
    /// `RELAY_UNREACHABLE`, `RATE_LIMITED`
    pub async fn invite_state(&self, lookup: InviteLookup) -> Result<InviteState, SyncError> {
        let known = self.invites().get(&lookup).cloned();
        let Some(made) = known else {
            return Ok(InviteState::Over);
        };
        let (relay, key, owner) = (&made.relay, &made.key, &made.owner);
        let request = match invite::watch(relay, key, owner).await? {
            Seen::Open => return Ok(InviteState::Open),
            Seen::Over => return Ok(InviteState::Over),
            Seen::Claimed(sealed) => {
                let request = made.shown.clone();
                let request = request.or_else(|| key.open_request(&sealed).ok());
                let joiner = request.map(|request| self.joiner(&made, request));
                return Ok(InviteState::Claimed(joiner));
            }
            Seen::Waiting(sealed) => match made.shown.clone() {
                Some(shown) => shown,
                None => match key.open_request(&sealed) {
                    Ok(request) if made.confirm && request.exchange.is_some() => request,
                    // Whoever made it has the key and does not keep to the protocol: nobody can be let in by it.
                    _ => return Ok(InviteState::Over),
                },
            },
        };
        if !made.revealed {
            // Kept before the nonce is revealed: whoever knows the nonce can't change the request any more.
            if let Some(made) = self.invites().get_mut(&lookup) {
                made.shown.get_or_insert_with(|| request.clone());
            }
            let nonce = key.seal_nonce(&owner.nonce(), &mut random);
            invite::answer(relay, key, owner, "reply", &nonce).await?;
            if let Some(made) = self.invites().get_mut(&lookup) {
                made.revealed = true;
            }
        }
        Ok(InviteState::Requested(self.joiner(&made, request)))
    }

    fn joiner(&self, made: &Made, request: JoinRequest) -> Joiner {
        let nonce = made.owner.nonce();
        let exchange = request.exchange.as_ref().filter(|_| made.confirm);
        let pair = Pair {
            creator: self.inner.device,
            joiner: request.device,
            confirmed: exchange.map(|exchange| (exchange, &nonce)),
        };
        Joiner {
            device: request.device,
            comparison_code: made.key.comparison_code(&pair),
            name: request.name,
        }
    }

    /// Lets the device in that was last seen as [`InviteState::Requested`], or turns it away.
    ///
    /// # Errors
    /// `INVITE_EXPIRED`, `INVITE_INVALID` when the joiner has given up; `INVALID_ARGUMENT` when nobody was seen to wait;
    /// `UNKNOWN_GROUP`, `RELAY_UNREACHABLE`, `RATE_LIMITED`
    pub async fn answer_invite(&self, lookup: InviteLookup, accept: bool) -> Result<(), SyncError> {
        if !accept {
            return self.cancel_invite(lookup).await;
        }
        let known = self.invites().get(&lookup).cloned();
        let Some((made, shown)) = known.and_then(|made| Some((made.clone(), made.shown?))) else {
            return Err(SyncError::new(
                code::INVALID_ARGUMENT,
                "no device waits to be let in by this invite",
            ));
        };
        let Made {
            relay, key, owner, ..
        } = &made;
        let nonce = owner.nonce();
        let pair = Pair {
            creator: self.inner.device,
            joiner: shown.device,
            confirmed: shown.exchange.as_ref().map(|exchange| (exchange, &nonce)),
        };
        let secrets = self.secrets(made.group)?;
        let grant = key
            .seal_grant(&pair, &secrets, &mut random)
            .ok_or_else(|| invite::invite_error(&InviteError::Version))?;
        invite::answer(relay, key, owner, "secrets", &grant).await
    }

    /// Takes back an invite that this client made, and turns away whoever waits. One that is over is no error.
    ///
    /// # Errors
    /// `RELAY_UNREACHABLE`
    pub async fn cancel_invite(&self, lookup: InviteLookup) -> Result<(), SyncError> {
        let known = self.invites().get(&lookup).cloned();
        let Some(Made {
            relay, key, owner, ..
        }) = known
        else {
            return Ok(());
        };
        match invite::cancel(&relay, &key, &owner).await {
            Err(error) if error.code == code::RELAY_UNREACHABLE || error.retryable => {
                return Err(error);
            }
            Ok(()) | Err(_) => {}
        }
        self.invites().remove(&lookup);
        Ok(())
    }

    fn invites(&self) -> std::sync::MutexGuard<'_, SortedMap<InviteLookup, Made>> {
        self.inner
            .invites
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

fn random(bytes: &mut [u8]) {
    platform::fill_random(bytes);
}

fn random_id() -> [u8; 16] {
    let mut id = [0; 16];
    random(&mut id);
    id
}

/// Relays of the offer that are usable; the one that holds the invite is among them.
fn offered_relays(offer: &Offer, relay: &str) -> Result<Vec<String>, SyncError> {
    let mut relays = Vec::new();
    for url in &offer.relays {
        let url = normal_url(url).map_err(|error| {
            SyncError::new(code::INVITE_INVALID, error.message).because("malformed")
        })?;
        if !relays.contains(&url) {
            relays.push(url);
        }
    }
    if !relays.iter().any(|url| url == relay) {
        relays.push(relay.to_owned());
    }
    Ok(relays)
}

/// The secrets must be those of the group that was offered.
fn check_secrets(secrets: &Secrets, group: GroupId) -> Result<(), SyncError> {
    let founded = secrets.epochs.first().filter(|(epoch, _)| *epoch == 0);
    if founded.is_some_and(|(epoch, secret)| {
        EpochKeys::derive(*epoch, secret.clone()).founded_group() == group
    }) {
        return Ok(());
    }
    Err(SyncError::new(
        code::INVITE_INVALID,
        "the invite's keys are not those of its group",
    )
    .because("wrong-key"))
}
