//! MessagePack values by hand: structs as arrays, byte strings as `bin`, integers in their shortest form.
//!
//! Written out instead of derived because generic (de)serializers are a fifth of a browser's download, and because here
//! every length is checked against the bytes that are really there before anything is allocated.

use bytes::Bytes;
use rmp::decode::RmpRead as _;
use rmp::{Marker, decode, encode};

use super::DecodeError;
use crate::map::SortedMap;

/// A value that travels, or is stored.
pub trait Wire: Sized {
    /// Appends the value.
    fn put(&self, out: &mut Vec<u8>);

    /// Reads the value and moves `input` past it.
    ///
    /// # Errors
    /// [`DecodeError::Malformed`]
    fn take(input: &mut &[u8]) -> Result<Self, DecodeError>;
}

/// Implements [`Wire`] for a struct as an array of its fields in the order given.
macro_rules! wire_struct {
    ($name:ident { $($field:ident),* $(,)? }) => {
        impl $crate::codec::Wire for $name {
            fn put(&self, out: &mut Vec<u8>) {
                const FIELDS: usize = [$(stringify!($field)),*].len();
                $crate::codec::wire::put_array_len(out, FIELDS);
                $($crate::codec::Wire::put(&self.$field, out);)*
            }

            fn take(input: &mut &[u8]) -> Result<Self, $crate::codec::DecodeError> {
                const FIELDS: usize = [$(stringify!($field)),*].len();
                $crate::codec::wire::take_exact_array_len(input, FIELDS)?;
                Ok(Self { $($field: $crate::codec::Wire::take(input)?),* })
            }
        }
    };
}
pub(crate) use wire_struct;

/// The same with one more field at the end, which is left out where it has its default value: what was written before the
/// field existed is read, and written again as it was.
macro_rules! wire_struct_grown {
    ($name:ident { $($field:ident),* $(,)? } + $last:ident) => {
        impl $crate::codec::Wire for $name {
            fn put(&self, out: &mut Vec<u8>) {
                const FIELDS: usize = [$(stringify!($field)),*].len();
                let more = !$crate::codec::wire::is_default(&self.$last);
                $crate::codec::wire::put_array_len(out, FIELDS + usize::from(more));
                $($crate::codec::Wire::put(&self.$field, out);)*
                if more {
                    $crate::codec::Wire::put(&self.$last, out);
                }
            }

            fn take(input: &mut &[u8]) -> Result<Self, $crate::codec::DecodeError> {
                const FIELDS: usize = [$(stringify!($field)),*].len();
                let more = $crate::codec::wire::take_grown_array_len(input, FIELDS)?;
                Ok(Self {
                    $($field: $crate::codec::Wire::take(input)?,)*
                    $last: if more { $crate::codec::Wire::take(input)? } else { Default::default() },
                })
            }
        }
    };
}
pub(crate) use wire_struct_grown;

pub(crate) fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// Implements [`Wire`] for a type that travels as another: `(value) -> other` and `other -> Option<value>`.
macro_rules! wire_as {
    ($name:ty as $other:ty, $to:expr, $from:expr) => {
        impl $crate::codec::Wire for $name {
            fn put(&self, out: &mut Vec<u8>) {
                let to: fn(&$name) -> $other = $to;
                $crate::codec::Wire::put(&to(self), out);
            }

            fn take(input: &mut &[u8]) -> Result<Self, $crate::codec::DecodeError> {
                let from: fn($other) -> Self = $from;
                <$other as $crate::codec::Wire>::take(input).map(from)
            }
        }
    };
}
pub(crate) use wire_as;

// Writing to a Vec cannot fail, so the results below are dropped. None of these functions is generic: each is compiled
// once.

#[inline(never)]
pub(crate) fn put_array_len(out: &mut Vec<u8>, len: usize) {
    let _ = encode::write_array_len(out, u32::try_from(len).unwrap_or(u32::MAX));
}

#[inline(never)]
fn put_uint(out: &mut Vec<u8>, value: u64) {
    let _ = encode::write_uint(out, value);
}

#[inline(never)]
pub(crate) fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_bytes_len(out, bytes.len());
    out.extend_from_slice(bytes);
}

pub(crate) fn put_bytes_len(out: &mut Vec<u8>, len: usize) {
    let _ = encode::write_bin_len(out, u32::try_from(len).unwrap_or(u32::MAX));
}

#[inline(never)]
fn take_uint(input: &mut &[u8]) -> Result<u64, DecodeError> {
    decode::read_int(input).map_err(|_| DecodeError::Malformed)
}

/// The number of elements that follow; each has one byte at least, so a length that lies is refused here.
#[inline(never)]
fn take_array_len(input: &mut &[u8]) -> Result<usize, DecodeError> {
    let len = decode::read_array_len(input).map_err(|_| DecodeError::Malformed)? as usize;
    if len > input.len() {
        Err(DecodeError::Malformed)
    } else {
        Ok(len)
    }
}

#[inline(never)]
pub(crate) fn take_exact_array_len(input: &mut &[u8], expected: usize) -> Result<(), DecodeError> {
    if take_array_len(input)? == expected {
        Ok(())
    } else {
        Err(DecodeError::Malformed)
    }
}

/// Whether one element more than `expected` follows.
#[inline(never)]
pub(crate) fn take_grown_array_len(
    input: &mut &[u8],
    expected: usize,
) -> Result<bool, DecodeError> {
    match take_array_len(input)?.checked_sub(expected) {
        Some(0) => Ok(false),
        Some(1) => Ok(true),
        _ => Err(DecodeError::Malformed),
    }
}

#[inline(never)]
fn take_slice<'a>(input: &mut &'a [u8], len: usize) -> Result<&'a [u8], DecodeError> {
    let (head, rest) = input.split_at_checked(len).ok_or(DecodeError::Malformed)?;
    *input = rest;
    Ok(head)
}

#[inline(never)]
pub(crate) fn take_bytes<'a>(input: &mut &'a [u8]) -> Result<&'a [u8], DecodeError> {
    let len = decode::read_bin_len(input).map_err(|_| DecodeError::Malformed)?;
    take_slice(input, len as usize)
}

/// Whether `nil` follows; it is read then.
fn take_nil(input: &mut &[u8]) -> bool {
    let nil = input.first() == Some(&Marker::Null.to_u8());
    nil && input.read_u8().is_ok()
}

impl Wire for u64 {
    fn put(&self, out: &mut Vec<u8>) {
        put_uint(out, *self);
    }

    fn take(input: &mut &[u8]) -> Result<Self, DecodeError> {
        take_uint(input)
    }
}

macro_rules! small_uint {
    ($($name:ty),*) => {$(
        impl Wire for $name {
            fn put(&self, out: &mut Vec<u8>) {
                put_uint(out, u64::from(*self));
            }

            fn take(input: &mut &[u8]) -> Result<Self, DecodeError> {
                Self::try_from(take_uint(input)?).map_err(|_| DecodeError::Malformed)
            }
        }
    )*};
}
small_uint!(u8, u16, u32);

impl Wire for bool {
    fn put(&self, out: &mut Vec<u8>) {
        let _ = encode::write_bool(out, *self);
    }

    fn take(input: &mut &[u8]) -> Result<Self, DecodeError> {
        decode::read_bool(input).map_err(|_| DecodeError::Malformed)
    }
}

impl Wire for String {
    fn put(&self, out: &mut Vec<u8>) {
        let _ = encode::write_str(out, self);
    }

    fn take(input: &mut &[u8]) -> Result<Self, DecodeError> {
        let len = decode::read_str_len(input).map_err(|_| DecodeError::Malformed)?;
        let bytes = take_slice(input, len as usize)?;
        core::str::from_utf8(bytes)
            .map(str::to_owned)
            .map_err(|_| DecodeError::Malformed)
    }
}

impl Wire for Bytes {
    fn put(&self, out: &mut Vec<u8>) {
        put_bytes(out, self);
    }

    fn take(input: &mut &[u8]) -> Result<Self, DecodeError> {
        take_bytes(input).map(Self::copy_from_slice)
    }
}

impl<const N: usize> Wire for [u8; N] {
    fn put(&self, out: &mut Vec<u8>) {
        put_bytes(out, self);
    }

    fn take(input: &mut &[u8]) -> Result<Self, DecodeError> {
        take_bytes(input)?
            .try_into()
            .map_err(|_| DecodeError::Malformed)
    }
}

impl<T: Wire> Wire for Option<T> {
    fn put(&self, out: &mut Vec<u8>) {
        match self {
            Some(value) => value.put(out),
            None => out.push(Marker::Null.to_u8()),
        }
    }

    fn take(input: &mut &[u8]) -> Result<Self, DecodeError> {
        if take_nil(input) {
            Ok(None)
        } else {
            T::take(input).map(Some)
        }
    }
}

impl<T: Wire> Wire for Vec<T> {
    fn put(&self, out: &mut Vec<u8>) {
        put_array_len(out, self.len());
        for value in self {
            value.put(out);
        }
    }

    fn take(input: &mut &[u8]) -> Result<Self, DecodeError> {
        // Grows as elements are really there: an announced length alone reserves nothing.
        (0..take_array_len(input)?)
            .map(|_| T::take(input))
            .collect::<Result<_, _>>()
    }
}

impl<A: Wire, B: Wire> Wire for (A, B) {
    fn put(&self, out: &mut Vec<u8>) {
        put_array_len(out, 2);
        self.0.put(out);
        self.1.put(out);
    }

    fn take(input: &mut &[u8]) -> Result<Self, DecodeError> {
        take_exact_array_len(input, 2)?;
        Ok((A::take(input)?, B::take(input)?))
    }
}

impl<K: Wire + Ord, V: Wire> Wire for SortedMap<K, V> {
    fn put(&self, out: &mut Vec<u8>) {
        let _ = encode::write_map_len(out, u32::try_from(self.len()).unwrap_or(u32::MAX));
        for (key, value) in self.iter() {
            key.put(out);
            value.put(out);
        }
    }

    fn take(input: &mut &[u8]) -> Result<Self, DecodeError> {
        let len = decode::read_map_len(input).map_err(|_| DecodeError::Malformed)?;
        (0..len)
            .map(|_| Ok((K::take(input)?, V::take(input)?)))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn round_trip<T: Wire + PartialEq + core::fmt::Debug>(value: &T) {
        let mut bytes = Vec::new();
        value.put(&mut bytes);
        let mut rest = bytes.as_slice();
        assert_eq!(&T::take(&mut rest).unwrap(), value);
        assert!(rest.is_empty());
        for len in 0..bytes.len() {
            assert!(T::take(&mut &bytes[..len]).is_err());
        }
    }

    #[test]
    fn a_length_that_lies_allocates_nothing() {
        let array = [0xDD, 0xFF, 0xFF, 0xFF, 0xFF, 1];
        assert_eq!(
            Vec::<u64>::take(&mut &array[..]),
            Err(DecodeError::Malformed)
        );
        let bin = [0xC6, 0xFF, 0xFF, 0xFF, 0xFF, 1];
        assert_eq!(Bytes::take(&mut &bin[..]), Err(DecodeError::Malformed));
        let map = [0xDF, 0xFF, 0xFF, 0xFF, 0xFF, 1];
        assert_eq!(
            SortedMap::<u64, u64>::take(&mut &map[..]),
            Err(DecodeError::Malformed)
        );
    }

    proptest! {
        #[test]
        fn values_round_trip(
            a in any::<u64>(), b in any::<u8>(), text in ".{0,40}", flag in any::<bool>(),
            bytes in proptest::collection::vec(any::<u8>(), 0..300),
            pairs in proptest::collection::vec((any::<u64>(), any::<u32>()), 0..20),
            map in proptest::collection::btree_map(any::<[u8; 16]>(), any::<u64>(), 0..20),
        ) {
            round_trip(&a);
            round_trip(&b);
            round_trip(&text);
            round_trip(&flag);
            round_trip(&Bytes::from(bytes));
            round_trip(&pairs);
            round_trip(&map.into_iter().collect::<SortedMap<_, _>>());
            round_trip(&Some(a));
            round_trip(&None::<u64>);
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = Vec::<(Bytes, Option<String>)>::take(&mut bytes.as_slice());
            let _ = SortedMap::<[u8; 2], Vec<bool>>::take(&mut bytes.as_slice());
        }
    }
}
