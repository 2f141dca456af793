//! Random streams of commands that write, some of them in transactions and scripts.

use kvasir_testing::{Rng, words};

use crate::generate::{Generator, KEYS, Request};
use crate::grammar::Syntax;

/// Names (`*` at the end stands for any rest) that are not sent, and why.
const LEFT_OUT: &[(&[&str], &str)] = &[
    (
        &["subscribe", "psubscribe", "ssubscribe", "unsubscribe", "punsubscribe", "sunsubscribe"],
        "change what the connection may send",
    ),
    (
        &["monitor", "sync", "psync", "replconf", "replicaof", "slaveof", "failover", "role"],
        "about replication",
    ),
    (&["quit", "shutdown", "auth", "hello", "reset", "client|*"], "about the connection"),
    (
        &[
            "config|*",
            "debug",
            "debug|*",
            "acl|*",
            "module|*",
            "cluster|*",
            "asking",
            "readonly",
            "readwrite",
            "latency|*",
            "slowlog|*",
            "commandlog|*",
            "memory|*",
            "info",
            "lolwut",
        ],
        "about the server",
    ),
    (&["save", "bgsave", "bgrewriteaof", "wait", "waitaof", "migrate"], "about other places"),
    (&["multi", "exec", "discard", "watch", "unwatch"], "the streams have their own"),
    (
        &[
            "eval",
            "evalsha",
            "eval_ro",
            "evalsha_ro",
            "fcall",
            "fcall_ro",
            "function|*",
            "script|*",
        ],
        "the streams have their own",
    ),
    (&["restore", "restore-asking", "himport|*"], "want what random words are not"),
    (&["flushall", "flushdb"], "would leave nothing to compare"),
    (&["command", "command|*", "*|help", "keys", "scan"], "only read"),
];

/// Commands that wait: they are sent in transactions, where they do not.
const WAITING: &[&str] = &[
    "blpop",
    "brpop",
    "blmove",
    "brpoplpush",
    "blmpop",
    "blmovem",
    "bzpopmin",
    "bzpopmax",
    "bzmpop",
    "xread",
    "xreadgroup",
];

/// Requests that random words seldom make; `k` and `l` are keys.
const TEMPLATES: &[&str] = &[
    "SET k v PX 40",
    "PEXPIRE k 30",
    "SET k 10 EX 1000 GET",
    "SPOP k",
    "SPOP k 2",
    "SADD k a b c d e",
    "XADD k * f v",
    "XADD k * f v",
    "XADD k MAXLEN ~ 3 * f v",
    "XADD k MINID ~ 1-5 * f v",
    "XADD k NOMKSTREAM MAXLEN ~ 2 LIMIT 1 * f v",
    "XGROUP CREATE k g 0 MKSTREAM",
    "XGROUP CREATE k g $",
    "XREADGROUP GROUP g one STREAMS k >",
    "XREADGROUP GROUP g two COUNT 2 STREAMS k >",
    "XREADGROUP GROUP g three COUNT 1 NOACK STREAMS k >",
    "XREADGROUP GROUP g one COUNT 1 STREAMS k 0",
    "XREADGROUP GROUP g one COUNT 2 STREAMS k l > >",
    "XAUTOCLAIM k g two 0 0",
    "XAUTOCLAIM k g four 0 0 COUNT 1 JUSTID",
    "XDEL k 1-1",
    "XTRIM k MAXLEN ~ 3",
    "XTRIM k MAXLEN 2",
    r#"EVAL "redis.call('set', KEYS[1], 'x'); redis.call('incr', KEYS[2])" 2 k l"#,
    r#"EVAL "local v = redis.call('dump', KEYS[1]); if v then redis.call('restore', KEYS[2], 100000, v, 'REPLACE') end" 2 k l"#,
    r#"EVAL "redis.call('select', 2); return redis.call('lpush', KEYS[1], 'x', 'y')" 1 k"#,
    "FUNCTION LOAD REPLACE \"#!lua name=one\\nserver.register_function('f', function(keys) return server.call('incr', keys[1]) end)\"",
    "FUNCTION DELETE one",
    "FCALL f 1 k",
];

/// Requests that only our server knows, likewise.
const OUR_TEMPLATES: &[&str] = &[
    "HPEXPIRE k 20 FIELDS 2 a abc",
    "HPEXPIRE k 100000 FIELDS 2 a abc",
    "HSET k a 1 abc 2 foo 3",
    "HINCRBYFLOAT k a 1.5",
    "HSETEX k PX 30 FIELDS 1 a 1",
    "SADD k a b c abc",
    "SPEXPIRE k 20 MEMBERS 2 a b",
    "ZADD k 1 a 2 b 3 abc",
    "ZPEXPIRE k 20 MEMBERS 2 a b",
    "XADD k IDMP p i * f v",
    "XADD k IDMPAUTO p * f v",
    "XNACK k g FAIL IDS 1 1-1",
    "MSETEX 2 k 1 l 2 PX 30",
    "INCREX k BYINT 5 UBOUND 100 SATURATE PX 50",
];

/// Makes streams.
pub(crate) struct Streams<'a> {
    generator: Generator<'a>,
    templates: Vec<&'static str>,
    with_ours: bool,
    rng: Rng,
}

impl<'a> Streams<'a> {
    pub(crate) fn new(commands: &'a [Syntax], with_ours: bool, seed: u64) -> Self {
        let ours = if with_ours { OUR_TEMPLATES } else { &[] };
        let templates = [TEMPLATES, ours].concat();
        let generator = Generator::new(commands, seed);
        Self { generator, templates, with_ours, rng: Rng::new(!seed) }
    }

    /// The next requests: one, or a transaction.
    pub(crate) fn requests(&mut self) -> Vec<Request> {
        let in_transaction = self.rng.one_in(6);
        let count = if in_transaction { 1 + self.rng.below(5) } else { 1 };
        let mut requests = Vec::new();
        while requests.len() < count {
            let request = self.request();
            if !self.with_ours && leaves_order_open(&request) {
                continue;
            }
            let name = request[0].to_ascii_lowercase();
            let waits = WAITING.iter().any(|waiting| waiting.as_bytes() == name);
            // What reads groups by a template has nothing that it could wait for.
            if !waits || in_transaction || request.contains(&b"GROUP".to_vec()) && !blocks(&request)
            {
                requests.push(request);
            }
        }
        if in_transaction {
            requests.insert(0, words("MULTI"));
            requests.push(words("EXEC"));
        }
        requests
    }

    fn request(&mut self) -> Request {
        if !self.rng.one_in(4) {
            return self.generator.request().1;
        }
        let template: &&str = self.rng.pick(&self.templates[..]);
        let mut request = words(template);
        for name in [b"k", b"l"] {
            let key = self.rng.pick(KEYS).as_bytes().to_vec();
            request.iter_mut().filter(|word| *word == name).for_each(|word| word.clone_from(&key));
        }
        request
    }
}

/// Whether elements may be sorted by equal texts: the peer leaves those of a set as its table has
/// them.
fn leaves_order_open(request: &Request) -> bool {
    let has = |name: &[u8]| request.iter().any(|word| word.eq_ignore_ascii_case(name));
    request[0].eq_ignore_ascii_case(b"SORT") && has(b"BY") && has(b"ALPHA")
}

fn blocks(request: &Request) -> bool {
    request.iter().any(|word| word.eq_ignore_ascii_case(b"BLOCK"))
}

/// Whether a command is sent.
pub(crate) fn is_sent(name: &str) -> bool {
    let fits = |pattern: &&str| match (pattern.strip_suffix('*'), pattern.strip_prefix('*')) {
        (Some(start), _) => name.starts_with(start),
        (None, Some(end)) => name.ends_with(end),
        (None, None) => name == *pattern,
    };
    !LEFT_OUT.iter().any(|(patterns, _)| patterns.iter().any(fits))
}
