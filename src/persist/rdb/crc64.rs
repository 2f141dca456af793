//! The checksum of dump files and DUMP payloads: CRC-64 with the polynomial of Jones, reflected,
//! without initial or final inversion, as the peers compute it.

/// The polynomial, bits reversed.
const POLYNOMIAL: u64 = 0x95AC_9329_AC4B_C9B5;

/// `TABLES[k][b]` is the checksum of byte `b` followed by `k` zero bytes.
static TABLES: [[u64; 256]; 8] = tables();

const fn tables() -> [[u64; 256]; 8] {
    let mut tables = [[0; 256]; 8];
    let mut byte = 0;
    while byte < 256 {
        let mut crc = byte as u64;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 1 == 1 { (crc >> 1) ^ POLYNOMIAL } else { crc >> 1 };
            bit += 1;
        }
        tables[0][byte] = crc;
        byte += 1;
    }
    let mut table = 1;
    while table < 8 {
        let mut byte = 0;
        while byte < 256 {
            let before = tables[table - 1][byte];
            tables[table][byte] = (before >> 8) ^ tables[0][(before & 0xFF) as usize];
            byte += 1;
        }
        table += 1;
    }
    tables
}

/// Lanes of a long text are computed side by side, since one step of one waits for the step before.
const LANES: usize = 3;
/// Bytes of a lane.
const LANE_BYTES: usize = 2048;

/// `SHIFTS[k][b]` is what the bytes of a lane, all zero, make of the checksum that has byte `b` in
/// place `k` and is zero elsewhere.
static SHIFTS: [[u64; 256]; 8] = shifts();

const fn shifts() -> [[u64; 256]; 8] {
    // What so many zero bytes make of each bit: that of one byte, squared until it is enough.
    let tables = tables();
    let mut power = [0; 64];
    let mut bit = 0;
    while bit < 64 {
        let crc = 1_u64 << bit;
        power[bit] = (crc >> 8) ^ tables[0][(crc & 0xFF) as usize];
        bit += 1;
    }
    let mut bytes = 1;
    while bytes < LANE_BYTES {
        power = squared(&power);
        bytes *= 2;
    }
    assert!(bytes == LANE_BYTES, "a lane is a power of two");
    let mut shifts = [[0; 256]; 8];
    let mut place = 0;
    while place < 8 {
        let mut byte = 0;
        while byte < 256 {
            shifts[place][byte] = apply(&power, (byte as u64) << (8 * place));
            byte += 1;
        }
        place += 1;
    }
    shifts
}

/// What the zero bytes of a lane make of a checksum.
fn shift(crc: u64) -> u64 {
    let bytes = crc.to_le_bytes();
    (0..8).fold(0, |sum, place| sum ^ SHIFTS[place][usize::from(bytes[place])])
}

/// The checksum of what `crc` is the checksum of, followed by `bytes`; start with 0. Eight bytes a
/// step, and three steps side by side.
#[must_use]
pub fn update(crc: u64, bytes: &[u8]) -> u64 {
    let (blocks, rest) = bytes.as_chunks::<{ LANES * LANE_BYTES }>();
    let crc = blocks.iter().fold(crc, update_block);
    let (words, rest) = rest.as_chunks::<8>();
    let crc = words.iter().fold(crc, |crc, word| step(crc, *word));
    rest.iter().fold(crc, |crc, byte| (crc >> 8) ^ TABLES[0][usize::from(crc as u8 ^ byte)])
}

/// Eight bytes.
#[inline]
fn step(crc: u64, word: [u8; 8]) -> u64 {
    let mixed = (crc ^ u64::from_le_bytes(word)).to_le_bytes();
    (0..8).fold(0, |sum, at| sum ^ TABLES[7 - at][usize::from(mixed[at])])
}

fn update_block(crc: u64, block: &[u8; LANES * LANE_BYTES]) -> u64 {
    let (lanes, _) = block.as_chunks::<LANE_BYTES>();
    let [first, second, third] = [&lanes[0], &lanes[1], &lanes[2]].map(|lane| lane.as_chunks().0);
    let words = first.iter().zip(second).zip(third);
    let (first, second, third) =
        words.fold((crc, 0, 0), |(first, second, third), ((one, two), three)| {
            (step(first, *one), step(second, *two), step(third, *three))
        });
    shift(shift(first) ^ second) ^ third
}

/// The checksum of two pieces one after the other, from those of each; `len` is the length of the
/// second. O(log `len`), by the powers of the matrix that one zero byte stands for.
#[must_use]
pub fn combine(first: u64, second: u64, len: u64) -> u64 {
    // What a zero byte makes of each bit of the checksum.
    let mut power: [u64; 64] = std::array::from_fn(|bit| update(1 << bit, &[0]));
    let mut crc = first;
    let mut left = len;
    while left > 0 {
        if left & 1 == 1 {
            crc = apply(&power, crc);
        }
        power = squared(&power);
        left >>= 1;
    }
    crc ^ second
}

/// A matrix over the field of two elements, by columns, times itself.
const fn squared(matrix: &[u64; 64]) -> [u64; 64] {
    let mut product = [0; 64];
    let mut bit = 0;
    while bit < 64 {
        product[bit] = apply(matrix, matrix[bit]);
        bit += 1;
    }
    product
}

/// A matrix over the field of two elements, by columns, times a vector.
const fn apply(matrix: &[u64; 64], vector: u64) -> u64 {
    let mut sum = 0;
    let mut bit = 0;
    while bit < 64 {
        sum ^= matrix[bit] * (vector >> bit & 1);
        bit += 1;
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_check_value_is_that_of_the_peers() {
        assert_eq!(update(0, b"123456789"), 0xE9C6_D914_C4B8_D9CA);
        assert_eq!(update(0, b""), 0);
    }

    #[test]
    fn long_texts_have_the_checksum_of_their_bytes() {
        let text: Vec<u8> = (0..20_000_u32).map(|at| ((at * at) >> 5) as u8).collect();
        let one_by_one = |text: &[u8]| text.chunks(1).fold(7, update);
        let block = LANES * LANE_BYTES;
        for len in [0, 7, 8, block - 1, block, block + 9, 3 * block + 1] {
            assert_eq!(update(7, &text[..len]), one_by_one(&text[..len]), "{len} bytes");
        }
    }

    #[test]
    fn pieces_give_the_checksum_of_the_whole() {
        let text: Vec<u8> = (0..200_u8).collect();
        for at in 0..text.len() {
            assert_eq!(update(update(0, &text[..at]), &text[at..]), update(0, &text));
            let (first, second) = (update(0, &text[..at]), update(0, &text[at..]));
            assert_eq!(combine(first, second, (text.len() - at) as u64), update(0, &text));
        }
    }
}
