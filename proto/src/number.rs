//! Integers and doubles, to and from text, as strict as the peers.
//!
//! The peers accept one spelling of an integer only, so that a string that looks like an integer
//! can be stored as one and read back unchanged. Doubles are read as C's `strtod` does, without
//! blanks around them and without NaN.

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

/// At least one digit and nothing else, if the number fits.
#[inline]
fn parse_digits(digits: &[u8]) -> Option<u64> {
    if digits.len() > I64_TEXT_MAX {
        return None;
    }
    // Nineteen digits always fit; only the twentieth has to be checked.
    let (safe, last) = digits.split_at(digits.len().min(19));
    let mut value = 0u64;
    for &digit in safe {
        let digit = digit.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        value = value * 10 + u64::from(digit);
    }
    if let [digit] = last {
        let digit = digit.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        value = value.checked_mul(10)?.checked_add(u64::from(digit))?;
    }
    Some(value)
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
fn split_sign(text: &[u8]) -> (bool, &[u8]) {
    match text {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] | rest => (false, rest),
    }
}

fn is_infinity(text: &[u8]) -> bool {
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
    let exponent_at = text.iter().position(|byte| matches!(byte, b'p' | b'P'));
    let (digits, exponent) = match exponent_at {
        None => (text, 0),
        Some(at) => (&text[..at], parse_exponent(&text[at + 1..])?),
    };
    let mut mantissa = 0u64;
    let mut scale = exponent;
    let mut seen_point = false;
    let mut seen_digit = false;
    for &byte in digits {
        if byte == b'.' && !seen_point {
            seen_point = true;
            continue;
        }
        let digit = (byte as char).to_digit(16)?;
        seen_digit = true;
        if seen_point {
            scale = scale.saturating_sub(4);
        }
        if mantissa >> 59 == 0 {
            mantissa = mantissa << 4 | u64::from(digit);
        } else {
            // What no longer fits only matters by not being zero, for rounding.
            mantissa |= u64::from(digit != 0);
            scale = scale.saturating_add(4);
        }
    }
    if !seen_digit {
        return None;
    }
    let value = scale_by_power_of_two(mantissa, scale);
    (value.is_finite() && (value != 0.0 || mantissa == 0)).then_some(value)
}

/// A decimal exponent with an optional sign, saturated where it no longer makes a difference.
fn parse_exponent(text: &[u8]) -> Option<i32> {
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

/// `mantissa * 2^scale`, rounded once, to nearest, ties to even. The lowest bit of a mantissa of 60
/// bits or more may stand for all that was cut off.
fn scale_by_power_of_two(mantissa: u64, scale: i32) -> f64 {
    if mantissa == 0 {
        return 0.0;
    }
    let bits = 64 - mantissa.leading_zeros() as i32;
    // The place value of the lowest bit that the result can hold.
    let lowest = (bits + scale - 53).max(-1074);
    let drop = lowest - scale;
    let (kept, scale) = if drop <= 0 {
        (mantissa, scale)
    } else if drop > 64 {
        return 0.0;
    } else {
        let wide = u128::from(mantissa);
        let half = 1u128 << (drop - 1);
        let rest = wide & ((half << 1) - 1);
        let floor = wide >> drop;
        let up = rest > half || (rest == half && floor & 1 == 1);
        ((floor + u128::from(up)) as u64, lowest)
    };
    // Exact from here on, in steps that stay within the range of exponents.
    let mut value = kept as f64;
    let mut scale = scale;
    while scale != 0 && value.is_finite() && value != 0.0 {
        let step = scale.clamp(-1022, 1023);
        value *= f64::from_bits(((step + 1023) as u64) << 52);
        scale -= step;
    }
    value
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

/// Appends a double as the peers write scores: the shortest digits that read back as the same
/// double, as an integer or with a point where that is short, with an exponent otherwise; `inf`,
/// `-inf`, `nan` and `-0` in words.
pub fn append_f64(out: &mut Vec<u8>, value: f64) {
    if value.is_nan() {
        out.extend_from_slice(b"nan");
    } else if value.is_infinite() {
        out.extend_from_slice(if value < 0.0 { b"-inf" } else { b"inf" });
    } else if value == 0.0 {
        out.extend_from_slice(if value.is_sign_negative() { b"-0" } else { b"0" });
    } else if let Some(integer) = as_exact_i64(value) {
        append_i64(out, integer);
    } else {
        append_shortest(out, value);
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

/// Shortest digits in the layout that the peers choose by their number and the exponent.
fn append_shortest(out: &mut Vec<u8>, value: f64) {
    if value < 0.0 {
        out.push(b'-');
    }
    let scientific = format!("{:e}", value.abs());
    let (mantissa, exponent) =
        scientific.split_once('e').expect("invariant: {:e} writes an exponent");
    let digits: Vec<u8> = mantissa.bytes().filter(u8::is_ascii_digit).collect();
    let exponent: i32 = exponent.parse().expect("invariant: {:e} writes a decimal exponent");
    append_digits(out, &digits, exponent + 1 - digits.len() as i32);
}

/// `digits * 10^power`, laid out as the peers do.
fn append_digits(out: &mut Vec<u8>, digits: &[u8], power: i32) {
    let count = digits.len() as i32;
    let exponent = power + count - 1;
    if power >= 0 && exponent < count + 7 {
        out.extend_from_slice(digits);
        out.resize(out.len() + power as usize, b'0');
    } else if power < 0 && (power > -7 || exponent.abs() < 4) {
        let whole = count + power;
        if whole <= 0 {
            out.extend_from_slice(b"0.");
            out.resize(out.len() + whole.unsigned_abs() as usize, b'0');
            out.extend_from_slice(digits);
        } else {
            let (whole, fraction) = digits.split_at(whole as usize);
            out.extend_from_slice(whole);
            out.push(b'.');
            out.extend_from_slice(fraction);
        }
    } else {
        out.push(digits[0]);
        if count > 1 {
            out.push(b'.');
            out.extend_from_slice(&digits[1..]);
        }
        out.extend_from_slice(if exponent < 0 { b"e-" } else { b"e+" });
        append_u64(out, u64::from(exponent.unsigned_abs()));
    }
}
