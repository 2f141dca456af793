//! Hash slots: CRC16 (the XMODEM variant: polynomial 0x1021, initial value 0) of a key, or of its
//! hash tag, modulo 16384.
//!
//! The checksum takes eight bytes a step ("slicing by 8"): since the state has only 16 bits, the
//! first two bytes of a step are mixed with it and all eight contribute through independent tables,
//! which the processor can look up at the same time.

/// The number of hash slots of a cluster.
pub const SLOT_COUNT: u16 = 16_384;

const POLYNOMIAL: u16 = 0x1021;

/// `TABLES[n][byte]` is the checksum of `byte` followed by `n` zero bytes.
static TABLES: [[u16; 256]; 8] = tables();

const fn tables() -> [[u16; 256]; 8] {
    let mut tables = [[0u16; 256]; 8];
    let mut byte = 0;
    while byte < 256 {
        let mut crc = (byte as u16) << 8;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 0x8000 != 0 { (crc << 1) ^ POLYNOMIAL } else { crc << 1 };
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
            tables[table][byte] = (before << 8) ^ tables[0][(before >> 8) as usize];
            byte += 1;
        }
        table += 1;
    }
    tables
}

/// CRC16 of `bytes`, as Redis Cluster defines it: `crc16(b"123456789") == 0x31c3`.
#[inline]
pub fn crc16(bytes: &[u8]) -> u16 {
    let mut crc = 0u16;
    let mut steps = bytes.chunks_exact(8);
    for step in &mut steps {
        let [high, low] = crc.to_be_bytes();
        crc = TABLES[7][usize::from(step[0] ^ high)]
            ^ TABLES[6][usize::from(step[1] ^ low)]
            ^ TABLES[5][usize::from(step[2])]
            ^ TABLES[4][usize::from(step[3])]
            ^ TABLES[3][usize::from(step[4])]
            ^ TABLES[2][usize::from(step[5])]
            ^ TABLES[1][usize::from(step[6])]
            ^ TABLES[0][usize::from(step[7])];
    }
    for &byte in steps.remainder() {
        let [high, low] = crc.to_be_bytes();
        crc = (u16::from(low) << 8) ^ TABLES[0][usize::from(high ^ byte)];
    }
    crc
}

/// The part of `key` that decides its slot: what stands between the first `{` and the first `}`
/// after it when that is not empty, the whole key otherwise.
#[inline]
pub fn hash_tag(key: &[u8]) -> &[u8] {
    let Some(open) = memchr::memchr(b'{', key) else {
        return key;
    };
    let tag = &key[open + 1..];
    match memchr::memchr(b'}', tag) {
        None | Some(0) => key,
        Some(length) => &tag[..length],
    }
}

/// The hash slot of `key`, below [`SLOT_COUNT`].
#[inline]
pub fn key_slot(key: &[u8]) -> u16 {
    crc16(hash_tag(key)) % SLOT_COUNT
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn crc16_bit_by_bit(bytes: &[u8]) -> u16 {
        let mut crc = 0u16;
        for &byte in bytes {
            crc ^= u16::from(byte) << 8;
            for _ in 0..8 {
                crc = if crc & 0x8000 == 0 { crc << 1 } else { (crc << 1) ^ POLYNOMIAL };
            }
        }
        crc
    }

    #[test]
    fn known_checksums_and_slots() {
        assert_eq!(crc16(b""), 0);
        assert_eq!(crc16(b"123456789"), 0x31c3);
        // As CLUSTER KEYSLOT of Valkey answers.
        assert_eq!(key_slot(b"foo"), 12182);
        assert_eq!(key_slot(b"foo{bar}baz"), key_slot(b"bar"));
        assert_eq!(key_slot(b"somekey"), 11058);
        assert_eq!(key_slot(b"foo{hash_tag}"), 2515);
    }

    #[test]
    fn hash_tags_follow_the_first_pair_of_braces() {
        let check = |key: &[u8], tag: &[u8]| assert_eq!(hash_tag(key), tag);
        check(b"{a}b", b"a");
        check(b"x{a}{b}", b"a");
        check(b"{}{a}", b"{}{a}");
        check(b"{", b"{");
        check(b"}{", b"}{");
        check(b"a{{b}}c", b"{b");
        check(b"{a", b"{a");
        check(b"", b"");
    }

    proptest! {
        #![proptest_config(crate::testing::config())]

        #[test]
        fn sliced_equals_bit_by_bit(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            prop_assert_eq!(crc16(&bytes), crc16_bit_by_bit(&bytes));
        }
    }
}
