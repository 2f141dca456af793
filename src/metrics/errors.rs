//! How often each error was answered, by its code: what stands before the first space.

use std::collections::BTreeMap;

/// Codes that are told apart. Whoever makes up codes without end must not grow the server.
const CODES_MAX: usize = 128;
/// What the codes beyond that are counted under.
const OVERFLOW: &str = "ERRORSTATS_OVERFLOW";

/// The counts of one core, or of all.
#[derive(Clone, Default, Debug)]
pub struct ErrorCounts(BTreeMap<String, u64>);

impl ErrorCounts {
    /// Counts an error reply, given with or without its leading `-`. O(codes).
    #[cold]
    pub fn count(&mut self, reply: &[u8]) {
        let text = reply.strip_prefix(b"-").unwrap_or(reply);
        let end = text.iter().position(|byte| b" \r\n".contains(byte)).unwrap_or(text.len());
        let code = String::from_utf8_lossy(&text[..end]);
        self.add_to(&code, 1);
    }

    /// Adds those of another core.
    pub fn add(&mut self, other: &Self) {
        for (code, count) in &other.0 {
            self.add_to(code, *count);
        }
    }

    /// Codes with their counts, by code.
    pub fn iter(&self) -> impl Iterator<Item = (&str, u64)> {
        self.0.iter().map(|(code, count)| (code.as_str(), *count))
    }

    fn add_to(&mut self, code: &str, count: u64) {
        if let Some(known) = self.0.get_mut(code) {
            *known += count;
        } else if self.0.len() < CODES_MAX {
            self.0.insert(code.to_owned(), count);
        } else {
            *self.0.entry(OVERFLOW.to_owned()).or_default() += count;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_by_the_word_before_the_first_space() {
        let mut counts = ErrorCounts::default();
        counts.count(b"-ERR syntax error\r\n");
        counts.count(b"ERR no such key");
        counts.count(b"-NOAUTH\r\n");
        assert_eq!(counts.iter().collect::<Vec<_>>(), [("ERR", 2), ("NOAUTH", 1)]);
    }

    #[test]
    fn codes_beyond_the_limit_are_counted_together() {
        let mut counts = ErrorCounts::default();
        for number in 0..1000 {
            counts.count(format!("-CODE{number} text\r\n").as_bytes());
        }
        let mut both = counts.clone();
        both.add(&counts);
        assert_eq!(both.iter().count(), CODES_MAX + 1);
        assert_eq!(both.iter().map(|(_, count)| count).sum::<u64>(), 2000);
        assert!(both.iter().any(|(code, count)| code == OVERFLOW && count == 2 * (1000 - 128)));
    }
}
