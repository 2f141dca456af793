//! What a connection has sent and nobody has executed yet.

/// Bytes that come in at the end and are executed from the beginning.
///
/// A connection that waits after each of many requests takes a little from the beginning each time.
/// What is executed stays until it is half of all, so that a byte is moved once and not each time.
#[derive(Default, Debug)]
pub(super) struct Input {
    bytes: Vec<u8>,
    /// How many of them have been executed.
    executed: usize,
}

impl Input {
    /// What is still to be executed.
    pub(super) fn as_slice(&self) -> &[u8] {
        &self.bytes[self.executed..]
    }

    /// How many bytes are still to be executed.
    pub(super) fn len(&self) -> usize {
        self.bytes.len() - self.executed
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What it occupies, bytes.
    pub(super) fn capacity(&self) -> usize {
        self.bytes.capacity()
    }

    /// Adds what has come. Amortized O(its length).
    pub(super) fn extend(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// Notes that so many bytes have been executed. Amortized O(1) a byte.
    pub(super) fn consume(&mut self, count: usize) {
        self.executed += count;
        assert!(self.executed <= self.bytes.len(), "invariant: what is executed has come");
        if self.executed * 2 >= self.bytes.len() {
            self.compact();
        }
    }

    /// Makes room for so many bytes in all that are to be executed.
    pub(super) fn make_room(&mut self, len: usize) {
        let missing = len.saturating_sub(self.len());
        if missing > self.bytes.capacity() - self.bytes.len() {
            self.compact();
            self.bytes.reserve(missing);
        }
    }

    /// Gives back what is not needed for so many bytes.
    pub(super) fn shrink_to(&mut self, len: usize) {
        self.compact();
        self.bytes.shrink_to(len);
    }

    fn compact(&mut self) {
        self.bytes.drain(..self.executed);
        self.executed = 0;
    }
}

impl From<Vec<u8>> for Input {
    fn from(bytes: Vec<u8>) -> Self {
        Self { bytes, executed: 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_leave_in_the_order_in_which_they_came() {
        let (mut input, mut model) = (Input::default(), Vec::new());
        let mut next = 0_u8;
        for step in 0..5_000_usize {
            let coming: Vec<u8> = (0..step * 7 % 61).map(|n| next.wrapping_add(n as u8)).collect();
            next = next.wrapping_add(coming.len() as u8);
            input.extend(&coming);
            model.extend_from_slice(&coming);
            let going = (step * 13 % 59).min(model.len());
            input.consume(going);
            model.drain(..going);
            match step % 5 {
                0 => input.make_room(100),
                1 => input.shrink_to(10),
                _ => {}
            }
            assert_eq!(input.as_slice(), model);
            assert_eq!((input.len(), input.is_empty()), (model.len(), model.is_empty()));
            assert!(input.bytes.len() <= 2 * model.len(), "what is executed does not pile up");
        }
    }

    #[test]
    fn room_is_for_what_is_still_to_be_executed() {
        let mut input = Input::from(vec![0; 1_000]);
        input.consume(400);
        input.make_room(4_000);
        assert!(input.capacity() >= 4_000 && input.len() == 600);
        input.shrink_to(0);
        assert!(input.capacity() < 4_000 && input.len() == 600);
    }
}
