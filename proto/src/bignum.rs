//! Natural numbers of any length: the little that exact conversion of long doubles needs.
//!
//! Limbs of 32 bits, lowest first, without leading zeros. Every operation is O(limbs).

use core::cmp::Ordering;

const LIMB_BITS: usize = 32;

/// A natural number.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Bignum {
    limbs: Vec<u32>,
}

impl Bignum {
    pub(crate) fn from_u64(value: u64) -> Self {
        let mut number = Self { limbs: vec![value as u32, (value >> LIMB_BITS) as u32] };
        number.trim();
        number
    }

    /// The value of decimal digits. O(digits * limbs).
    pub(crate) fn from_digits(digits: impl Iterator<Item = u8>) -> Self {
        let mut number = Self::default();
        let (mut chunk, mut scale) = (0u32, 1u32);
        for digit in digits {
            debug_assert!(digit.is_ascii_digit());
            chunk = chunk * 10 + u32::from(digit - b'0');
            scale *= 10;
            if scale == 1_000_000_000 {
                number.multiply_add(scale, chunk);
                (chunk, scale) = (0, 1);
            }
        }
        number.multiply_add(scale, chunk);
        number
    }

    /// `self * 5^power`. O(power * limbs).
    pub(crate) fn multiply_power_of_five(&mut self, power: usize) {
        const STEP: usize = 13;
        for _ in 0..power / STEP {
            self.multiply_add(5u32.pow(STEP as u32), 0);
        }
        self.multiply_add(5u32.pow((power % STEP) as u32), 0);
    }

    pub(crate) fn is_zero(&self) -> bool {
        self.limbs.is_empty()
    }

    /// The number of bits up to the highest that is set.
    pub(crate) fn bits(&self) -> usize {
        self.limbs
            .last()
            .map_or(0, |&top| self.limbs.len() * LIMB_BITS - top.leading_zeros() as usize)
    }

    /// `self * factor + addend`.
    pub(crate) fn multiply_add(&mut self, factor: u32, addend: u32) {
        let mut carry = u64::from(addend);
        for limb in &mut self.limbs {
            let wide = u64::from(*limb) * u64::from(factor) + carry;
            *limb = wide as u32;
            carry = wide >> LIMB_BITS;
        }
        if carry != 0 {
            self.limbs.push(carry as u32);
        }
        self.trim();
    }

    /// `self * 2^bits`.
    pub(crate) fn shift_left(&mut self, bits: usize) {
        if self.is_zero() || bits == 0 {
            return;
        }
        let rest = (bits % LIMB_BITS) as u32;
        if rest != 0 {
            self.multiply_add(1 << rest, 0);
        }
        self.limbs.splice(0..0, core::iter::repeat_n(0, bits / LIMB_BITS));
    }

    /// `self - other`, which must not be negative.
    pub(crate) fn subtract(&mut self, other: &Self) {
        debug_assert!(self.compare(other) != Ordering::Less);
        let mut borrow = 0i64;
        for (index, limb) in self.limbs.iter_mut().enumerate() {
            let wide = i64::from(*limb) - other.limbs.get(index).map_or(0, |&limb| i64::from(limb))
                + borrow;
            *limb = wide as u32;
            borrow = wide >> LIMB_BITS;
        }
        assert_eq!(borrow, 0, "the difference is not negative");
        self.trim();
    }

    pub(crate) fn compare(&self, other: &Self) -> Ordering {
        let by_length = self.limbs.len().cmp(&other.limbs.len());
        by_length.then_with(|| self.limbs.iter().rev().cmp(other.limbs.iter().rev()))
    }

    /// The highest 128 bits (fewer if there are fewer), the number of bits below them, and whether
    /// one of those is set.
    pub(crate) fn top(&self) -> (u128, usize, bool) {
        let dropped = self.bits().saturating_sub(128);
        let (whole, rest) = (dropped / LIMB_BITS, (dropped % LIMB_BITS) as u32);
        let mut top = 0u128;
        for (index, &limb) in self.limbs[whole..].iter().enumerate() {
            let limb = u128::from(limb);
            let place = (index * LIMB_BITS) as u32;
            top |= if place >= rest { limb << (place - rest) } else { limb >> (rest - place) };
        }
        let mut lost = self.limbs[..whole].iter().any(|&limb| limb != 0);
        lost |= rest != 0 && self.limbs[whole] & ((1 << rest) - 1) != 0;
        (top, dropped, lost)
    }

    /// Appends the number in decimal and leaves zero. O(limbs^2).
    pub(crate) fn append_decimal(mut self, out: &mut Vec<u8>) {
        const CHUNK: u32 = 1_000_000_000;
        let mut chunks = Vec::new();
        while !self.is_zero() {
            chunks.push(self.divide::<CHUNK>());
        }
        let mut buffer = itoa::Buffer::new();
        out.extend_from_slice(buffer.format(chunks.pop().unwrap_or(0)).as_bytes());
        for chunk in chunks.into_iter().rev() {
            let digits = buffer.format(chunk).as_bytes();
            out.resize(out.len() + 9 - digits.len(), b'0');
            out.extend_from_slice(digits);
        }
    }

    /// Divides and returns the remainder. The divisor is a constant, so that this multiplies.
    fn divide<const DIVISOR: u32>(&mut self) -> u32 {
        let mut rest = 0u64;
        for limb in self.limbs.iter_mut().rev() {
            let wide = rest << LIMB_BITS | u64::from(*limb);
            *limb = (wide / u64::from(DIVISOR)) as u32;
            rest = wide % u64::from(DIVISOR);
        }
        self.trim();
        rest as u32
    }

    fn trim(&mut self) {
        while self.limbs.last() == Some(&0) {
            self.limbs.pop();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn number(digits: &str) -> Bignum {
        Bignum::from_digits(digits.bytes())
    }

    fn text(number: Bignum) -> String {
        let mut out = Vec::new();
        number.append_decimal(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn zero_and_powers() {
        assert!(number("000").is_zero());
        assert_eq!(text(Bignum::default()), "0");
        let mut power = Bignum::from_u64(1);
        power.multiply_power_of_five(0);
        assert_eq!(text(power.clone()), "1");
        power.multiply_power_of_five(30);
        assert_eq!(text(power), "931322574615478515625");
        let mut two_to_100 = Bignum::from_u64(1);
        two_to_100.shift_left(100);
        assert_eq!(text(two_to_100), "1267650600228229401496703205376");
    }

    proptest! {
        #![proptest_config(crate::testing::config())]

        #[test]
        fn decimal_round_trip(digits in "[1-9][0-9]{0,80}") {
            prop_assert_eq!(text(number(&digits)), digits);
        }

        #[test]
        fn agrees_with_u128(a in any::<u128>(), b in any::<u128>(), shift in 0usize..300) {
            let (low, high) = (a.min(b), a.max(b));
            let mut difference = number(&high.to_string());
            difference.subtract(&number(&low.to_string()));
            prop_assert_eq!(text(difference), (high - low).to_string());
            prop_assert_eq!(
                number(&a.to_string()).compare(&number(&b.to_string())),
                a.cmp(&b)
            );
            let mut shifted = number(&high.to_string());
            shifted.shift_left(shift);
            let (top, dropped, lost) = shifted.top();
            let bits = 128 - high.leading_zeros() as usize;
            prop_assert_eq!(shifted.bits(), if high == 0 { 0 } else { bits + shift });
            prop_assert_eq!(dropped, shifted.bits().saturating_sub(128));
            prop_assert!(!lost);
            prop_assert_eq!(top, high << (shift - dropped.min(shift)).min(127));
        }
    }
}
