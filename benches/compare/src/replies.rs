//! The replies that must come back, and how far those of a batch have come.

/// The bytes before the first ones: a reply begins a line.
const START: [u8; 2] = *b"\r\n";

/// The reply to one request.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Reply {
    /// These bytes.
    Bytes(&'static str),
    /// The value as a bulk string.
    Value,
    /// This many lines, whatever they hold, but neither an error nor nothing. A bulk string is two
    /// lines: the values that are loaded have no line breaks.
    Lines(usize),
}

/// The replies to a batch.
#[derive(Debug)]
pub(crate) enum Replies {
    /// Known byte by byte, so that a check is one comparison of memory.
    Bytes(Vec<u8>),
    /// Known by the number of their lines.
    Lines(usize),
}

/// What has come of the replies to a batch.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Progress {
    /// Bytes or lines.
    done: usize,
    /// The last bytes, since an error may be split anywhere.
    last: [u8; 2],
}

impl Progress {
    /// Nothing has come.
    pub(crate) const NONE: Self = Self { done: 0, last: START };
}

impl Replies {
    /// The replies to `pipeline` requests.
    pub(crate) fn new(reply: Reply, value: &str, pipeline: u32) -> Self {
        let pipeline = pipeline as usize;
        match reply {
            Reply::Bytes(bytes) => Self::Bytes(bytes.repeat(pipeline).into_bytes()),
            Reply::Value => {
                let bulk = format!("${}\r\n{value}\r\n", value.len());
                Self::Bytes(bulk.repeat(pipeline).into_bytes())
            }
            Reply::Lines(lines) => Self::Lines(lines * pipeline),
        }
    }

    /// Takes `received`; false if it is not what was expected next.
    pub(crate) fn take(&self, progress: &mut Progress, received: &[u8]) -> bool {
        match self {
            Self::Bytes(expected) => {
                let end = progress.done + received.len();
                let matches = expected.get(progress.done..end) == Some(received);
                progress.done = end;
                matches
            }
            Self::Lines(expected) => {
                progress.done += memchr::memchr_iter(b'\n', received).count();
                !has_failure(&mut progress.last, received) && progress.done <= *expected
            }
        }
    }

    /// Whether all has come.
    pub(crate) fn is_complete(&self, progress: &Progress) -> bool {
        let expected = match self {
            Self::Bytes(expected) => expected.len(),
            Self::Lines(expected) => *expected,
        };
        progress.done == expected
    }

    /// How much has come, for a message.
    pub(crate) fn describe(&self, progress: &Progress) -> String {
        match self {
            Self::Bytes(expected) => format!("{} of {} bytes", progress.done, expected.len()),
            Self::Lines(expected) => format!("{} of {expected} lines", progress.done),
        }
    }
}

/// Whether a line begins with `-` (an error), `$-` or `*-` (nothing), when `received` follows the
/// bytes `last`, which become its own last ones. Minus signs are rare, so each is looked at.
fn has_failure(last: &mut [u8; 2], received: &[u8]) -> bool {
    let before = |at: usize, distance: usize| match at.checked_sub(distance) {
        Some(index) => received[index],
        None => last[2 + at - distance],
    };
    let failed = memchr::memchr_iter(b'-', received).any(|at| match before(at, 1) {
        b'\n' => true,
        b'$' | b'*' => before(at, 2) == b'\n',
        _ => false,
    });
    let end = received.len();
    if end > 0 {
        *last = [before(end, 2), before(end, 1)];
    }
    failed
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives `text` to `replies` in two parts, in every way.
    fn check(replies: &Replies, text: &str, accepted: bool) {
        for split in 0..=text.len() {
            let mut progress = Progress::NONE;
            let (first, second) = text.as_bytes().split_at(split);
            let taken = replies.take(&mut progress, first) && replies.take(&mut progress, second);
            let done = taken && replies.is_complete(&progress);
            assert_eq!(done, accepted, "{text:?} split at {split}");
        }
    }

    #[test]
    fn replies_are_checked_however_they_are_split() {
        let get = Replies::new(Reply::Value, "vvv", 2);
        check(&get, "$3\r\nvvv\r\n$3\r\nvvv\r\n", true);
        check(&get, "$3\r\nvvv\r\n$3\r\nvvv\r\n$", false);
        check(&get, "$3\r\nvvv\r\n", false);
        check(&get, "$-1\r\n", false);
        check(&Replies::new(Reply::Bytes("+OK\r\n"), "", 2), "+OK\r\n+OK\r\n", true);
        let xadd = Replies::new(Reply::Lines(2), "", 2);
        check(&xadd, "$15\r\n1700000000000-0\r\n$16\r\n1700000000000-10\r\n", true);
        check(&xadd, "$15\r\n1700000000000-0\r\n-ERR no\r\n-ERR no\r\n", false);
        check(&xadd, "$-1\r\n$-1\r\n$-1\r\n$-1\r\n", false);
        check(&xadd, "*-1\r\n:1\r\n:1\r\n:1\r\n", false);
        check(&xadd, "-ERR\r\n:1\r\n:1\r\n:1\r\n", false);
        check(&xadd, "$2\r\n-1\r\n$1\r\n1\r\n", false);
        check(&xadd, ":1\r\n:1\r\n:1\r\n:1\r\n:1\r\n", false);
    }
}
