//! What waits for the writer, taken in turns: of one group after the other, and in a group of one session after the other.
//!
//! A group that pushes without end fills its own places in a transaction and leaves the others theirs. The order within a
//! session stays.

use std::collections::{HashMap, VecDeque};

use zerok_sync_shared::ids::GroupId;

/// Things that wait, each of a group and a session, with their sizes.
#[derive(Debug)]
pub(super) struct Turns<T> {
    groups: HashMap<GroupId, Group<T>>,
    /// Groups in which something waits; the first has its turn.
    order: VecDeque<GroupId>,
    len: usize,
}

#[derive(Debug)]
struct Group<T> {
    sessions: HashMap<u64, VecDeque<(usize, T)>>,
    order: VecDeque<u64>,
}

/// How much may be taken at once.
#[derive(Debug, Clone, Copy)]
pub(super) struct Share {
    /// Things.
    pub count: usize,
    /// Their sizes together; one thing more may pass it.
    pub size: usize,
}

impl Share {
    const fn is_left(self) -> bool {
        self.count > 0 && self.size > 0
    }

    fn spend(&mut self, size: usize) {
        self.count -= 1;
        self.size = self.size.saturating_sub(size);
    }
}

impl<T> Default for Turns<T> {
    fn default() -> Self {
        Self {
            groups: HashMap::new(),
            order: VecDeque::new(),
            len: 0,
        }
    }
}

impl<T> Turns<T> {
    /// Things that wait.
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether nothing waits.
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Puts something behind what waits of the same session.
    pub fn push(&mut self, group: GroupId, session: u64, size: usize, thing: T) {
        let waiting = self.groups.entry(group).or_insert_with(|| {
            self.order.push_back(group);
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

    /// Takes what is next, up to a share for all and one for each group. Who has got all of its share goes behind
    /// those who have not.
    pub fn take(&mut self, mut all: Share, each: Share, mut give: impl FnMut(T)) {
        let mut left: HashMap<GroupId, Share> = HashMap::new();
        let mut served = VecDeque::new();
        while all.is_left()
            && let Some(id) = self.order.pop_front()
        {
            let share = left.entry(id).or_insert(each);
            if let Some(group) = self.groups.get_mut(&id)
                && let Some((size, thing)) = group.pop()
            {
                give(thing);
                self.len -= 1;
                all.spend(size);
                share.spend(size);
            }
            match self.groups.get(&id) {
                Some(group) if group.order.is_empty() => {
                    self.groups.remove(&id);
                }
                Some(_) if share.is_left() => self.order.push_back(id),
                Some(_) => served.push_back(id),
                None => {}
            }
        }
        self.order.append(&mut served);
    }
}

impl<T> Group<T> {
    fn pop(&mut self) -> Option<(usize, T)> {
        let session = self.order.pop_front()?;
        let queue = self.sessions.get_mut(&session)?;
        let next = queue.pop_front();
        if queue.is_empty() {
            self.sessions.remove(&session);
        } else {
            self.order.push_back(session);
        }
        next
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MUCH: Share = Share {
        count: usize::MAX,
        size: usize::MAX,
    };

    fn group(number: u8) -> GroupId {
        GroupId([number; 32])
    }

    fn take<T>(turns: &mut Turns<T>, all: Share, each: Share) -> Vec<T> {
        let mut taken = Vec::new();
        turns.take(all, each, |thing| taken.push(thing));
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
        assert!(take(&mut turns, few, MUCH).contains(&"other"));
        assert_eq!(turns.len(), 997);
    }

    #[test]
    fn sessions_of_a_group_take_turns_and_keep_their_order() {
        let mut turns = Turns::default();
        for (session, thing) in [(1, "a1"), (1, "a2"), (1, "a3"), (2, "b1"), (3, "c1")] {
            turns.push(group(1), session, 1, thing);
        }
        assert_eq!(take(&mut turns, MUCH, MUCH), ["a1", "b1", "c1", "a2", "a3"]);
        assert!(turns.is_empty() && turns.groups.is_empty() && turns.order.is_empty());
    }

    #[test]
    fn a_group_gets_its_share_and_then_waits() {
        let mut turns = Turns::default();
        for at in 0..10 {
            turns.push(group(1), 1, 10, at);
        }
        let by_size = Share { size: 25, ..MUCH };
        assert_eq!(take(&mut turns, MUCH, by_size), [0, 1, 2]);
        let by_count = Share { count: 2, ..MUCH };
        assert_eq!(take(&mut turns, MUCH, by_count), [3, 4]);
        turns.push(group(2), 2, 10, 100);
        assert_eq!(take(&mut turns, by_count, by_count), [5, 100]);
    }

    proptest! {
        #[test]
        fn everything_comes_once_and_in_the_order_of_its_session(
            pushes in proptest::collection::vec((0u8..4, 0u64..4, 0usize..50), 0..200),
            count in 1usize..20, size in 1usize..200,
        ) {
            let mut turns = Turns::default();
            for (at, (in_group, session, size)) in pushes.iter().enumerate() {
                turns.push(group(*in_group), *session, *size, at);
            }
            let mut taken = Vec::new();
            while !turns.is_empty() {
                let before = taken.len();
                taken.extend(take(&mut turns, Share { count, size }, Share { count: 3, size }));
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
