//! What one client's keys hold after its commands: the oracle.
//!
//! No two clients write the same key, except for the accounts, which are only added to. So the
//! state of a client's keys follows from how many of its commands have been done, and nothing else.
//! What chance or the clock decides is taken from the reply, or, where none came, from what was
//! found afterwards: one of the results that were possible must explain it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use kvasir_proto::Value;

/// A value.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Data {
    Text(Vec<u8>),
    List(VecDeque<Vec<u8>>),
    Hash(BTreeMap<Vec<u8>, Vec<u8>>),
    Set(BTreeSet<Vec<u8>>),
    Scores(BTreeMap<Vec<u8>, i64>),
    /// Identifiers and values. The identifier is empty where nobody knows it yet.
    Stream(Vec<(Vec<u8>, Vec<u8>)>),
}

impl Data {
    fn is_empty(&self) -> bool {
        match self {
            // Strings stay, and streams do so as well.
            Self::Text(_) | Self::Stream(_) => false,
            Self::List(list) => list.is_empty(),
            Self::Hash(hash) => hash.is_empty(),
            Self::Set(set) => set.is_empty(),
            Self::Scores(scores) => scores.is_empty(),
        }
    }
}

/// When a key goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Deadline {
    Never,
    /// Unix time in milliseconds.
    At(u64),
    /// At a time that the server has chosen and nobody has seen yet.
    Chosen,
    /// So soon that it may have gone.
    Soon,
}

/// A key's value and deadline.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Entry {
    pub(crate) data: Data,
    pub(crate) deadline: Deadline,
}

/// The keys of one client.
pub(crate) type State = BTreeMap<String, Entry>;

/// An end of a list.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum End {
    Left,
    Right,
}

impl End {
    fn word(self) -> &'static str {
        match self {
            Self::Left => "LEFT",
            Self::Right => "RIGHT",
        }
    }

    fn push(self, list: &mut VecDeque<Vec<u8>>, value: Vec<u8>) {
        match self {
            Self::Left => list.push_front(value),
            Self::Right => list.push_back(value),
        }
    }

    fn pop(self, list: &mut VecDeque<Vec<u8>>) -> Option<Vec<u8>> {
        match self {
            Self::Left => list.pop_front(),
            Self::Right => list.pop_back(),
        }
    }
}

/// One command.
#[derive(Clone, Debug)]
pub(crate) enum Change {
    Set {
        key: String,
        value: Vec<u8>,
    },
    /// `PXAT`.
    SetUntil {
        key: String,
        value: Vec<u8>,
        at_ms: u64,
    },
    /// `EX`: the log must have the moment that comes of it.
    SetFor {
        key: String,
        value: Vec<u8>,
        seconds: u64,
    },
    /// `PX`, some milliseconds: it goes by itself, perhaps before the next command.
    SetBriefly {
        key: String,
        value: Vec<u8>,
        ms: u64,
    },
    Append {
        key: String,
        value: Vec<u8>,
    },
    Add {
        key: String,
        by: i64,
    },
    Push {
        key: String,
        end: End,
        value: Vec<u8>,
    },
    Pop {
        key: String,
        end: End,
    },
    /// `LMOVE`.
    Move {
        from: String,
        to: String,
        ends: (End, End),
    },
    Field {
        key: String,
        field: Vec<u8>,
        value: Vec<u8>,
    },
    FieldGone {
        key: String,
        field: Vec<u8>,
    },
    Member {
        key: String,
        member: Vec<u8>,
    },
    /// `SPOP`.
    AnyMember {
        key: String,
    },
    /// `ZINCRBY`.
    Score {
        key: String,
        member: Vec<u8>,
        by: i64,
    },
    /// `ZPOPMIN`.
    Lowest {
        key: String,
    },
    /// `XADD` with an identifier of the server's choice.
    Log {
        key: String,
        value: Vec<u8>,
    },
    /// `XTRIM MAXLEN`.
    Trim {
        key: String,
        most: usize,
    },
    Delete {
        keys: Vec<String>,
    },
    /// `MSET`.
    Many {
        pairs: Vec<(String, Vec<u8>)>,
    },
    Rename {
        from: String,
        to: String,
    },
    /// `INCRBY` on a key of all clients.
    Pay {
        account: usize,
        amount: i64,
    },
}

/// The name of a key of all clients.
pub(crate) fn account_name(account: usize) -> String {
    format!("account:{account}")
}

impl Change {
    /// The keys, as a script declares them.
    pub(crate) fn keys(&self) -> Vec<String> {
        match self {
            Self::Set { key, .. }
            | Self::SetUntil { key, .. }
            | Self::SetFor { key, .. }
            | Self::SetBriefly { key, .. }
            | Self::Append { key, .. }
            | Self::Add { key, .. }
            | Self::Push { key, .. }
            | Self::Pop { key, .. }
            | Self::Field { key, .. }
            | Self::FieldGone { key, .. }
            | Self::Member { key, .. }
            | Self::AnyMember { key }
            | Self::Score { key, .. }
            | Self::Lowest { key }
            | Self::Log { key, .. }
            | Self::Trim { key, .. } => vec![key.clone()],
            Self::Move { from, to, .. } | Self::Rename { from, to } => {
                vec![from.clone(), to.clone()]
            }
            Self::Delete { keys } => keys.clone(),
            Self::Many { pairs } => pairs.iter().map(|(key, _)| key.clone()).collect(),
            Self::Pay { account, .. } => vec![account_name(*account)],
        }
    }

    /// The request.
    pub(crate) fn words(&self) -> Vec<Vec<u8>> {
        let (head, rest): (String, Vec<&[u8]>) = match self {
            Self::Set { key, value } => (format!("SET {key}"), vec![value]),
            Self::SetUntil { key, value, at_ms } => {
                return words(&format!("SET {key} ? PXAT {at_ms}"), value);
            }
            Self::SetFor { key, value, seconds } => {
                return words(&format!("SET {key} ? EX {seconds}"), value);
            }
            Self::SetBriefly { key, value, ms } => {
                return words(&format!("SET {key} ? PX {ms}"), value);
            }
            Self::Append { key, value } => (format!("APPEND {key}"), vec![value]),
            Self::Add { key, by } => (format!("INCRBY {key} {by}"), vec![]),
            Self::Push { key, end: End::Left, value } => (format!("LPUSH {key}"), vec![value]),
            Self::Push { key, end: End::Right, value } => (format!("RPUSH {key}"), vec![value]),
            Self::Pop { key, end: End::Left } => (format!("LPOP {key}"), vec![]),
            Self::Pop { key, end: End::Right } => (format!("RPOP {key}"), vec![]),
            Self::Move { from, to, ends } => {
                (format!("LMOVE {from} {to} {} {}", ends.0.word(), ends.1.word()), vec![])
            }
            Self::Field { key, field, value } => (format!("HSET {key}"), vec![field, value]),
            Self::FieldGone { key, field } => (format!("HDEL {key}"), vec![field]),
            Self::Member { key, member } => (format!("SADD {key}"), vec![member]),
            Self::AnyMember { key } => (format!("SPOP {key}"), vec![]),
            Self::Score { key, member, by } => (format!("ZINCRBY {key} {by}"), vec![member]),
            Self::Lowest { key } => (format!("ZPOPMIN {key}"), vec![]),
            Self::Log { key, value } => (format!("XADD {key} * value"), vec![value]),
            Self::Trim { key, most } => (format!("XTRIM {key} MAXLEN {most}"), vec![]),
            Self::Delete { keys } => (format!("DEL {}", keys.join(" ")), vec![]),
            Self::Many { pairs } => {
                let pairs = pairs.iter().flat_map(|(key, value)| [key.as_bytes(), value]);
                ("MSET".to_owned(), pairs.collect())
            }
            Self::Rename { from, to } => (format!("RENAME {from} {to}"), vec![]),
            Self::Pay { account, amount } => {
                (format!("INCRBY {} {amount}", account_name(*account)), vec![])
            }
        };
        let head = head.split(' ').map(|word| word.as_bytes().to_vec());
        head.chain(rest.into_iter().map(<[u8]>::to_vec)).collect()
    }

    /// Whether what it does follows from the state alone.
    pub(crate) fn is_certain(&self, state: &State) -> bool {
        match self {
            Self::AnyMember { .. } | Self::Log { .. } | Self::SetBriefly { .. } => false,
            Self::Append { key, .. } => {
                state.get(key).is_none_or(|entry| entry.deadline != Deadline::Soon)
            }
            _ => true,
        }
    }

    /// Does the same to a state, by the reply or, without one, by what was found afterwards.
    pub(crate) fn apply(&self, state: &mut State, reply: Option<&Value>, found: &State) {
        match self {
            Self::Set { key, value } => put(state, key, value, Deadline::Never),
            Self::SetUntil { key, value, at_ms } => put(state, key, value, Deadline::At(*at_ms)),
            Self::SetFor { key, value, .. } => put(state, key, value, Deadline::Chosen),
            Self::SetBriefly { key, value, .. } => put(state, key, value, Deadline::Soon),
            Self::Append { key, value } => append(state, key, value, reply, found),
            Self::Add { key, by } => {
                let old = text(state, key).map_or(0, |text| number(text));
                put(state, key, (old + by).to_string().as_bytes(), Deadline::Never);
            }
            Self::Push { key, end, value } => list(state, key, |list| {
                end.push(list, value.clone());
            }),
            Self::Pop { key, end } => list(state, key, |list| {
                end.pop(list);
            }),
            Self::Move { from, to, ends } => {
                let mut moved = None;
                list(state, from, |list| moved = ends.0.pop(list));
                if let Some(moved) = moved {
                    list(state, to, |list| ends.1.push(list, moved));
                }
            }
            Self::Field { key, field, value } => hash(state, key, |hash| {
                hash.insert(field.clone(), value.clone());
            }),
            Self::FieldGone { key, field } => hash(state, key, |hash| {
                hash.remove(field);
            }),
            Self::Member { key, member } => set(state, key, |set| {
                set.insert(member.clone());
            }),
            Self::AnyMember { key } => pop_any(state, key, reply, found),
            Self::Score { key, member, by } => scores(state, key, |scores| {
                *scores.entry(member.clone()).or_default() += by;
            }),
            Self::Lowest { key } => scores(state, key, |scores| {
                let lowest = scores.iter().min_by_key(|(member, score)| (**score, *member));
                if let Some(lowest) = lowest.map(|(member, _)| member.clone()) {
                    scores.remove(&lowest);
                }
            }),
            Self::Log { key, value } => {
                let id = reply.and_then(Value::as_bytes).map(<[u8]>::to_vec);
                let id = id.unwrap_or_else(|| found_id(found, key, value));
                stream(state, key, |stream| stream.push((id, value.clone())));
            }
            Self::Trim { key, most } if state.contains_key(key) => stream(state, key, |stream| {
                stream.drain(..stream.len().saturating_sub(*most));
            }),
            Self::Delete { keys } => keys.iter().for_each(|key| drop(state.remove(key))),
            Self::Many { pairs } => {
                for (key, value) in pairs {
                    put(state, key, value, Deadline::Never);
                }
            }
            Self::Rename { from, to } => {
                if let Some(entry) = state.remove(from) {
                    state.insert(to.clone(), entry);
                }
            }
            Self::Trim { .. } | Self::Pay { .. } => {}
        }
    }
}

/// A request whose value stands where the line has a question mark.
fn words(line: &str, value: &[u8]) -> Vec<Vec<u8>> {
    let word = |word: &str| if word == "?" { value.to_vec() } else { word.as_bytes().to_vec() };
    line.split(' ').map(word).collect()
}

fn put(state: &mut State, key: &str, value: &[u8], deadline: Deadline) {
    state.insert(key.to_owned(), Entry { data: Data::Text(value.to_vec()), deadline });
}

fn text<'a>(state: &'a State, key: &str) -> Option<&'a Vec<u8>> {
    match &state.get(key)?.data {
        Data::Text(text) => Some(text),
        other => panic!("{key} holds a string, not {other:?}"),
    }
}

fn number(text: &[u8]) -> i64 {
    std::str::from_utf8(text).ok().and_then(|text| text.parse().ok()).expect("it is a number")
}

/// The key may have gone before, if its deadline is near.
fn append(state: &mut State, key: &str, value: &[u8], reply: Option<&Value>, found: &State) {
    let old = state.get(key);
    let may_have_gone = old.is_some_and(|entry| entry.deadline == Deadline::Soon);
    let has_gone = may_have_gone
        && match reply {
            Some(Value::Integer(length)) => *length == value.len() as i64,
            _ => found.get(key).is_some_and(|found| found.deadline == Deadline::Never),
        };
    let deadline = match old {
        Some(entry) if !has_gone => entry.deadline,
        _ => Deadline::Never,
    };
    let mut text = if has_gone { None } else { text(state, key) }.cloned().unwrap_or_default();
    text.extend_from_slice(value);
    put(state, key, &text, deadline);
}

fn pop_any(state: &mut State, key: &str, reply: Option<&Value>, found: &State) {
    let Some(Entry { data: Data::Set(members), .. }) = state.get(key) else { return };
    let popped = if let Some(reply) = reply {
        reply.as_bytes().map(<[u8]>::to_vec)
    } else {
        let left = found.get(key).map(|entry| &entry.data);
        let is_gone = |member: &&Vec<u8>| match left {
            Some(Data::Set(left)) => !left.contains(*member),
            _ => true,
        };
        members.iter().find(is_gone).cloned()
    };
    set(state, key, |set| {
        popped.map(|member| set.remove(&member));
    });
}

fn found_id(found: &State, key: &str, value: &[u8]) -> Vec<u8> {
    let Some(Entry { data: Data::Stream(entries), .. }) = found.get(key) else { return Vec::new() };
    let entry = entries.iter().find(|(_, of_entry)| of_entry == value);
    entry.map(|(id, _)| id.clone()).unwrap_or_default()
}

macro_rules! collections {
    ($($name:ident: $variant:ident of $kind:ty;)*) => {$(
        /// Changes a collection, which is there while it has elements.
        fn $name(state: &mut State, key: &str, change: impl FnOnce(&mut $kind)) {
            let data = || Data::$variant(Default::default());
            let empty = || Entry { data: data(), deadline: Deadline::Never };
            let entry = state.entry(key.to_owned()).or_insert_with(empty);
            match &mut entry.data {
                Data::$variant(collection) => change(collection),
                other => panic!("{key} holds another type: {other:?}"),
            }
            if entry.data.is_empty() {
                state.remove(key);
            }
        }
    )*};
}

collections! {
    list: List of VecDeque<Vec<u8>>;
    hash: Hash of BTreeMap<Vec<u8>, Vec<u8>>;
    set: Set of BTreeSet<Vec<u8>>;
    scores: Scores of BTreeMap<Vec<u8>, i64>;
    stream: Stream of Vec<(Vec<u8>, Vec<u8>)>;
}

/// The first key by which what was found differs from what should be there.
pub(crate) fn difference(should: &State, found: &State) -> Option<String> {
    let wrong = should.iter().find(|(key, entry)| !matches(entry, found.get(*key)));
    if let Some((key, entry)) = wrong {
        let found = found.get(key).map_or_else(|| "nothing".to_owned(), describe);
        return Some(format!("{key}: {found} instead of {}", describe(entry)));
    }
    let more = found.iter().find(|(key, _)| !should.contains_key(*key));
    more.map(|(key, entry)| format!("{key}: {} instead of nothing", describe(entry)))
}

/// Bytes as text, not too much of it.
pub(crate) fn abridged(bytes: &[u8]) -> String {
    let shown = bytes[..bytes.len().min(60)].escape_ascii();
    if bytes.len() > 60 { format!("{shown}... ({} bytes)", bytes.len()) } else { shown.to_string() }
}

fn describe(entry: &Entry) -> String {
    let words: Vec<String> = match &entry.data {
        Data::Text(text) => vec![abridged(text)],
        Data::List(list) => list.iter().map(|value| abridged(value)).collect(),
        Data::Set(set) => set.iter().map(|value| abridged(value)).collect(),
        Data::Hash(hash) => hash.iter().map(pair).collect(),
        Data::Stream(entries) => entries.iter().map(|(id, value)| pair((id, value))).collect(),
        Data::Scores(scores) => {
            scores.iter().map(|(member, score)| format!("{}={score}", abridged(member))).collect()
        }
    };
    format!("[{}] until {:?}", words.join(" "), entry.deadline)
}

fn pair((name, value): (&Vec<u8>, &Vec<u8>)) -> String {
    format!("{}={}", abridged(name), abridged(value))
}

fn matches(should: &Entry, found: Option<&Entry>) -> bool {
    let Some(found) = found else { return should.deadline == Deadline::Soon };
    let in_time = match should.deadline {
        Deadline::Never | Deadline::At(_) => found.deadline == should.deadline,
        Deadline::Chosen | Deadline::Soon => matches!(found.deadline, Deadline::At(_)),
    };
    in_time && found.data == should.data
}

/// The state to go on from: what was found, which explains what should be there.
pub(crate) fn settle(should: &State, found: &State) -> State {
    let mut settled = found.clone();
    for (key, entry) in should.iter().filter(|(_, entry)| entry.deadline == Deadline::Soon) {
        if let Some(found) = settled.get_mut(key) {
            found.deadline = entry.deadline;
        }
    }
    settled
}
