//! Decimal digits of a double that read back as the same double: the algorithm Grisu2.
//!
//! Paper: Florian Loitsch, "Printing floating-point numbers quickly and accurately with integers",
//! PLDI 2010. Grisu2 gives the shortest digits for nearly all doubles, and for about one in a
//! thousand a digit more than needed or not the closest of the shortest. The peers print doubles
//! with it, so a correctly rounding algorithm would answer differently for those: `1e23` is
//! `99999999999999990000000` in a peer's reply. Everything that decides such cases is as in the
//! peers: the powers of ten kept (every eighth, rounded to 64 bits), the one chosen, and the
//! rounding of the last digit.

/// The most digits that a double needs.
pub(crate) const DIGITS_MAX: usize = 17;

/// Digits and the power of ten of the last one: the double is about `digits * 10^power`.
pub(crate) struct Decimal {
    digits: [u8; DIGITS_MAX + 1],
    count: usize,
    /// The power of ten that the last digit counts.
    pub(crate) power: i32,
}

impl Decimal {
    /// The digits as ASCII, without leading zeros; at least one.
    pub(crate) fn digits(&self) -> &[u8] {
        &self.digits[..self.count]
    }

    fn push(&mut self, digit: u64) {
        if digit != 0 || self.count != 0 {
            self.digits[self.count] = b'0' + digit as u8;
            self.count += 1;
        }
    }
}

/// A number of 64 bits with a binary exponent: `mantissa * 2^exponent`.
#[derive(Clone, Copy)]
struct Scaled {
    mantissa: u64,
    exponent: i32,
}

impl Scaled {
    fn normalized(mantissa: u64, exponent: i32) -> Self {
        let shift = mantissa.leading_zeros();
        Self { mantissa: mantissa << shift, exponent: exponent - shift as i32 }
    }

    /// The upper half of the product, rounded.
    fn times(self, other: Self) -> Self {
        let product = u128::from(self.mantissa) * u128::from(other.mantissa);
        let rounded = (product + (1 << 63)) >> 64;
        Self { mantissa: rounded as u64, exponent: self.exponent + other.exponent + 64 }
    }
}

/// The digits of a finite `value` above zero.
pub(crate) fn shortest(value: f64) -> Decimal {
    debug_assert!(value.is_finite() && value > 0.0);
    let bits = value.to_bits();
    let fraction = bits & ((1 << 52) - 1);
    let (mantissa, exponent) = match (bits >> 52) as i32 {
        0 => (fraction, -1074),
        biased => (fraction | 1 << 52, biased - 1075),
    };
    let exact = Scaled::normalized(mantissa, exponent);
    // Halfway to the doubles above and below; below a power of two the next double is closer.
    let upper = Scaled::normalized(2 * mantissa + 1, exponent - 1);
    let (below, below_exponent) = if mantissa == 1 << 52 {
        (4 * mantissa - 1, exponent - 2)
    } else {
        (2 * mantissa - 1, exponent - 1)
    };
    let lower =
        Scaled { mantissa: below << (below_exponent - upper.exponent), exponent: upper.exponent };

    let (power, scale) = power_of_ten_for(upper.exponent);
    let exact = exact.times(scale);
    // One unit inwards, for the error of the products.
    let upper = Scaled { mantissa: upper.times(scale).mantissa - 1, ..exact };
    let lower = Scaled { mantissa: lower.times(scale).mantissa + 1, ..exact };
    generate(exact, upper, lower, -power)
}

/// Digits of `upper`, as few as needed to be above `lower`, the last moved towards `exact`.
/// All three have the same exponent, from -60 to -32.
fn generate(exact: Scaled, upper: Scaled, lower: Scaled, power: i32) -> Decimal {
    let shift = (-upper.exponent) as u32;
    let one = 1u64 << shift;
    let mut to_exact = upper.mantissa - exact.mantissa;
    let mut slack = upper.mantissa - lower.mantissa;
    let mut whole = upper.mantissa >> shift;
    let mut part = upper.mantissa & (one - 1);
    let mut decimal = Decimal { digits: [0; DIGITS_MAX + 1], count: 0, power };

    let mut unit = 1_000_000_000u64;
    let mut position = 10;
    while position > 0 {
        decimal.push(whole / unit);
        whole %= unit;
        position -= 1;
        let rest = (whole << shift) + part;
        if rest <= slack {
            decimal.power += position;
            round_last(&mut decimal, slack, rest, unit << shift, to_exact);
            return decimal;
        }
        unit /= 10;
    }
    loop {
        part *= 10;
        slack = slack.wrapping_mul(10);
        to_exact = to_exact.wrapping_mul(10);
        position -= 1;
        decimal.push(part >> shift);
        part &= one - 1;
        if part < slack {
            decimal.power += position;
            round_last(&mut decimal, slack, part, one, to_exact);
            return decimal;
        }
    }
}

/// Lowers the last digit while that brings the number closer to the exact one and keeps it above
/// the lower boundary; `rest` is what the digits leave of the upper boundary.
fn round_last(decimal: &mut Decimal, slack: u64, mut rest: u64, unit: u64, to_exact: u64) {
    let last = decimal.count - 1;
    while rest < to_exact
        && slack - rest >= unit
        && (rest + unit < to_exact || to_exact - rest > rest + unit - to_exact)
    {
        decimal.digits[last] -= 1;
        rest += unit;
    }
}

const FIRST_POWER: i32 = -348;
const POWER_STEP: i32 = 8;
/// The lowest exponent of a product that leaves at most ten digits before the point.
const PRODUCT_EXPONENT_MIN: i32 = -60;

/// The smallest of the kept powers of ten whose product with a mantissa of this exponent has an
/// exponent of at least [`PRODUCT_EXPONENT_MIN`].
fn power_of_ten_for(exponent: i32) -> (i32, Scaled) {
    let lowest = PRODUCT_EXPONENT_MIN - exponent - 64;
    // 10^power has the exponent floor(power * log2(10)) - 63.
    let power = (((lowest + 63) * 78_913) >> 18) - POWER_STEP;
    let mut index = (power - FIRST_POWER).max(0) / POWER_STEP;
    loop {
        let power = FIRST_POWER + index * POWER_STEP;
        let exponent = power_exponent(power);
        if exponent >= lowest {
            return (power, Scaled { mantissa: POWERS_OF_TEN[index as usize], exponent });
        }
        index += 1;
    }
}

/// The binary exponent of the 64-bit mantissa of `10^power`.
fn power_exponent(power: i32) -> i32 {
    // 217706 / 2^16 is log2(10), close enough for all powers of a double.
    ((power * 217_706) >> 16) - 63
}

/// 64-bit mantissas of `10^-348`, `10^-340`, ... `10^340`, rounded to nearest.
#[rustfmt::skip]
static POWERS_OF_TEN: [u64; 87] = [
    0xfa8f_d5a0_081c_0288, 0xbaae_e17f_a23e_bf76, 0x8b16_fb20_3055_ac76, 0xcf42_894a_5dce_35ea,
    0x9a6b_b0aa_5565_3b2d, 0xe61a_cf03_3d1a_45df, 0xab70_fe17_c79a_c6ca, 0xff77_b1fc_bebc_dc4f,
    0xbe56_91ef_416b_d60c, 0x8dd0_1fad_907f_fc3c, 0xd351_5c28_3155_9a83, 0x9d71_ac8f_ada6_c9b5,
    0xea9c_2277_23ee_8bcb, 0xaecc_4991_4078_536d, 0x823c_1279_5db6_ce57, 0xc210_9436_4dfb_5637,
    0x9096_ea6f_3848_984f, 0xd774_85cb_2582_3ac7, 0xa086_cfcd_97bf_97f4, 0xef34_0a98_172a_ace5,
    0xb238_67fb_2a35_b28e, 0x84c8_d4df_d2c6_3f3b, 0xc5dd_4427_1ad3_cdba, 0x936b_9fce_bb25_c996,
    0xdbac_6c24_7d62_a584, 0xa3ab_6658_0d5f_daf6, 0xf3e2_f893_dec3_f126, 0xb5b5_ada8_aaff_80b8,
    0x8762_5f05_6c7c_4a8b, 0xc9bc_ff60_34c1_3053, 0x964e_858c_91ba_2655, 0xdff9_7724_7029_7ebd,
    0xa6df_bd9f_b8e5_b88f, 0xf8a9_5fcf_8874_7d94, 0xb944_7093_8fa8_9bcf, 0x8a08_f0f8_bf0f_156b,
    0xcdb0_2555_6531_31b6, 0x993f_e2c6_d07b_7fac, 0xe45c_10c4_2a2b_3b06, 0xaa24_2499_6973_92d3,
    0xfd87_b5f2_8300_ca0e, 0xbce5_0864_9211_1aeb, 0x8cbc_cc09_6f50_88cc, 0xd1b7_1758_e219_652c,
    0x9c40_0000_0000_0000, 0xe8d4_a510_0000_0000, 0xad78_ebc5_ac62_0000, 0x813f_3978_f894_0984,
    0xc097_ce7b_c907_15b3, 0x8f7e_32ce_7bea_5c70, 0xd5d2_38a4_abe9_8068, 0x9f4f_2726_179a_2245,
    0xed63_a231_d4c4_fb27, 0xb0de_6538_8cc8_ada8, 0x83c7_088e_1aab_65db, 0xc45d_1df9_4271_1d9a,
    0x924d_692c_a61b_e758, 0xda01_ee64_1a70_8dea, 0xa26d_a399_9aef_774a, 0xf209_787b_b47d_6b85,
    0xb454_e4a1_79dd_1877, 0x865b_8692_5b9b_c5c2, 0xc835_53c5_c896_5d3d, 0x952a_b45c_fa97_a0b3,
    0xde46_9fbd_99a0_5fe3, 0xa59b_c234_db39_8c25, 0xf6c6_9a72_a398_9f5c, 0xb7dc_bf53_54e9_bece,
    0x88fc_f317_f222_41e2, 0xcc20_ce9b_d35c_78a5, 0x9816_5af3_7b21_53df, 0xe2a0_b5dc_971f_303a,
    0xa8d9_d153_5ce3_b396, 0xfb9b_7cd9_a4a7_443c, 0xbb76_4c4c_a7a4_4410, 0x8bab_8eef_b640_9c1a,
    0xd01f_ef10_a657_842c, 0x9b10_a4e5_e991_3129, 0xe710_9bfb_a19c_0c9d, 0xac28_20d9_623b_f429,
    0x8044_4b5e_7aa7_cf85, 0xbf21_e440_03ac_dd2d, 0x8e67_9c2f_5e44_ff8f, 0xd433_179d_9c8c_b841,
    0x9e19_db92_b4e3_1ba9, 0xeb96_bf6e_badf_77d9, 0xaf87_023b_9bf0_ee6b,
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bignum::Bignum;
    use proptest::prelude::*;

    /// Whether `2 * |a - b| <= unit`.
    fn within_half(mut a: Bignum, mut b: Bignum, unit: &Bignum) -> bool {
        if a.compare(&b).is_lt() {
            core::mem::swap(&mut a, &mut b);
        }
        a.subtract(&b);
        a.shift_left(1);
        a.compare(unit).is_le()
    }

    #[test]
    fn powers_of_ten_are_rounded_to_nearest() {
        for (index, &mantissa) in POWERS_OF_TEN.iter().enumerate() {
            assert!(mantissa >> 63 == 1);
            let power = FIRST_POWER + POWER_STEP * index as i32;
            let mut five = Bignum::from_u64(1);
            five.multiply_power_of_five(power.unsigned_abs() as usize);
            // The power of two that mantissa / 5^power is to be near.
            let two = power - power_exponent(power);
            let near = if power < 0 {
                let mut product = Bignum::from_u64(mantissa);
                product.multiply_power_of_five(power.unsigned_abs() as usize);
                let mut target = Bignum::from_u64(1);
                target.shift_left(two as usize);
                within_half(product, target, &five)
            } else if two >= 0 {
                five.shift_left(two as usize);
                five == Bignum::from_u64(mantissa)
            } else {
                let mut unit = Bignum::from_u64(1);
                unit.shift_left(two.unsigned_abs() as usize);
                let mut stored = Bignum::from_u64(mantissa);
                stored.shift_left(two.unsigned_abs() as usize);
                within_half(stored, five, &unit)
            };
            assert!(near, "10^{power}");
        }
    }

    proptest! {
        #![proptest_config(crate::testing::config())]

        #[test]
        fn digits_read_back_as_the_same_double(bits in any::<u64>()) {
            let value = f64::from_bits(bits & !(1 << 63));
            prop_assume!(value.is_finite() && value != 0.0);
            let decimal = shortest(value);
            let digits = core::str::from_utf8(decimal.digits()).unwrap();
            prop_assert!(digits.len() <= DIGITS_MAX && !digits.starts_with('0'));
            let read: f64 = format!("{digits}e{}", decimal.power).parse().unwrap();
            prop_assert_eq!(read.to_bits(), value.to_bits());
        }
    }
}
