//! Ziplists, the packed lists before Redis 7.
//!
//! ```text
//! bytes in all (4)  offset of the last element (4)  count (2)  elements...  255
//! element: length of the element before (1 byte, or 254 and 4 bytes), form and length, content
//! ```

use super::{Fault, Item, int24, split, split_array};

const HEADER_BYTES: usize = 10;
const END: u8 = 255;
const LONG_PREVIOUS: u8 = 254;
/// A count of so many means that it is not known.
const COUNT_UNKNOWN: u16 = u16::MAX;

/// Visits every element; how many there are. Nothing that was visited counts if this fails.
pub(crate) fn read<'a>(bytes: &'a [u8], mut visit: impl FnMut(Item<'a>)) -> Result<usize, Fault> {
    let (total, rest) = split_array(bytes)?;
    let (last_offset, rest) = split_array(rest)?;
    let (count, mut rest) = split_array(rest)?;
    if u32::from_le_bytes(total) as usize != bytes.len() {
        return Err("a ziplist of the wrong length");
    }
    let mut visited = 0;
    let mut previous = 0;
    while rest.first().is_some_and(|first| *first != END) {
        let (item, after) = element(rest, previous)?;
        previous = rest.len() - after.len();
        rest = after;
        visit(item);
        visited += 1;
    }
    if rest != [END] {
        return Err("a ziplist without its end");
    }
    let last = bytes.len() - 1 - previous;
    if u32::from_le_bytes(last_offset) as usize != last.max(HEADER_BYTES) {
        return Err("a ziplist with the wrong offset of its last element");
    }
    let count = u16::from_le_bytes(count);
    if count != COUNT_UNKNOWN && usize::from(count) != visited {
        return Err("a ziplist with another number of elements than it says");
    }
    Ok(visited)
}

/// The first element of `bytes`, which must say that the one before has `previous` bytes; what
/// follows it.
fn element(bytes: &[u8], previous: usize) -> Result<(Item<'_>, &[u8]), Fault> {
    let ([first], rest) = split_array(bytes)?;
    let (said, rest) = if first == LONG_PREVIOUS {
        let (said, rest) = split_array(rest)?;
        (u32::from_le_bytes(said) as usize, rest)
    } else {
        (usize::from(first), rest)
    };
    if said != previous {
        return Err("a ziplist element with the wrong length of the one before");
    }
    let ([form], rest) = split_array(rest)?;
    let low = usize::from(form & 0x3F);
    let text = |len, rest| split(rest, len).map(|(text, rest)| (Item::Bytes(text), rest));
    match form {
        0..0x40 => text(low, rest),
        0x40..0x80 => {
            let ([second], rest) = split_array(rest)?;
            text(low << 8 | usize::from(second), rest)
        }
        0x80 => {
            let (len, rest) = split_array(rest)?;
            text(u32::from_be_bytes(len) as usize, rest)
        }
        _ => integer(form, rest),
    }
}

fn integer(form: u8, rest: &[u8]) -> Result<(Item<'_>, &[u8]), Fault> {
    let (value, rest) = match form {
        0xC0 => split_array(rest).map(|(bytes, rest)| (i16::from_le_bytes(bytes).into(), rest))?,
        0xD0 => split_array(rest).map(|(bytes, rest)| (i32::from_le_bytes(bytes).into(), rest))?,
        0xE0 => split_array(rest).map(|(bytes, rest)| (i64::from_le_bytes(bytes), rest))?,
        0xF0 => split_array(rest).map(|(bytes, rest)| (int24(bytes), rest))?,
        0xFE => split_array(rest).map(|(bytes, rest)| (i8::from_le_bytes(bytes).into(), rest))?,
        0xF1..=0xFD => (i64::from(form & 0x0F) - 1, rest),
        _ => return Err("a ziplist element of an unknown form"),
    };
    Ok((Item::Int(value), rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A ziplist of elements as they are encoded, without the length of the one before.
    fn ziplist(elements: &[&[u8]]) -> Vec<u8> {
        let mut body = Vec::new();
        let mut previous = 0;
        let mut last = HEADER_BYTES;
        for element in elements {
            last = HEADER_BYTES + body.len();
            if previous < 254 {
                body.push(previous as u8);
            } else {
                body.push(LONG_PREVIOUS);
                body.extend_from_slice(&(previous as u32).to_le_bytes());
            }
            body.extend_from_slice(element);
            previous = HEADER_BYTES + body.len() - last;
        }
        let total = HEADER_BYTES + body.len() + 1;
        let mut bytes = (total as u32).to_le_bytes().to_vec();
        bytes.extend_from_slice(&(last as u32).to_le_bytes());
        bytes.extend_from_slice(&(elements.len() as u16).to_le_bytes());
        bytes.append(&mut body);
        bytes.push(END);
        bytes
    }

    fn items(bytes: &[u8]) -> Result<Vec<Item<'_>>, Fault> {
        let mut items = Vec::new();
        let visited = read(bytes, |item| items.push(item))?;
        assert_eq!(visited, items.len());
        Ok(items)
    }

    #[test]
    fn elements_of_every_form() {
        let long = [&[0x41, 0x2C][..], &[b'x'; 300]].concat();
        let longest = [&[0x80, 0, 0, 0, 2][..], b"yz"].concat();
        let bytes = ziplist(&[
            b"\x02ab",
            &long,
            &longest,
            b"\xC0\x00\x80",
            b"\xD0\0\0\0\x80",
            b"\xF0\0\0\x80",
            b"\xE0\0\0\0\0\0\0\0\x80",
            b"\xFE\xFF",
            b"\xF1",
            b"\xFD",
        ]);
        let expected = [
            Item::Bytes(b"ab"),
            Item::Bytes(&[b'x'; 300]),
            Item::Bytes(b"yz"),
            Item::Int(-32768),
            Item::Int(i64::from(i32::MIN)),
            Item::Int(-(1 << 23)),
            Item::Int(i64::MIN),
            Item::Int(-1),
            Item::Int(0),
            Item::Int(12),
        ];
        assert_eq!(items(&bytes).unwrap(), expected);
        assert_eq!(items(&ziplist(&[])).unwrap(), []);
    }

    #[test]
    fn damage_anywhere_is_refused_or_reads_on() {
        let bytes = ziplist(&[b"\x02ab", b"\xFE\x01", b"\x01c"]);
        for end in 0..bytes.len() {
            items(&bytes[..end]).unwrap_err();
        }
        // The header, the lengths of elements before and the end are all checked.
        for at in (0..=10).chain([14, 17, bytes.len() - 1]) {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1;
            items(&damaged).unwrap_err();
        }
    }
}
