//! What one direction of a connection may suffer.

use std::time::Duration;

/// Faults of one direction. The default is none.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Faults {
    /// Added to every packet.
    pub delay: Duration,
    /// How far the delay strays in either direction. UDP packets overtake each other, TCP keeps its order.
    pub jitter: Duration,
    /// Chance of each packet to be lost. TCP would send it again, so there a loss is a wait.
    pub loss: f64,
    /// Losses that come together.
    pub burst: Option<Burst>,
    /// Bytes a second.
    pub rate: Option<u64>,
    /// Nothing gets through, and nobody is told.
    pub partition: bool,
    /// Chance of each UDP packet to arrive twice.
    pub duplicate: f64,
    /// Chance of each packet to have a bit turned. TCP packets too: as a broken middlebox would, below TLS.
    pub corrupt: f64,
    /// Chance of each packet to lose its end, on TCP as well.
    pub truncate: f64,
    /// Chance of each packet to be followed by bytes that nobody sent: a packet of their own, or a piece of the stream.
    pub inject: f64,
}

/// The Gilbert-Elliott model: a good state without and a bad state with nothing but losses.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Burst {
    /// Chance of each packet to be the first of a burst.
    pub enter: f64,
    /// Chance of each packet in a burst to be its last.
    pub leave: f64,
}

impl Faults {
    /// Whether nothing gets through at all: a TCP sender then waits for as long as it takes.
    #[must_use]
    pub fn is_dead(&self) -> bool {
        self.partition || self.loss >= 1.0
    }

    /// Everything later by this.
    #[must_use]
    pub fn delay(millis: u64) -> Self {
        Self {
            delay: Duration::from_millis(millis),
            ..Self::default()
        }
    }

    /// Everything later by something between `delay - jitter` and `delay + jitter`.
    #[must_use]
    pub fn jitter(delay: u64, jitter: u64) -> Self {
        Self {
            jitter: Duration::from_millis(jitter),
            ..Self::delay(delay)
        }
    }

    /// So many of a hundred packets are lost.
    #[must_use]
    pub fn loss(percent: f64) -> Self {
        Self {
            loss: percent / 100.0,
            ..Self::default()
        }
    }

    /// Bursts of loss.
    #[must_use]
    pub fn bursts(enter: f64, leave: f64) -> Self {
        Self {
            burst: Some(Burst { enter, leave }),
            ..Self::default()
        }
    }

    /// So many bits a second.
    #[must_use]
    pub fn bits_per_second(bits: u64) -> Self {
        Self {
            rate: Some(bits / 8),
            ..Self::default()
        }
    }

    /// Nothing gets through.
    #[must_use]
    pub fn partition() -> Self {
        Self {
            partition: true,
            ..Self::default()
        }
    }

    /// Some packets lose their end.
    #[must_use]
    pub fn truncate(percent: f64) -> Self {
        Self {
            truncate: percent / 100.0,
            ..Self::default()
        }
    }

    /// Some packets are followed by bytes that nobody sent.
    #[must_use]
    pub fn inject(percent: f64) -> Self {
        Self {
            inject: percent / 100.0,
            ..Self::default()
        }
    }

    /// Some packets have a bit turned.
    #[must_use]
    pub fn corrupt(percent: f64) -> Self {
        Self {
            corrupt: percent / 100.0,
            ..Self::default()
        }
    }
}

/// What becomes of a new TCP connection.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Accept {
    /// It reaches the relay.
    #[default]
    Forward,
    /// It is accepted and everything on it swallowed; neither side ever hears of the other.
    Swallow,
    /// It is reset.
    Refuse,
}
