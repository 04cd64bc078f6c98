//! How much of the relay's memory is in the hands of those who do not read, or do not finish what they send.
//!
//! Whatever can grow with a device's wish is paid for before it is there: the room for a page before it is read, that for
//! a long frame before more than its header is. A connection has a part, a network has a part, and there is a whole. Who
//! asks in vain waits; who holds something meanwhile and moves too little is cut, so that nobody waits for long.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::network::Network;

/// Bytes in one direction, of the relay and of each part.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// Of everybody.
    pub all: usize,
    /// Of one network. Those that may be everybody, as behind a proxy that tells nothing, are not counted.
    pub network: usize,
    /// Of one connection.
    pub connection: usize,
}

/// The bytes of one direction.
#[derive(Debug)]
pub struct Budget {
    bounds: Bounds,
    all: Arc<Purse>,
    networks: Mutex<HashMap<Network, Weak<Purse>>>,
}

impl Budget {
    /// A whole that nobody has taken of yet.
    pub fn new(bounds: Bounds) -> Self {
        Self {
            bounds,
            all: Purse::new(bounds.all),
            networks: Mutex::default(),
        }
    }

    /// What a new connection from `network` can draw on.
    pub fn share(&self, network: Option<Network>) -> Share {
        let network = network.filter(|network| !network.is_internal());
        Share {
            connection: Purse::new(self.bounds.connection),
            network: network.map(|network| self.of(network)),
            all: Arc::clone(&self.all),
        }
    }

    fn of(&self, network: Network) -> Arc<Purse> {
        let mut networks = self.networks.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(purse) = networks.get(&network).and_then(Weak::upgrade) {
            return purse;
        }
        // As many as there are connections at most.
        networks.retain(|_, purse| purse.strong_count() > 0);
        let purse = Purse::new(self.bounds.network);
        networks.insert(network, Arc::downgrade(&purse));
        purse
    }
}

#[derive(Debug)]
struct Purse {
    bytes: Arc<Semaphore>,
    waiting: AtomicUsize,
}

impl Purse {
    fn new(bytes: usize) -> Arc<Self> {
        Arc::new(Self {
            bytes: Arc::new(Semaphore::new(bytes)),
            waiting: AtomicUsize::new(0),
        })
    }

    fn try_take(&self, bytes: u32) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.bytes).try_acquire_many_owned(bytes).ok()
    }

    /// `None` would mean that the semaphore was closed, which nobody does.
    async fn take(&self, bytes: u32) -> Option<OwnedSemaphorePermit> {
        if let Some(taken) = self.try_take(bytes) {
            return Some(taken);
        }
        let _waiting = Waiting::new(&self.waiting);
        Arc::clone(&self.bytes).acquire_many_owned(bytes).await.ok()
    }

    fn is_waited_for(&self) -> bool {
        self.waiting.load(Ordering::Relaxed) > 0
    }
}

/// One who waits, counted as long as it does.
struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn new(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What the sessions of one connection can take.
#[derive(Debug, Clone)]
pub struct Share {
    connection: Arc<Purse>,
    network: Option<Arc<Purse>>,
    all: Arc<Purse>,
}

impl Share {
    /// From the smallest part to the whole, so that who waits for the whole is one of a few of its network.
    fn purses(&self) -> impl Iterator<Item = &Arc<Purse>> {
        [
            Some(&self.connection),
            self.network.as_ref(),
            Some(&self.all),
        ]
        .into_iter()
        .flatten()
    }

    /// Waits for so many bytes.
    pub async fn take(&self, bytes: usize) -> Held {
        let mut held = Held::default();
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        for purse in self.purses() {
            held.permits.extend(purse.take(bytes).await);
        }
        held
    }

    /// So many bytes, if they are there.
    pub fn try_take(&self, bytes: usize) -> Option<Held> {
        let bytes = u32::try_from(bytes).ok()?;
        let permits: Option<Vec<_>> = self.purses().map(|purse| purse.try_take(bytes)).collect();
        permits.map(|permits| Held { permits })
    }

    /// Whether another connection waits for what this one has.
    pub fn is_wanted(&self) -> bool {
        self.all.is_waited_for()
            || self
                .network
                .as_ref()
                .is_some_and(|part| part.is_waited_for())
    }
}

/// Bytes that were taken, given back when this is dropped.
#[derive(Debug, Default)]
pub struct Held {
    permits: Vec<OwnedSemaphorePermit>,
}

impl Held {
    /// How many.
    pub fn bytes(&self) -> usize {
        self.permits
            .first()
            .map_or(0, OwnedSemaphorePermit::num_permits)
    }

    /// Adds what was taken of the same share.
    pub fn add(&mut self, more: Self) {
        if self.permits.is_empty() {
            *self = more;
            return;
        }
        for (mine, more) in self.permits.iter_mut().zip(more.permits) {
            mine.merge(more);
        }
    }

    /// Gives back all but so many.
    pub fn keep(&mut self, bytes: usize) {
        for permit in &mut self.permits {
            drop(permit.split(permit.num_permits().saturating_sub(bytes)));
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    const BOUNDS: Bounds = Bounds {
        all: 100,
        network: 60,
        connection: 40,
    };

    fn network(text: &str) -> Option<Network> {
        Some(Network::of(text.parse().unwrap()))
    }

    #[test]
    fn connections_and_networks_have_parts_and_get_them_back() {
        let budget = Budget::new(BOUNDS);
        let one = budget.share(network("203.0.113.1"));
        let two = budget.share(network("203.0.113.1"));
        let other = budget.share(network("203.0.113.2"));
        let mut first = one.try_take(40).unwrap();
        assert!(one.try_take(1).is_none(), "the connection's part");
        let second = two.try_take(20).unwrap();
        assert!(two.try_take(1).is_none(), "the network's part");
        let third = other.try_take(40).unwrap();
        let inside = budget.share(network("10.0.0.1"));
        assert!(inside.try_take(1).is_none(), "the whole");
        first.keep(30);
        assert_eq!(first.bytes(), 30);
        let mut more = inside.try_take(4).unwrap();
        more.add(inside.try_take(6).unwrap());
        assert_eq!(more.bytes(), 10);
        drop((first, second, third, more));
        assert!(inside.try_take(40).is_some());
        drop((one, two, other));
        let _again = budget.share(network("203.0.113.3"));
        assert_eq!(budget.networks.lock().unwrap().len(), 1);
    }

    #[test]
    fn who_waits_is_seen_by_those_who_hold_and_served_in_order() {
        let budget = Budget::new(BOUNDS);
        let holders = [(); 3].map(|()| budget.share(None));
        let held: Vec<_> = holders
            .iter()
            .zip([40, 40, 20])
            .map(|(share, bytes)| share.try_take(bytes).unwrap())
            .collect();
        let (first, second) = (budget.share(None), budget.share(None));
        assert!(!holders[0].is_wanted());
        let mut waits = Box::pin(first.take(40));
        assert!((&mut waits).now_or_never().is_none());
        assert!(holders[0].is_wanted());
        let mut later = Box::pin(second.take(1));
        assert!((&mut later).now_or_never().is_none());
        drop(held);
        assert_eq!(waits.now_or_never().unwrap().bytes(), 40);
        assert_eq!(later.now_or_never().unwrap().bytes(), 1);
        assert!(!holders[0].is_wanted());
    }

    #[test]
    fn a_connection_that_waits_for_itself_presses_nobody() {
        let share = Budget::new(BOUNDS).share(None);
        let _held = share.try_take(40).unwrap();
        let mut waits = Box::pin(share.take(1));
        assert!((&mut waits).now_or_never().is_none());
        assert!(!share.is_wanted());
    }
}
