//! What blobs and ephemeral messages have in common: `nonce || XChaCha20-Poly1305(blob key, nonce, associated data, plaintext)`,
//! where the plaintext is MessagePack, then zeros up to the PADMÉ length.

use bytes::Bytes;

use super::blob::OpenError;
use super::keys::EpochKeys;
use super::padme::padded_len;
use crate::Entropy;
use crate::codec::Wire;

/// Seals a value; `len` is about how long it is.
pub(super) fn seal<T: Wire>(
    keys: &EpochKeys,
    associated_data: &[u8],
    plain: &T,
    len: usize,
    entropy: &mut dyn Entropy,
) -> Bytes {
    let nonce: [u8; zerok_sync_aead::NONCE_LEN] = crate::random(entropy);
    let mut out = Vec::with_capacity(nonce.len() + padded_len(len) + zerok_sync_aead::TAG_LEN);
    out.extend_from_slice(&nonce);
    plain.put(&mut out);
    out.resize(nonce.len() + padded_len(out.len() - nonce.len()), 0);
    zerok_sync_aead::seal(
        keys.blob().expose(),
        &nonce,
        associated_data,
        &mut out,
        nonce.len(),
    );
    out.into()
}

/// Opens it again.
pub(super) fn open<T: Wire>(
    keys: &EpochKeys,
    epoch: u32,
    associated_data: &[u8],
    payload: &[u8],
) -> Result<T, OpenError> {
    if keys.epoch() != epoch {
        return Err(OpenError::UnknownEpoch);
    }
    let Some((nonce, sealed)) = payload.split_first_chunk() else {
        return Err(OpenError::Forged);
    };
    let mut message = sealed.to_vec();
    zerok_sync_aead::open(keys.blob().expose(), nonce, associated_data, &mut message)
        .map_err(|_| OpenError::Forged)?;
    let mut rest = message.as_slice();
    let plain = T::take(&mut rest).map_err(|_| OpenError::Malformed)?;
    let padding_holds = rest.iter().all(|byte| *byte == 0)
        && message.len() == padded_len(message.len() - rest.len());
    if padding_holds {
        Ok(plain)
    } else {
        Err(OpenError::Malformed)
    }
}
