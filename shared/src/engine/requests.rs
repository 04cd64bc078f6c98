//! What the app asks for, taken in or refused.

use bytes::Bytes;

use super::group::{Group, PendingPush};
use super::keys::no_more_keys;
use super::roster::Rename;
use super::{Engine, Output, Token};
use crate::failure::{SyncError, code};
use crate::ids::GroupId;
use crate::limits;
use crate::store::Wish;

impl Engine {
    pub(super) fn on_push(
        &mut self,
        group: GroupId,
        body: Bytes,
        ttl: u32,
        token: Token,
        out: &mut Vec<Output>,
    ) {
        let refused = if body.len() > limits::MAX_BODY {
            let text = format!(
                "{} bytes do not fit one blob, at most {} do; split the data into several pushes",
                body.len(),
                limits::MAX_BODY
            );
            Err(SyncError::new(code::BLOB_TOO_LARGE, text))
        } else {
            self.member(group)
        };
        match refused {
            Ok(group) => group.pushes.push_back(PendingPush { body, ttl, token }),
            Err(error) => out.push(Output::Refused { token, error }),
        }
    }

    /// A group that this device is in.
    pub(super) fn member(&mut self, group: GroupId) -> Result<&mut Group, SyncError> {
        match self.groups.get_mut(&group) {
            Some(group) if group.membership.expelled => Err(SyncError::new(
                code::DEVICE_REVOKED,
                "this device was removed from the group",
            )),
            Some(group) => Ok(group),
            None => Err(SyncError::new(
                code::UNKNOWN_GROUP,
                "this group is not on this device",
            )),
        }
    }

    pub(super) fn on_revoke(
        &mut self,
        group: GroupId,
        wish: Wish,
        token: Token,
        out: &mut Vec<Output>,
    ) {
        let own = self.keys.id();
        let refused = match self.member(group) {
            Err(error) => Some(error),
            Ok(_) if wish.device == own => Some(SyncError::new(
                code::INVALID_ARGUMENT,
                "a device does not revoke itself; it leaves the group",
            )),
            Ok(group) if group.membership.revocation(wish.device).is_some() => {
                return out.push(Output::Done { token });
            }
            Ok(group)
                if !group
                    .devices(own)
                    .iter()
                    .any(|info| info.device == wish.device) =>
            {
                Some(SyncError::new(
                    code::NOT_FOUND,
                    "no device of the group has this id",
                ))
            }
            Ok(group) if !group.can_change_keys() => Some(no_more_keys()),
            Ok(group) if group.membership.roster.len() > limits::MAX_MEMBERS => {
                let text = format!(
                    "keys can be changed for at most {} devices; let some that are not used any more leave",
                    limits::MAX_MEMBERS
                );
                Some(SyncError::new(code::INVALID_ARGUMENT, text))
            }
            Ok(group) => {
                group.wishes.push((wish, token));
                None
            }
        };
        if let Some(error) = refused {
            out.push(Output::Refused { token, error });
        }
    }

    pub(super) fn on_rename(
        &mut self,
        group: GroupId,
        name: String,
        token: Token,
        out: &mut Vec<Output>,
    ) {
        let text = if name.trim().is_empty() {
            Some("a device needs a name".to_owned())
        } else if name.len() > limits::MAX_DEVICE_NAME {
            let most = limits::MAX_DEVICE_NAME;
            Some(format!("a name has at most {most} bytes of UTF-8"))
        } else {
            None
        };
        let invalid = text.map(|text| SyncError::new(code::INVALID_ARGUMENT, text));
        let refused = match self.member(group) {
            Err(error) => Some(error),
            Ok(_) if invalid.is_some() => invalid,
            Ok(group) if group.rename.is_some() => Some(SyncError::passing(
                code::INVALID_ARGUMENT,
                "another name is being written; try again",
            )),
            Ok(group) => {
                group.rename = Some(Rename { name, token });
                None
            }
        };
        if let Some(error) = refused {
            out.push(Output::Refused { token, error });
        }
    }
}
