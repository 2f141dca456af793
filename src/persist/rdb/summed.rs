//! A buffered source that computes the checksum of what has been read from it.

use std::io::{self, Read};

use super::crc64;

/// What is asked of the source at a time.
const BUFFER_BYTES: usize = 256 * 1024;

/// A buffer before a source. The checksum is brought up to date a buffer at a time, not at each of
/// the small reads of which a dump file consists.
pub(super) struct Summed<R> {
    source: R,
    buffer: Box<[u8]>,
    /// What is left of the buffer's content.
    at: usize,
    end: usize,
    /// Up to here the buffer is part of the checksum.
    counted: usize,
    crc: u64,
}

impl<R: Read> Summed<R> {
    pub(super) fn new(source: R) -> Self {
        let buffer = vec![0; BUFFER_BYTES].into_boxed_slice();
        Self { source, buffer, at: 0, end: 0, counted: 0, crc: 0 }
    }

    /// The checksum of everything that has been read.
    pub(super) fn checksum(&mut self) -> u64 {
        self.crc = crc64::update(self.crc, &self.buffer[self.counted..self.at]);
        self.counted = self.at;
        self.crc
    }

    fn refill(&mut self) -> io::Result<()> {
        self.checksum();
        (self.at, self.end, self.counted) = (0, 0, 0);
        self.end = self.source.read(&mut self.buffer)?;
        Ok(())
    }

    /// What is in the buffer and has not been read.
    #[inline]
    pub(super) fn at_hand(&self) -> &[u8] {
        &self.buffer[self.at..self.end]
    }

    /// Brings more into the buffer, of which up to `wanted` bytes are to be there; false when there
    /// are as many, or when the source has ended.
    pub(super) fn fetch(&mut self, wanted: usize) -> io::Result<bool> {
        if self.end - self.at >= wanted.min(BUFFER_BYTES) {
            return Ok(false);
        }
        self.checksum();
        self.buffer.copy_within(self.at..self.end, 0);
        (self.at, self.end, self.counted) = (0, self.end - self.at, 0);
        loop {
            match self.source.read(&mut self.buffer[self.end..]) {
                Ok(read) => {
                    self.end += read;
                    return Ok(read > 0);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Takes so many bytes of those at hand as read, and returns them.
    #[inline]
    pub(super) fn pass(&mut self, len: usize) -> &[u8] {
        let start = self.at;
        self.at += len;
        assert!(self.at <= self.end, "what is passed over is at hand");
        &self.buffer[start..self.at]
    }
}

impl<R: Read> Read for Summed<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if self.at == self.end {
            self.refill()?;
        }
        let len = out.len().min(self.end - self.at);
        out[..len].copy_from_slice(&self.buffer[self.at..self.at + len]);
        self.at += len;
        Ok(len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives a few bytes at a time.
    struct Trickle<'a>(&'a [u8]);

    impl Read for Trickle<'_> {
        fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
            let len = out.len().min(7).min(self.0.len());
            out[..len].copy_from_slice(&self.0[..len]);
            self.0 = &self.0[len..];
            Ok(len)
        }
    }

    #[test]
    fn the_checksum_is_that_of_what_was_read() {
        let text: Vec<u8> = (0..=255).cycle().take(1000).collect();
        let mut source = Summed::new(Trickle(&text));
        let mut read = 0;
        for step in [1, 2, 3, 100, 500, 394] {
            source.read_exact(&mut vec![0; step]).unwrap();
            read += step;
            assert_eq!(source.checksum(), crc64::update(0, &text[..read]));
        }
        assert_eq!(source.read(&mut [0; 8]).unwrap(), 0);
    }
}
