//! What the clients send, as data: a workload is one entry of a table here.
//!
//! A workload on a collection either leaves it as large as it was, and is measured for a time; or
//! it begins anew before each measurement ([`Workload::before`]) and is measured for a number of
//! commands, so that the faster server does not work on larger collections than the slower one.

use std::ops::Range;

use crate::numbers::Numbers;
use crate::replies::{Replies, Reply};
use crate::template::Encoded;

/// The numbers of a request or of what is loaded.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Span {
    /// As many as `--keys` says.
    Keys,
    /// As many as a measurement of a number of commands takes.
    Commands,
    /// As many as the memory section loads.
    MemoryKeys,
    /// As many as the elements section puts into a collection.
    Elements,
    /// As many as the snapshot section saves.
    SnapshotKeys,
    /// As many as the loading section loads.
    LoadedKeys,
    /// These.
    Between(u64, u64),
}

/// In which order numbers are loaded.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Order {
    /// From the least to the greatest.
    Rising,
    /// In no order.
    Mixed,
}

/// Requests that fill a server: one for each number.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Loading {
    /// The template of the requests.
    pub(crate) request: &'static str,
    /// Lines of the reply to one.
    lines: usize,
    /// The numbers.
    pub(crate) span: Span,
    /// Their order.
    pub(crate) order: Order,
}

impl Loading {
    const fn rising(request: &'static str, span: Span) -> Self {
        Self { request, lines: 1, span, order: Order::Rising }
    }

    const fn mixed(request: &'static str, span: Span) -> Self {
        Self { request, lines: 1, span, order: Order::Mixed }
    }

    const fn with_lines(self, lines: usize) -> Self {
        Self { lines, ..self }
    }

    const fn once(request: &'static str) -> Self {
        Self::rising(request, Span::Between(0, 1))
    }

    /// A batch of these requests over `range`.
    pub(crate) fn batch(&self, pipeline: u32, value_size: usize, range: Range<u64>) -> Batch {
        let numbers = match self.order {
            Order::Rising => Numbers::rising(range),
            Order::Mixed => Numbers::mixed(range),
        };
        Batch::new(self.request, Reply::Lines(self.lines), (pipeline, value_size), numbers)
    }
}

/// Which sections measure a workload.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Group {
    /// Strings.
    Strings,
    /// Lists, hashes, sets, sorted sets and streams, and messages.
    Collections,
}

/// A kind of load.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Workload {
    /// The name on the command line and in JSON.
    pub(crate) name: &'static str,
    /// The name in reports.
    pub(crate) title: &'static str,
    /// Which sections measure it.
    pub(crate) group: Group,
    /// The template of a request; see [`crate::template`].
    pub(crate) request: &'static str,
    /// The numbers in requests, drawn uniformly.
    pub(crate) span: Span,
    /// What comes back.
    pub(crate) reply: Reply,
    /// What each server holds from its start.
    pub(crate) loaded: &'static [Loading],
    /// What is done before each measurement. If anything is, the measurement has a fixed number of
    /// commands.
    pub(crate) before: &'static [Loading],
    /// Further connections, which subscribe to the channel `news` and read what comes.
    pub(crate) subscribers: u32,
    /// A command so long that it is sent alone, whatever the pipeline, and by few connections.
    pub(crate) is_long: bool,
    /// Which of valkey-benchmark's tests is the same.
    pub(crate) benchmark: Option<&'static str>,
}

impl Workload {
    /// The workload of this name.
    pub(crate) fn named(name: &str) -> Option<&'static Self> {
        WORKLOADS.iter().find(|workload| workload.name == name)
    }

    /// The workloads of a group.
    pub(crate) fn of(group: Group) -> Vec<&'static Self> {
        WORKLOADS.iter().filter(|workload| workload.group == group).collect()
    }

    /// A batch of `pipeline` requests with numbers from `range`.
    pub(crate) fn batch(&self, pipeline: u32, value_size: usize, range: Range<u64>) -> Batch {
        let numbers = Numbers::uniform(range);
        Batch::new(self.request, self.reply, (pipeline, value_size), numbers)
    }
}

/// Requests of one kind that are sent together, their numbers, and their replies.
#[derive(Debug)]
pub(crate) struct Batch {
    /// How many requests these are.
    pub(crate) pipeline: u32,
    /// What is sent, but for the numbers.
    pub(crate) encoded: Encoded,
    /// What comes back.
    pub(crate) replies: Replies,
    /// Where the next numbers come from.
    pub(crate) numbers: Numbers,
    /// The template, for messages.
    pub(crate) request: &'static str,
}

impl Batch {
    fn new(
        request: &'static str,
        reply: Reply,
        (pipeline, value_size): (u32, usize),
        numbers: Numbers,
    ) -> Self {
        // Letters, so that no server can store the value as an integer.
        let value = "v".repeat(value_size);
        let encoded = Encoded::new(request, &value, pipeline);
        let replies = Replies::new(reply, &value, pipeline);
        Self { pipeline, encoded, replies, numbers, request }
    }
}

const OK: Reply = Reply::Bytes("+OK\r\n");
/// An integer, or a bulk string's worth of none.
const ONE_LINE: Reply = Reply::Lines(1);
const BULK: Reply = Reply::Lines(2);

/// Values of a million keys, or as many as were asked for.
const STRINGS: Loading = Loading::rising("SET key:{n} {value}", Span::Keys);
/// Counters begin high, so that they keep their number of digits.
const COUNTERS: Loading = Loading::rising("SET ctr:{n} 100000000", Span::Keys);

/// A script that reads a key and writes it.
const READ_AND_WRITE: Loading = Loading::once(
    "SCRIPT LOAD 'local v = redis.call(\"GET\", KEYS[1]) \
     redis.call(\"SET\", KEYS[1], ARGV[1]) return v'",
)
.with_lines(2);

/// Collections of 100 elements of 20 bytes, a thousand of each kind.
const HUNDREDS: Span = Span::Between(0, 100_000);
const LISTS_OF_100: Loading = Loading::rising("RPUSH list:{n/100} element:{=}", HUNDREDS);
const SETS_OF_100: Loading = Loading::rising("SADD set:{n/100} element:{=}", HUNDREDS);
const ZSETS_OF_100: Loading = Loading::rising("ZADD zset:{n/100} {=:8} element:{=}", HUNDREDS);
const HASHES_OF_100: Loading = Loading::rising("HSET hash:{n/100} key:{=} element:{=}", HUNDREDS);
const LISTS_OF_600: Loading =
    Loading::rising("RPUSH long:{n/600} element:{=}", Span::Between(0, 60_000));

/// A million elements.
const MILLION: Span = Span::Between(0, 1_000_000);
/// Ranks of six digits, as a number must not begin with a zero, that have nine after them.
const MILLION_RANKS: Span = Span::Between(100_000, 999_990);
const LARGE_ZSET: Loading = Loading::mixed("ZADD zset1m {n:8} element:{=}", MILLION);
const LARGE_HASH: Loading = Loading::mixed("HSET hash1m element:{n} {value}", MILLION);

/// Two sets, and two sorted sets, of 100k members, half of which both have.
const LEFT: Span = Span::Between(0, 100_000);
const RIGHT: Span = Span::Between(50_000, 150_000);

const WORKLOAD: Workload = Workload {
    name: "",
    title: "",
    group: Group::Collections,
    request: "",
    span: Span::Keys,
    reply: ONE_LINE,
    loaded: &[],
    before: &[],
    subscribers: 0,
    is_long: false,
    benchmark: None,
};

/// All workloads, in the order of the reports.
pub(crate) const WORKLOADS: &[Workload] = &[
    Workload {
        name: "get",
        title: "GET",
        group: Group::Strings,
        request: "GET key:{n}",
        reply: Reply::Value,
        loaded: &[STRINGS],
        benchmark: Some("get"),
        ..WORKLOAD
    },
    Workload {
        name: "set",
        title: "SET",
        group: Group::Strings,
        request: "SET key:{n} {value}",
        reply: OK,
        loaded: &[STRINGS],
        benchmark: Some("set"),
        ..WORKLOAD
    },
    Workload {
        name: "mset",
        title: "MSET (10 keys)",
        group: Group::Strings,
        request: "MSET key:{n} {value} key:{n} {value} key:{n} {value} key:{n} {value} \
                  key:{n} {value} key:{n} {value} key:{n} {value} key:{n} {value} \
                  key:{n} {value} key:{n} {value}",
        reply: OK,
        loaded: &[STRINGS],
        benchmark: Some("mset"),
        ..WORKLOAD
    },
    Workload {
        name: "multi",
        title: "MULTI, 10 SETs, EXEC",
        group: Group::Strings,
        request: "MULTI ; SET key:{n} {value} ; SET key:{n} {value} ; SET key:{n} {value} ; \
                  SET key:{n} {value} ; SET key:{n} {value} ; SET key:{n} {value} ; \
                  SET key:{n} {value} ; SET key:{n} {value} ; SET key:{n} {value} ; \
                  SET key:{n} {value} ; EXEC",
        // OK, ten times QUEUED, and an array of ten lines.
        reply: Reply::Lines(22),
        loaded: &[STRINGS],
        ..WORKLOAD
    },
    Workload {
        name: "eval",
        title: "EVAL (GET and SET)",
        group: Group::Strings,
        request: "EVAL 'local v = redis.call(\"GET\", KEYS[1]) \
                  redis.call(\"SET\", KEYS[1], ARGV[1]) return v' 1 key:{n} {value}",
        reply: Reply::Value,
        loaded: &[STRINGS],
        ..WORKLOAD
    },
    Workload {
        name: "evalsha",
        title: "EVALSHA (GET and SET)",
        group: Group::Strings,
        request: "EVALSHA 6bd77f9725ee473fd5ab37e7fd279615ba9c406d 1 key:{n} {value}",
        reply: Reply::Value,
        loaded: &[STRINGS, READ_AND_WRITE],
        ..WORKLOAD
    },
    Workload {
        name: "incr",
        title: "INCR",
        group: Group::Strings,
        request: "INCR ctr:{n}",
        loaded: &[COUNTERS],
        benchmark: Some("incr"),
        ..WORKLOAD
    },
    Workload {
        name: "lpush",
        title: "LPUSH",
        request: "LPUSH mylist {value}",
        before: &[Loading::once("DEL mylist")],
        benchmark: Some("lpush"),
        ..WORKLOAD
    },
    Workload {
        name: "rpush",
        title: "RPUSH",
        request: "RPUSH mylist {value}",
        before: &[Loading::once("DEL mylist")],
        benchmark: Some("rpush"),
        ..WORKLOAD
    },
    Workload {
        name: "lpop",
        title: "LPOP",
        request: "LPOP mylist",
        reply: Reply::Value,
        before: &[
            Loading::once("DEL mylist"),
            Loading::rising("RPUSH mylist {value}", Span::Commands),
        ],
        benchmark: Some("lpop"),
        ..WORKLOAD
    },
    Workload {
        name: "sadd",
        title: "SADD",
        request: "SADD myset element:{n}",
        before: &[Loading::once("DEL myset")],
        benchmark: Some("sadd"),
        ..WORKLOAD
    },
    Workload {
        name: "spop",
        title: "SPOP",
        request: "SPOP myset",
        reply: BULK,
        before: &[Loading::rising("SADD myset element:{n}", Span::Commands)],
        benchmark: Some("spop"),
        ..WORKLOAD
    },
    Workload {
        name: "hset",
        title: "HSET",
        request: "HSET myhash element:{n} {value}",
        before: &[Loading::once("DEL myhash")],
        benchmark: Some("hset"),
        ..WORKLOAD
    },
    Workload {
        name: "zadd",
        title: "ZADD",
        request: "ZADD myzset {n:8} element:{n}",
        before: &[Loading::once("DEL myzset")],
        benchmark: Some("zadd"),
        ..WORKLOAD
    },
    Workload {
        name: "zpopmin",
        title: "ZPOPMIN",
        request: "ZPOPMIN myzset",
        reply: Reply::Lines(5),
        before: &[
            Loading::once("DEL myzset"),
            Loading::mixed("ZADD myzset {n:8} element:{=}", Span::Commands),
        ],
        benchmark: Some("zpopmin"),
        ..WORKLOAD
    },
    Workload {
        name: "xadd",
        title: "XADD",
        request: "XADD mystream * myfield {value}",
        reply: BULK,
        before: &[Loading::once("DEL mystream")],
        benchmark: Some("xadd"),
        ..WORKLOAD
    },
    Workload {
        name: "lrange_100",
        title: "LRANGE, 100 elements",
        request: "LRANGE list:{n} 0 99",
        span: Span::Between(0, 1_000),
        reply: Reply::Lines(201),
        loaded: &[LISTS_OF_100],
        benchmark: Some("lrange_100"),
        ..WORKLOAD
    },
    Workload {
        name: "lrange_600",
        title: "LRANGE, 600 elements",
        request: "LRANGE long:{n} 0 599",
        span: Span::Between(0, 100),
        reply: Reply::Lines(1_201),
        loaded: &[LISTS_OF_600],
        benchmark: Some("lrange_600"),
        ..WORKLOAD
    },
    Workload {
        name: "zrange_100",
        title: "ZRANGE, 100 members",
        request: "ZRANGE zset:{n} 0 99",
        span: Span::Between(0, 1_000),
        reply: Reply::Lines(201),
        loaded: &[ZSETS_OF_100],
        ..WORKLOAD
    },
    Workload {
        name: "hgetall_100",
        title: "HGETALL, 100 fields",
        request: "HGETALL hash:{n}",
        span: Span::Between(0, 1_000),
        reply: Reply::Lines(401),
        loaded: &[HASHES_OF_100],
        ..WORKLOAD
    },
    Workload {
        name: "smembers_100",
        title: "SMEMBERS, 100 members",
        request: "SMEMBERS set:{n}",
        span: Span::Between(0, 1_000),
        reply: Reply::Lines(201),
        loaded: &[SETS_OF_100],
        ..WORKLOAD
    },
    Workload {
        name: "hset_1m",
        title: "HSET, hash of 1M",
        request: "HSET hash1m element:{n} {value}",
        span: MILLION,
        loaded: &[LARGE_HASH],
        ..WORKLOAD
    },
    Workload {
        name: "zadd_1m",
        title: "ZADD, sorted set of 1M",
        request: "ZADD zset1m {n:8} element:{n}",
        span: MILLION,
        loaded: &[LARGE_ZSET],
        ..WORKLOAD
    },
    Workload {
        name: "zrank_1m",
        title: "ZRANK, sorted set of 1M",
        request: "ZRANK zset1m element:{n}",
        span: MILLION,
        loaded: &[LARGE_ZSET],
        ..WORKLOAD
    },
    Workload {
        name: "zrange_1m",
        title: "ZRANGE, 10 members of 1M",
        request: "ZRANGE zset1m {n:6} {=+9:6}",
        span: MILLION_RANKS,
        reply: Reply::Lines(21),
        loaded: &[LARGE_ZSET],
        ..WORKLOAD
    },
    Workload {
        name: "sinter_100k",
        title: "SINTER, 100k with 100k",
        request: "SINTER set:left set:right",
        reply: Reply::Lines(100_001),
        loaded: &[
            Loading::mixed("SADD set:left element:{n}", LEFT),
            Loading::mixed("SADD set:right element:{n}", RIGHT),
        ],
        is_long: true,
        ..WORKLOAD
    },
    Workload {
        name: "zunionstore_100k",
        title: "ZUNIONSTORE, 100k with 100k",
        request: "ZUNIONSTORE zset:union 2 zset:left zset:right",
        reply: Reply::Bytes(":150000\r\n"),
        loaded: &[
            Loading::mixed("ZADD zset:left {n:8} element:{=}", LEFT),
            Loading::mixed("ZADD zset:right {n:8} element:{=}", RIGHT),
        ],
        is_long: true,
        ..WORKLOAD
    },
    Workload {
        name: "publish_0",
        title: "PUBLISH to nobody",
        request: "PUBLISH channel:{n} {value}",
        span: Span::Between(0, 1000),
        ..WORKLOAD
    },
    Workload {
        name: "publish_100",
        title: "PUBLISH to 100 subscribers",
        request: "PUBLISH news {value}",
        subscribers: 100,
        ..WORKLOAD
    },
];

/// Bytes of a key that [`MANY_STRINGS`] loads.
pub(crate) const KEY_SIZE: usize = 16;

/// The keys of the memory section.
pub(crate) const MANY_STRINGS: Loading = Loading::rising("SET key:{n} {value}", Span::MemoryKeys);

/// The keys that are saved.
pub(crate) const SNAPSHOT_KEYS: Loading =
    Loading::rising("SET key:{n} {noise}", Span::SnapshotKeys);

/// The same for a file that is loaded.
pub(crate) const LOADED_KEYS: Loading = Loading { span: Span::LoadedKeys, ..SNAPSHOT_KEYS };

/// What changes them while they are saved.
pub(crate) const SNAPSHOT_WRITES: Workload = Workload {
    name: "snapshot_writes",
    title: "SET",
    request: "SET key:{n} {noise}",
    span: Span::SnapshotKeys,
    ..WORKLOAD
};

/// What sees how long a client has to wait meanwhile.
pub(crate) const SNAPSHOT_READS: Workload = Workload {
    name: "snapshot_reads",
    title: "GET",
    request: "GET key:{n}",
    span: Span::SnapshotKeys,
    reply: Reply::Lines(2),
    ..WORKLOAD
};

/// The same with deadlines three years ahead, each a second after the one before.
pub(crate) const MANY_STRINGS_WITH_TTL: Loading =
    Loading::rising("SET key:{n} {value} EX 1{=:8}", Span::MemoryKeys);

/// Something whose memory is measured: resident bytes for each number that is loaded.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Footprint {
    /// The name in JSON.
    pub(crate) name: &'static str,
    /// The name in reports.
    pub(crate) title: &'static str,
    /// What fills the server.
    pub(crate) loaded: &'static [Loading],
    /// A command that it needs and not every peer has.
    pub(crate) needs: Option<&'static str>,
}

const HASH_ELEMENTS: Loading = Loading::mixed("HSET myhash key:{n} {value}", Span::Elements);

/// Size of the values in [`FOOTPRINTS`].
pub(crate) const FOOTPRINT_VALUE_SIZE: usize = 32;

/// The collections whose memory an element is measured.
pub(crate) const FOOTPRINTS: &[Footprint] = &[
    Footprint {
        name: "zset",
        title: "sorted set, 20-byte members",
        loaded: &[Loading::mixed("ZADD myzset {n:8} element:{=}", Span::Elements)],
        needs: None,
    },
    Footprint {
        name: "zset_rising",
        title: "the same, added by rising score",
        loaded: &[Loading::rising("ZADD myzset {n:8} element:{=}", Span::Elements)],
        needs: None,
    },
    Footprint {
        name: "set",
        title: "set, 20-byte members",
        loaded: &[Loading::mixed("SADD myset element:{n}", Span::Elements)],
        needs: None,
    },
    Footprint {
        name: "hash",
        title: "hash, 16-byte fields, 32-byte values",
        loaded: &[HASH_ELEMENTS],
        needs: None,
    },
    Footprint {
        name: "hash_ttl",
        title: "the same with a TTL on each field",
        loaded: &[
            HASH_ELEMENTS,
            Loading::mixed("HEXPIRE myhash 1{n:8} FIELDS 1 key:{=}", Span::Elements).with_lines(2),
        ],
        needs: Some("HEXPIRE"),
    },
    Footprint {
        name: "list",
        title: "list, 20-byte elements",
        loaded: &[Loading::mixed("RPUSH mylist element:{n}", Span::Elements)],
        needs: None,
    },
    Footprint {
        name: "stream",
        title: "stream, one 32-byte field",
        loaded: &[Loading::rising("XADD mystream * myfield {value}", Span::Elements).with_lines(2)],
        needs: None,
    },
    Footprint {
        name: "small_hashes",
        title: "one of many hashes of 8 fields, 142 bytes of data",
        // 16 bytes of key, eight fields of 6, six values of 10 and two of 9.
        loaded: &[Loading::mixed(
            "HSET key:{n} field1 v1{=:8} field2 v2{=:8} field3 v3{=:8} field4 v4{=:8} \
             field5 v5{=:8} field6 v6{=:8} field7 v{=:8} field8 w{=:8}",
            Span::Elements,
        )],
        needs: None,
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    fn request(batch: &mut Batch) -> String {
        let mut request = batch.encoded.bytes().to_vec();
        batch.encoded.write_numbers(&mut batch.numbers, &mut request);
        String::from_utf8(request).unwrap()
    }

    #[test]
    fn every_template_is_well_formed() {
        for (index, workload) in WORKLOADS.iter().enumerate() {
            let first = request(&mut workload.batch(2, 3, 0..1000));
            assert!(first.starts_with('*') && !first.contains(['{', '}']), "{first}");
            let all: Vec<_> = workload.loaded.iter().chain(workload.before).collect();
            for loading in &all {
                request(&mut loading.batch(1, 3, 0..1000));
            }
            assert_eq!(
                workload.group == Group::Strings,
                all.iter().any(|loading| loading.request.starts_with("SET "))
            );
            let same = WORKLOADS.iter().position(|other| other.name == workload.name);
            assert_eq!(same, Some(index), "{} is there twice", workload.name);
        }
        for footprint in FOOTPRINTS {
            for loading in footprint.loaded {
                request(&mut loading.batch(1, FOOTPRINT_VALUE_SIZE, 0..1000));
                assert_eq!(loading.span, Span::Elements);
            }
        }
    }

    #[test]
    fn requests_have_their_numbers() {
        let mset = request(&mut Workload::named("mset").unwrap().batch(1, 3, 7..8));
        let pair = "$16\r\nkey:000000000007\r\n$3\r\nvvv\r\n";
        assert_eq!(mset, format!("*21\r\n$4\r\nMSET\r\n{}", pair.repeat(10)));
        let zrange =
            request(&mut Workload::named("zrange_1m").unwrap().batch(1, 3, 100_001..100_002));
        assert!(zrange.ends_with("$6\r\n100001\r\n$6\r\n100010\r\n"), "{zrange}");
    }

    #[test]
    fn a_small_hash_holds_142_bytes() {
        let footprint = FOOTPRINTS.iter().find(|f| f.name == "small_hashes").unwrap();
        let words = request(&mut footprint.loaded[0].batch(1, 0, 5..6));
        let data = words.split("\r\n").filter(|w| !w.starts_with(['*', '$'])).skip(1);
        assert_eq!(data.map(str::len).sum::<usize>(), 142);
    }
}
