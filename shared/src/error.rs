//! The error codes of the wire. Errors of a module live beside it; only these are shared by both sides.

use crate::codec::wire::wire_as;

macro_rules! codes {
    ($($(#[$doc:meta])* $variant:ident = $number:literal, $name:literal, $retry:literal;)*) => {
        /// Why a relay refused something.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum ErrorCode {
            $($(#[$doc])* $variant,)*
            /// A code of a newer relay.
            Other(u16),
        }

        impl ErrorCode {
            /// Every code that this version knows.
            pub const ALL: &[Self] = &[$(Self::$variant),*];

            /// The number on the wire.
            #[must_use]
            pub const fn number(self) -> u16 {
                match self { $(Self::$variant => $number,)* Self::Other(number) => number }
            }

            /// The stable name that apps see.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* Self::Other(_) => "RELAY_ERROR" }
            }

            /// Whether the same request can succeed later without a change by the user.
            #[must_use]
            pub const fn retryable(self) -> bool {
                match self { $(Self::$variant => $retry,)* Self::Other(number) => number >= 2000 }
            }
        }

        impl From<u16> for ErrorCode {
            fn from(number: u16) -> Self {
                match number { $($number => Self::$variant,)* other => Self::Other(other) }
            }
        }
    };
}

codes! {
    /// A frame that is not of this protocol, or not allowed at this point.
    InvalidMessage = 1000, "INVALID_MESSAGE", false;
    /// The group does not exist on this relay and the request does not create it.
    UnknownGroup = 1001, "UNKNOWN_GROUP", false;
    /// The proof of membership, or the access token, is wrong.
    Unauthorized = 1002, "UNAUTHORIZED", false;
    /// This device was removed from the group.
    DeviceRevoked = 1003, "DEVICE_REVOKED", false;
    /// Only the sender of a blob may do this.
    NotBlobOwner = 1004, "NOT_BLOB_OWNER", false;
    /// The group has moved to another epoch.
    StaleEpoch = 1005, "STALE_EPOCH", true;
    /// No version of the protocol is common to both sides.
    UnsupportedVersion = 1006, "UNSUPPORTED_VERSION", false;
    /// Too many requests; wait `retry_after_ms`.
    RateLimited = 2000, "RATE_LIMITED", true;
    /// The blob is larger than this relay stores.
    BlobTooLarge = 2001, "BLOB_TOO_LARGE", false;
    /// The group has used up its storage on this relay.
    GroupQuotaExceeded = 2002, "GROUP_QUOTA_EXCEEDED", true;
    /// The Web Push subscription or token is malformed.
    InvalidPushToken = 2003, "INVALID_PUSH_TOKEN", false;
    /// What was asked for is not there.
    NotFound = 2004, "NOT_FOUND", false;
    /// The device takes what is sent to it too slowly: no ERROR could reach it, and its stream is reset with this number. Or it
    /// has begun a frame and does not go on.
    TooSlow = 2005, "TOO_SLOW", true;
    /// A message for those who are there now was dropped: more is sent than the relay takes. Nothing else is affected.
    EphemeralDropped = 2006, "EPHEMERAL_DROPPED", true;
    /// The relay has too much to do.
    RelayOverloaded = 3000, "RELAY_OVERLOADED", true;
    /// The relay is stopping; another one, or this one in a moment, will answer.
    RelayShuttingDown = 3001, "RELAY_SHUTTING_DOWN", true;
    /// The relay could not write to its disk.
    StorageFailed = 3002, "STORAGE_FAILED", true;
}

wire_as!(ErrorCode as u16, |code| code.number(), ErrorCode::from);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_names_are_unique_and_round_trip() {
        for (at, code) in ErrorCode::ALL.iter().enumerate() {
            assert_eq!(ErrorCode::from(code.number()), *code);
            for other in &ErrorCode::ALL[at + 1..] {
                assert_ne!(code.number(), other.number());
                assert_ne!(code.name(), other.name());
            }
        }
        assert_eq!(ErrorCode::from(4242).number(), 4242);
    }
}
