//! The 80-bit numbers with which the peers compute `INCRBYFLOAT` and `HINCRBYFLOAT`: C's
//! `long double` on x86-64, in software, so that sums come out digit for digit the same.
//!
//! A number is a sign, a mantissa of 64 bits and a binary exponent; reading, adding and writing
//! each round once, to nearest, ties to even. Ordinary numbers (19 digits, 27 decimals) are read
//! with 128-bit arithmetic; others go through [`Bignum`], whose time is bounded by the length of
//! the text, at most 5119 bytes, and the range of exponents: well below a millisecond.

use core::cmp::Ordering;

use crate::bignum::Bignum;
use crate::number::{HexNumber, is_infinity, parse_exponent, shift_right_rounded, split_sign};

/// A finite number with the precision and range of x86's 80-bit format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LongDouble {
    negative: bool,
    /// Zero, or the highest bit is set, or the exponent is the smallest.
    mantissa: u64,
    /// The place value of the mantissa's lowest bit, at least [`EXPONENT_MIN`].
    exponent: i32,
}

/// What the peers make of a text that is read as a long double.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LongDoubleText {
    /// A finite number.
    Finite(LongDouble),
    /// `inf` or `-inf` in words: a valid number, but no sum with it is one.
    Infinite,
}

/// Texts of this length or longer are no numbers to the peers.
const TEXT_LENGTH_LIMIT: usize = 5 * 1024;
/// The exponent of the first power of two that is too large.
const EXPONENT_LIMIT: i32 = 16_384;
/// The exponent of the smallest number above zero.
const EXPONENT_MIN: i32 = -16_445;
/// Bits of the quotient in long division, of which all, or all but the first, count.
const STEPS: i32 = 66;
/// The largest power of five below 2^63.
const FIVE_POWER_MAX: usize = 27;

impl LongDouble {
    /// Zero.
    pub const ZERO: Self = Self { negative: false, mantissa: 0, exponent: 0 };

    /// Reads a number as the peers' increments: decimal or hexadecimal notation or an infinity,
    /// with an optional sign. Blanks, NaN, and what overflows or underflows to zero are refused.
    pub fn parse(text: &[u8]) -> Option<LongDoubleText> {
        if text.len() >= TEXT_LENGTH_LIMIT {
            return None;
        }
        let (negative, unsigned) = split_sign(text);
        if is_infinity(unsigned) {
            return Some(LongDoubleText::Infinite);
        }
        let magnitude = match unsigned {
            [b'0', b'x' | b'X', hex @ ..] => parse_hex(hex)?,
            _ => parse_decimal(unsigned)?,
        };
        Some(LongDoubleText::Finite(Self { negative, ..magnitude }))
    }

    /// `self + other`, or nothing if that is too large.
    pub fn checked_add(self, other: Self) -> Option<Self> {
        if self.mantissa == 0 {
            return Some(other);
        }
        if other.mantissa == 0 {
            return Some(self);
        }
        let (large, small) =
            if self.exponent >= other.exponent { (self, other) } else { (other, self) };
        // One bit is kept free for the carry; what the shift loses is remembered as `lost`.
        let shift = large.exponent.abs_diff(small.exponent);
        let a = u128::from(large.mantissa) << 63;
        let wide = u128::from(small.mantissa) << 63;
        let (b, lost) = if shift < 128 {
            (wide >> shift, wide & ((1u128 << shift) - 1) != 0)
        } else {
            (0, true)
        };
        let exponent = large.exponent - 63;
        if large.negative == small.negative {
            return Self::rounded(large.negative, a + b, lost, exponent);
        }
        match a.cmp(&b) {
            Ordering::Equal => Some(Self::ZERO),
            Ordering::Greater => {
                Self::rounded(large.negative, a - b - u128::from(lost), lost, exponent)
            }
            // Both exponents are the same, so that nothing was lost.
            Ordering::Less => Self::rounded(small.negative, b - a, lost, exponent),
        }
    }

    /// Appends the number as the peers write it for people: at most 17 decimals, without zeros at
    /// the end and without exponent. A number that rounds to zero is `0`.
    pub fn append_to(self, out: &mut Vec<u8>) {
        const DECIMALS: u32 = 17;
        if self.exponent >= 0 {
            if self.mantissa == 0 {
                out.push(b'0');
                return;
            }
            self.append_sign(out);
            let mut number = Bignum::from_u64(self.mantissa);
            number.shift_left(self.exponent as usize);
            number.append_decimal(out);
            return;
        }
        let unit = 10u64.pow(DECIMALS);
        let scaled = u128::from(self.mantissa) * u128::from(unit);
        let shift = self.exponent.unsigned_abs();
        let rounded = shift_right_rounded(scaled, shift, false);
        if rounded == 0 {
            out.push(b'0');
            return;
        }
        self.append_sign(out);
        let mut buffer = itoa::Buffer::new();
        out.extend_from_slice(buffer.format(rounded / u128::from(unit)).as_bytes());
        let fraction = (rounded % u128::from(unit)) as u64;
        if fraction != 0 {
            let digits = buffer.format(fraction).as_bytes();
            out.push(b'.');
            out.resize(out.len() + DECIMALS as usize - digits.len(), b'0');
            let zeros = digits.iter().rev().take_while(|&&digit| digit == b'0').count();
            out.extend_from_slice(&digits[..digits.len() - zeros]);
        }
    }

    fn append_sign(self, out: &mut Vec<u8>) {
        if self.negative {
            out.push(b'-');
        }
    }

    /// `value * 2^exponent`, where `lost` tells of something more below the lowest bit (then
    /// `value` has more than 64 bits); nothing if that is too large.
    fn rounded(negative: bool, value: u128, lost: bool, exponent: i32) -> Option<Self> {
        if value == 0 {
            return Some(Self::ZERO);
        }
        debug_assert!(!lost || value >> 64 != 0, "precision is lost without need");
        let shift = value.leading_zeros();
        let exponent = exponent - shift as i32;
        let drop = (EXPONENT_MIN - exponent).max(64);
        let rounded = shift_right_rounded(value << shift, drop as u32, lost);
        let exponent = exponent + drop;
        let (mantissa, exponent) = match u64::try_from(rounded) {
            Ok(mantissa) => (mantissa, exponent),
            Err(_) => (1 << 63, exponent + 1),
        };
        (exponent + 64 <= EXPONENT_LIMIT).then_some(Self { negative, mantissa, exponent })
    }
}

impl From<i64> for LongDouble {
    /// Exact.
    fn from(value: i64) -> Self {
        Self::rounded(value < 0, u128::from(value.unsigned_abs()), false, 0)
            .expect("invariant: 64 bits are in range")
    }
}

/// Digits with an optional point, and an optional `e` with a power of ten.
fn parse_decimal(text: &[u8]) -> Option<LongDouble> {
    let exponent_at = text.iter().position(|byte| matches!(byte, b'e' | b'E'));
    let (digits, power) = match exponent_at {
        None => (text, 0),
        Some(at) => (&text[..at], parse_exponent(&text[at + 1..])?),
    };
    let point = digits.iter().position(|&byte| byte == b'.');
    let decimals = point.map_or(0, |point| digits.len() - point - 1);
    let is_number = |(index, byte): (usize, &u8)| byte.is_ascii_digit() || Some(index) == point;
    let has_digit = digits.len() > usize::from(point.is_some());
    if !has_digit || !digits.iter().enumerate().all(is_number) {
        return None;
    }
    let significant =
        || digits.iter().copied().filter(u8::is_ascii_digit).skip_while(|&digit| digit == b'0');
    let count = significant().count();
    if count == 0 {
        return Some(LongDouble::ZERO);
    }
    let power = power - decimals as i32;
    // The number is at least 10^(magnitude - 1) and less than 10^magnitude.
    let magnitude = count as i32 + power;
    if !(-4_951..=4_933).contains(&magnitude) {
        return None;
    }
    let number = if count <= 19 && (-(FIVE_POWER_MAX as i32)..=19).contains(&power) {
        let value = significant().fold(0u64, |value, digit| value * 10 + u64::from(digit - b'0'));
        scale_short(value, power)
    } else {
        scale_long(Bignum::from_digits(significant()), power)
    };
    number.filter(|number| number.mantissa != 0)
}

/// `value * 10^power` for a power from -27 to 19.
fn scale_short(value: u64, power: i32) -> Option<LongDouble> {
    if power >= 0 {
        let value = u128::from(value) * 10u128.pow(power as u32);
        return LongDouble::rounded(false, value, false, 0);
    }
    // With its highest bit set, the value over less than 2^63 has more than 64 bits.
    let shift = value.leading_zeros();
    let value = u128::from(value << shift) << 64;
    let divisor = u128::from(5u64.pow(power.unsigned_abs()));
    let lost = value % divisor != 0;
    LongDouble::rounded(false, value / divisor, lost, power - 64 - shift as i32)
}

/// `value * 10^power` for any power.
fn scale_long(mut value: Bignum, power: i32) -> Option<LongDouble> {
    if power >= 0 {
        value.multiply_power_of_five(power as usize);
        let (top, dropped, lost) = value.top();
        return LongDouble::rounded(false, top, lost, power + dropped as i32);
    }
    let mut divisor = Bignum::from_u64(1);
    divisor.multiply_power_of_five(power.unsigned_abs() as usize);
    // Both get the same number of bits; then long division, one bit of the quotient a step.
    let shift = divisor.bits() as i32 - value.bits() as i32;
    value.shift_left(shift.max(0) as usize);
    divisor.shift_left((-shift).max(0) as usize);
    let mut quotient = 0u128;
    for _ in 0..STEPS {
        quotient <<= 1;
        if value.compare(&divisor) != Ordering::Less {
            value.subtract(&divisor);
            quotient |= 1;
        }
        value.shift_left(1);
    }
    LongDouble::rounded(false, quotient, !value.is_zero(), power - shift - (STEPS - 1))
}

/// Hexadecimal digits with an optional point, and an optional `p` with a power of two.
fn parse_hex(text: &[u8]) -> Option<LongDouble> {
    let hex = HexNumber::parse(text)?;
    LongDouble::rounded(false, hex.mantissa, false, hex.power)
        .filter(|number| number.mantissa != 0 || hex.mantissa == 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// What the peers answer to an increment of `a` by `b`.
    fn increment(a: &str, b: &str) -> String {
        use LongDoubleText::Finite;
        let read = |text: &str| LongDouble::parse(text.as_bytes());
        let (Some(a), Some(b)) = (read(a), read(b)) else {
            return "-ERR value is not a valid float".to_owned();
        };
        let sum = match (a, b) {
            (Finite(a), Finite(b)) => a.checked_add(b),
            _ => None,
        };
        sum.map_or("-ERR increment would produce NaN or Infinity".to_owned(), text)
    }

    fn text(number: LongDouble) -> String {
        let mut out = Vec::new();
        number.append_to(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn the_answers_of_valkey() {
        let table = include_str!("../testdata/float_increments.tsv");
        let mut cases = 0;
        for line in table.lines().filter(|line| !line.starts_with('#')) {
            let [a, b, answer] = line.split('\t').collect::<Vec<_>>()[..] else {
                panic!("three columns: {line}");
            };
            assert_eq!(increment(a, b), answer, "{a} + {b}");
            cases += 1;
        }
        assert!(cases > 800, "the table is there");
    }

    #[test]
    fn documented_examples_and_edges() {
        assert_eq!(increment("10.50", "0.1"), "10.6");
        assert_eq!(increment("5.0e3", "2.0e2"), "5200");
        assert_eq!(increment("0.1", "0.2"), "0.3");
        assert_eq!(increment("1", "-1"), "0");
        assert_eq!(increment("-0.000000000000000001", "0"), "0");
        assert_eq!(increment("9223372036854775807", "1"), "9223372036854775808");
        assert_eq!(increment("0", "0.00000000000000001"), "0.00000000000000001");
        // Just below the middle of two numbers, by a bit that is shifted out.
        assert_eq!(increment("18446744073709551616", "-0x0.8"), "18446744073709551616");
        let sum = increment("18446744073709551616", "-0x0.8000000000000001");
        assert_eq!(sum, "18446744073709551615");
        let beyond = increment("1e4932", "1.7976931348623157e4932");
        assert_eq!(beyond, "-ERR value is not a valid float");
        let sum = increment("1e4932", "1e4932");
        assert_eq!(sum, "-ERR increment would produce NaN or Infinity");
        assert_eq!(increment("1e4931", "0").len(), 4932);
    }

    #[test]
    fn long_and_hostile_texts() {
        let none = |text: &[u8]| assert_eq!(LongDouble::parse(text), None);
        none(&[b'1'; 5120]);
        none(&[b'9'; 5119]);
        none(b"\0");
        none(b"1\0");
        none(b"1e4\xff");
        let tiny = [&[b'0'; 2], &b"."[..], &[b'0'; 4000], b"1"].concat();
        assert!(LongDouble::parse(&tiny).is_some());
        let many_digits = [&b"0."[..], &[b'3'; 5000]].concat();
        assert_eq!(
            LongDouble::parse(&many_digits),
            LongDouble::parse(b"0.333333333333333333333333333333333333"),
        );
    }

    proptest! {
        #![proptest_config(crate::testing::config())]

        #[test]
        fn integers_are_exact(a in any::<i64>(), b in any::<i64>()) {
            let parsed = LongDouble::parse(a.to_string().as_bytes());
            prop_assert_eq!(parsed, Some(LongDoubleText::Finite(LongDouble::from(a))));
            prop_assert_eq!(text(LongDouble::from(a)), a.to_string());
            let (a, b) = (a / 2, b / 2);
            let sum = LongDouble::from(a).checked_add(LongDouble::from(b)).unwrap();
            prop_assert_eq!(text(sum), (a + b).to_string());
        }

        #[test]
        fn short_and_long_way_agree(value in 1u64.., power in -27i32..=19) {
            let digits = value.to_string();
            prop_assert_eq!(
                scale_short(value, power),
                scale_long(Bignum::from_digits(digits.bytes()), power)
            );
        }

        #[test]
        fn any_text_is_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
            if let Some(LongDoubleText::Finite(number)) = LongDouble::parse(&bytes) {
                let written = text(number);
                prop_assert!(LongDouble::parse(written.as_bytes()).is_some());
            }
        }

        #[test]
        fn addition_commutes(a in "-?[0-9]{1,25}(\\.[0-9]{1,25})?", b in "-?[0-9]{1,9}e-?[0-9]{1,2}") {
            prop_assert_eq!(increment(&a, &b), increment(&b, &a));
        }
    }
}
