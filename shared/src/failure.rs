//! The error that an app sees.

use core::fmt;

use crate::error::ErrorCode;
use crate::message::WireError;

/// Names of errors that arise on the device. Those of a relay are in [`ErrorCode::name`].
pub mod code {
    /// The relay does not answer, or is not a relay.
    pub const RELAY_UNREACHABLE: &str = "RELAY_UNREACHABLE";
    /// The relay at this URL has another identity than before.
    pub const RELAY_IDENTITY_CHANGED: &str = "RELAY_IDENTITY_CHANGED";
    /// A relay has shown two devices different histories.
    pub const RELAY_FORKED: &str = "RELAY_FORKED";
    /// A stored blob was altered on its way.
    pub const BLOB_REJECTED: &str = "BLOB_REJECTED";
    /// A blob came after later ones of its sender: a relay has mixed them up, or had lost this one.
    pub const BLOB_OUT_OF_ORDER: &str = "BLOB_OUT_OF_ORDER";
    /// The device has no room left.
    pub const STORAGE_FULL: &str = "STORAGE_FULL";
    /// The device's storage does not work.
    pub const STORAGE_FAILED: &str = "STORAGE_FAILED";
    /// More than fits one blob.
    pub const BLOB_TOO_LARGE: &str = "BLOB_TOO_LARGE";
    /// An argument is not usable.
    pub const INVALID_ARGUMENT: &str = "INVALID_ARGUMENT";
    /// The group is not on this device.
    pub const UNKNOWN_GROUP: &str = "UNKNOWN_GROUP";
    /// This device was removed from the group.
    pub const DEVICE_REVOKED: &str = "DEVICE_REVOKED";
    /// There is nothing by this name.
    pub const NOT_FOUND: &str = "NOT_FOUND";
    /// The client was closed.
    pub const CLOSED: &str = "CLOSED";
    /// The invite's time is over.
    pub const INVITE_EXPIRED: &str = "INVITE_EXPIRED";
    /// The invite is mistyped, unknown, used, cancelled, or of another version; `reason` tells which.
    pub const INVITE_INVALID: &str = "INVITE_INVALID";
    /// The device that made the invite said no.
    pub const INVITE_REJECTED: &str = "INVITE_REJECTED";
    /// It was given up here.
    pub const CANCELLED: &str = "CANCELLED";
    /// No relay has a group with this name and passphrase.
    pub const GROUP_NOT_FOUND: &str = "GROUP_NOT_FOUND";
    /// The group's keys were changed: its passphrase opens it no longer.
    pub const GROUP_CLOSED: &str = "GROUP_CLOSED";
    /// The passphrase could be guessed.
    pub const WEAK_PASSPHRASE: &str = "WEAK_PASSPHRASE";
    /// It took too long.
    pub const TIMEOUT: &str = "TIMEOUT";
    /// The device has too little free memory for it.
    pub const OUT_OF_MEMORY: &str = "OUT_OF_MEMORY";
}

/// What went wrong, with a stable code and a message that says what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SyncError {
    /// Stable name.
    pub code: &'static str,
    /// For people.
    pub message: String,
    /// Whether the same call can succeed later without a change by the user.
    pub retryable: bool,
    /// When to try again.
    pub retry_after_ms: Option<u64>,
    /// Which of the cases that share the code it is.
    pub reason: Option<&'static str>,
}

impl SyncError {
    /// An error that repeating does not cure.
    #[must_use]
    pub fn new(code: &'static str, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            retryable: false,
            retry_after_ms: None,
            reason: None,
        }
    }

    /// An error that can pass by itself.
    #[must_use]
    pub fn passing(code: &'static str, message: impl Into<String>) -> Self {
        Self {
            retryable: true,
            ..Self::new(code, message)
        }
    }

    /// The same with the case it is.
    #[must_use]
    pub fn because(self, reason: &'static str) -> Self {
        Self {
            reason: Some(reason),
            ..self
        }
    }

    /// What a relay refused.
    #[must_use]
    pub fn from_relay(relay: &str, error: &WireError) -> Self {
        let quota = match error.code {
            ErrorCode::GroupQuotaExceeded => "; it is sent again when there is room",
            _ => "",
        };
        Self {
            code: error.code.name(),
            message: format!("{relay}: {}{quota}", error.message),
            retryable: error.code.retryable(),
            retry_after_ms: error.retry_after_ms,
            reason: None,
        }
    }
}

impl fmt::Display for SyncError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.message)
    }
}

impl core::error::Error for SyncError {}
