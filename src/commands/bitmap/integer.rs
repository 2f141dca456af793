//! Integers of 1 to 64 bits anywhere in a byte string, and what happens when they overflow.

use super::set::BAD_OFFSET;
use crate::errors::CommandError;

/// Bytes that an integer touches at most: 64 bits that begin within a byte.
pub(super) const WINDOW_BYTES: usize = 9;

/// The bytes from the one in which an integer begins, zero beyond the end of the string.
pub(super) type Window = [u8; WINDOW_BYTES];

/// The type of an integer field.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct IntegerType {
    pub(super) signed: bool,
    /// 1 to 64, or to 63 without a sign.
    pub(super) bits: u32,
}

/// What becomes of a value that does not fit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Overflow {
    /// Its high bits are lost.
    Wrap,
    /// It becomes the nearest that fits.
    Saturate,
    /// Nothing is written.
    Fail,
}

impl IntegerType {
    /// Reads `i` or `u` and the number of bits.
    pub(super) fn parse(word: &[u8]) -> Result<Self, CommandError> {
        let (signed, digits) = match word {
            [b'i', digits @ ..] => (true, digits),
            [b'u', digits @ ..] => (false, digits),
            _ => (false, &b""[..]),
        };
        let bits_max = if signed { 64 } else { 63 };
        kvasir_proto::number::parse_i64(digits)
            .and_then(|bits| u32::try_from(bits).ok())
            .filter(|bits| (1..=bits_max).contains(bits))
            .map(|bits| Self { signed, bits })
            .ok_or(CommandError::Other(
                "ERR Invalid bitfield type. Use something like i16 u8. Note that u64 is not \
                 supported but i64 is.",
            ))
    }

    /// Reads an offset in bits, or with `#` in integers of this type.
    pub(super) fn parse_offset(self, word: &[u8], string_max: usize) -> Result<u64, CommandError> {
        let (scale, digits) = match word {
            [b'#', digits @ ..] => (i64::from(self.bits), digits),
            digits => (1, digits),
        };
        let offset = kvasir_proto::number::parse_i64(digits).ok_or(BAD_OFFSET)?;
        super::set::check_offset(offset.checked_mul(scale), string_max)
    }

    /// The integer at an offset, whose window is given.
    pub(super) fn get(self, window: &Window, offset: u64) -> i64 {
        let top = to_word(window) << (offset % 8);
        if self.signed {
            (top as i128 >> (128 - self.bits)) as i64
        } else {
            (top >> (128 - self.bits)) as i64
        }
    }

    /// Writes the low bits of an integer at an offset, within the bytes.
    pub(super) fn set(self, bytes: &mut [u8], offset: u64, value: i64) {
        let start = (offset / 8) as usize;
        let end = bytes.len().min(start + WINDOW_BYTES);
        let target = &mut bytes[start..end];
        let mut window = Window::default();
        window[..target.len()].copy_from_slice(target);
        let shift = 128 - self.bits - (offset % 8) as u32;
        let mask = (u128::MAX >> (128 - self.bits)) << shift;
        let word = to_word(&window) & !mask | (value as u128) << shift & mask;
        target.copy_from_slice(&word.to_be_bytes()[..target.len()]);
    }

    fn range(self) -> (i128, i128) {
        if self.signed {
            let limit = 1 << (self.bits - 1);
            (-limit, limit - 1)
        } else {
            (0, (1 << self.bits) - 1)
        }
    }

    /// The integer to be stored for SET; `None` if it does not fit and shall fail.
    pub(super) fn fit(self, value: i64, overflow: Overflow) -> Option<i64> {
        // An unsigned field takes a negative number for the large one with the same bits.
        let wide = if self.signed { i128::from(value) } else { i128::from(value as u64) };
        self.fit_wide(wide, overflow)
    }

    /// The integer to be stored for INCRBY; `None` if it does not fit and shall fail.
    pub(super) fn add(self, old: i64, amount: i64, overflow: Overflow) -> Option<i64> {
        self.fit_wide(i128::from(old) + i128::from(amount), overflow)
    }

    fn fit_wide(self, value: i128, overflow: Overflow) -> Option<i64> {
        let (min, max) = self.range();
        if (min..=max).contains(&value) {
            return Some(value as i64);
        }
        match overflow {
            Overflow::Fail => None,
            Overflow::Saturate => Some(value.clamp(min, max) as i64),
            Overflow::Wrap => {
                let top = value << (128 - self.bits);
                let wrapped = if self.signed {
                    top >> (128 - self.bits)
                } else {
                    (top as u128 >> (128 - self.bits)) as i128
                };
                Some(wrapped as i64)
            }
        }
    }
}

/// The window as the high bytes of a word.
fn to_word(window: &Window) -> u128 {
    let mut bytes = [0; 16];
    bytes[..WINDOW_BYTES].copy_from_slice(window);
    u128::from_be_bytes(bytes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::bits;
    use super::*;

    fn integer_type() -> impl Strategy<Value = IntegerType> {
        prop_oneof![
            (1..=64u32).prop_map(|bits| IntegerType { signed: true, bits }),
            (1..=63u32).prop_map(|bits| IntegerType { signed: false, bits }),
        ]
    }

    fn window(bytes: &[u8], offset: u64) -> Window {
        let start = ((offset / 8) as usize).min(bytes.len());
        let part = &bytes[start..bytes.len().min(start + WINDOW_BYTES)];
        let mut window = Window::default();
        window[..part.len()].copy_from_slice(part);
        window
    }

    proptest! {
        /// Against writing and reading one bit after the other.
        #[test]
        fn integers_lie_where_their_bits_do(
            integer in integer_type(),
            mut bytes in prop::collection::vec(any::<u8>(), 9..30),
            place: prop::sample::Index,
            value: i64,
        ) {
            let last = bytes.len() as u64 * 8 - u64::from(integer.bits);
            let offset = place.index(last as usize + 1) as u64;
            let mut model = bytes.clone();
            for i in 0..u64::from(integer.bits) {
                let bit = value >> (u64::from(integer.bits) - 1 - i) & 1 == 1;
                bits::set(&mut model, offset + i, bit);
            }
            integer.set(&mut bytes, offset, value);
            prop_assert_eq!(&bytes, &model);
            let mut expected = 0i128;
            for i in 0..u64::from(integer.bits) {
                expected = expected * 2 + i128::from(bits::get(&model, offset + i));
            }
            if integer.signed && expected > integer.range().1 {
                expected -= 1 << integer.bits;
            }
            prop_assert_eq!(i128::from(integer.get(&window(&bytes, offset), offset)), expected);
        }

        #[test]
        fn what_does_not_fit_wraps_saturates_or_fails(
            integer in integer_type(), value: i64, amount: i64,
        ) {
            let old = integer.fit(value, Overflow::Wrap).unwrap();
            let (min, max) = integer.range();
            prop_assert!((min..=max).contains(&i128::from(old)));
            let sum = i128::from(old) + i128::from(amount);
            let fits = (min..=max).contains(&sum);
            let wrapped = i128::from(integer.add(old, amount, Overflow::Wrap).unwrap());
            prop_assert!((min..=max).contains(&wrapped));
            prop_assert_eq!((wrapped - sum).rem_euclid(1 << integer.bits), 0);
            let saturated = integer.add(old, amount, Overflow::Saturate).unwrap();
            prop_assert_eq!(i128::from(saturated), sum.clamp(min, max));
            prop_assert_eq!(integer.add(old, amount, Overflow::Fail).is_some(), fits);
        }
    }

    #[test]
    fn types_and_offsets_as_the_peers_write_them() {
        let parse = |word: &[u8]| IntegerType::parse(word).ok().map(|t| (t.signed, t.bits));
        assert_eq!(parse(b"i64"), Some((true, 64)));
        assert_eq!(parse(b"u63"), Some((false, 63)));
        for bad in [&b"u64"[..], b"i65", b"i0", b"u0", b"I8", b"x8", b"i", b"", b"i-1", b"i08"] {
            assert_eq!(parse(bad), None, "{bad:?}");
        }
        let u8_type = IntegerType { signed: false, bits: 8 };
        assert_eq!(u8_type.parse_offset(b"#3", 100), Ok(24));
        assert_eq!(u8_type.parse_offset(b"799", 100), Ok(799));
        for bad in [&b"800"[..], b"#100", b"-1", b"#-1", b"#", b"", b"#9223372036854775807"] {
            assert_eq!(u8_type.parse_offset(bad, 100), Err(BAD_OFFSET), "{bad:?}");
        }
    }

    #[test]
    fn a_negative_value_of_an_unsigned_field_is_too_large() {
        let u8_type = IntegerType { signed: false, bits: 8 };
        assert_eq!(u8_type.fit(-1, Overflow::Saturate), Some(255));
        assert_eq!(u8_type.fit(-1, Overflow::Wrap), Some(255));
        assert_eq!(u8_type.fit(-1, Overflow::Fail), None);
        assert_eq!(u8_type.add(1, -2, Overflow::Saturate), Some(0));
    }
}
