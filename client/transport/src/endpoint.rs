//! How an iroh endpoint of the system is built. Relay and device use the same settings, so that both agree.

use std::time::Duration;

use iroh::endpoint::{Builder, Connection, QuicTransportConfig, VarInt, presets};
use iroh::{Endpoint, EndpointId, SecretKey};
use zerok_sync_shared::crypto::access;
use zerok_sync_shared::ids::DeviceId;
use zerok_sync_shared::message::ALPN;

use crate::tls;

/// Streams that the other side may have open at a time.
pub const MAX_STREAMS: u32 = 256;
/// Bytes of one stream that may be in flight: a whole frame and the start of the next.
pub const STREAM_WINDOW: u32 = 2 * 1024 * 1024;
/// Bytes of one connection that may be in flight, in each direction.
pub const CONNECTION_WINDOW: u32 = 4 * 1024 * 1024;
/// A connection that is silent for so long is dead.
pub const IDLE_TIMEOUT: Duration = Duration::from_secs(15);
/// How often a living connection says so.
pub const KEEP_ALIVE: Duration = Duration::from_secs(5);

/// A builder with our TLS, ALPN and transport settings, and with nothing that reaches for servers of others.
///
/// The caller adds a relay and binds it.
#[must_use]
pub fn builder(secret_key: SecretKey) -> Builder {
    Endpoint::builder(presets::Empty)
        .secret_key(secret_key)
        .crypto_provider(tls::provider())
        .alpns(vec![ALPN.to_vec()])
        .transport_config(transport_config())
}

fn transport_config() -> QuicTransportConfig {
    let idle = VarInt::from_u32(IDLE_TIMEOUT.as_millis().try_into().unwrap_or(u32::MAX));
    QuicTransportConfig::builder()
        .max_concurrent_bidi_streams(VarInt::from_u32(MAX_STREAMS))
        // Nothing here opens one-way streams; what nobody accepts would only fill memory.
        .max_concurrent_uni_streams(VarInt::from_u32(0))
        .stream_receive_window(VarInt::from_u32(STREAM_WINDOW))
        .receive_window(VarInt::from_u32(CONNECTION_WINDOW))
        .send_window(u64::from(CONNECTION_WINDOW))
        .max_idle_timeout(Some(idle.into()))
        .keep_alive_interval(KEEP_ALIVE)
        .build()
}

/// A connection that cannot be bound to a proof.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the connection has no TLS exporter; connect again")]
pub struct NoExporter;

/// What binds a HELLO to this connection: TLS exporter, [`access::EXPORTER_LABEL`], no context.
///
/// # Errors
/// [`NoExporter`], which does not happen once a connection is established.
pub fn export(connection: &Connection) -> Result<[u8; 32], NoExporter> {
    let mut exporter = [0; 32];
    connection
        .export_keying_material(&mut exporter, access::EXPORTER_LABEL, &[])
        .map_err(|_| NoExporter)?;
    Ok(exporter)
}

/// An endpoint's id as the protocol writes it.
#[must_use]
pub fn device_id(endpoint: EndpointId) -> DeviceId {
    DeviceId(*endpoint.as_bytes())
}

/// Bytes that are no public key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("this id is not a public key")]
pub struct NotAKey;

/// The endpoint behind an id.
///
/// # Errors
/// [`NotAKey`] if no endpoint can have that id.
pub fn endpoint_id(device: DeviceId) -> Result<EndpointId, NotAKey> {
    EndpointId::from_bytes(device.as_bytes()).map_err(|_| NotAKey)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_convert_both_ways_and_other_bytes_are_refused() {
        let id = SecretKey::from_bytes(&[7; 32]).public();
        assert_eq!(endpoint_id(device_id(id)).unwrap(), id);
        assert_eq!(endpoint_id(DeviceId([2; 32])), Err(NotAKey));
    }
}
