//! Integers and doubles, to and from text, as strict as the peers.
//!
//! The peers accept one spelling of an integer only, so that a string that looks like an integer
//! can be stored as one and read back unchanged. Doubles are read as C's `strtod` does, without
//! blanks around them and without NaN.

use crate::shortest::{Decimal, shortest};

/// The longest text of an `i64`, sign included.
const I64_TEXT_MAX: usize = 20;

/// Reads an integer: digits without leading zeros, `-` before a negative one, nothing else.
///
/// `-0`, `+1`, `01`, blanks, the empty string and what does not fit are refused.
#[inline]
pub fn parse_i64(text: &[u8]) -> Option<i64> {
    let (negative, digits) = match text {
        [b'-', digits @ ..] => (true, digits),
        digits => (false, digits),
    };
    let magnitude = match digits {
        [b'0'] if !negative => return Some(0),
        [b'1'..=b'9', ..] => parse_digits(digits)?,
        _ => return None,
    };
    if negative { 0i64.checked_sub_unsigned(magnitude) } else { i64::try_from(magnitude).ok() }
}

/// Reads an integer of 64 bits without sign, by the rules of [`parse_i64`].
#[inline]
pub fn parse_u64(text: &[u8]) -> Option<u64> {
    match text {
        [b'0'] => Some(0),
        [b'1'..=b'9', ..] => parse_digits(text),
        _ => None,
    }
}

/// Digits and nothing else, if the number fits. Eight digits are read in one go.
#[inline]
fn parse_digits(digits: &[u8]) -> Option<u64> {
    if digits.len() > I64_TEXT_MAX {
        return None;
    }
    let mut value = 0u64;
    let mut chunks = digits.chunks_exact(8);
    for chunk in &mut chunks {
        let chunk = chunk.try_into().expect("invariant: chunks of eight");
        // Two chunks at most, which fit.
        value = value * 100_000_000 + parse_eight_digits(chunk)?;
    }
    for &digit in chunks.remainder() {
        let digit = digit.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        value = value.checked_mul(10)?.checked_add(u64::from(digit))?;
    }
    Some(value)
}

/// The value of eight digits, if they are. In one register: neighbours are joined to pairs, pairs
/// to fours, fours to eight.
#[inline]
fn parse_eight_digits(digits: [u8; 8]) -> Option<u64> {
    const EACH: u64 = 0x0101_0101_0101_0101;
    const PAIR: u64 = 0x0000_00ff_0000_00ff;
    // The first digit is the lowest byte.
    let text = u64::from_le_bytes(digits);
    let values = text.wrapping_sub(u64::from(b'0') * EACH);
    let above_nine = text.wrapping_add((0x7f - u64::from(b'9')) * EACH);
    if (values | above_nine) & (0x80 * EACH) != 0 {
        return None;
    }
    // Every second byte now holds a pair; what overflows into the next is masked off.
    let pairs = values.wrapping_mul(10).wrapping_add(values >> 8);
    let first_and_third = (pairs & PAIR).wrapping_mul((1_000_000 << 32) + 100);
    let second_and_fourth = ((pairs >> 16) & PAIR).wrapping_mul((10_000 << 32) + 1);
    Some(first_and_third.wrapping_add(second_and_fourth) >> 32)
}

/// Reads a double as the peers read scores and increments.
///
/// Decimal and hexadecimal notation, `inf` and `infinity` in any case, with an optional sign. NaN,
/// blanks, and numbers that overflow to infinity or underflow to zero are refused.
pub fn parse_f64(text: &[u8]) -> Option<f64> {
    let (negative, unsigned) = split_sign(text);
    if is_infinity(unsigned) {
        return Some(if negative { f64::NEG_INFINITY } else { f64::INFINITY });
    }
    let magnitude = match unsigned {
        [b'0', b'x' | b'X', hex @ ..] => parse_hex(hex)?,
        _ => parse_decimal(unsigned)?,
    };
    Some(if negative { -magnitude } else { magnitude })
}

/// Splits the sign off; returns whether it was `-`.
pub(crate) fn split_sign(text: &[u8]) -> (bool, &[u8]) {
    match text {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] | rest => (false, rest),
    }
}

pub(crate) fn is_infinity(text: &[u8]) -> bool {
    text.eq_ignore_ascii_case(b"inf") || text.eq_ignore_ascii_case(b"infinity")
}

fn parse_decimal(text: &[u8]) -> Option<f64> {
    // The standard library also knows words and a second sign, which C does not accept here.
    if !matches!(text.first(), Some(b'0'..=b'9' | b'.')) {
        return None;
    }
    let value: f64 = core::str::from_utf8(text).ok()?.parse().ok()?;
    let mantissa = text.iter().take_while(|byte| !matches!(byte, b'e' | b'E'));
    let underflow = value == 0.0 && mantissa.into_iter().any(|byte| matches!(byte, b'1'..=b'9'));
    (value.is_finite() && !underflow).then_some(value)
}

/// Hexadecimal digits with an optional point, and an optional `p` with a decimal power of two.
fn parse_hex(text: &[u8]) -> Option<f64> {
    let hex = HexNumber::parse(text)?;
    let value = scale_by_power_of_two(hex.mantissa, hex.power);
    (value.is_finite() && (value != 0.0 || hex.mantissa == 0)).then_some(value)
}

/// A number in hexadecimal notation: `mantissa * 2^power`.
pub(crate) struct HexNumber {
    /// Up to 128 bits; if there were more digits, the lowest bit tells whether one was not zero.
    pub(crate) mantissa: u128,
    /// The place value of the mantissa's lowest bit.
    pub(crate) power: i32,
}

impl HexNumber {
    /// Reads what follows `0x`.
    pub(crate) fn parse(text: &[u8]) -> Option<Self> {
        let exponent_at = text.iter().position(|byte| matches!(byte, b'p' | b'P'));
        let (digits, mut power) = match exponent_at {
            None => (text, 0),
            Some(at) => (&text[..at], parse_exponent(&text[at + 1..])?),
        };
        let mut mantissa = 0u128;
        let mut seen_point = false;
        let mut seen_digit = false;
        for &byte in digits {
            if byte == b'.' && !seen_point {
                seen_point = true;
                continue;
            }
            let digit = u128::from((byte as char).to_digit(16)?);
            seen_digit = true;
            if seen_point {
                power = power.saturating_sub(4);
            }
            if mantissa >> 124 == 0 {
                mantissa = mantissa << 4 | digit;
            } else {
                mantissa |= u128::from(digit != 0);
                power = power.saturating_add(4);
            }
        }
        seen_digit.then_some(Self { mantissa, power })
    }
}

/// A decimal exponent with an optional sign, saturated where it no longer makes a difference.
pub(crate) fn parse_exponent(text: &[u8]) -> Option<i32> {
    let (negative, digits) = split_sign(text);
    if digits.is_empty() {
        return None;
    }
    let mut value = 0i32;
    for &digit in digits {
        if !digit.is_ascii_digit() {
            return None;
        }
        value = (value * 10 + i32::from(digit - b'0')).min(1_000_000);
    }
    Some(if negative { -value } else { value })
}

/// `mantissa * 2^power`, rounded once, to nearest, ties to even.
fn scale_by_power_of_two(mantissa: u128, power: i32) -> f64 {
    let bits = 128 - mantissa.leading_zeros() as i32;
    // The place value of the lowest bit that the result can hold.
    let lowest = (bits + power - 53).max(-1074);
    let drop = lowest - power;
    let (kept, power) = if drop <= 0 {
        (mantissa as u64, power)
    } else {
        (shift_right_rounded(mantissa, drop as u32, false) as u64, lowest)
    };
    // Exact from here on, in steps that stay within the range of exponents.
    let mut value = kept as f64;
    let mut power = power;
    while power != 0 && value != 0.0 && value.is_finite() {
        let step = power.clamp(-1022, 1023);
        value *= f64::from_bits(((step + 1023) as u64) << 52);
        power -= step;
    }
    value
}

/// `value / 2^bits` for at least one bit, rounded to nearest, ties to even; `lost` tells that the
/// exact value is above `value` by less than one.
pub(crate) fn shift_right_rounded(value: u128, bits: u32, lost: bool) -> u128 {
    if bits > 128 {
        return 0;
    }
    let half = 1u128 << (bits - 1);
    let rest = value & (half | (half - 1));
    let floor = value.checked_shr(bits).unwrap_or(0);
    let up = rest > half || (rest == half && (lost || floor & 1 == 1));
    floor + u128::from(up)
}

/// Appends an integer in decimal.
#[inline]
pub fn append_i64(out: &mut Vec<u8>, value: i64) {
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

/// Appends an integer without sign in decimal.
#[inline]
pub fn append_u64(out: &mut Vec<u8>, value: u64) {
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

/// Appends a double as the peers write scores; see [`DoubleText`].
pub fn append_f64(out: &mut Vec<u8>, value: f64) {
    out.extend_from_slice(DoubleText::new(value).as_bytes());
}

/// A double in decimal, without allocation.
///
/// As the peers write scores: digits that read back as the same double (nearly always the fewest),
/// as an integer or with a point where that is short, with an exponent otherwise; `inf`, `-inf`,
/// `nan` and `-0` in words.
#[derive(Clone, Copy, Debug)]
pub struct DoubleText {
    bytes: [u8; Self::LENGTH_MAX],
    length: u8,
}

impl DoubleText {
    /// More than the longest text, which has 17 digits, six zeros, a sign and a point.
    const LENGTH_MAX: usize = 32;

    /// Formats `value`.
    pub fn new(value: f64) -> Self {
        if let Some(integer) = as_exact_i64(value).filter(|integer| *integer != 0) {
            let mut text = Self { bytes: [0; Self::LENGTH_MAX], length: 0 };
            text.push(itoa::Buffer::new().format(integer).as_bytes());
            return text;
        }
        Self::of_digits(value)
    }

    /// Formats `value` without regard to whether it is whole, as the peers do for their digests:
    /// `5e+9` instead of `5000000000`.
    pub fn of_digits(value: f64) -> Self {
        let mut text = Self { bytes: [0; Self::LENGTH_MAX], length: 0 };
        if value.is_nan() {
            text.push(b"nan");
        } else if value.is_infinite() {
            text.push(if value < 0.0 { b"-inf" } else { b"inf" });
        } else if value == 0.0 {
            text.push(if value.is_sign_negative() { b"-0" } else { b"0" });
        } else {
            if value < 0.0 {
                text.push(b"-");
            }
            text.push_decimal(&shortest(value.abs()));
        }
        text
    }

    /// The text, in ASCII.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.length)]
    }

    fn push(&mut self, bytes: &[u8]) {
        let start = usize::from(self.length);
        self.bytes[start..start + bytes.len()].copy_from_slice(bytes);
        self.length += bytes.len() as u8;
    }

    fn push_zeros(&mut self, count: i32) {
        self.push(&b"0000000000000000000000000000"[..count as usize]);
    }

    /// The layout that the peers choose by the number of digits and the exponent.
    fn push_decimal(&mut self, decimal: &Decimal) {
        let (digits, power) = (decimal.digits(), decimal.power);
        let count = digits.len() as i32;
        let exponent = power + count - 1;
        let whole = count + power;
        if power >= 0 && exponent < count + 7 {
            self.push(digits);
            self.push_zeros(power);
        } else if power < 0 && (power > -7 || exponent.abs() < 4) {
            if whole <= 0 {
                self.push(b"0.");
                self.push_zeros(-whole);
                self.push(digits);
            } else {
                let (whole, fraction) = digits.split_at(whole as usize);
                self.push(whole);
                self.push(b".");
                self.push(fraction);
            }
        } else {
            self.push(&digits[..1]);
            if count > 1 {
                self.push(b".");
                self.push(&digits[1..]);
            }
            self.push(if exponent < 0 { b"e-" } else { b"e+" });
            self.push(itoa::Buffer::new().format(exponent.unsigned_abs()).as_bytes());
        }
    }
}

/// The integer that `value` is, in the range where the peers print it as one: half of `i64`'s.
#[inline]
#[expect(clippy::float_cmp, reason = "exactness is the question")]
pub fn as_exact_i64(value: f64) -> Option<i64> {
    const LIMIT: f64 = (i64::MAX / 2) as f64;
    let integer = value as i64;
    ((-LIMIT..=LIMIT).contains(&value) && integer as f64 == value).then_some(integer)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn text(value: f64) -> String {
        String::from_utf8(DoubleText::new(value).as_bytes().to_vec()).unwrap()
    }

    #[test]
    fn whole_numbers_by_their_digits() {
        let texts = [(1e9, "1e+9"), (12e7, "120000000"), (-0.0, "-0"), (0.5, "0.5"), (7.0, "7")];
        for (value, expected) in texts {
            assert_eq!(DoubleText::of_digits(value).as_bytes(), expected.as_bytes());
        }
    }

    #[test]
    fn strict_integers() {
        let check = |text: &[u8], expected: Option<i64>| {
            assert_eq!(parse_i64(text), expected, "{}", text.escape_ascii());
        };
        check(b"0", Some(0));
        check(b"-1", Some(-1));
        check(b"9223372036854775807", Some(i64::MAX));
        check(b"-9223372036854775808", Some(i64::MIN));
        for refused in [
            &b""[..],
            b"-",
            b"-0",
            b"+1",
            b"01",
            b"-01",
            b" 1",
            b"1 ",
            b"1.0",
            b"1e3",
            b"0x1",
            b"9223372036854775808",
            b"-9223372036854775809",
            b"18446744073709551616",
            b"99999999999999999999",
            b"100000000000000000000",
            b"1\0",
            b"\xff",
            b"--1",
        ] {
            check(refused, None);
        }
        assert_eq!(parse_u64(b"18446744073709551615"), Some(u64::MAX));
        assert_eq!(parse_u64(b"18446744073709551616"), None);
        assert_eq!(parse_u64(b"0"), Some(0));
        for refused in [&b""[..], b"-1", b"-0", b"00", b"+0"] {
            assert_eq!(parse_u64(refused), None);
        }
    }

    #[test]
    fn doubles_as_valkey_writes_them() {
        assert_eq!(text(2.5), "2.5");
        assert_eq!(text(1e21), "1e+21");
        assert_eq!(text(1e23), "99999999999999990000000");
        assert_eq!(text(1.5e300), "1.5e+300");
        assert_eq!(text(1e-7), "1e-7");
        assert_eq!(text(-0.00001), "-0.00001");
        assert_eq!(text(3.000_000_000_000_000_4), "3.0000000000000004");
        assert_eq!(text(9_223_372_036_854_775_807.0), "9223372036854776000");
        assert_eq!(text(f64::MIN_POSITIVE), "2.2250738585072014e-308");
        assert_eq!(text(f64::INFINITY), "inf");
        assert_eq!(text(f64::NEG_INFINITY), "-inf");
        assert_eq!(text(f64::NAN), "nan");
        assert_eq!(text(-0.0), "-0");
    }

    #[test]
    fn scores_of_valkey() {
        let table = include_str!("../testdata/scores.tsv");
        let mut cases = 0;
        for line in table.lines().filter(|line| !line.starts_with('#')) {
            let (score, answer) = line.split_once('\t').unwrap();
            let ours = parse_f64(score.as_bytes())
                .map_or("-ERR value is not a valid float".to_owned(), text);
            assert_eq!(ours, answer, "{score}");
            cases += 1;
        }
        assert!(cases > 1000, "the table is there");
    }

    #[test]
    fn hexadecimal_doubles_round_once() {
        let check = |text: &[u8], expected: f64| {
            let bits = parse_f64(text).map(f64::to_bits);
            assert_eq!(bits, Some(expected.to_bits()), "{}", text.escape_ascii());
        };
        check(b"0x10", 16.0);
        check(b"-0X1.8p-3", -0.1875);
        check(b"0x20000000000001", 9_007_199_254_740_992.0);
        check(b"0x20000000000003", 9_007_199_254_740_996.0);
        check(b"0x200000000000010000000000000000000000001p-100", 9_007_199_254_740_994.0);
        check(b"0x1p-1074", f64::from_bits(1));
        check(b"0x1.8p-1074", f64::from_bits(2));
        check(b"0x1.fffffffffffffp1023", f64::MAX);
        check(b"0x0p999999999999", 0.0);
        for refused in [&b"0x1p1024"[..], b"0x1p-1075", b"0x1p-99999999999", b"0x", b"0x.", b"0x1p"]
        {
            assert_eq!(parse_f64(refused), None, "{}", refused.escape_ascii());
        }
    }

    proptest! {
        #![proptest_config(crate::testing::config())]

        #[test]
        fn integers_round_trip(value in any::<i64>()) {
            let mut out = Vec::new();
            append_i64(&mut out, value);
            prop_assert_eq!(parse_i64(&out), Some(value));
        }

        #[test]
        fn an_integer_has_one_spelling(text in "[-+ 0-9]{0,21}") {
            let ours = parse_i64(text.as_bytes());
            let strict = text.parse::<i64>().ok().filter(|value| value.to_string() == text);
            prop_assert_eq!(ours, strict);
        }

        #[test]
        fn doubles_round_trip(bits in any::<u64>()) {
            let value = f64::from_bits(bits);
            prop_assume!(!value.is_nan());
            let mut out = Vec::new();
            append_f64(&mut out, value);
            prop_assert_eq!(parse_f64(&out).map(f64::to_bits), Some(bits));
        }

        #[test]
        fn hexadecimal_of_any_double(bits in any::<u64>()) {
            let value = f64::from_bits(bits & !(1 << 63));
            prop_assume!(value.is_finite());
            let fraction = bits & ((1 << 52) - 1);
            let text = match (bits >> 52) & 0x7ff {
                0 => format!("0x{fraction:x}p-1074"),
                biased => format!("0x1.{fraction:013x}p{}", biased as i32 - 1023),
            };
            prop_assert_eq!(parse_f64(text.as_bytes()), Some(value));
        }

        #[test]
        fn any_text_is_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
            if let Some(value) = parse_f64(&bytes) {
                prop_assert!(!value.is_nan());
            }
        }
    }
}
