//! What waits for the writer, taken in turns: of one group after the other, and in a group of one session after the other.
//!
//! A group that pushes without end fills its own places in a transaction and leaves the others theirs; one that had nothing
//! waiting comes before those that wait already, every other time. A group that had more than its share rests meanwhile. The
//! order within a session stays.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use zerok_sync_shared::ids::GroupId;

use super::pace::weight;

/// Things that wait, each of a group and a session, with their sizes.
#[derive(Debug)]
pub(super) struct Turns<T> {
    groups: HashMap<GroupId, Group<T>>,
    /// Groups in which something waits and that have had a turn since nothing did; the first has its turn.
    order: VecDeque<GroupId>,
    /// Those that have not had one.
    fresh: VecDeque<GroupId>,
    len: usize,
}

#[derive(Debug)]
struct Group<T> {
    sessions: HashMap<u64, VecDeque<(usize, T)>>,
    order: VecDeque<u64>,
}

/// How much may be taken at once; the first thing may be larger.
#[derive(Debug, Clone, Copy)]
pub(super) struct Share {
    /// Things.
    pub count: usize,
    /// Their sizes together.
    pub size: usize,
    /// What they weigh together: see [`super::pace::weight`].
    pub weight: usize,
}

impl Share {
    /// Whether one thing of this size is still in it.
    const fn fits(&self, size: usize) -> bool {
        self.count > 0 && self.size >= size && self.weight >= weight(1, size)
    }

    /// Takes it out.
    const fn spend(&mut self, size: usize) {
        self.count = self.count.saturating_sub(1);
        self.size = self.size.saturating_sub(size);
        self.weight = self.weight.saturating_sub(weight(1, size));
    }
}

impl<T> Default for Turns<T> {
    fn default() -> Self {
        Self {
            groups: HashMap::new(),
            order: VecDeque::new(),
            fresh: VecDeque::new(),
            len: 0,
        }
    }
}

impl<T> Turns<T> {
    /// Things that wait.
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Groups in which something waits.
    pub fn groups(&self) -> usize {
        self.groups.len()
    }

    /// Whether nothing waits.
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Puts something behind what waits of the same session.
    pub fn push(&mut self, group: GroupId, session: u64, size: usize, thing: T) {
        let waiting = self.groups.entry(group).or_insert_with(|| {
            self.fresh.push_back(group);
            Group {
                sessions: HashMap::new(),
                order: VecDeque::new(),
            }
        });
        let queue = waiting.sessions.entry(session).or_insert_with(|| {
            waiting.order.push_back(session);
            VecDeque::new()
        });
        queue.push_back((size, thing));
        self.len += 1;
    }

    /// Takes what is next, as much as there is room for. `may` takes the weight of a thing out of what its group may have, or
    /// says for how long the group rests; the shortest such time is given back.
    pub fn take(
        &mut self,
        mut room: Share,
        mut may: impl FnMut(GroupId, usize) -> Result<(), Duration>,
        mut give: impl FnMut(T),
    ) -> Option<Duration> {
        let (mut resting, mut rest) = (Vec::new(), None::<Duration>);
        let mut first = true;
        let mut fresh_first = true;
        loop {
            let queues = if fresh_first {
                [&mut self.fresh, &mut self.order]
            } else {
                [&mut self.order, &mut self.fresh]
            };
            let Some(queue) = queues.into_iter().find(|queue| !queue.is_empty()) else {
                break;
            };
            let Some(id) = queue.pop_front() else {
                break;
            };
            let Some(group) = self.groups.get_mut(&id) else {
                continue;
            };
            let Some(size) = group.next_size() else {
                continue;
            };
            let fits = room.fits(size);
            if !fits && !first {
                queue.push_front(id);
                break;
            }
            if let Err(wait) = may(id, weight(1, size)) {
                resting.push(id);
                rest = Some(rest.map_or(wait, |rest| rest.min(wait)));
                continue;
            }
            first = false;
            room.spend(size);
            if let Some(thing) = group.pop() {
                give(thing);
                self.len -= 1;
            }
            if group.order.is_empty() {
                self.groups.remove(&id);
            } else {
                self.order.push_back(id);
            }
            if !fits {
                break;
            }
            fresh_first = !fresh_first;
        }
        for id in resting.into_iter().rev() {
            self.order.push_front(id);
        }
        rest
    }
}

impl<T> Group<T> {
    fn next_size(&self) -> Option<usize> {
        let queue = self.sessions.get(self.order.front()?)?;
        queue.front().map(|(size, _)| *size)
    }

    fn pop(&mut self) -> Option<T> {
        let session = self.order.pop_front()?;
        let queue = self.sessions.get_mut(&session)?;
        let next = queue.pop_front();
        if queue.is_empty() {
            self.sessions.remove(&session);
        } else {
            self.order.push_back(session);
        }
        next.map(|(_, thing)| thing)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MUCH: Share = Share {
        count: usize::MAX,
        size: usize::MAX,
        weight: usize::MAX,
    };

    fn group(number: u8) -> GroupId {
        GroupId([number; 32])
    }

    fn take<T>(turns: &mut Turns<T>, room: Share) -> Vec<T> {
        let mut taken = Vec::new();
        let rest = turns.take(room, |_, _| Ok(()), |thing| taken.push(thing));
        assert_eq!(rest, None);
        taken
    }

    #[test]
    fn a_flood_leaves_the_others_their_places() {
        let mut turns = Turns::default();
        for at in 0..1_000 {
            turns.push(group(1), at % 3, 1, "flood");
        }
        turns.push(group(2), 9, 1, "other");
        let few = Share { count: 4, ..MUCH };
        assert!(take(&mut turns, few).contains(&"other"));
        assert_eq!(turns.len(), 997);
    }

    #[test]
    fn who_comes_anew_does_not_wait_for_many_floods_nor_they_for_many_of_those() {
        let mut turns = Turns::default();
        let few = Share { count: 4, ..MUCH };
        for at in 0..1_000 {
            turns.push(group((at % 100) as u8), 1, 1, "flood");
        }
        take(&mut turns, Share { count: 200, ..MUCH });
        turns.push(group(200), 1, 1, "other");
        assert_eq!(take(&mut turns, few), ["other", "flood", "flood", "flood"]);
        for at in 101..200 {
            turns.push(group(at), 1, 1, "other");
        }
        assert_eq!(take(&mut turns, few), ["other", "flood", "other", "flood"]);
    }

    #[test]
    fn sessions_of_a_group_take_turns_and_keep_their_order() {
        let mut turns = Turns::default();
        for (session, thing) in [(1, "a1"), (1, "a2"), (1, "a3"), (2, "b1"), (3, "c1")] {
            turns.push(group(1), session, 1, thing);
        }
        assert_eq!(take(&mut turns, MUCH), ["a1", "b1", "c1", "a2", "a3"]);
        assert!(turns.is_empty() && turns.groups.is_empty());
        assert!(turns.order.is_empty() && turns.fresh.is_empty());
    }

    #[test]
    fn who_rests_keeps_its_turn_and_nobody_waits_for_it() {
        let mut turns = Turns::default();
        for at in 0..3 {
            turns.push(group(1), 1, 1, at);
            turns.push(group(2), 2, 1, 10 + at);
            turns.push(group(3), 3, 1, 20 + at);
        }
        let wait = |id: GroupId| Duration::from_millis(id.0[0].into());
        let mut taken = Vec::new();
        let may = |id, _| {
            if id == group(2) {
                Ok(())
            } else {
                Err(wait(id))
            }
        };
        let rest = turns.take(MUCH, may, |thing| taken.push(thing));
        assert_eq!(rest, Some(wait(group(1))));
        assert_eq!(taken, [10, 11, 12]);
        assert_eq!(take(&mut turns, MUCH), [0, 20, 1, 21, 2, 22]);
    }

    #[test]
    fn what_has_no_room_waits_unless_it_is_the_first() {
        let mut turns = Turns::default();
        for (at, size) in [10, 10, 10, 100, 10].into_iter().enumerate() {
            turns.push(group(1), 1, size, at);
        }
        assert_eq!(take(&mut turns, Share { size: 25, ..MUCH }), [0, 1]);
        let by_weight = Share {
            weight: weight(1, 10),
            ..MUCH
        };
        assert_eq!(take(&mut turns, by_weight), [2]);
        assert_eq!(take(&mut turns, by_weight), [3], "too large, and alone");
        turns.push(group(2), 2, 10, 100);
        assert_eq!(take(&mut turns, Share { count: 1, ..MUCH }), [100]);
        assert_eq!(take(&mut turns, MUCH), [4]);
    }

    proptest! {
        #[test]
        fn everything_comes_once_and_in_the_order_of_its_session(
            pushes in proptest::collection::vec((0u8..4, 0u64..4, 0usize..50), 0..200),
            count in 1usize..20, size in 1usize..200, weight in 1usize..20_000,
        ) {
            let mut turns = Turns::default();
            for (at, (in_group, session, size)) in pushes.iter().enumerate() {
                turns.push(group(*in_group), *session, *size, at);
            }
            let mut taken = Vec::new();
            while !turns.is_empty() {
                let before = taken.len();
                taken.extend(take(&mut turns, Share { count, size, weight }));
                prop_assert!(taken.len() > before && taken.len() - before <= count);
            }
            prop_assert_eq!(taken.len(), pushes.len());
            let of = |at: &usize| (pushes[*at].0, pushes[*at].1);
            for (place, at) in taken.iter().enumerate() {
                prop_assert!(taken[..place].iter().all(|before| of(before) != of(at) || before < at));
            }
        }
    }
}
