//! Identifiers. All are byte strings of fixed length; `Display` is lower-case hex, `Debug` shows only the first bytes.

use core::fmt;
use core::str::FromStr;

use crate::codec::wire::wire_as;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $len:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub [u8; $len]);

        impl $name {
            /// Length in bytes.
            pub const LEN: usize = $len;

            /// The bytes.
            #[must_use]
            pub const fn as_bytes(&self) -> &[u8; $len] {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&data_encoding::HEXLOWER.encode(&self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({}…)", stringify!($name), data_encoding::HEXLOWER.encode(&self.0[..4]))
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;

            fn from_str(text: &str) -> Result<Self, InvalidId> {
                let bytes = data_encoding::HEXLOWER_PERMISSIVE
                    .decode(text.as_bytes())
                    .map_err(|_| InvalidId { expected: $len })?;
                Self::try_from(bytes.as_slice())
            }
        }

        impl TryFrom<&[u8]> for $name {
            type Error = InvalidId;

            fn try_from(bytes: &[u8]) -> Result<Self, InvalidId> {
                bytes.try_into().map(Self).map_err(|_| InvalidId { expected: $len })
            }
        }

        wire_as!($name as [u8; $len], |id| id.0, $name);
    };
}

id!(
    /// A device, or a relay's endpoint: its Ed25519 public key, proven by TLS on every connection.
    DeviceId, 32
);
id!(
    /// The devices that share data: SHA-256 of the access public key of epoch 0.
    GroupId, 32
);
id!(
    /// One blob: random, chosen by its sender, the idempotency key within its group.
    BlobId, 16
);
id!(
    /// One life of a relay's database.
    Incarnation, 16
);
id!(
    /// Where an invite lies on a relay.
    InviteLookup, 16
);

/// A relay's endpoint is a device id of its own.
pub type RelayId = DeviceId;

/// Text or bytes that are not an id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected {expected} bytes, as twice as many hex digits")]
pub struct InvalidId {
    /// Length that the id has.
    pub expected: usize,
}

/// A value that logs may not show: `Debug` and `Display` print `[redacted]`.
///
/// Wrap every id, address or name that goes into a log line.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Redacted<T>(pub T);

impl<T> fmt::Debug for Redacted<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

impl<T> fmt::Display for Redacted<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}
