//! Ways into what is otherwise private, for the fuzzer.

/// Whether this answer at `/.well-known/iroh` would be taken for that of a relay.
#[must_use]
pub fn read_directory(body: &[u8]) -> bool {
    crate::network::read_directory("https://relay.test", body).is_ok()
}
