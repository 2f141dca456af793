//! What the clients send: pipelined requests encoded once, of which only the digits of the keys
//! change between batches, and the replies that must come back.
//!
//! Every reply has a length that is known beforehand (values all have the same bytes, counters the
//! same number of digits), so that checking a batch is one comparison of memory.

use clap::ValueEnum;

/// First part of a key of the string commands; 12 digits follow.
const STRING_PREFIX: &str = "key:";
/// First part of a key of INCR; a prefix of its own keeps counters apart from values.
const COUNTER_PREFIX: &str = "ctr:";
/// Digits of a key; prefix and digits make 16 bytes.
const KEY_DIGITS: usize = 12;
/// Digits that change; the ones before them stay zero, which saves half of the conversion.
const CHANGING_DIGITS: usize = 8;
/// Bytes of a key.
pub(crate) const KEY_SIZE: usize = STRING_PREFIX.len() + KEY_DIGITS;
/// Keys that one MSET sets.
const MSET_KEYS: u32 = 10;
/// The sorted set of the sorted-set commands; its members are the keys of the string commands.
const SORTED_SET: &str = "myzset";
/// The stream that XADD adds to.
const STREAM: &str = "mystream";
/// Lines of a reply to XADD: the length of an identifier, and the identifier.
const XADD_REPLY_LINES: usize = 2;
/// Score of member 0; each further member has one more.
const SCORE: &str = "100000000";
/// Counters start here, so that a run never changes their number of digits.
const COUNTER_START: &str = "100000000";
/// Time to live of key 0 (three years) in the memory section; each further key has a second more.
const TTL_SECONDS: &str = "100000000";

/// A kind of command.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(crate) enum Verb {
    /// `GET key`, always a hit.
    Get,
    /// `SET key value`, always an overwrite once the keys are loaded.
    Set,
    /// `MSET` of ten keys.
    Mset,
    /// `INCR key` of an existing counter.
    Incr,
    /// `XADD stream * field value`, all to one stream.
    Xadd,
    /// `ZADD zset score member`, which gives members that are there their score again, and adds
    /// them once: all to one sorted set.
    Zadd,
    /// `ZRANK zset member`, of members that [`Verb::Zadd`] has added.
    Zrank,
    /// `SET key value EX seconds`, a different deadline for neighbouring keys.
    #[value(skip)]
    SetWithTtl,
    /// `SET counter start`, which prepares INCR.
    #[value(skip)]
    SetCounter,
}

impl Verb {
    /// The name in reports.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Set => "SET",
            Self::Mset => "MSET (10 keys)",
            Self::Incr => "INCR",
            Self::Xadd => "XADD",
            Self::Zadd => "ZADD",
            Self::Zrank => "ZRANK",
            Self::SetWithTtl => "SET EX",
            Self::SetCounter => "SET counter",
        }
    }

    /// The name that valkey-benchmark's `-t` takes.
    pub(crate) fn benchmark_name(self) -> &'static str {
        match self {
            Self::Get => "get",
            Self::Set | Self::SetWithTtl | Self::SetCounter => "set",
            Self::Mset => "mset",
            Self::Incr => "incr",
            Self::Xadd => "xadd",
            Self::Zadd | Self::Zrank => "zadd",
        }
    }

    /// How many arguments in a row hold the number of the same key.
    fn numbers_a_key(self) -> usize {
        if matches!(self, Self::SetWithTtl | Self::Zadd) { 2 } else { 1 }
    }

    /// Appends one request to `out` and notes in `digits` where the changing digits are.
    fn encode(self, value: &str, out: &mut Vec<u8>, digits: &mut Vec<usize>) {
        let zeros = "0".repeat(KEY_DIGITS);
        let key = format!("{STRING_PREFIX}{zeros}");
        let counter = format!("{COUNTER_PREFIX}{zeros}");
        let arguments: Vec<&str> = match self {
            Self::Get => vec!["GET", &key],
            Self::Set => vec!["SET", &key, value],
            Self::Mset => {
                let pairs = (0..MSET_KEYS).flat_map(|_| [key.as_str(), value]);
                std::iter::once("MSET").chain(pairs).collect()
            }
            Self::Incr => vec!["INCR", &counter],
            // As valkey-benchmark has it.
            Self::Xadd => vec!["XADD", STREAM, "*", "myfield", value],
            Self::Zadd => vec!["ZADD", SORTED_SET, SCORE, &key],
            Self::Zrank => vec!["ZRANK", SORTED_SET, &key],
            Self::SetWithTtl => vec!["SET", &key, value, "EX", TTL_SECONDS],
            Self::SetCounter => vec!["SET", &counter, COUNTER_START],
        };
        out.extend(format!("*{}\r\n", arguments.len()).bytes());
        for argument in arguments {
            out.extend(format!("${}\r\n{argument}\r\n", argument.len()).bytes());
            let is_ttl = self == Self::SetWithTtl && argument == TTL_SECONDS;
            let is_score = self == Self::Zadd && argument == SCORE;
            if argument == key || argument == counter || is_ttl || is_score {
                digits.push(out.len() - "\r\n".len() - CHANGING_DIGITS);
            }
        }
    }

    /// The reply to one request.
    fn reply(self, value: &str) -> String {
        match self {
            Self::Get => format!("${}\r\n{value}\r\n", value.len()),
            Self::Set | Self::Mset | Self::SetWithTtl | Self::SetCounter => "+OK\r\n".to_owned(),
            Self::Incr => format!(":{COUNTER_START}\r\n"),
            // Only its lines count: identifiers have no fixed length.
            Self::Xadd => "\n".repeat(XADD_REPLY_LINES),
            // The same of ranks, and of how many members were new.
            Self::Zadd | Self::Zrank => "\n".to_owned(),
        }
    }
}

/// Which keys the requests name.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Keys {
    /// Uniformly distributed over `space` keys, from a fixed seed.
    Uniform {
        /// Number of different keys.
        space: u64,
        /// State of the generator.
        seed: u64,
    },
    /// `0..space` in order, then again from the start.
    Sequential {
        /// Number of different keys.
        space: u64,
        /// The next key.
        next: u64,
    },
}

impl Keys {
    /// Uniformly distributed keys; the same sequence every time.
    pub(crate) fn uniform(space: u64) -> Self {
        Self::Uniform { space, seed: 0x9e37_79b9_7f4a_7c15 }
    }

    /// All keys in order.
    pub(crate) fn sequential(space: u64) -> Self {
        Self::Sequential { space, next: 0 }
    }

    fn next(&mut self) -> u64 {
        match self {
            Self::Uniform { space, seed } => {
                // xorshift64* (Vigna 2016): three shifts and a multiplication, no table.
                *seed ^= *seed >> 12;
                *seed ^= *seed << 25;
                *seed ^= *seed >> 27;
                let random = seed.wrapping_mul(0x2545_f491_4f6c_dd1d);
                ((u128::from(random) * u128::from(*space)) >> 64) as u64
            }
            Self::Sequential { space, next } => {
                let key = *next;
                *next = if key + 1 == *space { 0 } else { key + 1 };
                key
            }
        }
    }
}

/// A batch of identical commands that differ in their keys only.
#[derive(Debug)]
pub(crate) struct Workload {
    /// The kind of command.
    pub(crate) verb: Verb,
    /// Commands a batch.
    pub(crate) pipeline: u32,
    request: Vec<u8>,
    /// Offsets of the changing digits in `request`.
    digits: Vec<usize>,
    /// The replies to a batch; INCR's have only the frame right, not the digits.
    replies: Vec<u8>,
    reply_size: usize,
    keys: Keys,
}

impl Workload {
    /// Encodes `pipeline` commands with values of `value_size` bytes.
    pub(crate) fn new(verb: Verb, pipeline: u32, value_size: usize, keys: Keys) -> Self {
        // Letters, so that no server can store the value as an integer.
        let value = "v".repeat(value_size);
        let (mut request, mut digits) = (Vec::new(), Vec::new());
        for _ in 0..pipeline {
            verb.encode(&value, &mut request, &mut digits);
        }
        let reply = verb.reply(&value);
        let replies = reply.repeat(pipeline as usize).into_bytes();
        Self { verb, pipeline, request, digits, replies, reply_size: reply.len(), keys }
    }

    /// The encoded batch, for a connection to copy once.
    pub(crate) fn template(&self) -> &[u8] {
        &self.request
    }

    /// How far [`Workload::progress`] goes for a whole batch.
    pub(crate) fn replies_size(&self) -> usize {
        self.replies.len()
    }

    /// Writes the next keys into `request`, a copy of the template.
    pub(crate) fn write_keys(&mut self, request: &mut [u8]) {
        for places in self.digits.chunks_exact(self.verb.numbers_a_key()) {
            let key = self.keys.next();
            for &at in places {
                write_digits(&mut request[at..at + CHANGING_DIGITS], key);
            }
        }
    }

    /// How far `received`, which begins `at` into the replies to a batch, goes on in them: in
    /// bytes, or in lines where replies differ in length. `None` if it is not what was expected.
    pub(crate) fn progress(&self, at: usize, received: &[u8]) -> Option<usize> {
        if matches!(self.verb, Verb::Xadd | Verb::Zadd | Verb::Zrank) {
            let lines = memchr::memchr_iter(b'\n', received).count();
            let is_error = received[0] == b'-' || received.windows(2).any(|two| two == b"\n-");
            return (!is_error && at + lines <= self.replies.len()).then_some(lines);
        }
        let expected = self.replies.get(at..at + received.len())?;
        if self.verb != Verb::Incr {
            return (received == expected).then_some(received.len());
        }
        // Only the first byte of each reply, its type, is fixed; an error would not have it.
        let first = at.next_multiple_of(self.reply_size) - at;
        let mut types = received.iter().skip(first).step_by(self.reply_size);
        types.all(|&byte| byte == b':').then_some(received.len())
    }
}

/// Writes the last digits of `number` into `out`, two at a time.
fn write_digits(out: &mut [u8], mut number: u64) {
    const PAIRS: [[u8; 2]; 100] = {
        let mut pairs = [[b'0'; 2]; 100];
        let mut i = 0;
        while i < 100 {
            pairs[i] = [b'0' + (i / 10) as u8, b'0' + (i % 10) as u8];
            i += 1;
        }
        pairs
    };
    for pair in out.rchunks_exact_mut(2) {
        pair.copy_from_slice(&PAIRS[(number % 100) as usize]);
        number /= 100;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(verb: Verb, pipeline: u32, keys: Keys) -> (Workload, String) {
        let mut workload = Workload::new(verb, pipeline, 3, keys);
        let mut request = workload.template().to_vec();
        workload.write_keys(&mut request);
        (workload, String::from_utf8(request).unwrap())
    }

    #[test]
    fn requests_are_encoded_with_their_keys() {
        let (_, get) = batch(Verb::Get, 2, Keys::sequential(2));
        assert_eq!(
            get,
            "*2\r\n$3\r\nGET\r\n$16\r\nkey:000000000000\r\n*2\r\n$3\r\nGET\r\n$16\r\nkey:000000000001\r\n"
        );
        let (_, mset) = batch(Verb::Mset, 1, Keys::sequential(100));
        assert!(mset.starts_with("*21\r\n$4\r\nMSET\r\n$16\r\nkey:000000000000\r\n$3\r\nvvv\r\n"));
        assert!(mset.ends_with("$16\r\nkey:000000000009\r\n$3\r\nvvv\r\n"));
        let (_, ttl) = batch(Verb::SetWithTtl, 2, Keys::sequential(100));
        assert!(ttl.contains("key:000000000000\r\n$3\r\nvvv\r\n$2\r\nEX\r\n$9\r\n100000000\r\n"));
        assert!(ttl.contains("key:000000000001\r\n$3\r\nvvv\r\n$2\r\nEX\r\n$9\r\n100000001\r\n"));
    }

    #[test]
    fn uniform_keys_repeat_and_stay_in_their_space() {
        let (_, first) = batch(Verb::Incr, 100, Keys::uniform(10));
        let (_, second) = batch(Verb::Incr, 100, Keys::uniform(10));
        assert_eq!(first, second);
        for digit in 0..10 {
            assert!(first.contains(&format!("ctr:{digit:012}\r\n")), "no key {digit}");
        }
        assert_eq!(first.matches("ctr:00000000000").count(), 100);
    }

    #[test]
    fn replies_are_checked_however_they_are_split() {
        let (get, _) = batch(Verb::Get, 2, Keys::uniform(1));
        let replies = b"$3\r\nvvv\r\n$3\r\nvvv\r\n";
        for split in 0..replies.len() {
            assert_eq!(get.progress(0, &replies[..split]), Some(split));
            assert_eq!(get.progress(split, &replies[split..]), Some(replies.len() - split));
        }
        assert_eq!(get.progress(0, b"$-1\r\n"), None);
        assert_eq!(get.progress(get.replies_size(), b"$"), None);

        let (incr, _) = batch(Verb::Incr, 2, Keys::uniform(1));
        assert_eq!(incr.replies_size(), 24);
        let replies = b":123456789\r\n:987654321\r\n";
        for split in 0..replies.len() {
            assert_eq!(incr.progress(0, &replies[..split]), Some(split));
            assert_eq!(incr.progress(split, &replies[split..]), Some(replies.len() - split));
        }
        assert_eq!(incr.progress(6, b"6789\r\n-ERR"), None);

        let (xadd, request) = batch(Verb::Xadd, 2, Keys::uniform(1));
        assert!(request.contains("$8\r\nmystream\r\n$1\r\n*\r\n$7\r\nmyfield\r\n$3\r\nvvv\r\n"));
        assert_eq!(xadd.progress(0, b"$15\r\n1700000000000-0\r\n$16\r\n1700000000"), Some(3));
        assert_eq!(xadd.progress(3, b"000-10\r\n"), Some(1));
        assert_eq!(xadd.replies_size(), 4);
        assert_eq!(xadd.progress(2, b"-ERR no\r\n"), None);
    }
}
