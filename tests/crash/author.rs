//! A client that writes: what it sends, what it was told, and what that says about its keys.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};

use kvasir_proto::Value;
use kvasir_testing::{Client, Rng, show};

use super::model::{
    Change, Data, Deadline, End, Entry, State, abridged, account_name, difference, settle,
};

/// Accounts that all clients move amounts between.
pub(crate) const ACCOUNTS: usize = 8;
/// Groups of keys with one hash tag, and so on one shard, of each client.
const LANES: usize = 4;
/// The keys of a lane, named by what they hold: a string, one that expires, a number, a list, a
/// hash, a set, a sorted set, a stream.
const KINDS: [char; 8] = ['t', 'e', 'n', 'l', 'h', 's', 'z', 'x'];
/// Deadlines that no test sees the end of, Unix time in milliseconds.
const FAR_MS: u64 = 4_000_000_000_000;
/// The most commands that a client sends at once.
const PIPELINE: usize = 6;

/// Runs the commands in `ARGV`, each preceded by its number of words.
const SCRIPT: &str = "local replies, at = {}, 1 \
    while at <= #ARGV do \
      local words = tonumber(ARGV[at]) \
      replies[#replies + 1] = redis.call(unpack(ARGV, at + 1, at + words)) \
      at = at + words + 1 \
    end \
    return replies";

/// How the commands of an operation come together.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Form {
    Single,
    Transaction,
    Script,
}

/// Commands that are done together or not at all.
#[derive(Clone, Debug)]
pub(crate) struct Op {
    form: Form,
    changes: Vec<Change>,
}

impl Op {
    /// As bytes, and how many replies come.
    fn encode(&self) -> (Vec<u8>, usize) {
        let requests: Vec<Vec<Vec<u8>>> = self.changes.iter().map(Change::words).collect();
        match self.form {
            Form::Single => (Client::encode(&requests[0]), 1),
            Form::Transaction => {
                let mut bytes = Client::encode(&["MULTI"]);
                for words in &requests {
                    bytes.extend(Client::encode(words));
                }
                bytes.extend(Client::encode(&["EXEC"]));
                (bytes, requests.len() + 2)
            }
            Form::Script => {
                let keys: BTreeSet<String> = self.changes.iter().flat_map(Change::keys).collect();
                let mut words = vec![b"EVAL".to_vec(), SCRIPT.as_bytes().to_vec()];
                words.push(keys.len().to_string().into_bytes());
                words.extend(keys.into_iter().map(String::into_bytes));
                for request in requests {
                    words.push(request.len().to_string().into_bytes());
                    words.extend(request);
                }
                (Client::encode(&words), 1)
            }
        }
    }

    /// The replies of its commands, of all that it was answered.
    fn outcome(&self, mut replies: Vec<Value>) -> Vec<Value> {
        let last = replies.pop().expect("invariant: each operation is answered");
        let of_changes = match (self.form, last) {
            (Form::Single, reply) => vec![reply],
            (_, Value::Array(replies)) => replies,
            (_, other) => panic!("{self:?}: {}", show(&other)),
        };
        let failed = of_changes.iter().find(|reply| matches!(reply, Value::Error(_)));
        assert!(failed.is_none(), "{self:?}: {}", show(failed.unwrap_or(&Value::Null)));
        assert_eq!(of_changes.len(), self.changes.len(), "{self:?} is answered whole");
        of_changes
    }

    fn apply(&self, state: &mut State, outcome: Option<&[Value]>, found: &State) {
        for (index, change) in self.changes.iter().enumerate() {
            change.apply(state, outcome.map(|replies| &replies[index]), found);
        }
    }

    fn payments(&self) -> impl Iterator<Item = (usize, i64)> {
        self.changes.iter().filter_map(|change| match change {
            Change::Pay { account, amount } => Some((*account, *amount)),
            _ => None,
        })
    }
}

/// An operation that was sent, and what it was answered.
#[derive(Debug)]
struct Done {
    op: Op,
    outcome: Option<Vec<Value>>,
}

impl Done {
    fn describe(&self) -> String {
        let Op { form, changes } = &self.op;
        let words =
            changes.iter().flat_map(|change| [change.words(), vec![b";".to_vec()]].concat());
        let words: Vec<String> = words.map(|word| abridged(&word)).collect();
        let outcome = self.outcome.iter().flatten().map(|reply| abridged(show(reply).as_bytes()));
        let outcome: Vec<String> = outcome.collect();
        format!("{form:?} {} -> {}", words.join(" "), outcome.join(" "))
    }
}

/// See the module's head.
#[derive(Debug)]
pub(crate) struct Author {
    id: usize,
    rng: Rng,
    /// Makes values differ.
    serial: u64,
    /// What its keys held when it began to send `history`.
    base: State,
    /// What they hold after all that it has sent.
    current: State,
    history: Vec<Done>,
    /// Operations that were on the disk for certain.
    durable: usize,
    /// It asks now and then whether what it has sent is on the disk (`WAITAOF`).
    asks: bool,
}

impl Author {
    /// One whose keys do not exist.
    pub(crate) fn new(id: usize, rng: Rng, asks: bool) -> Self {
        let (base, current) = (State::new(), State::new());
        Self { id, rng, serial: 0, base, current, history: Vec::new(), durable: 0, asks }
    }

    /// Writes until the server is gone, or until so many operations were acknowledged.
    pub(crate) fn work(&mut self, client: &mut Client, most: usize, acknowledged: &AtomicU64) {
        let end = self.acknowledged() + most;
        while self.acknowledged() < end {
            let Some(count) = self.batch(client) else { return };
            acknowledged.fetch_add(count as u64, Ordering::Relaxed);
            if self.asks && self.rng.one_in(40) {
                if !client.try_send_raw(&Client::encode(&["WAITAOF", "1", "0", "0"])) {
                    return;
                }
                let Ok((reply, _)) = client.try_read() else { return };
                assert_eq!(show(&reply), "[1 0]", "the log is on the disk");
                self.durable = self.acknowledged();
            }
        }
    }

    /// How many operations have been acknowledged: all but perhaps the last ones.
    pub(crate) fn acknowledged(&self) -> usize {
        self.history.iter().rposition(|done| done.outcome.is_some()).map_or(0, |last| last + 1)
    }

    /// How many operations were on the disk for certain under `everysec`.
    pub(crate) fn durable(&self) -> usize {
        self.durable
    }

    /// Sends some operations and reads their replies; how many, `None` when the server is gone.
    fn batch(&mut self, client: &mut Client) -> Option<usize> {
        let (ops, is_applied) = self.draw_batch();
        let first = self.history.len();
        let encoded: Vec<(Vec<u8>, usize)> = ops.iter().map(Op::encode).collect();
        self.history.extend(ops.into_iter().map(|op| Done { op, outcome: None }));
        let bytes: Vec<u8> = encoded.iter().flat_map(|(bytes, _)| bytes).copied().collect();
        if !client.try_send_raw(&bytes) {
            return None;
        }
        for (index, (_, replies)) in encoded.iter().enumerate() {
            let replies = (0..*replies).map(|_| client.try_read().ok().map(|(reply, _)| reply));
            let replies = replies.collect::<Option<Vec<Value>>>()?;
            if replies.iter().any(is_misconf) {
                // It is about to end, since it cannot write. Nothing was done for this one.
                return None;
            }
            let done = &mut self.history[first + index];
            let outcome = done.op.outcome(replies);
            if !is_applied {
                done.op.apply(&mut self.current, Some(&outcome), &State::new());
            }
            done.outcome = Some(outcome);
        }
        Some(encoded.len())
    }

    /// One operation of any kind, or several whose effect is certain, on one shard: those are done
    /// in their order, while a connection's commands on several shards run side by side. Also
    /// whether `current` has their effect already.
    fn draw_batch(&mut self) -> (Vec<Op>, bool) {
        if !self.rng.one_in(4) {
            return (vec![self.draw_op()], false);
        }
        let lane = self.rng.below(LANES);
        let mut ops = Vec::new();
        for _ in 0..=self.rng.below(PIPELINE) {
            let change = self.draw_change(&[lane]);
            let op = Op { form: Form::Single, changes: vec![change] };
            if op.changes[0].is_certain(&self.current) {
                op.apply(&mut self.current, None, &State::new());
                ops.push(op);
            } else if ops.is_empty() {
                return (vec![op], false);
            }
        }
        (ops, true)
    }

    fn draw_op(&mut self) -> Op {
        let lane = self.rng.below(LANES);
        let everywhere: Vec<usize> = (0..LANES).collect();
        let form = if self.rng.one_in(2) { Form::Transaction } else { Form::Script };
        let changes = match self.rng.below(20) {
            0..=9 => {
                let changes = vec![self.draw_change(&everywhere)];
                return Op { form: Form::Single, changes };
            }
            10..=12 => self.draw_changes(&[lane]),
            13..=15 => self.draw_changes(&everywhere),
            _ => self.draw_transfer(lane),
        };
        Op { form, changes }
    }

    /// Some commands, no two of which have a key in common.
    fn draw_changes(&mut self, lanes: &[usize]) -> Vec<Change> {
        let mut taken = BTreeSet::new();
        let mut changes = Vec::new();
        for _ in 0..self.rng.below(4) + 2 {
            let change = self.draw_change(lanes);
            let keys = change.keys();
            if !keys.iter().any(|key| taken.contains(key)) {
                taken.extend(keys);
                changes.push(change);
            }
        }
        changes
    }

    /// Moves an amount, and counts that, so that each one can be told from the next.
    fn draw_transfer(&mut self, lane: usize) -> Vec<Change> {
        let (from, to) = (self.rng.below(ACCOUNTS), self.rng.below(ACCOUNTS));
        let amount = self.rng.below(100) as i64 + 1;
        vec![
            Change::Pay { account: from, amount: -amount },
            Change::Add { key: self.key(lane, 'n'), by: 1 },
            Change::Pay { account: to, amount },
        ]
    }

    fn key(&self, lane: usize, kind: char) -> String {
        format!("{{{}.{lane}}}{kind}", self.id)
    }

    fn value(&mut self) -> Vec<u8> {
        self.serial += 1;
        let mut value = format!("v{}", self.serial).into_bytes();
        match self.rng.below(200) {
            0 => value.resize(70_000, b'.'),
            1..=9 => value.resize(3_000, b'.'),
            _ => {}
        }
        value
    }

    fn short_value(&mut self) -> Vec<u8> {
        self.serial += 1;
        format!("v{}", self.serial).into_bytes()
    }

    fn draw_change(&mut self, lanes: &[usize]) -> Change {
        let lane = *self.rng.pick(lanes);
        let other = *self.rng.pick(lanes);
        match self.rng.below(16) {
            0 => Change::Add { key: self.key(lane, 'n'), by: self.rng.below(9) as i64 + 1 },
            1 | 2 => self.draw_string(lane, other),
            3 => self.draw_brief(lane),
            4 | 5 => self.draw_list(lane, other),
            6 | 7 => self.draw_hash(lane),
            8 | 9 => self.draw_set(lane),
            10 | 11 => self.draw_scores(lane),
            12 | 13 => self.draw_stream(lane),
            14 => {
                let pairs = lanes.iter().map(|lane| (self.key(*lane, 't'), *lane));
                let pairs: Vec<(String, usize)> = pairs.collect();
                let pairs = pairs.into_iter().map(|(key, _)| (key, self.value())).collect();
                Change::Many { pairs }
            }
            _ => {
                let kind = *self.rng.pick(&KINDS);
                Change::Delete { keys: vec![self.key(lane, 'e'), self.key(other, kind)] }
            }
        }
    }

    fn draw_string(&mut self, lane: usize, other: usize) -> Change {
        let (key, value) = (self.key(lane, 't'), self.value());
        match self.rng.below(5) {
            0 => Change::SetUntil { key, value, at_ms: FAR_MS + self.serial },
            1 => Change::SetFor { key, value, seconds: 100_000 },
            2 if self.current.contains_key(&key) && lane != other => {
                Change::Rename { from: key, to: self.key(other, 't') }
            }
            3 => Change::Set { key, value },
            _ => Change::Append { key, value: self.short_value() },
        }
    }

    fn draw_brief(&mut self, lane: usize) -> Change {
        let (key, value) = (self.key(lane, 'e'), self.short_value());
        if self.rng.one_in(2) {
            Change::SetBriefly { key, value, ms: self.rng.below(20) as u64 + 1 }
        } else {
            Change::Append { key, value }
        }
    }

    fn draw_list(&mut self, lane: usize, other: usize) -> Change {
        let mut end = || if self.rng.one_in(2) { End::Left } else { End::Right };
        let ends = (end(), end());
        let key = self.key(lane, 'l');
        match self.rng.below(6) {
            0 | 1 => Change::Pop { key, end: ends.0 },
            2 if lane != other => Change::Move { from: key, to: self.key(other, 'l'), ends },
            _ => Change::Push { key, end: ends.0, value: self.short_value() },
        }
    }

    fn draw_hash(&mut self, lane: usize) -> Change {
        let (key, field) = (self.key(lane, 'h'), format!("f{}", self.rng.below(9)).into_bytes());
        if self.rng.one_in(4) {
            Change::FieldGone { key, field }
        } else {
            Change::Field { key, field, value: self.value() }
        }
    }

    fn draw_set(&mut self, lane: usize) -> Change {
        let key = self.key(lane, 's');
        if self.rng.below(7) < 3 {
            Change::AnyMember { key }
        } else {
            Change::Member { key, member: self.short_value() }
        }
    }

    fn draw_scores(&mut self, lane: usize) -> Change {
        let key = self.key(lane, 'z');
        if self.rng.one_in(4) {
            return Change::Lowest { key };
        }
        let member = format!("m{}", self.rng.below(12)).into_bytes();
        Change::Score { key, member, by: self.rng.below(50) as i64 }
    }

    fn draw_stream(&mut self, lane: usize) -> Change {
        let key = self.key(lane, 'x');
        if self.rng.one_in(5) {
            return Change::Trim { key, most: self.rng.below(9) + 1 };
        }
        Change::Log { key, value: self.short_value() }
    }

    /// What its keys hold now.
    pub(crate) fn read(&self, client: &mut Client) -> State {
        let lanes = 0..LANES;
        let keys = lanes.flat_map(|lane| KINDS.map(|kind| (self.key(lane, kind), kind)));
        let keys: Vec<(String, char)> = keys.collect();
        let requests = keys.iter().flat_map(|(key, kind)| {
            let line = match kind {
                'l' => format!("LRANGE {key} 0 -1"),
                'h' => format!("HGETALL {key}"),
                's' => format!("SMEMBERS {key}"),
                'z' => format!("ZRANGE {key} 0 -1 WITHSCORES"),
                'x' => format!("XRANGE {key} - +"),
                _ => format!("GET {key}"),
            };
            [format!("PEXPIRETIME {key}"), line]
        });
        let requests = requests.map(|line| line.split(' ').map(str::to_owned).collect());
        let replies = client.pipeline(&requests.collect::<Vec<Vec<String>>>());
        let entries =
            keys.into_iter().zip(replies.chunks(2)).filter_map(|((key, kind), replies)| {
                let Value::Integer(deadline) = replies[0] else {
                    panic!("{key}: {}", show(&replies[0]));
                };
                // A key that was there for the first and not for the second has expired in between.
                let is_gone = deadline == -2 || replies[1] == Value::Null;
                let deadline = u64::try_from(deadline).map_or(Deadline::Never, Deadline::At);
                (!is_gone).then(|| (key, Entry { data: data_of(kind, &replies[1]), deadline }))
            });
        entries.collect()
    }

    /// Finds how many of the operations, at least `lower`, explain what was found, and goes on from
    /// there. What they have paid is added to the accounts.
    pub(crate) fn judge(&mut self, found: &State, lower: usize, accounts: &mut [i64], label: &str) {
        let mut state = self.base.clone();
        let mut nearest = String::new();
        for count in 0..=self.history.len() {
            if count > 0 {
                let Done { op, outcome } = &self.history[count - 1];
                op.apply(&mut state, outcome.as_deref(), found);
                op.payments().for_each(|(account, amount)| accounts[account] += amount);
            }
            if count < lower {
                continue;
            }
            match difference(&state, found) {
                None => {
                    self.base = settle(&state, found);
                    self.current = self.base.clone();
                    self.history.clear();
                    self.durable = 0;
                    return;
                }
                Some(difference) if nearest.len() < 4_000 => {
                    nearest = format!("{nearest}\nafter {count}: {difference}");
                }
                Some(_) => {}
            }
        }
        let sent = self.history.len();
        let from = lower.saturating_sub(12).min(sent);
        let shown: Vec<String> = self.history[from..].iter().take(40).map(Done::describe).collect();
        panic!(
            "{label}: client {} has sent {sent} operations, of which at least {lower} must be \
             there; nothing explains what is there.{nearest}\nOperations from {from} on:\n{}",
            self.id,
            shown.join("\n")
        );
    }
}

/// Whether a write was refused because the log cannot be written.
fn is_misconf(reply: &Value) -> bool {
    matches!(reply, Value::Error(text) if text.starts_with(b"MISCONF"))
}

fn data_of(kind: char, reply: &Value) -> Data {
    let bytes = |value: &Value| value.as_bytes().unwrap_or_default().to_vec();
    let Value::Array(values) = reply else { return Data::Text(bytes(reply)) };
    let mut pairs = values.chunks(2).filter(|pair| pair.len() == 2);
    match kind {
        'l' => Data::List(values.iter().map(bytes).collect()),
        'h' => Data::Hash(pairs.map(|pair| (bytes(&pair[0]), bytes(&pair[1]))).collect()),
        's' => Data::Set(values.iter().map(bytes).collect()),
        'z' => {
            let score = |value: &Value| {
                let text = String::from_utf8_lossy(&bytes(value)).into_owned();
                text.parse().expect("scores are whole numbers here")
            };
            let mut scores = BTreeMap::new();
            pairs.by_ref().for_each(|pair| {
                scores.insert(bytes(&pair[0]), score(&pair[1]));
            });
            Data::Scores(scores)
        }
        _ => Data::Stream(values.iter().map(entry_of_stream).collect()),
    }
}

fn entry_of_stream(entry: &Value) -> (Vec<u8>, Vec<u8>) {
    let Value::Array(parts) = entry else { panic!("an entry of a stream is {}", show(entry)) };
    let [Value::Bulk(id), Value::Array(fields)] = &parts[..] else {
        panic!("an entry of a stream is {}", show(entry));
    };
    (id.clone(), fields[1].as_bytes().unwrap_or_default().to_vec())
}

/// What the accounts hold.
pub(crate) fn read_accounts(client: &mut Client) -> Vec<i64> {
    let mut words = vec!["MGET".to_owned()];
    words.extend((0..ACCOUNTS).map(account_name));
    let Value::Array(values) = client.call(&words) else { panic!("MGET answers with an array") };
    let amount = |value: &Value| {
        let text = String::from_utf8_lossy(value.as_bytes().unwrap_or(b"0")).into_owned();
        text.parse().expect("an account holds a number")
    };
    values.iter().map(amount).collect()
}
