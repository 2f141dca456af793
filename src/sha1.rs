//! SHA-1 (FIPS 180-4): what names scripts and what `DEBUG DIGEST` is made of. Not for secrets.

/// The length of a hash in bytes.
pub const HASH_BYTES: usize = 20;
const BLOCK_BYTES: usize = 64;
/// Where the message's length stands in the last block.
const LENGTH_AT: usize = BLOCK_BYTES - 8;

/// The hash of `message`. O(length); the message is not copied.
pub fn sha1(message: &[u8]) -> [u8; HASH_BYTES] {
    let mut state: [u32; 5] = [0x6745_2301, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476, 0xc3d2_e1f0];
    let blocks = message.chunks_exact(BLOCK_BYTES);
    let rest = blocks.remainder();
    for block in blocks {
        compress(&mut state, block);
    }
    let mut last = [0; BLOCK_BYTES];
    last[..rest.len()].copy_from_slice(rest);
    last[rest.len()] = 0x80;
    if rest.len() >= LENGTH_AT {
        compress(&mut state, &last);
        last = [0; BLOCK_BYTES];
    }
    last[LENGTH_AT..].copy_from_slice(&(message.len() as u64 * 8).to_be_bytes());
    compress(&mut state, &last);
    let mut hash = [0; HASH_BYTES];
    for (bytes, word) in hash.chunks_exact_mut(4).zip(state) {
        bytes.copy_from_slice(&word.to_be_bytes());
    }
    hash
}

/// A hash in lower-case hexadecimal digits.
pub fn to_hex(hash: &[u8; HASH_BYTES]) -> String {
    let digit = |nibble: u8| char::from(b"0123456789abcdef"[usize::from(nibble)]);
    let mut hex = String::with_capacity(2 * HASH_BYTES);
    for byte in hash {
        hex.push(digit(byte >> 4));
        hex.push(digit(byte & 15));
    }
    hex
}

/// Takes in one block of 64 bytes.
#[expect(clippy::many_single_char_names, reason = "the standard's names")]
fn compress(state: &mut [u32; 5], block: &[u8]) {
    let mut words = [0_u32; 80];
    for (word, bytes) in words.iter_mut().zip(block.chunks_exact(4)) {
        *word = u32::from_be_bytes(bytes.try_into().expect("invariant: chunks of four"));
    }
    for at in 16..80 {
        let mixed = words[at - 3] ^ words[at - 8] ^ words[at - 14] ^ words[at - 16];
        words[at] = mixed.rotate_left(1);
    }
    let [mut a, mut b, mut c, mut d, mut e] = *state;
    for (round, word) in words.into_iter().enumerate() {
        let (choice, constant) = match round / 20 {
            0 => (b & c | !b & d, 0x5a82_7999),
            1 => (b ^ c ^ d, 0x6ed9_eba1),
            2 => (b & c | b & d | c & d, 0x8f1b_bcdc),
            _ => (b ^ c ^ d, 0xca62_c1d6_u32),
        };
        let next = a
            .rotate_left(5)
            .wrapping_add(choice)
            .wrapping_add(e)
            .wrapping_add(constant)
            .wrapping_add(word);
        (a, b, c, d, e) = (next, a, b.rotate_left(30), c, d);
    }
    for (sum, word) in state.iter_mut().zip([a, b, c, d, e]) {
        *sum = sum.wrapping_add(word);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(message: &[u8]) -> String {
        to_hex(&sha1(message))
    }

    #[test]
    fn the_standards_examples() {
        assert_eq!(hex(b""), "da39a3ee5e6b4b0d3255bfef95601890afd80709");
        assert_eq!(hex(b"abc"), "a9993e364706816aba3e25717850c26c9cd0d89d");
        let two_blocks = b"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq";
        assert_eq!(hex(two_blocks), "84983e441c3bd26ebaae4aa1f95129e5e54670f1");
        assert_eq!(hex(&vec![b'a'; 1_000_000]), "34aa973cd4c4daa4f61eeb2bdbad27316534016f");
    }
}
