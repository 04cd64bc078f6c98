//! What is said between those who are there now: nothing of it touches the storage of blobs, and nothing that goes wrong with
//! it ends a session.

use super::Output;
use super::active::Active;
use crate::error::ErrorCode;
use crate::ids::DeviceId;
use crate::message::{Ephemeral, ListedDevice, Message, Presence, WireError};

/// How far a session takes part.
#[derive(Debug, Default)]
pub(super) struct Attendance {
    /// The list of devices is being read.
    pub(super) asking: bool,
    /// The device has asked for the list: it hears who comes and goes, and what they say.
    pub(super) listens: bool,
    /// The device was told that a message was dropped, and none was taken since.
    dropped: bool,
}

impl Active {
    pub(super) fn on_devices(&mut self, out: &mut Vec<Output>) {
        self.attendance.asking = true;
        self.attendance.listens = true;
        out.push(Output::Devices);
    }

    /// The list was read, because the device asked or because more has changed than could be told one by one.
    pub(super) fn on_listed(
        &mut self,
        result: Result<Vec<ListedDevice>, WireError>,
        out: &mut Vec<Output>,
    ) {
        let asked = core::mem::take(&mut self.attendance.asking);
        match result {
            Ok(devices) if self.attendance.listens => {
                out.push(Output::Send(Message::DevicesResponse { devices }));
            }
            // Whoever asks gets an answer; the device comes back and asks again.
            Err(error) if asked => out.push(Output::Send(Message::Error(error))),
            _ => {}
        }
    }

    pub(super) fn on_presence(&self, presence: Presence, out: &mut Vec<Output>) {
        if self.attendance.listens {
            out.push(Output::Send(Message::Presence(presence)));
        }
    }

    /// Somebody else of the group says something.
    pub(super) fn on_said(&self, said: Ephemeral, out: &mut Vec<Output>) {
        // Of an older epoch it is not for everybody any more, of a newer one this device cannot read it yet.
        if self.attendance.listens && said.epoch == self.epoch {
            out.push(Output::Send(Message::Ephemeral(said)));
        }
    }

    /// The device says something.
    pub(super) fn on_ephemeral(
        &mut self,
        said: Ephemeral,
        device: DeviceId,
        out: &mut Vec<Output>,
    ) -> Result<(), WireError> {
        if said.sender != device {
            let text = "a message in another device's name";
            return Err(WireError::new(ErrorCode::InvalidMessage, text));
        }
        if said.epoch == self.epoch {
            self.attendance.dropped = false;
            out.push(Output::Broadcast(said));
        }
        Ok(())
    }

    /// A message of the device came too soon after many others. It is told once, until one is taken again.
    pub(super) fn on_dropped(&mut self, error: WireError, out: &mut Vec<Output>) {
        if !core::mem::replace(&mut self.attendance.dropped, true) {
            out.push(Output::Send(Message::Error(error)));
        }
    }
}
