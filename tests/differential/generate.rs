//! Random requests from the syntax of commands: mostly valid, some wrong in arity, type or range.

use std::time::{SystemTime, UNIX_EPOCH};

use kvasir_testing::Rng;

use crate::grammar::{Arg, Kind, Syntax};

/// A request: the command's name and its arguments.
pub(crate) type Request = Vec<Vec<u8>>;

/// Few keys, so that commands meet; with tags, so that at two shards some are together and some
/// not.
pub(crate) const KEYS: &[&str] = &["a", "b", "c", "d", "e{t}", "f{t}", "{t}", "g{u}h"];

/// The groups of commands on values; each has two of the keys that it prefers, so that most of its
/// commands meet values of their type, and many do not.
const GROUPS_OF_VALUES: &[&[&str]] = &[
    &["string", "bitmap"],
    &["hash"],
    &["list"],
    &["set"],
    &["sorted-set", "geo"],
    &["stream"],
    &["hyperloglog"],
];

/// Commands that come more often than others; the empty names stand for any.
const FILLERS: &[&str] = &[
    "set",
    "set",
    "hset",
    "sadd",
    "zadd",
    "rpush",
    "geoadd",
    "pfadd",
    "xadd",
    "xgroup|create",
    "",
    "",
    "",
    "",
    "",
    "",
    "",
    "",
    "",
    "",
    "",
    "",
];

/// Values at the edges of what strings are stored as and parsed to.
const STRINGS: &[&[u8]] = &[
    b"",
    b"a",
    b"abc",
    b"0",
    b"1",
    b"-1",
    b"10",
    b"9999",
    b"10000",
    b"3.14",
    b" 12",
    b"12 ",
    b"+1",
    b"007",
    b"1e3",
    b"inf",
    b"nan",
    b"9223372036854775807",
    b"-9223372036854775808",
    b"9223372036854775808",
    b"\xfe\xff\r\n",
    b"foo bar",
    b"ABCDEFGHIJKLMNOPQRSTUVWXYZABCDEFGHIJKLMNOPQR",
    b"ABCDEFGHIJKLMNOPQRSTUVWXYZABCDEFGHIJKLMNOPQRS",
    b"ABCDEFGHIJKLMNOPQRSTUVWXYZABCDEFGHIJKLMNOPQRSTUVWXYZABCDEFGHIJKLMNOPQRSTUVWXYZ",
];
const INTEGERS: &[&[u8]] = &[
    b"0",
    b"1",
    b"2",
    b"3",
    b"7",
    b"8",
    b"15",
    b"16",
    b"63",
    b"64",
    b"100",
    b"1000",
    b"-1",
    b"-2",
    b"-8",
    b"-100",
    b"4294967295",
    b"4294967296",
    b"2147483648",
    b"9223372036854775807",
    b"-9223372036854775808",
    b"9223372036854775808",
    b"-9223372036854775809",
    b"",
    b"abc",
    b"1.5",
    b" 1",
    b"1 ",
    b"+1",
    b"-0",
    b"01",
    b"0x10",
    b"1e2",
];
const DOUBLES: &[&[u8]] = &[
    b"0",
    b"1",
    b"-1",
    b"0.1",
    b"1.5",
    b"-2.25",
    b"3.0e2",
    b"1e308",
    b"1e-300",
    b"inf",
    b"-inf",
    b"nan",
    b"",
    b"abc",
    b"1,5",
    b" 1",
    b"0x1p3",
    b"(1",
    b"123456789012345678",
];
/// Unusual times to live: none that may run out during a stream, and of those beyond the end of our
/// time but one moment, as they are all the same to ours.
const TIMES_TO_LIVE: &[&[u8]] =
    &[b"0", b"-1", b"-100", b"9223372036854775807", b"-9223372036854775808", b"abc", b"", b"1.5"];
/// Between two ordinary times to live, in their unit: longer than a stream takes in milliseconds,
/// so that which of two deadlines is the later does not depend on when they were set.
const STEP_OF_TIME: usize = 20_000;
/// How many different ones there are.
const STEPS_OF_TIME: usize = 1_000;
/// The greatest number of seconds that fits into the peer's milliseconds: too late from now.
const SECONDS_MAX: &[&[u8]] = &[b"9223372036854775"];
const PATTERNS: &[&[u8]] =
    &[b"*", b"?", b"[a-c]", b"*{t}", b"", b"[", b"\\", b"[^a]", b"a*", b"nothing", b"**", b"[b-a]"];
const ENCODINGS: &[&[u8]] = &[
    b"u8", b"i8", b"u1", b"i1", b"i64", b"u63", b"u64", b"i65", b"u0", b"x8", b"i16", b"u", b"",
    b"I5", b"u33",
];
const OFFSETS: &[&[u8]] = &[
    b"#0",
    b"#1",
    b"#100",
    b"0",
    b"1",
    b"7",
    b"8",
    b"100",
    b"#-1",
    b"-1",
    b"#a",
    b"8388607",
    b"8388608",
    b"99999999999",
];
/// Ends of ranges of members in the order of their bytes.
const LEXICAL_ENDS: &[&[u8]] =
    &[b"-", b"+", b"[a", b"(a", b"[abc", b"(0", b"[1", b"[", b"(", b"a", b"", b"+1"];
/// What PFDEBUG can do.
const LOOKS_AT_REGISTERS: &[&[u8]] = &[b"GETREG", b"DECODE", b"ENCODING", b"TODENSE", b"NONE"];
/// Identifiers of stream entries, and the ends of ranges of them.
const STREAM_IDS: &[&[u8]] = &[
    b"1",
    b"2-0",
    b"2-1",
    b"3-3",
    b"5",
    b"5-*",
    b"7-18446744073709551615",
    b"20-1",
    b"100",
    b"1000-5",
    b"0",
    b"0-0",
    b"0-1",
    b"-",
    b"+",
    b"(3",
    b"$",
    b"18446744073709551615-18446744073709551615",
    b"1-",
    b"007-01",
    b"abc",
    b"",
];
const GROUPS: &[&[u8]] = &[b"g", b"g", b"h", b""];
/// Idle times that no stream comes near.
const IDLE_TIMES: &[&[u8]] = &[b"0", b"0", b"-1", b"9999999999", b"abc"];
const DATABASES: &[&[u8]] = &[b"0", b"0", b"1", b"2", b"16", b"-1", b"abc", b"99999999999"];

/// Makes requests.
pub(crate) struct Generator<'a> {
    commands: &'a [Syntax],
    rng: Rng,
    now_s: u64,
    /// How many ordinary times to live there have been.
    ordinary_times: usize,
    /// Where the request that is being made has times.
    times: Vec<usize>,
    /// Where it has the number of keys that follow.
    count_of_keys: Option<usize>,
    /// Which of the keys its command prefers.
    home: Option<usize>,
}

impl<'a> Generator<'a> {
    /// A generator that is a function of the seed (and, for absolute times, of the day).
    pub(crate) fn new(commands: &'a [Syntax], seed: u64) -> Self {
        let passed = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs());
        Self {
            commands,
            rng: Rng::new(seed),
            now_s: passed / 86_400 * 86_400,
            ordinary_times: 0,
            times: Vec::new(),
            count_of_keys: None,
            home: None,
        }
    }

    /// A request of a random command, with the command's name.
    pub(crate) fn request(&mut self) -> (String, Request) {
        // Many of the requests fill the keyspace, or most commands would meet missing keys.
        let commands = self.commands;
        let filler = self.rng.pick(FILLERS);
        let syntax = commands.iter().find(|command| command.name == *filler);
        let syntax = syntax.unwrap_or_else(|| self.rng.pick(commands));
        let mut request: Request =
            syntax.name.split('|').map(|word| self.in_some_case(word)).collect();
        let fixed = request.len();
        self.times.clear();
        self.count_of_keys = None;
        self.home =
            GROUPS_OF_VALUES.iter().position(|groups| groups.contains(&syntax.group.as_str()));
        for arg in &syntax.args {
            self.add(arg, &mut request);
        }
        if self.rng.one_in(12) {
            self.spoil(&mut request, fixed);
        }
        (syntax.name.clone(), request)
    }

    fn add(&mut self, arg: &Arg, request: &mut Request) {
        if arg.optional && !self.rng.one_in(3) {
            return;
        }
        let times = if arg.multiple { 1 + self.rng.below(3) } else { 1 };
        let counted = self.count_of_keys.take_if(|_| arg.kind == Kind::Key);
        if let Some(at) = counted.filter(|_| !self.rng.one_in(12)) {
            request[at] = times.to_string().into_bytes();
        }
        for repetition in 0..times {
            let introduced = repetition == 0 || arg.multiple_token;
            if let Some(token) = arg.token.as_ref().filter(|token| introduced && !token.is_empty())
            {
                let token = self.in_some_case(token);
                request.push(token);
            }
            match arg.kind {
                Kind::PureToken => {}
                Kind::OneOf => {
                    // The identifiers that `*` gives are those of each server's clock.
                    let is_clock = |choice: &&Arg| choice.token.as_deref() == Some("*");
                    let choices: Vec<&Arg> =
                        arg.args.iter().filter(|choice| !is_clock(choice)).collect();
                    let choice = *self.rng.pick(&choices);
                    self.add(choice, request);
                }
                Kind::Block => {
                    for member in &arg.args {
                        self.add(member, request);
                    }
                }
                kind => {
                    if kind == Kind::UnixTime || ["seconds", "milliseconds"].contains(&&*arg.name) {
                        self.times.push(request.len());
                    }
                    if arg.name == "numkeys" {
                        self.count_of_keys = Some(request.len());
                    }
                    let value = self.value(kind, &arg.name);
                    request.push(value);
                }
            }
        }
    }

    fn value(&mut self, kind: Kind, name: &str) -> Vec<u8> {
        let pool: &[&[u8]] = match (kind, name) {
            (Kind::Key, _) => return self.key(),
            (Kind::UnixTime, _) => return self.moment(name.contains("milli")),
            (Kind::Pattern, _) => PATTERNS,
            (Kind::Double, _) => DOUBLES,
            (_, "seconds" | "milliseconds") if self.rng.one_in(2) => return self.time_to_live(),
            (_, "seconds") if self.rng.one_in(5) => SECONDS_MAX,
            (_, "seconds" | "milliseconds") => TIMES_TO_LIVE,
            (_, "encoding") => ENCODINGS,
            (_, "offset") => OFFSETS,
            (_, "index" | "index1" | "index2" | "db" | "destination-db") => DATABASES,
            (_, "min-idle-time") => IDLE_TIMES,
            (Kind::Integer, _) => INTEGERS,
            (_, "min" | "max") => LEXICAL_ENDS,
            (_, "subcommand") => LOOKS_AT_REGISTERS,
            (_, "id" | "end" | "lastid" | "last-id" | "max-deleted-id" | "threshold") => STREAM_IDS,
            (_, "group" | "consumer") => GROUPS,
            // Only where bytes are data: the peer cuts what it treats as text at the first zero,
            // and takes what is the same up to there for the same.
            (_, "value" | "message" | "element") if self.rng.one_in(8) => &[b"\xff\x00\r\n"],
            // Half of the strings are numbers, which many commands want.
            _ if self.rng.one_in(4) => INTEGERS,
            _ => STRINGS,
        };
        self.rng.pick(pool).to_vec()
    }

    fn key(&mut self) -> Vec<u8> {
        let key = match self.home {
            Some(home) if !self.rng.one_in(3) => {
                KEYS[(home + self.rng.pick(&[0, KEYS.len() / 2])) % KEYS.len()]
            }
            _ => self.rng.pick(KEYS),
        };
        key.as_bytes().to_vec()
    }

    /// An ordinary time to live, unlike those before it.
    fn time_to_live(&mut self) -> Vec<u8> {
        self.ordinary_times += 1;
        // A step that shares no factor with their number meets all of them before it repeats one.
        let step = self.ordinary_times * 389 % STEPS_OF_TIME;
        (100_000 + step * STEP_OF_TIME).to_string().into_bytes()
    }

    /// A moment long past, far ahead, or none at all.
    fn moment(&mut self, in_ms: bool) -> Vec<u8> {
        if self.rng.one_in(4) {
            return self.rng.pick(TIMES_TO_LIVE).to_vec();
        }
        let ahead = self.rng.pick(&[200_000, 1_000_000, 100_000_000]);
        let seconds = if self.rng.one_in(3) { self.now_s - 100_000 } else { self.now_s + ahead };
        (if in_ms { seconds * 1_000 } else { seconds }).to_string().into_bytes()
    }

    fn in_some_case(&mut self, word: &str) -> Vec<u8> {
        match self.rng.below(4) {
            0 => word.to_lowercase().into_bytes(),
            1 if word.len() > 1 => {
                let (first, rest) = word.split_at(1);
                [first.to_uppercase(), rest.to_lowercase()].concat().into_bytes()
            }
            _ => word.to_uppercase().into_bytes(),
        }
    }

    /// Makes a request wrong, or at least unusual.
    fn spoil(&mut self, request: &mut Request, fixed: usize) {
        let at = self.rng.below(request.len());
        match self.rng.below(7) {
            0 if request.len() > 1 => drop(request.pop()),
            1 => request.push(self.rng.pick(STRINGS).to_vec()),
            2 | 3 if self.times.contains(&at) => {
                request[at] = self.rng.pick(TIMES_TO_LIVE).to_vec();
            }
            2 if at >= fixed => request[at] = self.rng.pick(STRINGS).to_vec(),
            3 if at >= fixed => request[at] = self.rng.pick(INTEGERS).to_vec(),
            4 if at >= fixed => drop(request.remove(at)),
            5 if at >= fixed => request.insert(at, request[at].clone()),
            6 if self.rng.one_in(4) => request[0].push(b'x'),
            _ => {}
        }
    }
}
