//! Lengths and texts as they lie in a block: seven bits a byte, least significant first.

/// Appends a number.
pub(super) fn put_number(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// The bytes that [`put_number`] appends.
pub(super) fn number_len(value: u64) -> usize {
    ((64 - (value | 1).leading_zeros()) as usize).div_ceil(7)
}

/// Appends a text with its length.
pub(super) fn put_text(out: &mut Vec<u8>, text: &[u8]) {
    put_number(out, text.len() as u64);
    out.extend_from_slice(text);
}

/// The bytes that [`put_text`] appends.
pub(super) fn text_len(text: &[u8]) -> usize {
    number_len(text.len() as u64) + text.len()
}

/// Reads a number and moves past it.
#[inline]
pub(super) fn take_number(rest: &mut &[u8]) -> u64 {
    let mut value = 0;
    let mut shift = 0;
    loop {
        let byte = take_byte(rest);
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return value;
        }
        shift += 7;
    }
}

/// Reads a byte and moves past it.
#[inline]
pub(super) fn take_byte(rest: &mut &[u8]) -> u8 {
    let (byte, tail) = rest.split_first().expect("invariant: a block's entries are whole");
    *rest = tail;
    *byte
}

/// Reads a text and moves past it.
#[inline]
pub(super) fn take_text<'a>(rest: &mut &'a [u8]) -> &'a [u8] {
    let len = take_number(rest) as usize;
    let (text, tail) = rest.split_at(len);
    *rest = tail;
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_take_as_many_bytes_as_announced() {
        for value in [0, 1, 127, 128, 16383, 16384, 1 << 35, u64::MAX - 1, u64::MAX] {
            let mut out = Vec::new();
            put_number(&mut out, value);
            assert_eq!(out.len(), number_len(value), "{value}");
            let mut rest = out.as_slice();
            assert_eq!(take_number(&mut rest), value);
            assert!(rest.is_empty());
        }
    }
}
