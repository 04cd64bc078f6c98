//! Which endpoints belong to this relay: packets on its WebSocket go to and from them, and to nobody else.

use std::collections::HashSet;
use std::sync::{PoisonError, RwLock};

use iroh::EndpointId;

type Key = [u8; EndpointId::LENGTH];

/// The endpoints of a deployment: that of this process, and those of the other nodes.
#[derive(Debug)]
pub struct Deployment {
    own: Key,
    others: RwLock<HashSet<Key>>,
    open: bool,
}

impl Deployment {
    /// One node; `open` if packets are forwarded between any two endpoints.
    #[must_use]
    pub fn new(own: EndpointId, open: bool) -> Self {
        Self {
            own: *own.as_bytes(),
            others: RwLock::default(),
            open,
        }
    }

    /// Says which other nodes there are now.
    pub fn set_others(&self, others: impl IntoIterator<Item = EndpointId>) {
        let others = others.into_iter().map(|id| *id.as_bytes()).collect();
        *self.others.write().unwrap_or_else(PoisonError::into_inner) = others;
    }

    /// Whether packets are forwarded between any two endpoints.
    #[must_use]
    pub const fn is_open(&self) -> bool {
        self.open
    }

    /// Whether an endpoint belongs to it.
    #[must_use]
    pub fn has(&self, endpoint: EndpointId) -> bool {
        self.has_key(endpoint.as_bytes())
    }

    /// The same for the bytes of a public key.
    pub(crate) fn has_key(&self, key: &Key) -> bool {
        let others = || self.others.read().unwrap_or_else(PoisonError::into_inner);
        *key == self.own || others().contains(key)
    }
}
