//! Reading primitives from a source, with every length checked.

use std::io::{self, Read};

use kvasir_shard::lzf;

use super::code;
use super::elements::ELEMENT_BYTES_MAX;
use super::error::{RdbError, RdbErrorKind};
use super::summed::Summed;

/// How much is allocated at a time while a source does not tell its length.
const STEP_BYTES: usize = 1 << 20;

/// A source of RDB data: a payload in memory, a file, a connection. It should be buffered.
pub struct Input<R> {
    source: R,
    offset: u64,
    end: Option<u64>,
    /// Reused: compressed text, and strings that were just read.
    packed: Vec<u8>,
    text: Vec<u8>,
}

impl<'a> Input<&'a [u8]> {
    /// A payload in memory.
    pub fn new(payload: &'a [u8]) -> Self {
        Self::within(payload, 0)
    }

    /// A part in memory of a source, in which it begins at `offset`.
    pub(super) fn within(part: &'a [u8], offset: u64) -> Self {
        let end = offset + part.len() as u64;
        Self { offset, ..Self::from_source(part, Some(end)) }
    }
}

impl<R: Read> Input<Summed<R>> {
    /// What has been read from the source already and comes next. See [`Input::pass`].
    #[inline]
    pub(super) fn at_hand(&self) -> &[u8] {
        self.source.at_hand()
    }

    /// Reads more, so that up to `wanted` bytes are at hand; false when there are as many, or when
    /// the source has ended.
    pub(super) fn fetch(&mut self, wanted: usize) -> Result<bool, RdbError> {
        self.source.fetch(wanted).map_err(|error| self.failed(error))
    }

    /// Passes over so many bytes of those at hand, and returns them.
    #[inline]
    pub(super) fn pass(&mut self, len: usize) -> &[u8] {
        self.offset += len as u64;
        self.source.pass(len)
    }
}

impl<R: Read> Input<R> {
    /// Any source. With its length, no claim beyond it is believed; without, memory is allocated
    /// only as the bytes come.
    pub fn from_source(source: R, len: Option<u64>) -> Self {
        Self { source, offset: 0, end: len, packed: Vec::new(), text: Vec::new() }
    }

    /// The source, at the present offset.
    pub(super) fn source_mut(&mut self) -> &mut R {
        &mut self.source
    }

    /// Bytes read so far.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// An error at the present offset.
    pub fn error(&self, kind: RdbErrorKind) -> RdbError {
        RdbError { offset: self.offset, kind }
    }

    /// The error for damaged data.
    pub fn corrupt(&self, how: &'static str) -> RdbError {
        self.error(RdbErrorKind::Corrupt(how))
    }

    /// The next byte.
    pub fn byte(&mut self) -> Result<u8, RdbError> {
        Ok(self.array::<1>()?[0])
    }

    /// The next `N` bytes.
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], RdbError> {
        let mut bytes = [0; N];
        self.source.read_exact(&mut bytes).map_err(|error| self.failed(error))?;
        self.offset += N as u64;
        Ok(bytes)
    }

    /// A number that must be a length, not a special form.
    pub fn length(&mut self) -> Result<u64, RdbError> {
        match self.length_or_special()? {
            Length::Plain(length) => Ok(length),
            Length::Special(_) => Err(self.corrupt("a special string form instead of a length")),
        }
    }

    /// A count of elements, of which each takes at least `bytes_min` bytes.
    pub fn count(&mut self, bytes_min: u64) -> Result<usize, RdbError> {
        let count = self.length()?;
        self.check(count.saturating_mul(bytes_min))?;
        usize::try_from(count).map_err(|_| self.error(RdbErrorKind::Truncated))
    }

    /// A string, in whatever form. It is valid until the next read.
    pub fn string(&mut self) -> Result<&[u8], RdbError> {
        let mut text = std::mem::take(&mut self.text);
        let outcome = self.string_into(&mut text);
        self.text = text;
        outcome.map(|()| &self.text[..])
    }

    /// A string of its own.
    pub fn string_owned(&mut self) -> Result<Vec<u8>, RdbError> {
        let mut text = Vec::new();
        self.string_into(&mut text)?;
        Ok(text)
    }

    /// A string that replaces what is in `text`.
    fn string_into(&mut self, text: &mut Vec<u8>) -> Result<(), RdbError> {
        text.clear();
        let integer = match self.length_or_special()? {
            Length::Plain(length) => return self.bytes_into(length, text),
            Length::Special(code::STRING_INT8) => i64::from(i8::from_le_bytes(self.array()?)),
            Length::Special(code::STRING_INT16) => i64::from(i16::from_le_bytes(self.array()?)),
            Length::Special(code::STRING_INT32) => i64::from(i32::from_le_bytes(self.array()?)),
            Length::Special(code::STRING_LZF) => return self.lzf_into(text),
            Length::Special(_) => return Err(self.corrupt("an unknown form of a string")),
        };
        text.extend_from_slice(itoa::Buffer::new().format(integer).as_bytes());
        Ok(())
    }

    fn lzf_into(&mut self, text: &mut Vec<u8>) -> Result<(), RdbError> {
        let packed_len = self.length()?;
        let len = self.length()?;
        let len = usize::try_from(len).ok().filter(|len| *len <= ELEMENT_BYTES_MAX);
        let len = len.ok_or_else(|| self.corrupt("a string of 4 GiB or more"))?;
        let mut packed = std::mem::take(&mut self.packed);
        packed.clear();
        let outcome = self.bytes_into(packed_len, &mut packed);
        let unpacked = outcome.and_then(|()| {
            let unpacked = lzf::decompress_into(&packed, len, text);
            unpacked.map_err(|_| self.corrupt("compressed text that does not unpack"))
        });
        self.packed = packed;
        unpacked
    }

    /// Appends so many bytes of the source to `out`.
    pub fn bytes_into(&mut self, len: u64, out: &mut Vec<u8>) -> Result<(), RdbError> {
        self.check(len)?;
        let len = usize::try_from(len).ok().filter(|len| *len <= ELEMENT_BYTES_MAX);
        let len = len.ok_or_else(|| self.corrupt("a string of 4 GiB or more"))?;
        if self.end.is_some() {
            out.reserve_exact(len);
        }
        let mut left = len;
        while left > 0 {
            let step = left.min(STEP_BYTES);
            let start = out.len();
            out.resize(start + step, 0);
            self.source.read_exact(&mut out[start..]).map_err(|error| self.failed(error))?;
            self.offset += step as u64;
            left -= step;
        }
        Ok(())
    }

    /// Refuses a claim that goes beyond the end of the source.
    fn check(&self, bytes: u64) -> Result<(), RdbError> {
        match self.end {
            Some(end) if bytes > end.saturating_sub(self.offset) => {
                Err(self.error(RdbErrorKind::Truncated))
            }
            _ => Ok(()),
        }
    }

    fn failed(&self, error: io::Error) -> RdbError {
        self.error(match error.kind() {
            io::ErrorKind::UnexpectedEof => RdbErrorKind::Truncated,
            _ => RdbErrorKind::Io(error),
        })
    }

    /// The first two bits tell: 6 bits follow, 14 bits, 32 or 64 bits, or a special form.
    fn length_or_special(&mut self) -> Result<Length, RdbError> {
        let first = self.byte()?;
        let low = first & 0x3F;
        Ok(Length::Plain(match first {
            0..0x40 => u64::from(low),
            0x40..0x80 => u64::from(low) << 8 | u64::from(self.byte()?),
            code::LEN_32 => u64::from(u32::from_be_bytes(self.array()?)),
            code::LEN_64 => u64::from_be_bytes(self.array()?),
            code::LEN_SPECIAL.. => return Ok(Length::Special(low)),
            _ => return Err(self.corrupt("an unknown form of a length")),
        }))
    }
}

enum Length {
    Plain(u64),
    Special(u8),
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lengths(bytes: &[u8]) -> Result<u64, RdbError> {
        Input::new(bytes).length()
    }

    #[test]
    fn lengths_of_every_form() {
        assert_eq!(lengths(&[0x3F]).unwrap(), 63);
        assert_eq!(lengths(&[0x7F, 0xFF]).unwrap(), 16383);
        assert_eq!(lengths(&[0x80, 0, 1, 0, 0]).unwrap(), 65536);
        assert_eq!(lengths(&[0x81, 0, 0, 0, 1, 0, 0, 0, 0]).unwrap(), 1 << 32);
        for refused in [&[0x82][..], &[0xC0, 1], &[0x40], &[0x80, 0], &[]] {
            lengths(refused).unwrap_err();
        }
    }

    #[test]
    fn strings_of_every_form() {
        let read = |bytes: &[u8]| Input::new(bytes).string_owned();
        assert_eq!(read(b"\x03abc").unwrap(), b"abc");
        assert_eq!(read(&[0xC0, 0x80]).unwrap(), b"-128");
        assert_eq!(read(&[0xC1, 0x00, 0x80]).unwrap(), b"-32768");
        assert_eq!(read(&[0xC2, 0xFF, 0xFF, 0xFF, 0x7F]).unwrap(), b"2147483647");
        let packed = [0xC3, 9, 0x40, 200, 0x01, b'a', b'a', 0xE0, 0xBB, 0, 1, b'a', b'a'];
        assert_eq!(read(&packed).unwrap(), [b'a'; 200]);
        read(&[0xC4]).unwrap_err();
    }

    #[test]
    fn a_claim_beyond_the_end_allocates_nothing() {
        let mut out = Vec::new();
        let error = Input::new(&[0; 10]).bytes_into(1 << 31, &mut out).unwrap_err();
        assert!(matches!(error.kind, RdbErrorKind::Truncated));
        assert_eq!(out.capacity(), 0);
        // A source that does not know its length is believed a step at a time.
        let mut unknown = Input::from_source(&[0_u8; 10][..], None);
        unknown.bytes_into(1 << 31, &mut out).unwrap_err();
        assert!(out.capacity() <= 2 * STEP_BYTES);
    }

    #[test]
    fn errors_tell_the_offset() {
        let mut input = Input::new(b"\x03abc\x05ab");
        assert_eq!(input.string().unwrap(), b"abc");
        assert_eq!(input.string().unwrap_err().offset, 5);
    }
}
