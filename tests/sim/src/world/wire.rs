//! What goes between devices and relays: connections, frames, and how both ends learn that they are gone.

use std::time::Duration;

use bytes::Bytes;
use zerok_sync_shared::codec;
use zerok_sync_shared::engine::{self, StreamId};
use zerok_sync_shared::failure::{SyncError, code};
use zerok_sync_shared::message::Message;
use zerok_sync_shared::time::Timestamp;

use super::{Happening, IDLE_TIMEOUT, World};
use crate::faults::Fault;
use crate::network::{Connection, ConnectionId, End, Frame};
use crate::relay::EXPORTER;

impl World {
    /// How long something takes to get from one end to the other.
    pub fn delay(&mut self, device: usize) -> Duration {
        let base = self.devices[device].air.delay;
        let mut delay = base + self.rng.below(base / 2 + 1);
        if self.faults.has(Fault::Loss) && self.rng.once_in(10) {
            delay += base * 2 * (1 + self.rng.below(8));
        }
        if self.faults.has(Fault::Loss) && self.rng.once_in(500) {
            // A long burst: longer than a relay waits for HELLO.
            delay += 12_000;
        }
        if self.faults.has(Fault::Delay) {
            delay += self.rng.below(3_000);
        }
        Duration::from_millis(delay as u64)
    }

    pub(super) fn connect(&mut self, at: usize, life: u64, url: &str, attempt: u64) {
        let device = &self.devices[at];
        let wanted = device.links.get(url) == Some(&(attempt, None));
        if device.life != life || !wanted {
            return;
        }
        let relay = self.relays.iter().position(|relay| relay.url == url);
        let relay = relay.expect("relays of a device exist");
        let blocked = End::BOTH
            .iter()
            .any(|end| device.air.blocked(*end, self.now).is_some());
        if blocked || !self.relays[relay].running {
            self.devices[at].links.remove(url);
            let error = SyncError::passing(code::RELAY_UNREACHABLE, "it does not answer");
            let relay = url.to_owned();
            return self.feed(at, engine::Input::Disconnected { relay, error });
        }
        self.next_connection += 1;
        let id = self.next_connection;
        self.connections.insert(id, Connection::new(at, relay));
        let link = (attempt, Some(id));
        self.devices[at].links.insert(url.to_owned(), link);
        let relay_id = self.relays[relay].id;
        self.feed(
            at,
            engine::Input::Connected {
                relay: url.to_owned(),
                relay_id,
                exporter: EXPORTER,
            },
        );
    }

    /// Puts a frame on its way.
    pub fn send(&mut self, id: ConnectionId, stream: StreamId, towards: End, frame: Frame) {
        let Some(connection) = self.connections.get(&id) else {
            return;
        };
        if !connection.is_open(towards.other()) {
            return;
        }
        let wait = self.delay(connection.device);
        let connection = self.connections.get_mut(&id).expect("it is there");
        let queue = connection
            .streams
            .entry(stream)
            .or_default()
            .towards(towards);
        let last = queue.frames.back().map_or(self.now, |(at, _)| *at);
        let arrives = self.now.plus(wait).max(last);
        queue.frames.push_back((arrives, frame));
        if !queue.scheduled {
            queue.scheduled = true;
            self.at(arrives, Happening::Deliver(id, stream, towards));
        }
    }

    pub(super) fn deliver(&mut self, id: ConnectionId, stream: StreamId, end: End) {
        let Some(connection) = self.connections.get(&id) else {
            return;
        };
        if !connection.is_open(end) {
            return;
        }
        let (device, relay) = (connection.device, connection.relay);
        if let Some(blocked) = self.devices[device].air.blocked(end, self.now) {
            return self.at(blocked.until, Happening::Deliver(id, stream, end));
        }
        let wants = match end {
            End::Device => {
                let engine = self.devices[device].engine.as_ref();
                engine.is_some_and(|engine| engine.wants_frames(stream))
            }
            End::Relay => {
                let serving = self.relays[relay].sessions.get(&(id, stream));
                serving.is_none_or(|serving| serving.session.wants_frames())
            }
        };
        if !wants {
            return self.after(
                Duration::from_millis(5),
                Happening::Deliver(id, stream, end),
            );
        }
        let connection = self.connections.get_mut(&id).expect("it is there");
        let Some(stream_state) = connection.streams.get_mut(&stream) else {
            return;
        };
        let queue = stream_state.towards(end);
        let frame = queue.frames.pop_front();
        let next = queue.frames.front().map(|(at, _)| *at);
        queue.scheduled = next.is_some();
        if let Some(next) = next {
            self.at(next, Happening::Deliver(id, stream, end));
        }
        let Some((_, frame)) = frame else { return };
        match end {
            End::Device => self.arrive_at_device(device, id, stream, frame),
            End::Relay => self.arrive_at_relay(relay, (id, stream), frame),
        }
        if end == End::Device && next.is_none() {
            self.taken(relay, (id, stream));
        }
    }

    pub(super) fn arrive_at_device(
        &mut self,
        at: usize,
        id: ConnectionId,
        stream: StreamId,
        frame: Frame,
    ) {
        if self.devices[at].streams.get(&stream) != Some(&id) {
            return;
        }
        match frame {
            Frame::Open => {}
            Frame::End => {
                self.devices[at].streams.remove(&stream);
                self.feed(at, engine::Input::StreamEnded { stream });
            }
            Frame::Bytes(bytes) => {
                let message = codec::decode(&bytes);
                self.trace.note(self.now, bytes.len() as u64, || {
                    format!("    to device {}: {}", at + 1, short(&message))
                });
                self.feed(at, engine::Input::Frame { stream, message });
            }
        }
    }

    /// An end closes its connection; the other one learns it when it can.
    pub fn close_end(&mut self, id: ConnectionId, end: End, says_so: bool) {
        let Some(connection) = self.connections.get_mut(&id) else {
            return;
        };
        connection.close(end);
        let device = connection.device;
        let towards = end.other();
        let wait = if says_so
            && self.devices[device]
                .air
                .blocked(towards, self.now)
                .is_none()
        {
            self.delay(device)
        } else {
            IDLE_TIMEOUT
        };
        self.after(wait, Happening::Lose(id, towards));
    }

    pub(super) fn lose(&mut self, id: ConnectionId, end: End) {
        let Some(connection) = self.connections.get_mut(&id) else {
            return;
        };
        let was_open = connection.is_open(end);
        connection.close(end);
        let (at, relay) = (connection.device, connection.relay);
        if !connection.device_open && !connection.relay_open {
            self.connections.remove(&id);
        }
        if !was_open {
            return;
        }
        match end {
            End::Relay => self.relays[relay].sessions.retain(|(of, _), _| *of != id),
            End::Device => {
                let device = &mut self.devices[at];
                device.streams.retain(|_, of| *of != id);
                let url = self.relays[relay].url.clone();
                if device
                    .links
                    .get(&url)
                    .is_some_and(|(_, of)| *of == Some(id))
                {
                    device.links.remove(&url);
                    let error =
                        SyncError::passing(code::RELAY_UNREACHABLE, "the connection was lost");
                    self.feed(at, engine::Input::Disconnected { relay: url, error });
                }
            }
        }
    }

    /// Gives up a connection whose end has heard nothing since `since`.
    pub(super) fn idle(&mut self, id: ConnectionId, end: End, since: Timestamp) {
        let Some(connection) = self.connections.get(&id) else {
            return;
        };
        let air = &self.devices[connection.device].air;
        if air.blocked(end, self.now).is_some_and(|b| b.since <= since) && connection.is_open(end) {
            self.lose(id, end);
            self.after(IDLE_TIMEOUT, Happening::Lose(id, end.other()));
        }
    }
}

pub(super) fn encode(message: &Message) -> Frame {
    let bytes = Bytes::from(codec::encode(message)).slice(codec::PREFIX_LEN..);
    Frame::Bytes(bytes)
}

/// A message without its payloads.
pub(super) fn short<E: std::fmt::Debug>(message: &Result<Message, E>) -> String {
    match message {
        Ok(Message::Blob(blob)) => format!(
            "Blob {} {:02x?} of {} ({} bytes)",
            blob.cursor,
            &blob.blob_id.0[..4],
            blob.sender.0[0],
            blob.payload.len()
        ),
        Ok(Message::Push(push)) => {
            let origin = push.origin.map(|origin| origin.0[0]);
            format!("Push {:02x?} origin {origin:?}", &push.blob_id.0[..4])
        }
        Ok(Message::Hello(hello)) => {
            format!("Hello epoch {} after {}", hello.epoch, hello.after_cursor)
        }
        Ok(Message::Welcome(welcome)) => format!(
            "Welcome max {} epoch {} incarnation {:02x?}",
            welcome.max_cursor,
            welcome.epoch,
            &welcome.incarnation.0[..2]
        ),
        other => {
            let text = format!("{other:?}");
            text.chars().take(160).collect()
        }
    }
}
