//! What an element means to the registers: the 64-bit Murmur 2 hash that the peers use.

use super::INDEX_BITS;

const SEED: u64 = 0xADC8_3B19;
const MULTIPLIER: u64 = 0xC6A4_A793_5BD1_E995;
const SHIFT: u32 = 47;

/// What one element contributes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Observation {
    /// The register, below [`super::REGISTERS`].
    pub index: usize,
    /// Its proposed value: 1 to 51 from an element.
    pub value: u8,
}

impl Observation {
    /// What this element contributes: the low bits of its hash are the register, the zeros after
    /// them the value.
    pub fn of(element: &[u8]) -> Self {
        let hash = murmur64a(element);
        let index = (hash & ((1 << INDEX_BITS) - 1)) as usize;
        // The bit beyond the hash ends the zeros at last.
        let rest = (hash >> INDEX_BITS) | 1 << (u64::BITS - INDEX_BITS);
        Self { index, value: rest.trailing_zeros() as u8 + 1 }
    }
}

fn murmur64a(bytes: &[u8]) -> u64 {
    let mut hash = SEED ^ (bytes.len() as u64).wrapping_mul(MULTIPLIER);
    let (words, rest) = bytes.as_chunks::<8>();
    for word in words {
        let mut mixed = u64::from_le_bytes(*word).wrapping_mul(MULTIPLIER);
        mixed ^= mixed >> SHIFT;
        hash = (hash ^ mixed.wrapping_mul(MULTIPLIER)).wrapping_mul(MULTIPLIER);
    }
    if !rest.is_empty() {
        let mut word = [0; 8];
        word[..rest.len()].copy_from_slice(rest);
        hash = (hash ^ u64::from_le_bytes(word)).wrapping_mul(MULTIPLIER);
    }
    hash ^= hash >> SHIFT;
    hash = hash.wrapping_mul(MULTIPLIER);
    hash ^ (hash >> SHIFT)
}
