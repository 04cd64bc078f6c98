//! What can go wrong.

use std::fmt;

use crate::Rng;

/// A kind of fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// Connections break: each end notices in its own time, and what was under way is lost, mid-frame or not.
    Reset,
    /// One stream breaks and its connection lives on.
    StreamReset,
    /// Nothing passes in one or both directions for a while. Longer than the idle time-out, each end gives up alone.
    Partition,
    /// Packets are lost: what was in them comes a few round trips later.
    Loss,
    /// Round trips of seconds that change all the time.
    Delay,
    /// The relay sends things twice.
    Duplicate,
    /// Bytes that are no frame arrive.
    Garbage,
    /// Devices crash between any two steps of their storage, and start again.
    DeviceCrash,
    /// Devices are switched off for hours or days.
    DeviceSleep,
    /// The operating system says that the network came or went.
    NetworkChange,
    /// The disk of a device is full for a while.
    DeviceFull,
    /// The disk of a device does not read for a while.
    DeviceUnreadable,
    /// Clocks of devices and of the relay jump.
    Clock,
    /// The relay crashes.
    RelayCrash,
    /// The relay stops in order and comes back.
    RelayRestart,
    /// The relay loses its database.
    RelayWipe,
    /// The relay comes back with an older database.
    RelayRollback,
    /// The relay refuses blobs for a while: quota, rate, overload, a full disk.
    RelayRefuses,
    /// The relay cannot read its database for a while.
    RelayUnreadable,
    /// Blobs have short lives.
    Expiry,
    /// The relay alters blobs.
    Tamper,
    /// Devices join late.
    LateJoiner,
    /// Devices leave, and may come back as if new.
    Leaving,
    /// The group moves to a new epoch; devices hear of it at different times.
    Rotation,
    /// Apps give snapshots, and the relay drops what they cover.
    Snapshots,
}

impl Fault {
    /// Every kind.
    pub const ALL: &[Self] = &[
        Self::Reset,
        Self::StreamReset,
        Self::Partition,
        Self::Loss,
        Self::Delay,
        Self::Duplicate,
        Self::Garbage,
        Self::DeviceCrash,
        Self::DeviceSleep,
        Self::NetworkChange,
        Self::DeviceFull,
        Self::DeviceUnreadable,
        Self::Clock,
        Self::RelayCrash,
        Self::RelayRestart,
        Self::RelayWipe,
        Self::RelayRollback,
        Self::RelayRefuses,
        Self::RelayUnreadable,
        Self::Expiry,
        Self::Tamper,
        Self::LateJoiner,
        Self::Leaving,
        Self::Rotation,
        Self::Snapshots,
    ];

    /// Its name on a command line: the words of the variant, with dashes.
    #[must_use]
    pub fn name(self) -> String {
        let mut name = String::new();
        for letter in format!("{self:?}").chars() {
            if letter.is_ascii_uppercase() && !name.is_empty() {
                name.push('-');
            }
            name.push(letter.to_ascii_lowercase());
        }
        name
    }

    /// The fault with a name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|fault| fault.name() == name)
    }
}

/// The faults of one run.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Faults(u32);

impl Faults {
    /// Draws a mix: from nearly none to nearly all, because faults that are always on hide what others would show.
    #[must_use]
    pub fn draw(rng: &mut Rng) -> Self {
        let one_in = [1, 2, 2, 3, 5, 8][rng.below(6)];
        let mut drawn = Self::default();
        for fault in Fault::ALL {
            // Tampering excuses what it destroys, so it is kept to few runs.
            let rare = *fault == Fault::Tamper && !rng.once_in(3);
            if rng.once_in(one_in) && !rare {
                drawn = drawn.with(*fault);
            }
        }
        drawn
    }

    /// These and one more.
    #[must_use]
    pub const fn with(self, fault: Fault) -> Self {
        Self(self.0 | 1 << fault as u32)
    }

    /// These but for one.
    #[must_use]
    pub const fn without(self, fault: Fault) -> Self {
        Self(self.0 & !(1 << fault as u32))
    }

    /// Whether a fault is among them.
    #[must_use]
    pub const fn has(self, fault: Fault) -> bool {
        self.0 & 1 << fault as u32 != 0
    }

    /// Each of them.
    pub fn iter(self) -> impl Iterator<Item = Fault> {
        Fault::ALL
            .iter()
            .copied()
            .filter(move |fault| self.has(*fault))
    }
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.iter().map(Fault::name).collect();
        f.write_str(&if names.is_empty() {
            "no fault".to_owned()
        } else {
            names.join(",")
        })
    }
}

impl fmt::Debug for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}
