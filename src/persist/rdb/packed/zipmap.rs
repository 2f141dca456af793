//! Zipmaps, the small hashes before Redis 2.6: a count byte, then for each field its length and
//! text, its value's length, a byte that tells how many unused bytes follow the value, the value,
//! those bytes; 255 at the end.

use super::{Fault, split, split_array};
use crate::persist::rdb::elements::Elements;

/// A length of four bytes follows.
const LONG: u8 = 254;
const END: u8 = 255;

/// Adds fields and values, alternately, to `entries`.
pub(crate) fn read(bytes: &[u8], entries: &mut Elements) -> Result<(), Fault> {
    let (count, mut rest) = split_array::<1>(bytes)?;
    let mut read = 0_usize;
    while rest.first().is_some_and(|first| *first != END) {
        let (len, after) = length(rest)?;
        let (field, after) = split(after, len)?;
        let (len, after) = length(after)?;
        let ([unused], after) = split_array(after)?;
        let (value, after) = split(after, len)?;
        let (_, after) = split(after, usize::from(unused))?;
        entries.push(field);
        entries.push(value);
        rest = after;
        read += 1;
    }
    // From 254 fields on the count is not kept.
    let counted = count[0] >= LONG || usize::from(count[0]) == read;
    if rest != [END] {
        Err("a zipmap without its end")
    } else if read == 0 {
        Err("a zipmap without fields")
    } else if !counted {
        Err("a zipmap with another number of fields than it says")
    } else {
        Ok(())
    }
}

fn length(bytes: &[u8]) -> Result<(usize, &[u8]), Fault> {
    let ([first], rest) = split_array(bytes)?;
    match first {
        END => Err("a zipmap that ends within a field"),
        LONG => {
            let (len, rest) = split_array(rest)?;
            Ok((u32::from_le_bytes(len) as usize, rest))
        }
        short => Ok((usize::from(short), rest)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries(bytes: &[u8]) -> Result<Elements, Fault> {
        let mut entries = Elements::default();
        read(bytes, &mut entries).map(|()| entries)
    }

    #[test]
    fn fields_values_and_unused_bytes() {
        let read = entries(b"\x02\x01a\x02\x01bcX\xFE\x01\0\0\0d\x00\x00\xFF").unwrap();
        assert_eq!(read.iter().collect::<Vec<_>>(), [&b"a"[..], b"bc", b"d", b""]);
    }

    #[test]
    fn damage_is_refused() {
        for damaged in [
            &b""[..],
            b"\x01",
            b"\x00\xFF",
            b"\x01\x01a",
            b"\x01\x01a\x01\x00b",
            b"\x01\x01a\xFF",
            b"\x01\x09a\x01\x00b\xFF",
            b"\x01\xFE\xFF\xFF\xFF\xFFa\x01\x00b\xFF",
            b"\x02\x01a\x01\x00b\xFF",
            b"\x01\x01a\x01\x00b\xFF\x00",
        ] {
            entries(damaged).unwrap_err();
        }
    }
}
