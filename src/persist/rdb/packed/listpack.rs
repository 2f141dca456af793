//! Listpacks, the packed lists of Redis 7 and Valkey.
//!
//! ```text
//! bytes in all (4)  count (2)  elements...  255
//! element: form and length, content, and the length of these two, which is read backwards
//! ```

use super::{Fault, Item, int24, split, split_array};

const HEADER_BYTES: usize = 6;
const END: u8 = 255;
/// A count of so many means that it is not known.
const COUNT_UNKNOWN: u16 = u16::MAX;
/// The longest way to write a length backwards.
const BACK_BYTES_MAX: usize = 5;

/// Reads a listpack from the first element to the last.
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
    count: u16,
    read: usize,
}

impl<'a> Reader<'a> {
    /// Checks the head of a listpack.
    pub(crate) fn new(bytes: &'a [u8]) -> Result<Self, Fault> {
        let (total, rest) = split_array(bytes)?;
        let (count, rest) = split_array(rest)?;
        if u32::from_le_bytes(total) as usize != bytes.len() {
            return Err("a listpack of the wrong length");
        }
        Ok(Self { rest, count: u16::from_le_bytes(count), read: 0 })
    }

    /// The next element; `None` after the last, when the end has been checked too.
    pub(crate) fn next(&mut self) -> Result<Option<Item<'a>>, Fault> {
        if self.rest == [END] {
            let counted = self.count == COUNT_UNKNOWN || usize::from(self.count) == self.read;
            let wrong = "a listpack with another number of elements than it says";
            return if counted { Ok(None) } else { Err(wrong) };
        }
        let (item, after) = element(self.rest)?;
        let len = self.rest.len() - after.len();
        let (back, back_len) = back_length(len);
        let (said, after) = split(after, back_len)?;
        if said != &back[..back_len] {
            return Err("a listpack element with a wrong length behind it");
        }
        self.rest = after;
        self.read += 1;
        Ok(Some(item))
    }

    /// The next element, which must exist.
    pub(crate) fn expect(&mut self) -> Result<Item<'a>, Fault> {
        self.next()?.ok_or("a listpack that ends too early")
    }
}

/// Visits every element; how many there are. Nothing that was visited counts if this fails.
pub(crate) fn read<'a>(bytes: &'a [u8], mut visit: impl FnMut(Item<'a>)) -> Result<usize, Fault> {
    let mut reader = Reader::new(bytes)?;
    while let Some(item) = reader.next()? {
        visit(item);
    }
    Ok(reader.read)
}

/// The first element of `bytes`, without the length behind it, and what follows.
fn element(bytes: &[u8]) -> Result<(Item<'_>, &[u8]), Fault> {
    let ([first], rest) = split_array(bytes)?;
    let text = |len, rest| split(rest, len).map(|(text, rest)| (Item::Bytes(text), rest));
    let (value, rest) = match first {
        0..0x80 => (i64::from(first), rest),
        0x80..0xC0 => return text(usize::from(first & 0x3F), rest),
        0xC0..0xE0 => {
            let ([second], rest) = split_array(rest)?;
            // 13 bits with a sign: moved to the top and back.
            let bits = i16::from_be_bytes([first, second]) << 3;
            (i64::from(bits >> 3), rest)
        }
        0xE0..0xF0 => {
            let ([second], rest) = split_array(rest)?;
            return text(usize::from(first & 0x0F) << 8 | usize::from(second), rest);
        }
        0xF0 => {
            let (len, rest) = split_array(rest)?;
            return text(u32::from_le_bytes(len) as usize, rest);
        }
        0xF1 => split_array(rest).map(|(bytes, rest)| (i16::from_le_bytes(bytes).into(), rest))?,
        0xF2 => split_array(rest).map(|(bytes, rest)| (int24(bytes), rest))?,
        0xF3 => split_array(rest).map(|(bytes, rest)| (i32::from_le_bytes(bytes).into(), rest))?,
        0xF4 => split_array(rest).map(|(bytes, rest)| (i64::from_le_bytes(bytes), rest))?,
        _ => return Err("a listpack element of an unknown form"),
    };
    Ok((Item::Int(value), rest))
}

/// How a length is written to be read backwards: seven bits a byte, the highest first, all but
/// the first byte marked as having another before it. How many bytes of the array that takes.
///
/// As in the peers, the largest length of two, three and four bytes takes one more than it needs.
fn back_length(len: usize) -> ([u8; BACK_BYTES_MAX], usize) {
    let bytes = match len {
        0..=0x7F => 1,
        0x80..0x3FFF => 2,
        0x3FFF..0x1F_FFFF => 3,
        0x1F_FFFF..0xFFF_FFFF => 4,
        _ => BACK_BYTES_MAX,
    };
    let mut back = [0; BACK_BYTES_MAX];
    for (at, byte) in back[..bytes].iter_mut().enumerate() {
        let group = (len >> (7 * (bytes - 1 - at))) as u8 & 0x7F;
        *byte = if at == 0 { group } else { group | 0x80 };
    }
    (back, bytes)
}

/// Writes a listpack.
pub(crate) struct Builder {
    bytes: Vec<u8>,
    count: usize,
}

impl Builder {
    /// A listpack without elements.
    pub(crate) fn new() -> Self {
        Self { bytes: vec![0; HEADER_BYTES], count: 0 }
    }

    /// Adds an element: an integer where it is the canonical text of one, as the peers do.
    pub(crate) fn push(&mut self, element: &[u8]) {
        match kvasir_shard::parse_canonical_int(element) {
            Some(value) => self.push_int(value),
            None => self.push_bytes(element),
        }
    }

    /// Adds an integer.
    pub(crate) fn push_int(&mut self, value: i64) {
        let start = self.bytes.len();
        let wide = value.to_le_bytes();
        if (0..0x80).contains(&value) {
            self.bytes.push(value as u8);
        } else if (-0x1000..0x1000).contains(&value) {
            let [high, low] = (value as u16).to_be_bytes();
            self.bytes.extend_from_slice(&[0xC0 | high & 0x1F, low]);
        } else if i16::try_from(value).is_ok() {
            self.bytes.push(0xF1);
            self.bytes.extend_from_slice(&wide[..2]);
        } else if (-(1 << 23)..1 << 23).contains(&value) {
            self.bytes.push(0xF2);
            self.bytes.extend_from_slice(&wide[..3]);
        } else if i32::try_from(value).is_ok() {
            self.bytes.push(0xF3);
            self.bytes.extend_from_slice(&wide[..4]);
        } else {
            self.bytes.push(0xF4);
            self.bytes.extend_from_slice(&wide);
        }
        self.close(start);
    }

    fn push_bytes(&mut self, element: &[u8]) {
        let start = self.bytes.len();
        let len = element.len();
        if len < 1 << 6 {
            self.bytes.push(0x80 | len as u8);
        } else if len < 1 << 12 {
            let [high, low] = (len as u16).to_be_bytes();
            self.bytes.extend_from_slice(&[0xE0 | high, low]);
        } else {
            self.bytes.push(0xF0);
            self.bytes.extend_from_slice(&(len as u32).to_le_bytes());
        }
        self.bytes.extend_from_slice(element);
        self.close(start);
    }

    /// Ends the element that begins at `start`.
    fn close(&mut self, start: usize) {
        let (back, len) = back_length(self.bytes.len() - start);
        self.bytes.extend_from_slice(&back[..len]);
        self.count += 1;
    }

    /// Bytes of the listpack so far, without its end.
    pub(crate) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether it has no element.
    pub(crate) fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The finished listpack; it must be shorter than 4 GiB.
    pub(crate) fn finish(mut self) -> Vec<u8> {
        self.bytes.push(END);
        let total = u32::try_from(self.bytes.len()).expect("invariant: listpacks are small");
        self.bytes[..4].copy_from_slice(&total.to_le_bytes());
        let count = u16::try_from(self.count).unwrap_or(COUNT_UNKNOWN);
        self.bytes[4..HEADER_BYTES].copy_from_slice(&count.to_le_bytes());
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn items(bytes: &[u8]) -> Result<Vec<Item<'_>>, Fault> {
        let mut items = Vec::new();
        let visited = read(bytes, |item| items.push(item))?;
        assert_eq!(visited, items.len());
        Ok(items)
    }

    #[test]
    fn a_listpack_byte_by_byte() {
        let mut builder = Builder::new();
        builder.push(b"a");
        builder.push(b"1");
        builder.push(b"-1");
        let expected = b"\x0F\0\0\0\x03\0\x81a\x02\x01\x01\xDF\xFF\x02\xFF";
        assert_eq!(builder.finish(), expected);
    }

    #[test]
    fn integers_of_every_width() {
        let edges = [7, 12, 15, 23, 31, 62].map(|bits| 1_i64 << bits);
        let near = edges.iter().flat_map(|edge| [edge - 1, *edge, -edge, -edge - 1]);
        let values: Vec<i64> = near.chain([0, 1, -1, i64::MIN, i64::MAX]).collect();
        let mut builder = Builder::new();
        for value in &values {
            builder.push_int(*value);
        }
        let bytes = builder.finish();
        assert_eq!(items(&bytes).unwrap(), values.into_iter().map(Item::Int).collect::<Vec<_>>());
    }

    #[test]
    fn texts_of_every_length() {
        for len in [0, 1, 63, 64, 125, 126, 127, 128, 4095, 4096, 16_377, 16_378, 70_000] {
            let text = vec![b'x'; len];
            let mut builder = Builder::new();
            builder.push(&text);
            builder.push(&text);
            assert!(!builder.is_empty());
            let bytes = builder.finish();
            assert_eq!(items(&bytes).unwrap(), [Item::Bytes(&text); 2]);
        }
    }

    #[test]
    fn damage_is_refused() {
        let mut builder = Builder::new();
        builder.push(b"abc");
        builder.push_int(5000);
        let bytes = builder.finish();
        for end in 0..bytes.len() {
            items(&bytes[..end]).unwrap_err();
        }
        for at in [0, 3, 4, 5, 6, 10, 14, 15] {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1;
            items(&damaged).unwrap_err();
        }
        // A count that is not known is no damage.
        let mut uncounted = bytes;
        uncounted[4..6].fill(0xFF);
        assert_eq!(items(&uncounted).unwrap().len(), 2);
    }

    proptest! {
        #[test]
        fn any_bytes_read_or_are_refused(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            let mut framed = ((bytes.len() + 6) as u32).to_le_bytes().to_vec();
            framed.extend_from_slice(&[0xFF, 0xFF]);
            framed.extend_from_slice(&bytes);
            let _ = items(&framed);
            let _ = items(&bytes);
        }
    }
}
