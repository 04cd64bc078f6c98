//! Devices that speak the bare protocol.

use std::net::{Ipv4Addr, SocketAddr};

use anyhow::{Context as _, Result};
use clap::ValueEnum;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use iroh::endpoint::RelayMode;
use iroh::{Endpoint, EndpointAddr, RelayUrl, SecretKey};
use serde_json::Value;
use zerok_sync_shared::crypto::keys::{EpochKeys, Secret};
use zerok_sync_shared::ids::RelayId;
use zerok_sync_tests::raw::{Peer, Stream, http};
use zerok_sync_transport::endpoint as transport;

use crate::Common;

/// Connections that are opened at a time.
const CONNECTING: usize = 32;

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Way {
    /// Straight to the relay's UDP port
    Udp,
    /// Through its WebSocket, as a browser does
    Websocket,
}

impl Way {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Udp => "udp",
            Self::Websocket => "websocket",
        }
    }
}

/// Where a relay is.
#[derive(Debug, Clone)]
pub struct Place {
    pub relay: RelayId,
    pub address: EndpointAddr,
    pub websocket: RelayUrl,
}

impl Place {
    /// As its `/.well-known/iroh` says.
    pub async fn of(url: &str, way: Way) -> Result<Self> {
        let found = http()?.get(format!("{url}/.well-known/iroh")).send();
        let found: Value = found.await?.json().await?;
        let node = &found["nodes"][0];
        let text = |value: &Value| value.as_str().context("not a text").map(str::to_owned);
        let relay: RelayId = text(&node["endpoint_id"])?.parse()?;
        let websocket: RelayUrl = text(&node["relay_url"])?.parse()?;
        let mut address = EndpointAddr::new(transport::endpoint_id(relay)?);
        match way {
            Way::Udp => {
                for udp in node["udp_addrs"].as_array().context("no UDP addresses")? {
                    address = address.with_ip_addr(text(udp)?.parse()?);
                }
            }
            Way::Websocket => address = address.with_relay_url(websocket.clone()),
        }
        Ok(Self {
            relay,
            address,
            websocket,
        })
    }

    /// An endpoint that can go there.
    pub async fn endpoint(&self, way: Way) -> Result<Endpoint> {
        let builder = transport::builder(SecretKey::generate()).clear_ip_transports();
        let builder = match way {
            Way::Udp => builder
                .relay_mode(RelayMode::Disabled)
                .bind_addr(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))?,
            Way::Websocket => builder.relay_mode(RelayMode::custom([self.websocket.clone()])),
        };
        Ok(builder.bind().await?)
    }
}

/// Connects so many devices.
pub async fn connect(url: &str, count: usize, common: &Common) -> Result<Vec<Peer>> {
    let place = Place::of(url, common.way).await?;
    let sharing = common.sharing.max(1);
    let peers: Vec<Vec<Peer>> = stream::iter(0..count.div_ceil(sharing))
        .map(|endpoint| {
            let (place, connections) = (place.clone(), sharing.min(count - endpoint * sharing));
            async move {
                let endpoint = place.endpoint(common.way).await?;
                let mut peers = Vec::with_capacity(connections);
                for _ in 0..connections {
                    let address = place.address.clone();
                    peers.push(Peer::join(endpoint.clone(), address, place.relay).await?);
                }
                anyhow::Ok(peers)
            }
        })
        .buffered(CONNECTING)
        .try_collect()
        .await?;
    Ok(peers.into_iter().flatten().collect())
}

/// A session of each device, in the group that it is in.
pub async fn sessions(peers: &[Peer], group_of: impl Fn(usize) -> u64) -> Result<Vec<Stream>> {
    stream::iter(peers.iter().enumerate())
        .map(|(at, peer)| {
            let keys = keys(group_of(at));
            async move { anyhow::Ok(peer.session(&keys).await?.0) }
        })
        .buffered(CONNECTING)
        .try_collect()
        .await
}

/// The keys of a group, from a number.
pub fn keys(group: u64) -> EpochKeys {
    let mut secret = [7; 32];
    secret[..8].copy_from_slice(&group.to_le_bytes());
    EpochKeys::derive(0, Secret::new(secret))
}

/// Bytes that look like something sealed.
pub fn sealed(len: usize, seed: u64) -> Vec<u8> {
    (0..len as u64)
        .map(|at| (((at * at + seed) * 2_654_435_761) >> 13) as u8)
        .collect()
}
