//! `HyperLogLog`: how many different elements were seen, in 12 KiB however many there were.
//!
//! The bytes are those of the peers, so that a value can be read, copied and stored as the string
//! that it is:
//!
//! ```text
//! "HYLL"  encoding (1)  unused (3)  cached count (8, little-endian; its top bit: not valid)
//! dense:  16384 registers of 6 bits, the lowest bits first
//! sparse: runs of registers, see `sparse`
//! ```
//!
//! An element's hash (`hash`) chooses a register and proposes a value for it, which the register
//! keeps if it is the largest so far. `estimate` turns the registers into a count, after Ertl, "New
//! cardinality estimation algorithms for `HyperLogLog` sketches" (2017), with a standard error of
//! 0.81 %.
//!
//! | operation | dense | sparse |
//! |---|---|---|
//! | add an element | O(1) | O(bytes), up to `hll-sparse-max-bytes` |
//! | count, merge | O(16384) | O(16384) |
//!
//! Nothing in a value is trusted: any client can set the string.

mod dense;
mod estimate;
mod hash;
mod sparse;

pub use hash::Observation;
pub use sparse::Run;

/// Number of registers.
pub const REGISTERS: usize = 1 << INDEX_BITS;

const INDEX_BITS: u32 = 14;
const HEADER_BYTES: usize = 16;
const DENSE_BYTES: usize = HEADER_BYTES + REGISTERS * dense::REGISTER_BITS / 8;
const MAGIC: &[u8; 4] = b"HYLL";
const ENCODING_AT: usize = 4;
const CACHE_AT: usize = 8;
const DENSE: u8 = 0;
const SPARSE: u8 = 1;
/// The bit of the last byte of the cached count that says that it does not hold.
const CACHE_INVALID: u8 = 0x80;

/// How the registers are stored.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Encoding {
    /// Six bits for each.
    Dense,
    /// Runs of equal ones.
    Sparse,
}

/// The sparse form of a value is damaged.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Corrupt;

/// The encoding of a string that looks like a `HyperLogLog`; `None` for any other string.
pub fn encoding(bytes: &[u8]) -> Option<Encoding> {
    let is_ours = bytes.len() >= HEADER_BYTES && bytes.starts_with(MAGIC);
    match *bytes.get(ENCODING_AT).filter(|_| is_ours)? {
        DENSE if bytes.len() == DENSE_BYTES => Some(Encoding::Dense),
        SPARSE => Some(Encoding::Sparse),
        _ => None,
    }
}

/// A value that has seen nothing; its count of 0 is cached.
pub fn empty() -> Vec<u8> {
    let mut bytes = vec![0; HEADER_BYTES];
    bytes[..MAGIC.len()].copy_from_slice(MAGIC);
    bytes[ENCODING_AT] = SPARSE;
    sparse::push_zeros(&mut bytes, REGISTERS);
    bytes
}

/// The cached count, if it holds. For values that [`encoding`] knows, as all functions below.
pub fn cached_count(bytes: &[u8]) -> Option<u64> {
    let cache = bytes[CACHE_AT..HEADER_BYTES].try_into().expect("invariant: eight bytes");
    let is_valid = bytes[HEADER_BYTES - 1] & CACHE_INVALID == 0;
    is_valid.then_some(u64::from_le_bytes(cache))
}

/// The header with this count cached: the first bytes of the value from now on.
pub fn header_with_count(bytes: &[u8], count: u64) -> [u8; HEADER_BYTES] {
    let mut header = [0; HEADER_BYTES];
    header.copy_from_slice(&bytes[..HEADER_BYTES]);
    header[CACHE_AT..].copy_from_slice(&count.to_le_bytes());
    header
}

/// Notes that the cached count does not hold any more.
pub fn invalidate_count(bytes: &mut [u8]) {
    bytes[HEADER_BYTES - 1] |= CACHE_INVALID;
}

/// Whether a dense value would change if this was observed.
pub fn dense_would_change(bytes: &[u8], observation: Observation) -> bool {
    dense::register(&bytes[HEADER_BYTES..], observation.index) < observation.value
}

/// Observes in a dense value; whether it changed.
pub fn observe_dense(bytes: &mut [u8], observation: Observation) -> bool {
    let changes = dense_would_change(bytes, observation);
    if changes {
        dense::set_register(&mut bytes[HEADER_BYTES..], observation.index, observation.value);
    }
    changes
}

/// Observes in a value of any encoding; whether it changed. A sparse value becomes dense when it
/// would outgrow `sparse_bytes_max`.
pub fn observe(
    bytes: &mut Vec<u8>,
    observation: Observation,
    sparse_bytes_max: usize,
) -> Result<bool, Corrupt> {
    if bytes[ENCODING_AT] == SPARSE {
        match sparse::observe(bytes, observation, sparse_bytes_max)? {
            sparse::Outcome::Unchanged => return Ok(false),
            sparse::Outcome::Changed => {
                invalidate_count(bytes);
                return Ok(true);
            }
            sparse::Outcome::TooLarge => make_dense(bytes)?,
        }
    }
    Ok(observe_dense(bytes, observation))
}

/// Makes a sparse value dense.
pub fn make_dense(bytes: &mut Vec<u8>) -> Result<(), Corrupt> {
    if bytes[ENCODING_AT] == DENSE {
        return Ok(());
    }
    let mut registers = Registers::new();
    registers.merge(bytes)?;
    bytes.truncate(HEADER_BYTES);
    bytes[ENCODING_AT] = DENSE;
    dense::append(bytes, &registers.0);
    debug_assert_eq!(bytes.len(), DENSE_BYTES, "a dense value has one length");
    Ok(())
}

/// The count, from the registers.
pub fn count(bytes: &[u8]) -> Result<u64, Corrupt> {
    let mut registers = Registers::new();
    registers.merge(bytes)?;
    Ok(registers.count())
}

/// The runs of a sparse value's registers, as far as they can be read.
pub fn runs(bytes: &[u8]) -> impl Iterator<Item = Run> {
    sparse::runs(&bytes[HEADER_BYTES..]).map_while(Result::ok)
}

/// The registers of one or several values, a byte each.
#[derive(Clone)]
pub struct Registers(Box<[u8; REGISTERS]>);

impl Default for Registers {
    fn default() -> Self {
        Self::new()
    }
}

impl Registers {
    /// Those that have seen nothing.
    pub fn new() -> Self {
        Self(Box::new([0; REGISTERS]))
    }

    /// Their values.
    pub fn values(&self) -> &[u8; REGISTERS] {
        &self.0
    }

    /// Raises each to that of a value, where it is larger.
    pub fn merge(&mut self, bytes: &[u8]) -> Result<(), Corrupt> {
        let content = &bytes[HEADER_BYTES..];
        if bytes[ENCODING_AT] == DENSE {
            dense::merge(&mut self.0, content);
            Ok(())
        } else {
            sparse::merge(&mut self.0, content)
        }
    }

    /// Raises each to that of the others, where it is larger.
    pub fn merge_registers(&mut self, others: &Self) {
        for (register, other) in self.0.iter_mut().zip(others.0.iter()) {
            *register = (*register).max(*other);
        }
    }

    /// The count.
    pub fn count(&self) -> u64 {
        estimate::count(&self.0)
    }

    /// Makes a value's registers these, none of which is below the value's. A dense value in one
    /// go; a sparse one register by register, so that it becomes what the peers make of it.
    pub fn store(&self, bytes: &mut Vec<u8>, sparse_bytes_max: usize) -> Result<(), Corrupt> {
        let mut rest = self.0.iter().enumerate().filter(|(_, value)| **value > 0);
        while bytes[ENCODING_AT] == SPARSE {
            let Some((index, value)) = rest.next() else { break };
            observe(bytes, Observation { index, value: *value }, sparse_bytes_max)?;
        }
        if bytes[ENCODING_AT] == DENSE {
            bytes.truncate(HEADER_BYTES);
            dense::append(bytes, &self.0);
        }
        invalidate_count(bytes);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SPARSE_MAX: usize = 3000;

    /// A value that has seen the numbers below `count`, as decimal text.
    fn seen(count: usize) -> Vec<u8> {
        let mut bytes = empty();
        for number in 0..count {
            let observation = Observation::of(number.to_string().as_bytes());
            observe(&mut bytes, observation, SPARSE_MAX).unwrap();
        }
        bytes
    }

    #[test]
    fn an_empty_value_is_the_peers() {
        assert_eq!(empty(), b"HYLL\x01\0\0\0\0\0\0\0\0\0\0\0\x7F\xFF");
        assert_eq!(cached_count(&empty()), Some(0));
        assert_eq!(count(&empty()), Ok(0));
    }

    #[test]
    fn counts_are_within_three_standard_errors() {
        for number in [1, 10, 100, 1000, 10_000, 100_000] {
            let bytes = seen(number);
            let found = count(&bytes).unwrap() as f64;
            let error = (found - number as f64).abs() / number as f64;
            assert!(error < 0.0244, "{found} instead of {number}");
            assert_eq!(cached_count(&bytes), None);
        }
    }

    #[test]
    fn a_sparse_value_becomes_dense_at_its_limit() {
        let mut bytes = empty();
        let mut number = 0;
        while encoding(&bytes) == Some(Encoding::Sparse) {
            assert!(bytes.len() <= SPARSE_MAX);
            let observation = Observation::of(format!("{number}").as_bytes());
            observe(&mut bytes, observation, SPARSE_MAX).unwrap();
            number += 1;
        }
        assert_eq!(encoding(&bytes), Some(Encoding::Dense));
        let mut dense = seen(0);
        make_dense(&mut dense).unwrap();
        for number in 0..number {
            let observation = Observation::of(format!("{number}").as_bytes());
            observe_dense(&mut dense, observation);
        }
        assert_eq!(count(&bytes), count(&dense));
        assert_eq!(bytes[HEADER_BYTES..], dense[HEADER_BYTES..]);
    }

    #[test]
    fn other_strings_are_not_taken_for_ours() {
        let mut short_dense = empty();
        short_dense[ENCODING_AT] = DENSE;
        let mut unknown = empty();
        unknown[ENCODING_AT] = 2;
        for other in [&b""[..], b"HYLL", b"hello, this is no sketch", &short_dense, &unknown] {
            assert_eq!(encoding(other), None);
        }
    }

    #[test]
    fn damaged_runs_are_refused() {
        let sparse = |runs: &[u8]| [&empty()[..HEADER_BYTES], runs].concat();
        for runs in [&b""[..], b"\x7F", b"\x7F\xFE", b"\x7F\xFF\x00", b"\x80", b"\x7F\xFF\x84"] {
            assert_eq!(count(&sparse(runs)), Err(Corrupt));
            assert_eq!(make_dense(&mut sparse(runs)), Err(Corrupt));
        }
        let beyond = Observation { index: REGISTERS - 1, value: 3 };
        assert_eq!(observe(&mut sparse(b"\x00"), beyond, SPARSE_MAX), Err(Corrupt));
    }

    proptest! {
        #[test]
        fn registers_hold_the_largest_value_seen(
            observed in proptest::collection::vec((0..REGISTERS, 1..40_u8), 0..300),
            near in proptest::collection::vec((0..40_usize, 1..4_u8), 0..300),
            sparse_bytes_max in 0..2000_usize,
        ) {
            let mut model = vec![0; REGISTERS];
            let mut bytes = empty();
            for (index, value) in observed.into_iter().chain(near) {
                let changed = observe(&mut bytes, Observation { index, value }, sparse_bytes_max);
                prop_assert_eq!(changed, Ok(model[index] < value));
                model[index] = model[index].max(value);
            }
            let mut registers = Registers::new();
            registers.merge(&bytes).unwrap();
            prop_assert_eq!(&registers.values()[..], &model[..]);
            let mut stored = empty();
            registers.store(&mut stored, sparse_bytes_max).unwrap();
            prop_assert_eq!(count(&stored), count(&bytes));
            make_dense(&mut stored).unwrap();
            registers.store(&mut stored, sparse_bytes_max).unwrap();
            prop_assert_eq!(count(&stored), count(&bytes));
        }

        #[test]
        fn any_bytes_are_read_or_refused(
            runs in proptest::collection::vec(any::<u8>(), 0..200),
            index in 0..REGISTERS,
            value in 1..64_u8,
        ) {
            let mut bytes = [&empty()[..HEADER_BYTES], &runs].concat();
            let _ = count(&bytes);
            let _ = observe(&mut bytes, Observation { index, value }, SPARSE_MAX);
            let _ = make_dense(&mut bytes);
        }
    }
}
