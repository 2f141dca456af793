//! Runs of equal registers:
//!
//! ```text
//! 00nnnnnn           n + 1 registers of 0 (1 to 64)
//! 01nnnnnn nnnnnnnn  n + 1 registers of 0 (1 to 16384)
//! 1vvvvvnn           n + 1 registers of v + 1 (1 to 4 registers of 1 to 32)
//! ```
//!
//! Every observation leaves exactly the bytes that the peers would have, so that values compare
//! equal wherever they were made: how runs are split, which neighbours are joined and how far the
//! joining looks are theirs.

use super::{Corrupt, HEADER_BYTES, Observation, REGISTERS};

const ZEROS_MAX: usize = 64;
const EQUALS_MAX: usize = 4;
const VALUE_MAX: u8 = 32;
/// How many runs are looked at for joining, from the one before the change on.
const JOIN_STEPS: usize = 5;

/// Registers of one value.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Run {
    /// Their value.
    pub value: u8,
    /// How many there are, at least 1.
    pub len: usize,
    /// How many bytes say so: 2 only for zeros.
    pub bytes: usize,
}

impl Run {
    /// The first run of `bytes`, which has some.
    fn first(bytes: &[u8]) -> Result<Self, Corrupt> {
        let first = bytes[0];
        Ok(match first {
            0..0x40 => Self { value: 0, len: usize::from(first) + 1, bytes: 1 },
            0x40..0x80 => {
                let second = usize::from(*bytes.get(1).ok_or(Corrupt)?);
                let len = usize::from(first & 0x3F) << 8 | second;
                Self { value: 0, len: len + 1, bytes: 2 }
            }
            0x80.. => {
                let len = usize::from(first & 3) + 1;
                Self { value: ((first >> 2) & 0x1F) + 1, len, bytes: 1 }
            }
        })
    }
}

/// The runs of a value without its header; an error ends them.
pub(super) fn runs(bytes: &[u8]) -> impl Iterator<Item = Result<Run, Corrupt>> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let run = Run::first(rest);
        rest = run.map_or(&[], |run| &rest[run.bytes..]);
        Some(run)
    })
}

/// Raises each of `values` to that of the runs, which must cover all registers and no more.
pub(super) fn merge(values: &mut [u8; REGISTERS], bytes: &[u8]) -> Result<(), Corrupt> {
    let mut rest = &mut values[..];
    for run in runs(bytes) {
        let run = run?;
        let (covered, after) = rest.split_at_mut_checked(run.len).ok_or(Corrupt)?;
        if run.value > 0 {
            for value in covered {
                *value = (*value).max(run.value);
            }
        }
        rest = after;
    }
    if rest.is_empty() { Ok(()) } else { Err(Corrupt) }
}

/// What an observation did.
pub(super) enum Outcome {
    Unchanged,
    Changed,
    /// It does not fit: the value has to be dense first. Nothing has changed.
    TooLarge,
}

/// Where an observed register lies.
struct Place {
    /// The offset of its run, and of the run before that one if there is any.
    at: usize,
    before: Option<usize>,
    run: Run,
    /// The register's position in the run.
    skip: usize,
}

fn find(bytes: &[u8], index: usize) -> Result<Place, Corrupt> {
    let (mut at, mut first, mut before) = (HEADER_BYTES, 0, None);
    while at < bytes.len() {
        let run = Run::first(&bytes[at..])?;
        if index < first + run.len {
            return Ok(Place { at, before, run, skip: index - first });
        }
        before = Some(at);
        at += run.bytes;
        first += run.len;
    }
    Err(Corrupt)
}

/// Observes in a sparse value with its header.
pub(super) fn observe(
    bytes: &mut Vec<u8>,
    observation: Observation,
    bytes_max: usize,
) -> Result<Outcome, Corrupt> {
    let Observation { index, value } = observation;
    if value > VALUE_MAX {
        return Ok(Outcome::TooLarge);
    }
    let place = find(bytes, index)?;
    let Place { at, run, skip, .. } = place;
    if run.value >= value {
        return Ok(Outcome::Unchanged);
    }
    if run.len == 1 && run.bytes == 1 {
        bytes[at] = equals(value, 1);
    } else {
        let mut split = Vec::with_capacity(5);
        push_run(&mut split, run.value, skip);
        split.push(equals(value, 1));
        push_run(&mut split, run.value, run.len - skip - 1);
        if split.len() > run.bytes && bytes.len() + split.len() - run.bytes > bytes_max {
            return Ok(Outcome::TooLarge);
        }
        bytes.splice(at..at + run.bytes, split);
    }
    join(bytes, place.before.unwrap_or(HEADER_BYTES));
    Ok(Outcome::Changed)
}

/// Joins equal neighbours that fit into one run, around a change.
fn join(bytes: &mut Vec<u8>, from: usize) {
    let mut at = from;
    for _ in 0..JOIN_STEPS {
        let Some(Ok(run)) = runs(bytes.get(at..).unwrap_or_default()).next() else { return };
        let next = bytes.get(at + 1).filter(|next| run.value > 0 && **next >= 0x80);
        let next = next.and_then(|next| Run::first(&[*next]).ok());
        match next {
            Some(next) if next.value == run.value && next.len + run.len <= EQUALS_MAX => {
                bytes[at] = equals(run.value, run.len + next.len);
                bytes.remove(at + 1);
            }
            _ => at += run.bytes,
        }
    }
}

fn push_run(out: &mut Vec<u8>, value: u8, len: usize) {
    match (value, len) {
        (_, 0) => {}
        (0, len) => push_zeros(out, len),
        (value, len) => out.push(equals(value, len)),
    }
}

/// Appends a run of zeros.
pub(super) fn push_zeros(out: &mut Vec<u8>, len: usize) {
    debug_assert!((1..=REGISTERS).contains(&len), "a run is of registers that exist");
    let less = len - 1;
    if len > ZEROS_MAX {
        out.push(0x40 | (less >> 8) as u8);
    }
    out.push(less as u8);
}

/// A run of registers that are not zero.
fn equals(value: u8, len: usize) -> u8 {
    debug_assert!((1..=VALUE_MAX).contains(&value), "the value has five bits");
    debug_assert!((1..=EQUALS_MAX).contains(&len), "the length has two bits");
    0x80 | (value - 1) << 2 | (len - 1) as u8
}
