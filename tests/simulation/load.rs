//! The requests that simulated clients send, and what they make of the replies.

use kvasir_proto::{Value, key_slot};
use kvasir_testing::linear::draws::Draws;
use kvasir_testing::linear::keyspace::{Key, Op, Reply};
use kvasir_testing::linear::wire::{self, key_name};
use kvasir_testing::{Client, Rng};

use crate::model::{Action, Condition, Tag, list_name};

/// Few enough keys that commands meet, enough that each of five shards owns some.
pub(crate) const KEYS: u8 = 10;

/// Lists, of which commands wait for elements.
pub(crate) const LISTS: u8 = 4;

/// What a run's clients do.
#[derive(Clone, Copy, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "independent properties of a run")]
pub(crate) struct Flavour {
    pub(crate) shards: u16,
    pub(crate) clients: usize,
    /// Requests that a client has under way at most.
    pub(crate) pipeline: usize,
    /// Requests between two moments of rest.
    pub(crate) requests: usize,
    pub(crate) segments: usize,
    /// Keys with short times to live; then nothing counts keys, because a key that is due is
    /// counted until it is removed, as the peers do it.
    pub(crate) expiry: bool,
    /// Lists, and clients that wait for their elements; then nothing counts keys either.
    pub(crate) lists: bool,
    /// Changes of a segment that may be under way on connections that break.
    pub(crate) drops: usize,
    /// `CLIENT PAUSE`.
    pub(crate) pauses: bool,
    /// Instead of commands on common keys, each client works on keys that nobody else touches, so
    /// that every reply is known and there may be many under way; with values of this many bytes.
    pub(crate) own_value_bytes: Option<usize>,
    /// Mail is taken in one of this many rounds.
    pub(crate) mail_odds: usize,
    /// Clients begin by taking no output.
    pub(crate) stalled: bool,
    /// All clients but one read the same two keys of two shards, over and over, from a core that is
    /// quicker than the other; from that one, the first client writes them.
    pub(crate) hot: bool,
    /// Scripts that write what cannot be taken back and then want keys of another shard, and
    /// commands on many keys, which have to give way.
    pub(crate) strays: bool,
    /// There is an append-only log.
    pub(crate) logs: bool,
}

/// What is tried.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Scenario {
    /// A few clients that meet on a few keys.
    Meeting,
    /// Pipelines so deep that too many replies are outstanding.
    Deep,
    /// Requests and replies of many bytes, and more of them than are taken.
    Bulky,
    /// Transactions that are always in each other's way.
    Contended,
    /// Scripts that have every shard while they run, and transactions beside them.
    Straying,
}

impl Flavour {
    pub(crate) fn draw(rng: &mut Rng, scenario: Scenario) -> Self {
        let mut flavour = Self::of_meeting(rng);
        match scenario {
            Scenario::Meeting => {}
            Scenario::Deep => {
                flavour.clients = 1 + rng.below(3);
                flavour.pipeline = 15_000;
                flavour.requests = 15_000 * flavour.clients;
                flavour.own_value_bytes = Some(1 + rng.below(20));
                flavour.shards = 2 + rng.below(4) as u16;
                flavour.mail_odds = 100;
            }
            Scenario::Bulky => {
                flavour.clients = 1 + rng.below(2);
                flavour.pipeline = 250;
                flavour.requests = 250 * flavour.clients;
                flavour.own_value_bytes = Some(700_000 + rng.below(300_000));
                flavour.stalled = true;
            }
            Scenario::Contended => {
                flavour.shards = 2;
                flavour.clients = 60;
                flavour.mail_odds = 10;
                flavour.pipeline = 1;
                flavour.requests = 3_000;
                flavour.own_value_bytes = Some(1);
                flavour.hot = true;
                flavour.drops = 0;
                flavour.pauses = false;
            }
            Scenario::Straying => {
                flavour.shards = 2 + rng.below(2) as u16;
                flavour.strays = true;
                flavour.expiry = false;
                flavour.logs = rng.one_in(4);
            }
        }
        if scenario != Scenario::Meeting {
            flavour.segments = 1;
        }
        flavour
    }

    fn of_meeting(rng: &mut Rng) -> Self {
        let clients = 2 + rng.below(5);
        Self {
            shards: 1 + rng.below(5) as u16,
            clients,
            pipeline: 1 + rng.below(12 / clients),
            requests: 30 + rng.below(50),
            segments: 1 + rng.below(3),
            expiry: rng.one_in(2),
            lists: rng.one_in(2),
            drops: rng.below(6),
            pauses: rng.one_in(3),
            own_value_bytes: None,
            mail_odds: 1,
            stalled: false,
            hot: false,
            strays: false,
            logs: rng.one_in(2),
        }
    }
}

/// A request and what is known of its reply.
#[derive(Clone, Debug)]
pub(crate) enum Request {
    /// Its reply is for the history.
    Keyspace(Action),
    /// Its reply is known; the arguments and the reply.
    Exact(Vec<String>, Value),
    /// Its reply is some integer.
    Counting(Vec<String>),
    /// It fails, and changes nothing.
    Malformed(Vec<String>),
    /// `HELLO 3`: a map.
    Hello,
    /// `QUIT`: the last of its connection.
    Quit,
}

/// Draws requests; every written value is a new one, so that a read tells which write it saw.
pub(crate) struct Generator {
    pub(crate) draws: Draws,
    flavour: Flavour,
    tags: Tag,
}

impl Generator {
    pub(crate) fn new(rng: Rng, flavour: Flavour) -> Self {
        Self { draws: Draws::new(rng, KEYS, (0, 1)), flavour, tags: 0 }
    }

    pub(crate) fn request(&mut self, client: usize) -> Request {
        if self.flavour.hot {
            let command = if client == 0 { "DEL" } else { "EXISTS" };
            let [one, other] = [0, 1].map(hot_key);
            return Request::Exact(words(&[command, &one, &other]), Value::Integer(0));
        }
        if let Some(bytes) = self.flavour.own_value_bytes {
            return self.own_request(bytes);
        }
        if self.flavour.strays {
            return Request::Keyspace(Action::Plain(self.straying()));
        }
        match self.draws.rng.below(24) {
            0 => {
                let token = self.draws.value();
                Request::Exact(words(&["ECHO", &token]), Value::Bulk(token.into_bytes()))
            }
            1 => self.malformed(),
            2 if self.flavour.pauses && self.draws.rng.one_in(3) => self.pause(),
            3 if self.flavour.lists => self.unblock(),
            4..14 if self.flavour.lists => Request::Keyspace(self.list_action()),
            _ => Request::Keyspace(self.action()),
        }
    }

    /// A script that writes a value too large to be taken back and may then want other keys, or
    /// what it may meet. All scripts have one text, of which is learnt now this and now that.
    fn straying(&mut self) -> Op {
        let large = self.draws.key() % (KEYS / 2);
        let others = KEYS / 2..KEYS;
        let other = KEYS / 2 + self.draws.key() % (KEYS / 2);
        match self.draws.rng.below(12) {
            0..3 => Op::MGet(std::iter::once(large).chain(others).collect()),
            3 => Op::MSet(others.map(|key| (key, self.draws.value())).collect()),
            4 => Op::Multi(vec![Op::Get(large), Op::Incr(other), Op::MGet(others.collect())]),
            choice => {
                let set = Op::Set(large, self.draws.large_value());
                let then = match choice {
                    5..7 => others.map(Op::Incr).collect(),
                    7 => vec![Op::Incr(other)],
                    _ => vec![Op::Get(large)],
                };
                let mut declared = vec![large];
                if choice == 7 || self.draws.rng.one_in(3) {
                    declared.push(other);
                }
                let ops = std::iter::once(set).chain(then).collect();
                Op::Script { declared, number: 0, ops }
            }
        }
    }

    /// A request on a key that no other request names.
    fn own_request(&mut self, bytes: usize) -> Request {
        let number = self.draws.value();
        let key = format!("own:{number}");
        let filling = "x".repeat(bytes);
        let ok = || Value::Simple(b"OK".to_vec());
        match self.draws.rng.below(64) {
            0 if self.flavour.pauses && self.draws.rng.one_in(8) => self.pause(),
            // Rarely: nothing of its connection goes on before it is done.
            1 if self.draws.rng.one_in(16) => {
                let other = format!("other:{number}");
                Request::Exact(words(&["MSET", &key, "1", &other, "2"]), ok())
            }
            2..40 => {
                let text = format!("{number}{filling}");
                Request::Exact(words(&["ECHO", &text]), Value::Bulk(text.into_bytes()))
            }
            40..50 => Request::Exact(words(&["SET", &key, &format!("{number}{filling}")]), ok()),
            _ => {
                let integer = number.parse().expect("a value is a number");
                Request::Exact(words(&["INCRBY", &key, &number]), Value::Integer(integer))
            }
        }
    }

    /// The time to live of one of the short-lived keys, in milliseconds.
    pub(crate) fn ttl_ms(tag: Tag) -> u64 {
        1 + u64::from(tag % 4)
    }

    fn malformed(&mut self) -> Request {
        let key = key_name(self.draws.key());
        Request::Malformed(match self.draws.rng.below(5) {
            0 => words(&["MSETEX", "many", &key, "v"]),
            1 => words(&["MSET", &key, "v", &key]),
            2 => words(&["LCS", &key, &key, "NONSENSE"]),
            3 => words(&["GET"]),
            _ => words(&["NOSUCHCOMMAND", &key]),
        })
    }

    fn pause(&mut self) -> Request {
        let ms = (1 + self.draws.rng.below(3)).to_string();
        let mode = if self.draws.rng.one_in(2) { "WRITE" } else { "ALL" };
        let words = words(&["CLIENT", "PAUSE", &ms, mode]);
        Request::Exact(words, Value::Simple(b"OK".to_vec()))
    }

    /// Ends somebody's wait, if that client waits.
    fn unblock(&mut self) -> Request {
        let client = (1 + self.draws.rng.below(2 * self.flavour.clients)).to_string();
        let how = if self.draws.rng.one_in(2) { "ERROR" } else { "TIMEOUT" };
        Request::Counting(words(&["CLIENT", "UNBLOCK", &client, how]))
    }

    fn list_action(&mut self) -> Action {
        let timeout_ms = 1 + self.draws.rng.below(6) as u64;
        match self.draws.rng.below(16) {
            0..5 => {
                let values = (0..=self.draws.rng.below(2)).map(|_| self.draws.value()).collect();
                Action::Push(self.list(), values)
            }
            5 => Action::Pop(self.list()),
            6..11 => {
                let keys = (0..=self.draws.rng.below(3)).map(|_| self.list()).collect();
                Action::WaitPop(keys, timeout_ms)
            }
            11..13 => Action::WaitMove(self.list(), self.list(), timeout_ms),
            13 => Action::Range(self.list()),
            14 => {
                let from = self.list();
                Action::MoveList(from, (from + 1 + self.draws.rng.below(3) as Key) % LISTS)
            }
            _ => Action::DeleteLists(vec![self.list(), self.list()]),
        }
    }

    fn list(&mut self) -> Key {
        self.draws.rng.below(LISTS.into()) as Key
    }

    fn action(&mut self) -> Action {
        // Within a transaction keys expire as they do elsewhere, which the model has no place for.
        if !self.flavour.expiry && self.draws.rng.one_in(8) {
            let mut ops = Vec::new();
            for _ in 0..=self.draws.rng.below(3) {
                if let Action::Plain(op) = self.command() {
                    ops.push(op);
                }
            }
            let is_script = self.draws.rng.one_in(2);
            let op = if is_script { self.draws.script(ops) } else { Op::Multi(ops) };
            return Action::Plain(op);
        }
        self.command()
    }

    fn command(&mut self) -> Action {
        // Nothing counts keys then.
        let expiry = self.flavour.expiry;
        let counted = !expiry && !self.flavour.lists;
        Action::Plain(match self.draws.rng.below(36) {
            choice @ 0..Draws::COMMON => self.draws.common(choice),
            19..22 => Op::MSet(self.draws.pairs()),
            22..24 => Op::MSetNx(self.draws.pairs()),
            24..26 => self.draws.transfer(Op::Rename),
            26 => self.draws.transfer(Op::RenameNx),
            27 if !expiry => self.draws.transfer(Op::Copy),
            28 if counted => Op::DbSize,
            29 if counted => Op::Keys,
            30 if self.draws.rng.one_in(3) => Op::FlushAll,
            31 => return Action::LcsLen(self.draws.key(), self.draws.key()),
            32..34 if expiry => {
                let tag = self.tag();
                return Action::SetPx(self.draws.key(), self.draws.value(), tag);
            }
            34..36 if expiry => return self.msetex(),
            _ => Op::MGet((0..KEYS).collect()),
        })
    }

    fn msetex(&mut self) -> Action {
        let mut pairs: Vec<(Key, String, Tag)> = Vec::new();
        for key in self.draws.keys() {
            // All have one time to live, and a tag each.
            if pairs.iter().all(|(other, ..)| *other != key) {
                let tag = pairs.last().map_or_else(|| self.tag(), |(.., tag)| tag + 4);
                self.tags = tag;
                pairs.push((key, self.draws.value(), tag));
            }
        }
        let conditions = [Condition::Always, Condition::NoneExists, Condition::AllExist];
        Action::MSetEx(pairs, *self.draws.rng.pick(&conditions))
    }

    fn tag(&mut self) -> Tag {
        self.tags += 1;
        self.tags
    }
}

/// A key of one of two shards.
fn hot_key(shard: u32) -> String {
    let names = (0..).map(|number| format!("hot:{number}"));
    let of_shard = |name: &String| u32::from(key_slot(name.as_bytes())) * 2 / 16384 == shard;
    names.into_iter().find(of_shard).expect("there are many names")
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

impl Request {
    /// The requests that have to be sent before it, with their replies.
    pub(crate) fn before(&self) -> Vec<Self> {
        let Self::Keyspace(Action::Plain(Op::Multi(ops))) = self else { return vec![] };
        let said = |text: &str| Value::Simple(text.as_bytes().to_vec());
        let queued = ops.iter().map(|op| Self::Exact(last_request(op), said("QUEUED")));
        std::iter::once(Self::Exact(words(&["MULTI"]), said("OK"))).chain(queued).collect()
    }

    /// The arguments.
    pub(crate) fn args(&self) -> Vec<String> {
        match self {
            Self::Keyspace(action) => action_args(action),
            Self::Exact(args, _) | Self::Counting(args) | Self::Malformed(args) => args.clone(),
            Self::Hello => words(&["HELLO", "3"]),
            Self::Quit => words(&["QUIT"]),
        }
    }
}

/// The request on the wire, as an array or, where the arguments allow it, in one line.
pub(crate) fn encode(args: &[String], inline: bool) -> Vec<u8> {
    let is_plain = |arg: &String| !arg.contains([' ', '\n', '"', '\'']);
    if inline && args.iter().all(is_plain) {
        return format!("{}\r\n", args.join(" ")).into_bytes();
    }
    Client::encode(args)
}

fn action_args(action: &Action) -> Vec<String> {
    match action {
        Action::Plain(op) => last_request(op),
        Action::SetPx(key, value, tag) => {
            words(&["SET", &key_name(*key), value, "PX", &Generator::ttl_ms(*tag).to_string()])
        }
        Action::MSetEx(pairs, condition) => {
            let mut args = words(&["MSETEX", &pairs.len().to_string()]);
            args.extend(pairs.iter().flat_map(|(key, value, _)| [key_name(*key), value.clone()]));
            match condition {
                Condition::Always => {}
                Condition::NoneExists => args.push("NX".to_owned()),
                Condition::AllExist => args.push("XX".to_owned()),
            }
            args.extend(words(&["PX", &Generator::ttl_ms(pairs[0].2).to_string()]));
            args
        }
        Action::LcsLen(one, other) => words(&["LCS", &key_name(*one), &key_name(*other), "LEN"]),
        Action::Expire(_) => unreachable!("no client asks for it"),
        _ => list_args(action),
    }
}

/// The request whose reply is the operation's.
fn last_request(op: &Op) -> Vec<String> {
    wire::requests(op).pop().expect("an operation is at least one request")
}

fn list_args(action: &Action) -> Vec<String> {
    let seconds = |ms: u64| (ms as f64 / 1000.0).to_string();
    let named = |command: &str, keys: &[Key]| {
        let mut args = words(&[command]);
        args.extend(keys.iter().copied().map(list_name));
        args
    };
    match action {
        Action::Push(key, values) => [named("RPUSH", &[*key]), values.clone()].concat(),
        Action::Pop(key) => named("LPOP", &[*key]),
        Action::WaitPop(keys, ms) => [named("BLPOP", keys), vec![seconds(*ms)]].concat(),
        Action::WaitMove(from, to, ms) => {
            let rest = words(&["LEFT", "RIGHT", &seconds(*ms)]);
            [named("BLMOVE", &[*from, *to]), rest].concat()
        }
        Action::Range(key) => [named("LRANGE", &[*key]), words(&["0", "-1"])].concat(),
        Action::MoveList(from, to) => named("RENAME", &[*from, *to]),
        Action::DeleteLists(keys) => named("DEL", keys),
        _ => unreachable!("only these are about lists"),
    }
}

/// What the reply to an action says; nothing when no such reply is known.
pub(crate) fn understand(action: &Action, value: &Value) -> Option<Reply> {
    // Whose wait has been ended got nothing.
    if matches!(value, Value::Error(text) if action.waits() && text.starts_with(b"UNBLOCKED")) {
        return Some(Reply::Bulk(None));
    }
    // The replies to the other actions are such as some operation has: values, or a number.
    let op = if let Action::Plain(op) = action { op } else { &Op::MGet(vec![]) };
    wire::reply(op, value)
}

/// An action as text, for reports.
pub(crate) fn show_action(action: &Action) -> String {
    if let Action::Expire(tag) = action {
        return format!("(time to live {tag} ends)");
    }
    let tags: Vec<Tag> = match action {
        Action::SetPx(.., tag) => vec![*tag],
        Action::MSetEx(pairs, _) => pairs.iter().map(|(.., tag)| *tag).collect(),
        _ => vec![],
    };
    let text = action_args(action).join(" ");
    if tags.is_empty() { text } else { format!("{text} {tags:?}") }
}
