//! Registers of six bits, one after the other, the lowest bits first: four in three bytes.

use super::REGISTERS;

pub(super) const REGISTER_BITS: usize = 6;
const REGISTER_MASK: u16 = (1 << REGISTER_BITS) - 1;

/// The two bytes that a register lies in, and its lowest bit in them. The last register's second
/// byte may be beyond the end.
fn place(index: usize) -> (usize, usize) {
    let bit = index * REGISTER_BITS;
    (bit / 8, bit % 8)
}

fn pair(registers: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([registers[at], registers.get(at + 1).copied().unwrap_or(0)])
}

/// A register's value.
pub(super) fn register(registers: &[u8], index: usize) -> u8 {
    let (at, shift) = place(index);
    ((pair(registers, at) >> shift) & REGISTER_MASK) as u8
}

/// Sets a register.
pub(super) fn set_register(registers: &mut [u8], index: usize, value: u8) {
    debug_assert!(u16::from(value) <= REGISTER_MASK, "a register has six bits");
    let (at, shift) = place(index);
    let bits = pair(registers, at) & !(REGISTER_MASK << shift) | u16::from(value) << shift;
    let [low, high] = bits.to_le_bytes();
    registers[at] = low;
    if let Some(next) = registers.get_mut(at + 1) {
        *next = high;
    }
}

/// Raises each of `values` to the dense register's.
pub(super) fn merge(values: &mut [u8; REGISTERS], registers: &[u8]) {
    for (values, bytes) in values.chunks_exact_mut(4).zip(registers.chunks_exact(3)) {
        let word = u32::from_le_bytes([bytes[0], bytes[1], bytes[2], 0]);
        for (at, value) in values.iter_mut().enumerate() {
            *value = (*value).max((word >> (REGISTER_BITS * at)) as u8 & REGISTER_MASK as u8);
        }
    }
}

/// Appends dense registers of these values.
pub(super) fn append(out: &mut Vec<u8>, values: &[u8; REGISTERS]) {
    for four in values.chunks_exact(4) {
        let word =
            four.iter().rev().fold(0, |word, value| word << REGISTER_BITS | u32::from(*value));
        out.extend_from_slice(&word.to_le_bytes()[..3]);
    }
}
