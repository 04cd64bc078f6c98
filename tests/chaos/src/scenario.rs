//! The table of scenarios.

use std::pin::Pin;

use anyhow::Result;

use crate::fleet::Fleet;
use crate::scenarios;

/// What a scenario does, as a future.
pub type Running<'a> = Pin<Box<dyn Future<Output = Result<()>> + Send + 'a>>;

/// One entry of the catalogue. What it does ends with a fleet in whatever state; the runner settles and checks it.
#[derive(Clone, Copy)]
pub struct Scenario {
    /// Group and number, such as `T-LAT-01`.
    pub id: &'static str,
    /// What happens, in a few words.
    pub title: &'static str,
    /// Whether a page in Chromium takes part.
    pub page: bool,
    /// Further arguments of the relay.
    pub relay: &'static [&'static str],
    /// What it does.
    pub run: fn(&mut Fleet) -> Running<'_>,
}

impl Scenario {
    /// An entry with native devices only.
    #[must_use]
    pub const fn new(
        id: &'static str,
        title: &'static str,
        run: fn(&mut Fleet) -> Running<'_>,
    ) -> Self {
        Self {
            id,
            title,
            page: false,
            relay: &[],
            run,
        }
    }

    /// A page takes part.
    #[must_use]
    pub const fn with_page(self) -> Self {
        Self { page: true, ..self }
    }

    /// The relay gets further arguments.
    #[must_use]
    pub const fn with_relay(self, relay: &'static [&'static str]) -> Self {
        Self { relay, ..self }
    }

    /// The group: the id without its number.
    #[must_use]
    pub fn group(&self) -> &'static str {
        self.id.rsplit_once('-').map_or(self.id, |(group, _)| group)
    }
}

/// Every scenario, group by group.
#[must_use]
pub fn catalogue() -> Vec<Scenario> {
    scenarios::ALL.concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_unique_and_well_formed() {
        let mut ids: Vec<_> = catalogue().iter().map(|scenario| scenario.id).collect();
        for id in &ids {
            let number = id.rsplit('-').next().unwrap();
            assert!(number.len() == 2 && number.parse::<u8>().is_ok(), "{id}");
        }
        let count = ids.len();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), count);
    }

    #[test]
    fn pages_take_part_in_ten_and_more() {
        assert!(catalogue().iter().filter(|scenario| scenario.page).count() >= 10);
    }
}
