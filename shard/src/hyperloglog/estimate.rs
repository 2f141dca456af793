//! The count from the registers: Ertl's improved raw estimator, which needs no tables and no
//! switch between ranges.

use super::{INDEX_BITS, REGISTERS};

/// The largest value that an element proposes, less one.
const VALUE_MAX: usize = (u64::BITS - INDEX_BITS) as usize;
/// 1 / (2 ln 2).
const ALPHA: f64 = 0.721_347_520_444_481_7;

/// The count.
pub(super) fn count(registers: &[u8; REGISTERS]) -> u64 {
    let mut histogram = [0_u32; 64];
    for register in registers {
        histogram[usize::from(*register & 63)] += 1;
    }
    let size = REGISTERS as f64;
    let saturated = f64::from(histogram[VALUE_MAX + 1]);
    let mut sum = size * tau((size - saturated) / size);
    for value in (1..=VALUE_MAX).rev() {
        sum = 0.5 * (sum + f64::from(histogram[value]));
    }
    sum += size * sigma(f64::from(histogram[0]) / size);
    // Nothing but zeros gives an infinite sum, and so a count of 0.
    (ALPHA * size * size / sum).round() as u64
}

/// The correction for registers that have seen nothing: x + sum of 2^(k-1) x^(2^k).
fn sigma(share: f64) -> f64 {
    if share >= 1.0 {
        return f64::INFINITY;
    }
    let (mut power, mut weight, mut sum) = (share, 1.0, share);
    loop {
        power *= power;
        let before = sum;
        sum += power * weight;
        weight += weight;
        if sum.to_bits() == before.to_bits() {
            return sum;
        }
    }
}

/// The correction for saturated registers: (1 - x - sum of 2^-k (1 - x^(2^-k))^2) / 3.
fn tau(share: f64) -> f64 {
    if share <= 0.0 || share >= 1.0 {
        return 0.0;
    }
    let (mut root, mut weight, mut sum) = (share, 1.0, 1.0 - share);
    loop {
        root = root.sqrt();
        let before = sum;
        weight *= 0.5;
        sum -= (1.0 - root).powi(2) * weight;
        if sum.to_bits() == before.to_bits() {
            return sum / 3.0;
        }
    }
}
