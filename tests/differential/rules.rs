//! Where replies may differ legitimately, in one place, each with the reason.

/// How the replies to a command are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rule {
    /// Byte for byte.
    Exact,
    /// As collections without an order.
    Unordered,
    /// Integers up to this difference at every depth, everything else exactly.
    Close(i64),
    /// As `Close`, but numbers that are both above `far` count as equal.
    Moment {
        /// The greatest difference.
        slack: i64,
        /// Where ours are cut off, or before.
        far: i64,
    },
    /// A sorted set may be a skiplist there; everything else exactly.
    Encoding,
    /// Only the types: values, but not whether there is one, may differ. Errors byte for byte.
    Types,
    /// The command is not sent.
    Skip,
}

/// No deadline is expected to be as far away as this, except one that ours cuts off.
const FAR_MS: i64 = 1 << 47;

/// Names (`*` at the end stands for any rest), the rule, and why.
const RULES: &[(&[&str], Rule, &str)] = &[
    (&["keys"], Rule::Unordered, "the order of a table is its own"),
    (
        &["smembers", "sinter", "sunion", "sdiff", "hgetall", "hkeys", "hvals"],
        Rule::Unordered,
        "the order of a table is its own",
    ),
    (&["randomkey", "srandmember"], Rule::Types, "random"),
    (&["spop"], Rule::Skip, "what it removes is random: the sets would differ from then on"),
    (&["scan"], Rule::Skip, "cursors are opaque; whole scans are compared by a test of their own"),
    (
        &["hscan", "sscan", "zscan"],
        Rule::Types,
        "cursors are opaque; whole scans are compared by a test of their own",
    ),
    (
        &["ttl", "expiretime"],
        Rule::Moment { slack: 1, far: FAR_MS / 1000 },
        "the two clocks are read at different moments; ours ends in the year 10889",
    ),
    (
        &["pttl", "pexpiretime"],
        Rule::Moment { slack: 5_000, far: FAR_MS },
        "the two clocks are read at different moments; ours ends in the year 10889",
    ),
    (&["time", "lastsave"], Rule::Types, "the clock"),
    (&["object|idletime"], Rule::Close(2), "the two clocks are read at different moments"),
    (
        &["object|encoding"],
        Rule::Encoding,
        "SORT makes a skiplist of a small sorted set there, and nothing here",
    ),
    (&["object|refcount"], Rule::Types, "small integers are shared objects there, none here"),
    (&["object|freq"], Rule::Types, "a counter that decays at random"),
    (&["memory|usage"], Rule::Types, "another allocator and other structures"),
    (&["memory|*", "info", "lolwut"], Rule::Skip, "describes the server itself"),
    (&["client|id", "client|list", "client|info"], Rule::Types, "ids, ports, ages, buffer sizes"),
    (
        &["client|tracking", "client|caching"],
        Rule::Skip,
        "the messages of invalidation come at moments of their own",
    ),
    (
        &["client|kill", "client|reply", "client|pause", "client|unpause", "client|unblock"],
        Rule::Skip,
        "would end or silence the stream that is compared",
    ),
    (&["quit", "shutdown"], Rule::Skip, "would end the stream that is compared"),
    (&["auth"], Rule::Skip, "the peer drops a failed AUTH's reply when others are still unsent"),
    (&["hello"], Rule::Skip, "names the server, its version and the client's id"),
    (&["command", "command|*"], Rule::Skip, "compared by the tests of the table"),
    (&["config|*", "debug", "debug|*"], Rule::Skip, "would change how the two servers behave"),
    (&["latency|*", "slowlog|*", "commandlog|*"], Rule::Skip, "measured times"),
    (
        &["acl|*", "module|*", "cluster|*", "readonly", "readwrite", "asking"],
        Rule::Skip,
        "state of the whole server or of a cluster",
    ),
    (&["monitor", "sync", "psync", "replconf"], Rule::Skip, "makes the connection a stream"),
    (
        &["subscribe", "psubscribe", "ssubscribe"],
        Rule::Skip,
        "changes what the connection may send",
    ),
    (
        &["unsubscribe", "punsubscribe", "sunsubscribe"],
        Rule::Skip,
        "answers with a reply for each channel: tests/pubsub.rs compares them",
    ),
    (&["replicaof", "slaveof", "failover", "role"], Rule::Skip, "would make it a replica"),
    (&["save", "bgsave", "bgrewriteaof"], Rule::Skip, "writes files"),
    (&["migrate", "dump", "restore", "restore-asking"], Rule::Skip, "payloads carry a version"),
    (
        &[
            "blpop",
            "brpop",
            "blmove",
            "brpoplpush",
            "blmpop",
            "blmovem",
            "bzpopmin",
            "bzpopmax",
            "bzmpop",
        ],
        Rule::Skip,
        "blocks the stream",
    ),
    (&["xread", "xreadgroup", "wait", "waitaof"], Rule::Skip, "may block the stream"),
    (&["xpending", "xinfo|*"], Rule::Close(10_000), "idle times, and the nodes of another tree"),
    (
        &["pfselftest"],
        Rule::Skip,
        "the peer counts random elements, and may by chance miss by more than it allows",
    ),
    (&["spop", "srandmember", "hrandfield", "zrandmember"], Rule::Skip, "random members"),
    (
        &["multi", "exec", "discard"],
        Rule::Skip,
        "puts off the replies that are compared: tests/transactions.rs compares them",
    ),
    (
        &["eval", "evalsha", "eval_ro", "evalsha_ro"],
        Rule::Skip,
        "a random text is no script: tests/scripting.rs and the suite have real ones",
    ),
    (
        &["fcall", "fcall_ro", "function|load", "function|delete", "function|restore"],
        Rule::Skip,
        "a random text is no library and names none: tests/functions.rs compares some",
    ),
    (&["function|dump"], Rule::Skip, "payloads carry a version"),
    (
        &["function|list"],
        Rule::Skip,
        "the peer's error has the line ends of the word that it quotes",
    ),
    (&["script|show"], Rule::Skip, "wants the digest of a script: tests/scripting.rs has some"),
    (
        &["script|debug", "script|kill", "function|kill"],
        Rule::Skip,
        "would end the stream that is compared",
    ),
    (&["*|help"], Rule::Skip, "the help texts are our own"),
];

/// The rule for a request, by its command and, where that has one, its subcommand.
pub(crate) fn rule_of(request: &[Vec<u8>]) -> Rule {
    let words: Vec<String> =
        request.iter().map(|word| String::from_utf8_lossy(word).to_lowercase()).collect();
    let word = |at: usize| words.get(at).map_or("", String::as_str);
    if ["sort", "sort_ro"].contains(&word(0)) && leaves_order_open(&words) {
        return Rule::Types;
    }
    match rule_for(&format!("{}|{}", word(0), word(1))) {
        Rule::Exact | Rule::Skip => rule_for(word(0)),
        of_subcommand => of_subcommand,
    }
}

/// Whether a SORT leaves elements as they are, because its BY names no keys, or texts that may be
/// the same: those of a set then come, and are limited, in the order of a table, which is its own.
fn leaves_order_open(words: &[String]) -> bool {
    let by_text = words.iter().any(|word| word == "alpha");
    words.windows(2).any(|pair| pair[0] == "by" && (by_text || !pair[1].contains('*')))
}

/// The rule for a command, by its lower-case name (`container|subcommand`).
pub(crate) fn rule_for(name: &str) -> Rule {
    let fits = |pattern: &str| match (pattern.strip_suffix('*'), pattern.strip_prefix('*')) {
        (Some(start), _) => name.starts_with(start),
        (None, Some(end)) => name.ends_with(end),
        (None, None) => name == pattern,
    };
    // The first that fits decides, so that one subcommand can differ from its container's rest.
    let found = RULES.iter().find(|(patterns, _, _)| patterns.iter().any(|pattern| fits(pattern)));
    found.map_or(Rule::Exact, |&(_, rule, _)| rule)
}

#[test]
fn the_first_rule_that_fits_decides() {
    assert_eq!(rule_for("get"), Rule::Exact);
    assert_eq!(rule_for("memory|usage"), Rule::Types);
    assert_eq!(rule_for("memory|stats"), Rule::Skip);
    assert_eq!(rule_for("object|help"), Rule::Skip);
    assert!(RULES.iter().all(|(names, _, reason)| !names.is_empty() && !reason.is_empty()));
}
