//! What a command can ask of the device. Each request is carried out by the process that has it open.

use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::join_all;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use zerok_sync_client::shared::crypto::invite::InviteKey;
use zerok_sync_client::shared::crypto::passphrase::{Passphrase, Profile};
use zerok_sync_client::shared::crypto::rotation::Reason;
use zerok_sync_client::shared::engine::DeviceInfo;
use zerok_sync_client::shared::failure::code;
use zerok_sync_client::shared::ids::{GroupId, InviteLookup};
use zerok_sync_client::{Client, InviteOptions};

use super::device::Device;
use super::joins::Progress;
use crate::failure::Failure;

pub use answers::{
    Blob, Data, DeviceStatus, GroupName, GroupStatus, InviteLook, Invited, Joiner, MemberDevice,
    Note, Page, Pushed, Seen,
};

mod answers;
mod memory;

/// Something to be carried out on the device.
#[async_trait]
pub trait Request: Clone + Serialize + DeserializeOwned + Send + Sync + Into<AnyRequest> {
    /// What comes back.
    type Answer: Serialize + DeserializeOwned + Send;
    /// Whether doing it twice is the same as doing it once.
    const REPEATABLE: bool = true;
    /// Does it.
    async fn carry_out(self, device: &Device) -> Result<Self::Answer, Failure>;
}

macro_rules! requests {
    ($($name:ident),* $(,)?) => {
        /// Any of them, as it goes over the socket.
        #[derive(Debug, Clone, Serialize, Deserialize)]
        pub enum AnyRequest {
            $($name($name),)*
        }

        impl AnyRequest {
            /// Does it, and gives the answer as JSON.
            pub async fn carry_out(self, device: &Device) -> Result<serde_json::Value, Failure> {
                match self {
                    $(Self::$name(request) => to_value(request.carry_out(device).await?),)*
                }
            }
        }

        $(impl From<$name> for AnyRequest {
            fn from(request: $name) -> Self {
                Self::$name(request)
            }
        })*
    };
}

requests!(
    Overview,
    Push,
    Pull,
    Watch,
    Delete,
    Retry,
    Found,
    Invite,
    LookAtInvite,
    AnswerInvite,
    BeginJoin,
    LookAtJoin,
    NamedGroup,
    Devices,
    Revoke,
    Rename,
    Leave,
);

/// The device and its groups.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Overview;

/// Adds blobs to the log, in this order. Each has an answer of its own; it is durable then.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Push {
    pub group: GroupName,
    pub blobs: Vec<Data>,
    pub ttl: u32,
}

/// One page of the log.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Pull {
    pub group: GroupName,
    pub after: u64,
    pub limit: usize,
    pub include_own: bool,
}

/// Deletes a blob, here and everywhere.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Delete {
    pub group: GroupName,
    pub id: String,
    pub force: bool,
}

/// Waits until something has happened since `seen`, a version from the last answer, or for so long.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Watch {
    pub group: GroupName,
    pub seen: u64,
    pub wait: Duration,
}

/// Doesn't wait any longer to try relays again.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Retry;

/// Founds a group; answered with its id.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Found;

/// Makes an invite.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Invite {
    pub group: GroupName,
    pub app_url: Option<String>,
    pub confirm: bool,
}

/// What has become of an invite.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct LookAtInvite {
    pub lookup: String,
}

/// Lets the device in that was seen to wait, or turns it away.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct AnswerInvite {
    pub lookup: String,
    pub accept: bool,
}

/// Begins to join by a link or a code; answered with a number to look at.
#[derive(Clone, Serialize, Deserialize)]
pub struct BeginJoin {
    pub invitation: String,
}

/// The invitation is a secret.
impl std::fmt::Debug for BeginJoin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("BeginJoin")
    }
}

/// How far it has come, after something new has happened or `wait` is over. Who does not look any more has given up.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct LookAtJoin {
    pub id: u64,
    /// The comparison code is known.
    pub told: bool,
    pub wait: Duration,
}

/// Joins the group of a name and a passphrase, both in their one form; answered with its id.
#[derive(Clone, Serialize, Deserialize)]
pub struct NamedGroup {
    pub app: String,
    pub name: String,
    pub passphrase: String,
    /// Make it if it is not there. The passphrase was judged then.
    pub found: bool,
}

/// The passphrase is a secret.
impl std::fmt::Debug for NamedGroup {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("NamedGroup")
    }
}

/// Who is in a group.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Devices {
    pub group: GroupName,
}

/// Removes another device; answered when that is certain to happen.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Revoke {
    pub group: GroupName,
    pub device: String,
    pub reason: String,
}

/// Gives this device another name in a group.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Rename {
    pub group: GroupName,
    pub name: String,
}

/// Forgets a group.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Leave {
    pub group: GroupName,
}

#[async_trait]
impl Request for Overview {
    type Answer = DeviceStatus;

    async fn carry_out(self, device: &Device) -> Result<DeviceStatus, Failure> {
        let client = &device.client;
        let view = |group| status(client, group).ok().map(|(status, _)| status);
        Ok(DeviceStatus {
            device_id: client.device_id().to_string(),
            groups: client.groups().into_iter().filter_map(view).collect(),
        })
    }
}

#[async_trait]
impl Request for Push {
    type Answer = Vec<Result<Pushed, Failure>>;
    const REPEATABLE: bool = false;

    async fn carry_out(self, device: &Device) -> Result<Self::Answer, Failure> {
        let group = self.group.id()?;
        let ttl = self.ttl;
        // All at once, so that they share a write; they are begun in order, and the log keeps it.
        let pushes = self.blobs.into_iter().map(async |Data(data)| {
            let pushed = device.client.push(group, data, ttl).await?;
            Ok(Pushed {
                id: pushed.blob_id.to_string(),
                position: pushed.position,
            })
        });
        Ok(join_all(pushes).await)
    }
}

#[async_trait]
impl Request for Pull {
    type Answer = Page;

    async fn carry_out(self, device: &Device) -> Result<Page, Failure> {
        let group = self.group.id()?;
        let page = device
            .client
            .pull(group, self.after, self.limit, self.include_own)
            .await?;
        let blob = |blob: zerok_sync_client::ReceivedBlob| Blob {
            id: blob.blob_id.to_string(),
            position: blob.position,
            sender: blob.sender.to_string(),
            own: blob.own,
            cursor: blob.cursor,
            timestamp: blob.timestamp.0,
            data: blob.data,
        };
        Ok(Page {
            blobs: page.blobs.into_iter().map(blob).collect(),
            has_more: page.has_more,
            next: page.next,
        })
    }
}

#[async_trait]
impl Request for Delete {
    type Answer = ();

    async fn carry_out(self, device: &Device) -> Result<(), Failure> {
        let group = self.group.id()?;
        let id = self
            .id
            .parse()
            .map_err(|error| Failure::usage(format!("not a blob's id: {error}")))?;
        Ok(device.client.delete(group, id, self.force).await?)
    }
}

#[async_trait]
impl Request for Watch {
    type Answer = Seen;

    async fn carry_out(self, device: &Device) -> Result<Seen, Failure> {
        let group = self.group.id()?;
        let mut changes = device.told.changes();
        let changed = changes.wait_for(|counts| counts.version != self.seen);
        let _ = tokio::time::timeout(self.wait, changed).await;
        let counts = *changes.borrow();
        let (status, owes) = status(&device.client, group)?;
        Ok(Seen {
            version: counts.version,
            failed_attempts: counts.failed_attempts,
            notes: device.told.notes(self.seen),
            owes,
            status,
        })
    }
}

#[async_trait]
impl Request for Retry {
    type Answer = ();

    async fn carry_out(self, device: &Device) -> Result<(), Failure> {
        device.client.network_changed(true);
        Ok(())
    }
}

#[async_trait]
impl Request for Found {
    type Answer = String;
    const REPEATABLE: bool = false;

    async fn carry_out(self, device: &Device) -> Result<String, Failure> {
        Ok(device.client.create_group().await?.to_string())
    }
}

#[async_trait]
impl Request for Invite {
    type Answer = Invited;

    async fn carry_out(self, device: &Device) -> Result<Invited, Failure> {
        let group = self.group.id()?;
        let invite = device
            .client
            .create_invite(
                group,
                InviteOptions {
                    app_url: self.app_url.clone(),
                    code: true,
                    confirm: self.confirm,
                },
            )
            .await?;
        let mut link = invite.link;
        if self.app_url.is_none()
            && let Ok((key, relay)) = InviteKey::parse(&link)
        {
            // A link that starts with # is a comment to a shell.
            link = key.link(&format!("{relay}/"), &relay);
        }
        Ok(Invited {
            link,
            code: invite.code.map(|code| code.to_string()),
            lookup: invite.lookup.to_string(),
            expires_at: invite.expires.0,
        })
    }
}

fn lookup(text: &str) -> Result<InviteLookup, Failure> {
    text.parse()
        .map_err(|error| Failure::usage(format!("not an invite: {error}")))
}

#[async_trait]
impl Request for LookAtInvite {
    type Answer = InviteLook;

    async fn carry_out(self, device: &Device) -> Result<InviteLook, Failure> {
        let state = device.client.invite_state(lookup(&self.lookup)?).await?;
        Ok(state.into())
    }
}

#[async_trait]
impl Request for AnswerInvite {
    type Answer = ();

    async fn carry_out(self, device: &Device) -> Result<(), Failure> {
        let lookup = lookup(&self.lookup)?;
        Ok(device.client.answer_invite(lookup, self.accept).await?)
    }
}

#[async_trait]
impl Request for BeginJoin {
    type Answer = u64;
    const REPEATABLE: bool = false;

    async fn carry_out(self, device: &Device) -> Result<u64, Failure> {
        let client = device.client.clone();
        Ok(device.joins.begin(client, self.invitation))
    }
}

#[async_trait]
impl Request for LookAtJoin {
    type Answer = Progress;

    async fn carry_out(self, device: &Device) -> Result<Progress, Failure> {
        device.joins.look(self.id, self.told, self.wait).await
    }
}

#[async_trait]
impl Request for NamedGroup {
    type Answer = String;

    async fn carry_out(self, device: &Device) -> Result<String, Failure> {
        let passphrase = Passphrase::new(&self.app, &self.name, self.passphrase)
            .map_err(|error| Failure::usage(error.to_string()))?;
        let profile = Profile::affordable(memory::of_this_machine());
        let found = self.found.then_some(profile);
        let group = device.client.passphrase_group(passphrase, found).await?;
        Ok(group.to_string())
    }
}

#[async_trait]
impl Request for Devices {
    type Answer = Vec<MemberDevice>;

    async fn carry_out(self, device: &Device) -> Result<Self::Answer, Failure> {
        let devices = device.client.devices(self.group.id()?)?;
        Ok(devices.into_iter().map(MemberDevice::from).collect())
    }
}

#[async_trait]
impl Request for Revoke {
    type Answer = ();

    async fn carry_out(self, device: &Device) -> Result<(), Failure> {
        let group = self.group.id()?;
        let gone = self
            .device
            .parse()
            .map_err(|error| Failure::usage(format!("not a device's id: {error}")))?;
        let reason = Reason::from_name(&self.reason)
            .ok_or_else(|| Failure::usage("no reason has this name"))?;
        Ok(device.client.revoke(group, gone, reason).await?)
    }
}

#[async_trait]
impl Request for Rename {
    type Answer = ();

    async fn carry_out(self, device: &Device) -> Result<(), Failure> {
        Ok(device.client.rename(self.group.id()?, &self.name).await?)
    }
}

#[async_trait]
impl Request for Leave {
    type Answer = ();

    async fn carry_out(self, device: &Device) -> Result<(), Failure> {
        Ok(device.client.leave(self.group.id()?).await?)
    }
}

/// How a group stands; and whether others wait for more than blobs of this device.
fn status(client: &Client, group: GroupId) -> Result<(GroupStatus, bool), Failure> {
    let view = client.group_view(group).ok_or_else(unknown_group)?;
    let devices = client.devices(group)?;
    let revoked = devices.iter().any(|info| info.own && info.revoked);
    let unknown = |info: &DeviceInfo| info.own && info.name.is_empty() && info.platform.is_empty();
    let owes = !revoked
        && (view.unsent > view.pending
            || devices.iter().any(|info| info.revoking || unknown(info)));
    Ok((GroupStatus::new(group, view, revoked), owes))
}

fn unknown_group() -> Failure {
    Failure::new(code::UNKNOWN_GROUP, "this device is not in this group")
}

fn to_value(answer: impl Serialize) -> Result<serde_json::Value, Failure> {
    serde_json::to_value(answer).map_err(|error| Failure::new("INTERNAL", error.to_string()))
}
