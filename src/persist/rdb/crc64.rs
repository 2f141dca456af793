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

/// The checksum of what `crc` is the checksum of, followed by `bytes`; start with 0. Eight bytes a
/// step.
#[must_use]
pub fn update(crc: u64, bytes: &[u8]) -> u64 {
    let (words, rest) = bytes.as_chunks::<8>();
    let crc = words.iter().fold(crc, |crc, word| {
        let mixed = (crc ^ u64::from_le_bytes(*word)).to_le_bytes();
        (0..8).fold(0, |sum, at| sum ^ TABLES[7 - at][usize::from(mixed[at])])
    });
    rest.iter().fold(crc, |crc, byte| (crc >> 8) ^ TABLES[0][usize::from(crc as u8 ^ byte)])
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
        power = std::array::from_fn(|bit| apply(&power, power[bit]));
        left >>= 1;
    }
    crc ^ second
}

/// A matrix over the field of two elements, by columns, times a vector.
fn apply(matrix: &[u64; 64], vector: u64) -> u64 {
    let column = |bit: usize| matrix[bit] * (vector >> bit & 1);
    (0..64).fold(0, |sum, bit| sum ^ column(bit))
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
    fn pieces_give_the_checksum_of_the_whole() {
        let text: Vec<u8> = (0..200_u8).collect();
        for at in 0..text.len() {
            assert_eq!(update(update(0, &text[..at]), &text[at..]), update(0, &text));
            let (first, second) = (update(0, &text[..at]), update(0, &text[at..]));
            assert_eq!(combine(first, second, (text.len() - at) as u64), update(0, &text));
        }
    }
}
