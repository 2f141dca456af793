//! How often each error was answered, by its code: what stands before the first space.

use std::borrow::Cow;
use std::collections::BTreeMap;

/// Codes that are told apart while scripts make up new ones: who makes up codes without end must
/// not grow the server.
const MADE_UP_MAX: usize = 128;
/// Codes of others that are told apart. There are far fewer.
const CODES_MAX: usize = 1024;
/// What the codes beyond that are counted under.
const OVERFLOW: &str = "ERRORSTATS_OVERFLOW";

/// The counts of one core, or of all.
#[derive(Clone, Default, Debug)]
pub struct ErrorCounts(BTreeMap<String, u64>);

impl ErrorCounts {
    /// Counts an error reply, given with or without its leading `-`. O(codes).
    #[cold]
    pub fn count(&mut self, reply: &[u8]) {
        self.add_to(&code_of(reply), 1, CODES_MAX);
    }

    /// As [`count`](Self::count), for an error that a script has made up.
    #[cold]
    pub fn count_made_up(&mut self, reply: &[u8]) {
        self.add_to(&code_of(reply), 1, MADE_UP_MAX);
    }

    /// Adds those of another core.
    pub fn add(&mut self, other: &Self) {
        for (code, count) in &other.0 {
            self.add_to(code, *count, usize::MAX);
        }
    }

    /// Codes with their counts, by code.
    pub fn iter(&self) -> impl Iterator<Item = (&str, u64)> {
        self.0.iter().map(|(code, count)| (code.as_str(), *count))
    }

    fn add_to(&mut self, code: &str, count: u64, codes_max: usize) {
        if let Some(known) = self.0.get_mut(code) {
            *known += count;
        } else if self.0.len() < codes_max {
            self.0.insert(code.to_owned(), count);
        } else {
            *self.0.entry(OVERFLOW.to_owned()).or_default() += count;
        }
    }
}

/// The first word of an error reply.
fn code_of(reply: &[u8]) -> Cow<'_, str> {
    let text = reply.strip_prefix(b"-").unwrap_or(reply);
    let end = text.iter().position(|byte| b" \r\n".contains(byte)).unwrap_or(text.len());
    String::from_utf8_lossy(&text[..end])
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
    fn codes_that_are_made_up_are_counted_together_beyond_the_limit() {
        let mut counts = ErrorCounts::default();
        for number in 0..1000 {
            counts.count_made_up(format!("-CODE{number} text\r\n").as_bytes());
        }
        counts.count(b"-ERR text\r\n");
        let mut both = counts.clone();
        both.add(&counts);
        assert_eq!(both.iter().count(), MADE_UP_MAX + 2);
        assert_eq!(both.iter().map(|(_, count)| count).sum::<u64>(), 2002);
        let overflow = 2 * (1000 - MADE_UP_MAX as u64);
        assert!(both.iter().any(|(code, count)| code == OVERFLOW && count == overflow));
        assert!(both.iter().any(|(code, count)| code == "ERR" && count == 2));
    }
}
