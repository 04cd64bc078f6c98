//! Groups by name and passphrase.

use zerok_sync_shared::crypto::keys::EpochKeys;
use zerok_sync_shared::crypto::passphrase::{Passphrase, Profile};
use zerok_sync_shared::failure::{SyncError, code};
use zerok_sync_shared::ids::GroupId;
use zerok_sync_shared::map::SortedMap;

use super::Client;
use crate::driver::{Command, closed};
use crate::network::{Answer, Probe};
use crate::platform;

/// A group that was found, or was made.
struct Found {
    keys: EpochKeys,
    /// Nothing has to be fetched before it is complete.
    fresh: bool,
}

impl Client {
    /// Joins the group of this name and passphrase. With `found`, the group is made with this profile unless it is there.
    /// Needs the relays: another device may have made the group, with a profile of its own.
    ///
    /// The passphrase is taken as it is. Whoever calls this sees to its strength and its form.
    ///
    /// # Errors
    /// `GROUP_NOT_FOUND`, `GROUP_CLOSED`, `RELAY_UNREACHABLE`, `RATE_LIMITED`, `UNAUTHORIZED`, `OUT_OF_MEMORY`;
    /// `INVALID_ARGUMENT` without relays; `STORAGE_FULL`, `STORAGE_FAILED`, `CLOSED`
    pub async fn passphrase_group(
        &self,
        passphrase: Passphrase,
        found: Option<Profile>,
    ) -> Result<GroupId, SyncError> {
        if self.inner.relays.is_empty() {
            let text = "a passphrase does not say where its group is: open the device with the relay's URL";
            return Err(SyncError::new(code::INVALID_ARGUMENT, text));
        }
        let (candidates, lacking) = derive(&passphrase).await?;
        let mut groups = candidates.iter().map(|(_, keys)| keys.founded_group());
        if let Some(known) = groups.find(|group| self.inner.mirror.group(*group).is_some()) {
            return Ok(known);
        }
        let Found { keys, fresh } = self.find_or_found(&candidates, lacking, found).await?;
        let (group, secret) = (keys.founded_group(), keys.secret().clone());
        let relays = self.inner.relays.clone();
        let membership = self.membership(vec![(0, secret)], relays, SortedMap::new(), fresh);
        self.request(|reply| Command::AddGroup {
            group,
            membership: Box::new(membership),
            reply,
        })
        .await?;
        Ok(group)
    }

    async fn find_or_found(
        &self,
        candidates: &[(Profile, EpochKeys)],
        mut failure: Option<SyncError>,
        found: Option<Profile>,
    ) -> Result<Found, SyncError> {
        let relays = &self.inner.relays;
        // All are asked, and then it is made at the first one.
        let visits = relays.iter().map(|relay| (relay, None));
        let last = relays.first().map(|relay| (relay, found));
        for (at, (relay, make)) in visits.chain(last).enumerate() {
            if at == relays.len() {
                // Somebody who could not be asked may have the group: neither "there is none" nor a second one would be
                // right.
                if let Some(error) = failure {
                    return Err(error);
                }
                if make.is_none() {
                    break;
                }
            }
            match self.visit(relay, candidates, make).await {
                Ok(None) => {}
                Ok(Some(found)) => return Ok(found),
                Err(error) if make.is_some() || error.code == code::GROUP_CLOSED => {
                    return Err(error);
                }
                Err(error) => failure = failure.or(Some(error)),
            }
        }
        let text = format!(
            "{} has no group of this name and passphrase: look at both for typing errors (capitals count), found the              group first if nobody has, and see that all devices use the same relay and the same app",
            relays.join(", ")
        );
        Err(SyncError::new(code::GROUP_NOT_FOUND, text))
    }

    /// The strongest of these groups that a relay has; or the one to be made.
    async fn visit(
        &self,
        relay: &str,
        candidates: &[(Profile, EpochKeys)],
        make: Option<Profile>,
    ) -> Result<Option<Found>, SyncError> {
        if self.inner.commands.is_closed() {
            return Err(closed());
        }
        let endpoint = self.inner.endpoint.clone();
        let probe = Probe::connect(endpoint, relay, self.inner.token.clone()).await?;
        for (profile, keys) in candidates {
            if make.is_some_and(|make| make != *profile) {
                continue;
            }
            match probe.ask(keys, make.is_some()).await? {
                Answer::Unknown => {}
                Answer::Here { max_cursor } => {
                    return Ok(Some(Found {
                        keys: keys.clone(),
                        fresh: make.is_some() && max_cursor == 0,
                    }));
                }
                // Whoever was removed knows the passphrase as well.
                Answer::Rotated => {
                    let text = format!(
                        "{relay} has this group, but a device was removed from it since, and the passphrase opens it no \
                         longer; ask a member for an invite"
                    );
                    return Err(SyncError::new(code::GROUP_CLOSED, text));
                }
            }
        }
        Ok(None)
    }
}

/// The keys of every profile, strongest first, computed where they hold nothing up; and what this device could not compute.
async fn derive(
    passphrase: &Passphrase,
) -> Result<(Vec<(Profile, EpochKeys)>, Option<SyncError>), SyncError> {
    let mut candidates = Vec::new();
    let mut lacking = None;
    for profile in Profile::ALL {
        let passphrase = passphrase.clone();
        let computed = platform::compute(move || passphrase.secret(profile)).await;
        match computed.ok_or_else(closed)? {
            Ok(secret) => candidates.push((profile, EpochKeys::derive(0, secret))),
            Err(error) => {
                let text = format!("{error} for the passphrase; join by a link instead");
                lacking = Some(SyncError::passing(code::OUT_OF_MEMORY, text));
            }
        }
    }
    Ok((candidates, lacking))
}
