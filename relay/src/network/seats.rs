//! How many connections one network may have open at a time.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use super::Network;

/// The connections of one kind.
#[derive(Debug, Clone)]
pub(crate) struct Seats(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    /// 0 means as many as there are.
    limit: u32,
    taken: Mutex<HashMap<Network, u32>>,
}

impl Seats {
    pub fn new(limit: u32) -> Self {
        Self(Arc::new(Inner {
            limit,
            taken: Mutex::default(),
        }))
    }

    /// Whether a network has no more.
    pub fn is_full(&self, network: Option<Network>) -> bool {
        // Taken and given back at once.
        self.take(network).is_none()
    }

    /// A place for one connection more, or `None` if the network has no more.
    ///
    /// Internal networks and those that nobody knows are not counted: behind a proxy that tells no addresses they are
    /// everybody. What bounds those is the bound of all connections.
    pub fn take(&self, network: Option<Network>) -> Option<Seat> {
        let Some(network) = network.filter(|network| self.0.limit > 0 && !network.is_internal())
        else {
            return Some(Seat(None));
        };
        let mut taken = self.0.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let count = taken.entry(network).or_default();
        if *count >= self.0.limit {
            return None;
        }
        *count += 1;
        drop(taken);
        Some(Seat(Some((self.clone(), network))))
    }
}

/// The place of one connection, free again when this is dropped.
#[derive(Debug)]
pub(crate) struct Seat(Option<(Seats, Network)>);

impl Drop for Seat {
    fn drop(&mut self) {
        let Some((seats, network)) = &self.0 else {
            return;
        };
        let mut taken = seats.0.taken.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = taken.get_mut(network) {
            *count -= 1;
            if *count == 0 {
                taken.remove(network);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(text: &str) -> Option<Network> {
        Some(Network::of(text.parse().unwrap()))
    }

    #[test]
    fn a_network_has_so_many_seats_and_gets_them_back() {
        let seats = Seats::new(2);
        let one = seats.take(network("203.0.113.1")).unwrap();
        let _two = seats.take(network("203.0.113.1")).unwrap();
        assert!(seats.take(network("203.0.113.1")).is_none());
        assert!(
            seats.take(network("203.0.113.2")).is_some(),
            "others are not held up"
        );
        drop(one);
        assert!(seats.take(network("203.0.113.1")).is_some());
        assert_eq!(seats.0.taken.lock().unwrap().len(), 1);
    }

    #[test]
    fn who_may_be_everybody_is_not_counted() {
        let seats = Seats::new(1);
        let taken: Vec<_> = (0..9)
            .flat_map(|_| {
                [
                    seats.take(network("127.0.0.1")),
                    seats.take(network("172.17.0.1")),
                    seats.take(None),
                ]
            })
            .collect();
        assert!(taken.iter().all(Option::is_some));
        let unlimited = Seats::new(0);
        let taken: Vec<_> = (0..9)
            .map(|_| unlimited.take(network("203.0.113.1")))
            .collect();
        assert!(taken.iter().all(Option::is_some));
    }
}
