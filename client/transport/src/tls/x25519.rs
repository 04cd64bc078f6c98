//! X25519 (RFC 7748) on curve25519-dalek, for browsers.
//!
//! iroh signs and verifies with that crate, so its code and tables are downloaded anyway; ring's own for the same curve
//! would add 40 KB.

use curve25519_dalek::MontgomeryPoint;
use rustls::crypto::{ActiveKeyExchange, SharedSecret, SupportedKxGroup};
use rustls::ffdhe_groups::FfdheGroup;
use rustls::{Error, NamedGroup};
use zeroize::Zeroizing;

use super::{INVALID_KEY_SHARE, fill_random};

/// The group X25519.
pub static X25519: &dyn SupportedKxGroup = &Group;

#[derive(Debug)]
struct Group;

impl SupportedKxGroup for Group {
    fn start(&self) -> Result<Box<dyn ActiveKeyExchange>, Error> {
        let mut secret = Zeroizing::new([0; 32]);
        fill_random(&mut *secret)?;
        let share = MontgomeryPoint::mul_base_clamped(*secret).to_bytes();
        Ok(Box::new(Started { secret, share }))
    }

    fn ffdhe_group(&self) -> Option<FfdheGroup<'static>> {
        None
    }

    fn name(&self) -> NamedGroup {
        NamedGroup::X25519
    }
}

struct Started {
    secret: Zeroizing<[u8; 32]>,
    share: [u8; 32],
}

impl ActiveKeyExchange for Started {
    fn complete(self: Box<Self>, peer_share: &[u8]) -> Result<SharedSecret, Error> {
        let peer = peer_share.try_into().map_err(|_| INVALID_KEY_SHARE)?;
        let shared = Zeroizing::new(MontgomeryPoint(peer).mul_clamped(*self.secret));
        // A share of low order gives zero, whatever the secret is. TLS 1.3 asks for this check; it runs in constant time.
        if *shared == MontgomeryPoint::default() {
            return Err(INVALID_KEY_SHARE);
        }
        Ok(SharedSecret::from(shared.as_bytes().as_slice()))
    }

    fn pub_key(&self) -> &[u8] {
        &self.share
    }

    fn ffdhe_group(&self) -> Option<FfdheGroup<'static>> {
        None
    }

    fn group(&self) -> NamedGroup {
        NamedGroup::X25519
    }
}

#[cfg(test)]
mod tests {
    use rustls::crypto::{aws_lc_rs, ring};

    use super::*;

    #[test]
    fn agrees_with_ring_and_aws_lc_in_both_roles() {
        for other in [ring::kx_group::X25519, aws_lc_rs::kx_group::X25519] {
            for (client, server) in [(X25519, other), (other, X25519)] {
                let started = client.start().unwrap();
                assert_eq!(started.group(), server.name());
                let done = server.start_and_complete(started.pub_key()).unwrap();
                let secret = started.complete(&done.pub_key).unwrap();
                assert_eq!(secret.secret_bytes(), done.secret.secret_bytes());
            }
        }
    }

    #[test]
    fn shares_of_a_wrong_length_or_low_order_are_refused() {
        let mut one = [0; 32];
        one[0] = 1;
        // p + 1: the same point as 1, not reduced.
        let mut one_again = [0xFF; 32];
        (one_again[0], one_again[31]) = (0xEE, 0x7F);
        for share in [&[][..], &[9; 31], &[9; 33], &[0; 32], &one, &one_again] {
            let result = X25519.start().unwrap().complete(share);
            assert_eq!(result.map(|_| ()), Err(INVALID_KEY_SHARE), "{share:?}");
        }
    }
}
