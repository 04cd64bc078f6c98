//! Why a command failed, and what its exit code is.

use serde::{Deserialize, Serialize};
use zerok_sync_client::SyncError;
use zerok_sync_client::shared::failure::code;

/// Another process has the data folder open and can't be asked.
pub const ALREADY_OPEN: &str = "ALREADY_OPEN";
/// `zerok init` was not run yet.
pub const NO_DEVICE: &str = "NO_DEVICE";

/// Ctrl-C, where a question took it.
pub const INTERRUPTED: &str = "INTERRUPTED";

/// Done.
pub const EXIT_DONE: u8 = 0;
/// Failed.
pub const EXIT_FAILED: u8 = 1;
/// Something that can't be asked for.
pub const EXIT_USAGE: u8 = 2;
/// No relay was reached; what was pushed is queued.
pub const EXIT_OFFLINE: u8 = 3;
/// A signal ended it.
pub const EXIT_INTERRUPTED: u8 = 130;

/// What went wrong, with a stable code and a message that says what to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// Stable name.
    pub code: String,
    /// For people.
    pub message: String,
    /// Whether the same command can succeed later.
    pub retryable: bool,
}

impl Failure {
    /// A failure that repeating does not cure.
    pub fn new(code: &str, message: impl Into<String>) -> Self {
        Self {
            code: code.to_owned(),
            message: message.into(),
            retryable: false,
        }
    }

    /// A failure that can pass by itself.
    pub fn passing(code: &str, message: impl Into<String>) -> Self {
        Self {
            retryable: true,
            ..Self::new(code, message)
        }
    }

    /// This device was removed from the group.
    pub fn revoked() -> Self {
        Self::new(
            code::DEVICE_REVOKED,
            "this device was removed from the group: what it has stays readable, nothing new comes. `zerok leave` forgets the \
             group. A removed device can't come back: to join again, be a new one (`zerok --data-dir NEW init`, then `pair --join`)",
        )
    }

    /// Something that can't be asked for.
    pub fn usage(message: impl Into<String>) -> Self {
        Self::new(code::INVALID_ARGUMENT, message)
    }

    /// What the process ends with.
    pub fn exit_code(&self) -> u8 {
        match self.code.as_str() {
            code::INVALID_ARGUMENT => EXIT_USAGE,
            code::RELAY_UNREACHABLE | code::TIMEOUT => EXIT_OFFLINE,
            _ => EXIT_FAILED,
        }
    }
}

impl From<SyncError> for Failure {
    fn from(error: SyncError) -> Self {
        if error.code == code::DEVICE_REVOKED {
            return Self::revoked();
        }
        Self {
            code: error.code.to_owned(),
            message: error.message,
            retryable: error.retryable,
        }
    }
}
