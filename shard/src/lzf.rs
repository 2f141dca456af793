//! The LZF codec, in the form that RDB files and compressed list blocks hold.
//!
//! A compressed text is a sequence of tokens, each a control byte with what follows it:
//!
//! ```text
//! 000nnnnn  bytes...          n + 1 literal bytes (1 to 32)
//! lllooooo oooooooo           copy l + 2 bytes (3 to 8) from o + 1 bytes back
//! 111ooooo llllllll oooooooo  copy l + 9 bytes (9 to 264) from o + 1 bytes back
//! ```
//!
//! A copy may overlap what it writes, which repeats a short pattern. The text does not hold its own
//! length: whoever stores it stores the length too. Both directions are O(n); the compressor needs
//! 16 KiB of stack at most.

use std::fmt;

const LITERALS_MAX: usize = 32;
const MATCH_MIN: usize = 3;
const MATCH_MAX: usize = 264;
const DISTANCE_MAX: usize = 8192;
/// A compressed text that saves less than this is not worth unpacking; the peers draw the same
/// line.
const SAVING_MIN: usize = 4;
/// Places of the table of earlier positions.
const PLACES: usize = 1 << 12;
/// The same for texts of up to so many bytes, for which a large table is not worth clearing.
const PLACES_SHORT: usize = 1 << 10;
const SHORT_BYTES: usize = 2048;
/// After two to the power of so many positions without a match every second position is passed
/// over, after as many again two of three, and so on: what does not compress costs little.
const PATIENCE_BITS: u32 = 5;

/// The compressed text does not unpack to the length that was said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CorruptLzf;

impl fmt::Display for CorruptLzf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the compressed text is damaged")
    }
}

impl std::error::Error for CorruptLzf {}

/// Compresses `input`; `None` when that saves less than four bytes. O(n).
///
/// Greedy: each position takes the latest earlier one with the same three bytes. Inputs of 4 GiB or
/// more, which no value reaches, are left as they are.
pub fn compress(input: &[u8]) -> Option<Vec<u8>> {
    let mut output = Vec::with_capacity(input.len().saturating_sub(SAVING_MIN));
    compress_into(input, &mut output)?;
    output.shrink_to_fit();
    Some(output)
}

/// As [`compress`], at the end of `output`, which is as it was when nothing is saved.
pub fn compress_into(input: &[u8], output: &mut Vec<u8>) -> Option<()> {
    let start = output.len();
    let packed = if input.len() <= SHORT_BYTES {
        append_compressed::<PLACES_SHORT>(input, output)
    } else {
        append_compressed::<PLACES>(input, output)
    };
    if packed.is_none() {
        output.truncate(start);
    }
    packed
}

fn append_compressed<const PLACES: usize>(input: &[u8], output: &mut Vec<u8>) -> Option<()> {
    let saved = input.len().checked_sub(SAVING_MIN).filter(|&limit| limit > 0)?;
    if u32::try_from(input.len()).is_err() {
        return None;
    }
    let limit = output.len() + saved;
    // Positions plus one, so that zero means none.
    let mut latest = [0_u32; PLACES];
    let mut literals_from = 0;
    let mut position = 0;
    while position + MATCH_MIN <= input.len() {
        let earlier = replace_latest(&mut latest, input, position);
        let length = earlier.map_or(0, |earlier| match_length(input, earlier, position));
        if length < MATCH_MIN {
            position += 1 + ((position - literals_from) >> PATIENCE_BITS);
            continue;
        }
        push_literals(output, &input[literals_from..position], limit)?;
        let distance = position - earlier.expect("invariant: a match has a source");
        push_match(output, distance, length, limit)?;
        // The last positions of a match are the likeliest sources of the next one.
        position += length;
        for inside in position - 2..position {
            if inside + MATCH_MIN <= input.len() {
                replace_latest(&mut latest, input, inside);
            }
        }
        literals_from = position;
    }
    push_literals(output, &input[literals_from..], limit)
}

/// Unpacks `input` to exactly `len` bytes.
///
/// Nothing of `input` is trusted, and nothing is allocated for a `len` that it cannot reach.
pub fn decompress(input: &[u8], len: usize) -> Result<Vec<u8>, CorruptLzf> {
    let mut output = Vec::new();
    decompress_into(input, len, &mut output)?;
    Ok(output)
}

/// Like [`decompress`], into a buffer that is cleared first and keeps its allocation. What it holds
/// after an error is unspecified.
pub fn decompress_into(input: &[u8], len: usize, output: &mut Vec<u8>) -> Result<(), CorruptLzf> {
    output.clear();
    // The densest token makes 264 bytes of three.
    if len > input.len().saturating_mul(MATCH_MAX / 3) {
        return Err(CorruptLzf);
    }
    output.reserve_exact(len);
    let mut rest = input;
    while let [control, after @ ..] = rest {
        let control = usize::from(*control);
        rest = if control < LITERALS_MAX {
            copy_literals(after, control + 1, len, output)?
        } else {
            copy_match(after, control, len, output)?
        };
    }
    if output.len() == len { Ok(()) } else { Err(CorruptLzf) }
}

fn copy_literals<'a>(
    input: &'a [u8],
    count: usize,
    len: usize,
    output: &mut Vec<u8>,
) -> Result<&'a [u8], CorruptLzf> {
    let (literals, rest) = input.split_at_checked(count).ok_or(CorruptLzf)?;
    if output.len() + count > len {
        return Err(CorruptLzf);
    }
    output.extend_from_slice(literals);
    Ok(rest)
}

fn copy_match<'a>(
    mut input: &'a [u8],
    control: usize,
    len: usize,
    output: &mut Vec<u8>,
) -> Result<&'a [u8], CorruptLzf> {
    let mut next = || {
        let (&byte, rest) = input.split_first().ok_or(CorruptLzf)?;
        input = rest;
        Ok(usize::from(byte))
    };
    let count = match control >> 5 {
        7 => 9 + next()?,
        short => short + 2,
    };
    let distance = ((control & 0x1F) << 8 | next()?) + 1;
    let start = output.len().checked_sub(distance).ok_or(CorruptLzf)?;
    if output.len() + count > len {
        return Err(CorruptLzf);
    }
    // What is written becomes a source itself, so that a pattern doubles with each step.
    let end = output.len() + count;
    while output.len() < end {
        let available = (output.len() - start).min(end - output.len());
        output.extend_from_within(start..start + available);
    }
    Ok(input)
}

/// Makes `position` the latest one with its three bytes; returns the one before.
fn replace_latest<const PLACES: usize>(
    latest: &mut [u32; PLACES],
    input: &[u8],
    position: usize,
) -> Option<usize> {
    let bytes = &input[position..position + MATCH_MIN];
    let word = u32::from_le_bytes([bytes[0], bytes[1], bytes[2], 0]);
    let hash = word.wrapping_mul(0x9E37_79B1) >> (u32::BITS - PLACES.trailing_zeros());
    let earlier = std::mem::replace(&mut latest[hash as usize], position as u32 + 1);
    (earlier as usize).checked_sub(1)
}

/// How many bytes at `position` equal those at `earlier`; zero when it is too far back.
fn match_length(input: &[u8], earlier: usize, position: usize) -> usize {
    if position - earlier > DISTANCE_MAX {
        return 0;
    }
    let target = &input[position..input.len().min(position + MATCH_MAX)];
    let source = &input[earlier..earlier + target.len()];
    let (sources, source_rest) = source.as_chunks::<8>();
    let (targets, target_rest) = target.as_chunks::<8>();
    let words = sources
        .iter()
        .zip(targets)
        .map(|(source, target)| u64::from_le_bytes(*source) ^ u64::from_le_bytes(*target));
    for (index, difference) in words.enumerate() {
        if difference != 0 {
            return index * 8 + difference.trailing_zeros() as usize / 8;
        }
    }
    let rest = source_rest.iter().zip(target_rest);
    targets.len() * 8 + rest.take_while(|(source, target)| source == target).count()
}

/// Appends a run as it is, unless `output` would become longer than `limit`.
fn push_literals(output: &mut Vec<u8>, literals: &[u8], limit: usize) -> Option<()> {
    let size = literals.len() + literals.len().div_ceil(LITERALS_MAX);
    if output.len() + size > limit {
        return None;
    }
    for run in literals.chunks(LITERALS_MAX) {
        output.push(run.len() as u8 - 1);
        output.extend_from_slice(run);
    }
    Some(())
}

fn push_match(output: &mut Vec<u8>, distance: usize, length: usize, limit: usize) -> Option<()> {
    debug_assert!((1..=DISTANCE_MAX).contains(&distance), "the distance has 13 bits");
    debug_assert!((MATCH_MIN..=MATCH_MAX).contains(&length), "the length has a token");
    let [low, high] = (distance as u16 - 1).to_le_bytes();
    if length < 9 {
        output.extend_from_slice(&[((length as u8 - 2) << 5) | high, low]);
    } else {
        output.extend_from_slice(&[7 << 5 | high, (length - 9) as u8, low]);
    }
    (output.len() <= limit).then_some(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Texts with repetitions near and far, of which a part is random.
    fn texts() -> impl Strategy<Value = Vec<u8>> {
        let piece = prop_oneof![
            proptest::collection::vec(any::<u8>(), 0..40),
            (any::<u8>(), 0..600_usize).prop_map(|(byte, count)| vec![byte; count]),
            (0..4_u8, 0..3000_usize).prop_map(|(step, count)| (0..count)
                .map(|i| (i as u8).wrapping_mul(step))
                .collect()),
            Just(b"the quick brown fox jumps over the lazy dog".to_vec()),
        ];
        proptest::collection::vec(piece, 0..24).prop_map(|pieces| pieces.concat())
    }

    #[test]
    fn unpacks_what_the_peers_wrote() {
        let peers = [0x01, 0x61, 0x61, 0xE0, 0xBB, 0x00, 0x01, 0x61, 0x61];
        assert_eq!(decompress(&peers, 200), Ok(vec![b'a'; 200]));
    }

    #[test]
    fn what_saves_nothing_is_left_alone() {
        assert_eq!(compress(b""), None);
        assert_eq!(compress(b"aaaa"), None);
        assert_eq!(compress(b"abcdefghijklmnopqrstuvwxyz"), None);
        let mut output = b"before".to_vec();
        assert_eq!(compress_into(b"abcdefghijklmnopqrstuvwxyz", &mut output), None);
        assert_eq!(output, b"before");
        let packed = compress(&[b'a'; 100]).unwrap();
        assert!(packed.len() < 10);
    }

    #[test]
    fn a_match_of_every_length_and_distance_survives() {
        for length in [3, 8, 9, 10, 263, 264, 265, 528, 600] {
            for distance in [1, 2, 3, 255, 256, 257, 8191, 8192, 8193] {
                let pattern = (0..distance).map(|i| ((i * i) >> 3) as u8 ^ (i >> 9) as u8);
                let text: Vec<u8> = pattern.cycle().take(distance + length).collect();
                if let Some(packed) = compress(&text) {
                    assert_eq!(decompress(&packed, text.len()), Ok(text));
                }
            }
        }
    }

    #[test]
    fn a_length_out_of_reach_allocates_nothing() {
        let mut output = Vec::new();
        assert_eq!(decompress_into(&[0xE0, 0xFF, 0], usize::MAX, &mut output), Err(CorruptLzf));
        assert_eq!(output.capacity(), 0);
    }

    proptest! {
        #[test]
        fn what_was_compressed_unpacks(text in texts()) {
            if let Some(packed) = compress(&text) {
                prop_assert!(packed.len() + SAVING_MIN <= text.len());
                prop_assert_eq!(decompress(&packed, text.len()), Ok(text.clone()));
                prop_assert_eq!(decompress(&packed, text.len() + 1), Err(CorruptLzf));
                prop_assert_eq!(decompress(&packed, text.len() - 1), Err(CorruptLzf));
            }
        }

        #[test]
        fn any_bytes_unpack_or_are_refused(
            bytes in proptest::collection::vec(any::<u8>(), 0..300),
            len in 0..3000_usize,
        ) {
            if let Ok(text) = decompress(&bytes, len) {
                prop_assert_eq!(text.len(), len);
            }
        }

        #[test]
        fn a_changed_byte_never_panics(
            text in texts(), at: prop::sample::Index, flip in 1..=255_u8,
        ) {
            if let Some(mut packed) = compress(&text) {
                let at = at.index(packed.len());
                packed[at] ^= flip;
                if let Ok(unpacked) = decompress(&packed, text.len()) {
                    prop_assert_eq!(unpacked.len(), text.len());
                }
            }
        }
    }
}
