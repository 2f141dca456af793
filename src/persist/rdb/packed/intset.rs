//! Sets of integers: width (2, 4 or 8) and count in four bytes each, then the ascending integers.

use super::{Fault, split_array};
use crate::persist::rdb::elements::Elements;

/// Adds the members' texts to `members`.
pub(crate) fn read(bytes: &[u8], members: &mut Elements) -> Result<(), Fault> {
    let (width, rest) = split_array(bytes)?;
    let (count, rest) = split_array(rest)?;
    let width = u32::from_le_bytes(width) as usize;
    if !matches!(width, 2 | 4 | 8) {
        return Err("an integer set of an unknown width");
    }
    if rest.len() as u64 != u64::from(u32::from_le_bytes(count)) * width as u64 {
        return Err("an integer set of the wrong length");
    }
    let mut previous = None;
    for bytes in rest.chunks_exact(width) {
        let mut wide = [0; 8];
        wide[8 - width..].copy_from_slice(bytes);
        let value = i64::from_le_bytes(wide) >> (64 - 8 * width);
        if previous.is_some_and(|previous| previous >= value) {
            return Err("an integer set out of order");
        }
        previous = Some(value);
        members.push_int(value);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(width: u32, count: u32, members: &[u8]) -> Result<Vec<String>, Fault> {
        let bytes = [&width.to_le_bytes(), &count.to_le_bytes(), members].concat();
        let mut elements = Elements::default();
        read(&bytes, &mut elements)?;
        Ok(elements.iter().map(|text| String::from_utf8(text.to_vec()).unwrap()).collect())
    }

    #[test]
    fn members_of_every_width() {
        assert_eq!(set(2, 2, &[0xFF, 0xFF, 1, 0]).unwrap(), ["-1", "1"]);
        assert_eq!(set(4, 1, &[0, 0, 0, 0x80]).unwrap(), ["-2147483648"]);
        assert_eq!(set(8, 1, &[0, 0, 0, 0, 1, 0, 0, 0]).unwrap(), ["4294967296"]);
    }

    #[test]
    fn what_is_not_in_order_or_not_whole_is_refused() {
        set(2, 2, &[1, 0, 1, 0]).unwrap_err();
        set(2, 2, &[1, 0, 0, 0]).unwrap_err();
        set(2, 2, &[1, 0]).unwrap_err();
        set(2, 0x8000_0001, &[1, 0]).unwrap_err();
        set(3, 1, &[1, 0, 0]).unwrap_err();
        set(0, 0, &[]).unwrap_err();
    }
}
