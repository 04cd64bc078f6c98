//! PADMÉ: lengths are rounded so that they leak O(log log n) bits and grow by 12 % at most.
//!
//! Nikitin et al., "Reducing Metadata Leakage from Encrypted Files and Communication with PURBs", PoPETs 2019, section 4.

/// The length to pad `len` bytes to.
#[must_use]
pub const fn padded_len(len: usize) -> usize {
    if len < 2 {
        return len;
    }
    let exponent = usize::BITS - 1 - len.leading_zeros();
    let exponent_bits = u32::BITS - exponent.leading_zeros();
    let low_bits = exponent.saturating_sub(exponent_bits);
    let mask = (1usize << low_bits) - 1;
    match len.checked_add(mask) {
        Some(sum) => sum & !mask,
        None => len,
    }
}

#[cfg(test)]
mod tests {
    use super::padded_len;
    use proptest::prelude::*;

    #[test]
    fn known_lengths() {
        for (len, padded) in [
            (0, 0),
            (1, 1),
            (8, 8),
            (9, 10),
            (17, 18),
            (100, 104),
            (1024, 1024),
            (1025, 1088),
            (1 << 20, 1 << 20),
            ((1 << 20) + 1, (1 << 20) + 32768),
        ] {
            assert_eq!(padded_len(len), padded, "{len}");
        }
    }

    proptest! {
        #[test]
        fn never_shorter_and_at_most_twelve_percent_longer(len in 0usize..(1 << 40)) {
            let padded = padded_len(len);
            prop_assert!(padded >= len);
            prop_assert!((padded - len) as f64 <= 0.12 * len as f64);
            prop_assert_eq!(padded_len(padded), padded);
        }
    }
}
