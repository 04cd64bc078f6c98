//! Who is there, and what they say: between the session and [`crate::attendance`].

use std::sync::Arc;

use zerok_sync_shared::ids::GroupId;
use zerok_sync_shared::limits::MAX_LISTED_DEVICES;
use zerok_sync_shared::session::Input;

use super::{Driver, read_failed};
use crate::attendance::{Attending, Live};
use crate::limits;

impl Driver {
    /// The session is open: the device is there.
    pub(super) fn enter(&mut self, group_id: GroupId) {
        if self.session.is_present() {
            let attending = self.context.attendance.enter(group_id, self.device);
            self.attending = Some((attending, group_id));
        }
    }

    /// Reads which devices the group has, and adds who is there.
    pub(super) fn list_devices(&mut self) {
        let Some((attending, group_id)) = &mut self.attending else {
            let nobody = Input::Devices(Ok(Vec::new()));
            return self.work.push(Box::pin(std::future::ready(nobody.into())));
        };
        // Before the list is read, so that no change falls between.
        attending.listen();
        let (storage, group_id) = (Arc::clone(&self.context.storage), *group_id);
        self.answer(limits::LIST_COST, async move {
            let stored = storage.devices(group_id, MAX_LISTED_DEVICES).await;
            Input::Devices(stored.map_err(read_failed))
        });
    }

    /// Adds those who are there now to a list that was read.
    pub(super) fn complete(&self, input: Input) -> Input {
        match (input, &self.attending) {
            (Input::Devices(Ok(stored)), Some((attending, _))) => {
                Input::Devices(Ok(attending.complete(stored)))
            }
            (input, _) => input,
        }
    }

    /// What is new of those who are there.
    pub(super) fn take_live(&mut self, live: Live) -> Option<Input> {
        match live {
            Live::Presence(presence) => Some(Input::Presence(presence)),
            Live::Said(said) => Some(Input::Said(said)),
            Live::Again => {
                self.list_devices();
                None
            }
        }
    }

    /// The device is not there any more.
    pub(super) fn leave(&mut self) {
        if let Some((_, group_id)) = self.attending.take()
            && !self.superseded
        {
            self.seen(group_id, 0);
        }
    }
}

/// Waits for what is new. Cancel-safe.
pub(super) async fn live(attending: &Option<(Attending, GroupId)>) -> Live {
    match attending {
        Some((attending, _)) => attending.live().await,
        None => std::future::pending().await,
    }
}
