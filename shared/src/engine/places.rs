//! Positions as apps see them. The log also has entries that are not the app's, such as what devices say of themselves; an
//! app counts its own blobs only, from 1 and without gaps.

/// Places in the log that are not the app's, in order. They are few: some for each device.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Places(pub Vec<u64>);

impl Places {
    /// The app's position of a place in the log; of one that is not the app's, that of the last before it.
    #[must_use]
    pub fn position_of(&self, place: u64) -> u64 {
        place - self.0.partition_point(|hidden| *hidden <= place) as u64
    }

    /// Where the app's position is in the log.
    #[must_use]
    pub fn place_of(&self, position: u64) -> u64 {
        let mut place = position;
        for hidden in &self.0 {
            if position == 0 || *hidden > place {
                break;
            }
            place = place.saturating_add(1);
        }
        place
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn positions_have_no_gaps(hidden in proptest::collection::btree_set(1u64..60, 0..20)) {
            let places = Places(hidden.iter().copied().collect());
            prop_assert_eq!(places.place_of(0), 0);
            let mut next = 1;
            for place in 1..80 {
                if hidden.contains(&place) {
                    prop_assert_eq!(places.position_of(place), next - 1);
                } else {
                    prop_assert_eq!(places.position_of(place), next);
                    prop_assert_eq!(places.place_of(next), place);
                    next += 1;
                }
            }
        }
    }
}
