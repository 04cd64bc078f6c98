use super::*;

const YEAR: Duration = Duration::from_secs(365 * 86_400);
const DAY: Duration = Duration::from_secs(86_400);
const MINUTE: Duration = Duration::from_secs(60);
/// When the tests begin.
const START: Timestamp = Timestamp(1_800_000_000_000);

/// A machine with a clock that can be moved.
struct Machine {
    count: Count,
    on: Duration,
    wall: Timestamp,
}

impl Machine {
    fn starts(saved: Timestamp, wall: Timestamp) -> Self {
        let on = Duration::from_secs(30);
        Self {
            count: Count::new(saved, on),
            on,
            wall,
        }
    }

    fn passes(&mut self, time: Duration) {
        self.on += time;
        self.wall = self.wall.plus(time);
    }

    fn told(&mut self) -> Told {
        self.count.tell(self.wall, self.on)
    }

    /// Whether what was stored at `stored` with a time to live of 30 days may be deleted.
    fn deletes(&mut self, stored: Timestamp) -> bool {
        stored.plus(30 * DAY) <= self.told().expiry
    }
}

#[test]
fn a_clock_that_is_right_is_followed_and_small_steps_back_are_not_shown() {
    let mut machine = Machine::starts(START, START);
    assert_eq!(machine.told().now, START);
    machine.passes(31 * DAY);
    assert!(machine.deletes(START));
    let before = machine.told().now;
    machine.wall = Timestamp(before.0 - 50_000);
    assert_eq!(machine.told().now, before);
    machine.passes(MINUTE);
    assert_eq!(machine.told().now, Timestamp(before.0 + 10_000));
}

#[test]
fn a_running_relay_whose_clock_jumps_ten_years_deletes_nothing_and_stamps_nothing_wrong() {
    let mut machine = Machine::starts(START, START);
    machine.told();
    machine.passes(MINUTE);
    machine.wall = machine.wall.plus(10 * YEAR);
    let told = machine.told();
    assert_eq!(
        (told.now, told.expiry),
        (START.plus(MINUTE), START.plus(MINUTE))
    );
    assert_eq!(told.notice, Some(Notice::Ahead(10 * YEAR)));
    for _ in 0..23 {
        machine.passes(60 * MINUTE);
        assert!(!machine.deletes(START));
        assert_eq!(machine.told().notice, None, "told once");
    }
    // A time server puts it right.
    machine.wall = START.plus(24 * 60 * MINUTE);
    let told = machine.told();
    assert_eq!(told.notice, Some(Notice::Agreed));
    assert_eq!((told.now, told.expiry), (machine.wall, machine.wall));
    machine.passes(30 * DAY);
    assert!(machine.deletes(START), "what is really due goes");
}

#[test]
fn a_clock_that_stands_is_believed_after_a_day() {
    let mut machine = Machine::starts(START, START);
    machine.told();
    machine.wall = machine.wall.plus(40 * DAY);
    assert!(!machine.deletes(START));
    machine.passes(limits::CLOCK_GRACE - MINUTE);
    assert!(!machine.deletes(START));
    machine.passes(MINUTE);
    assert_eq!(machine.told().notice, Some(Notice::Believed));
    assert!(machine.deletes(START));
    assert_eq!(machine.told().now, machine.wall);
}

#[test]
fn a_clock_that_keeps_jumping_is_never_believed() {
    let mut machine = Machine::starts(START, START);
    machine.told();
    for _ in 0..10 {
        machine.wall = machine.wall.plus(YEAR);
        for _ in 0..20 {
            machine.passes(60 * MINUTE);
            assert!(!machine.deletes(START));
        }
    }
}

#[test]
fn a_relay_that_boots_in_2038_deletes_nothing_even_after_further_starts() {
    let wrong = START.plus(10 * YEAR);
    let mut saved = START.plus(DAY);
    for _ in 0..3 {
        let mut machine = Machine::starts(saved, wrong);
        let told = machine.told();
        assert!(matches!(told.notice, Some(Notice::AheadAtStart(_))));
        assert_eq!(told.now, wrong, "most likely it was off for long");
        assert!(!machine.deletes(START));
        machine.passes(20 * 60 * MINUTE);
        assert!(!machine.deletes(START));
        saved = machine.count.own(machine.on);
    }
    // The time server answers: stamps are right again at once.
    let mut machine = Machine::starts(saved, wrong);
    machine.told();
    machine.wall = saved.plus(MINUTE);
    assert_eq!(machine.told().now, machine.wall);
}

#[test]
fn a_relay_that_was_off_for_forty_days_deletes_what_is_due_a_day_later() {
    let mut machine = Machine::starts(START, START.plus(40 * DAY));
    assert_eq!(machine.told().now, START.plus(40 * DAY));
    assert!(!machine.deletes(START));
    machine.passes(limits::CLOCK_GRACE);
    assert!(machine.deletes(START));
}

#[test]
fn a_clock_that_falls_back_to_1970_does_not_stop_the_relays_time() {
    let mut machine = Machine::starts(START, Timestamp(0));
    let told = machine.told();
    assert_eq!((told.now, told.expiry), (START, Timestamp(0)));
    assert!(matches!(told.notice, Some(Notice::Behind(_))));
    machine.passes(MINUTE);
    assert_eq!(machine.told().now, START.plus(MINUTE));
    machine.wall = START.plus(2 * MINUTE);
    assert_eq!(machine.told().now, START.plus(2 * MINUTE));
}

#[test]
fn the_count_survives_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let clock = Clock::open(folder.path(), None);
    let now = clock.now();
    clock.save().unwrap();
    let saved = std::fs::read_to_string(folder.path().join(FILE_NAME)).unwrap();
    assert!(saved.trim().parse::<u64>().unwrap() >= now.0);
    // As if the system's clock had been set back by a year since.
    std::fs::write(
        folder.path().join(FILE_NAME),
        (now.plus(YEAR).0).to_string(),
    )
    .unwrap();
    assert!(Clock::open(folder.path(), None).now() >= now.plus(YEAR));
    std::fs::write(folder.path().join(FILE_NAME), "not a number").unwrap();
    let again = Clock::open(folder.path(), None).now();
    assert!(again.since(now) < Duration::from_secs(3600));
}

#[test]
fn the_clock_of_a_shared_database_stands_for_the_systems() {
    let folder = tempfile::tempdir().unwrap();
    let there = Timestamp(4_000_000_000_000);
    let clock = Clock::open(folder.path(), Some(there));
    let now = clock.now();
    assert!(now >= there && now.since(there) < MINUTE);
    clock.follow(there.plus(MINUTE));
    assert!(clock.expiry() >= there.plus(MINUTE));
}
