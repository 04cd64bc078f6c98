//! Argon2id (RFC 9106): keys from what people type, made slow and memory-hungry for whoever guesses.

use argon2::{Algorithm, Argon2, Block, Params, Version};
use zeroize::Zeroize as _;

use super::keys::Secret;

/// What one derivation costs, here and for whoever guesses. One lane: browsers have one thread.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cost {
    /// Memory in KiB.
    pub memory: u32,
    /// Passes over it.
    pub passes: u32,
}

/// The profile `high`: 64 MiB, three passes.
pub const HIGH: Cost = Cost {
    memory: 64 * 1024,
    passes: 3,
};

/// This device cannot spare the memory that the derivation needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("this device has too little free memory")]
pub struct OutOfMemory;

/// Derives a key. Takes a good part of a second, and [`Cost::memory`].
///
/// # Errors
/// [`OutOfMemory`]
pub fn argon2id(password: &[u8], salt: &[u8; 16], cost: Cost) -> Result<Secret, OutOfMemory> {
    // Fails for parameters out of range only; those of the profiles are in range, and tested.
    let params = Params::new(cost.memory, cost.passes, 1, Some(32)).map_err(|_| OutOfMemory)?;
    let mut memory: Vec<Block> = Vec::new();
    // Asked for instead of taken: in a browser a failed allocation would end the whole module.
    memory
        .try_reserve_exact(params.block_count())
        .map_err(|_| OutOfMemory)?;
    memory.resize(params.block_count(), Block::new());
    let mut out = [0; 32];
    let done = Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
        .hash_password_into_with_memory(password, salt, &mut out, &mut memory);
    memory.iter_mut().for_each(Block::zeroize);
    let secret = Secret::new(out);
    out.zeroize();
    done.map_err(|_| OutOfMemory)?;
    Ok(secret)
}
