//! What the commands of the simulation should do, one at a time: a single map.
//!
//! It adds three things to the keyspace of strings that all histories use. A key that is given a
//! time to live carries a tag, and its end is an operation of its own, [`Action::Expire`], which
//! takes place within the window that the clock leaves. Some more commands. And the order that a
//! pipeline promises: of two requests of one connection that meet on a key, the first comes first.

use std::collections::BTreeMap;

use kvasir_testing::linear::Model;
use kvasir_testing::linear::keyspace::{self, Key, Keyspace, Op};

/// What happens to the keyspace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// A command of the common model.
    Plain(Op),
    /// `SET key value PX ttl`; the tag names this time to live.
    SetPx(Key, String, Tag),
    /// `MSETEX` with a time to live. Each key has a tag of its own, for each expires on its own.
    MSetEx(Vec<(Key, String, Tag)>, Condition),
    /// `LCS one other LEN`.
    LcsLen(Key, Key),
    /// The moment at which a time to live ends. No client asks for it.
    Expire(Tag),
}

/// One time to live that some command has given.
pub(crate) type Tag = u32;

/// When MSETEX writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Condition {
    Always,
    NoneExists,
    AllExist,
}

/// An operation of a history, with its place in its connection's order.
#[derive(Clone, Debug)]
pub(crate) struct Step {
    /// The operation's index in the history.
    pub(crate) index: usize,
    /// Operations of the same connection that come before it by what the pipeline promises.
    pub(crate) after: Vec<usize>,
    pub(crate) action: Action,
}

/// What decides the outcome of later operations.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct State {
    values: keyspace::State,
    tags: BTreeMap<Key, Tag>,
    /// The operations that have taken effect, a bit each.
    done: Vec<u64>,
}

impl State {
    /// The state in which a history begins.
    pub(crate) fn of(values: keyspace::State) -> Self {
        Self { values, ..Self::default() }
    }
}

/// The single map.
pub(crate) struct Map;

impl Model for Map {
    type State = State;
    type Op = Step;
    /// None when the operation is out of its connection's order, which no client sees.
    type Reply = Option<keyspace::Reply>;

    fn apply(state: &State, step: &Step) -> (State, Self::Reply) {
        let mut state = state.clone();
        let is_done =
            |at: &usize| state.done.get(at / 64).is_some_and(|bits| bits >> (at % 64) & 1 == 1);
        if !step.after.iter().all(is_done) {
            return (state, None);
        }
        let word = step.index / 64;
        if state.done.len() <= word {
            state.done.resize(word + 1, 0);
        }
        state.done[word] |= 1 << (step.index % 64);
        let reply = execute(&mut state, &step.action);
        (state, Some(reply))
    }

    fn only_looks(step: &Step, reply: &Self::Reply) -> bool {
        let Some(reply) = reply else { return true };
        match &step.action {
            Action::Plain(op) => Keyspace::only_looks(op, reply),
            Action::LcsLen(..) => true,
            Action::MSetEx(..) => *reply == keyspace::Reply::Int(0),
            Action::SetPx(..) | Action::Expire(_) => false,
        }
    }
}

fn execute(state: &mut State, action: &Action) -> keyspace::Reply {
    match action {
        Action::Plain(op) => {
            let (values, reply) = Keyspace::apply(&state.values, op);
            let old = std::mem::replace(&mut state.values, values);
            move_tags(state, &old, op);
            reply
        }
        Action::SetPx(key, value, tag) => {
            state.values.insert(*key, value.clone());
            state.tags.insert(*key, *tag);
            keyspace::Reply::Ok
        }
        Action::MSetEx(pairs, condition) => {
            let mut exist = pairs.iter().map(|(key, ..)| state.values.contains_key(key));
            let writes = match condition {
                Condition::Always => true,
                Condition::NoneExists => !exist.any(|exists| exists),
                Condition::AllExist => exist.all(|exists| exists),
            };
            if writes {
                for (key, value, tag) in pairs {
                    state.values.insert(*key, value.clone());
                    state.tags.insert(*key, *tag);
                }
            }
            keyspace::Reply::Int(i64::from(writes))
        }
        Action::LcsLen(one, other) => {
            let value = |key| state.values.get(key).map_or("", String::as_str);
            keyspace::Reply::Int(
                common_subsequence(value(one).as_bytes(), value(other).as_bytes()) as i64
            )
        }
        Action::Expire(tag) => {
            let ended = |(key, other): (&Key, &Tag)| (other == tag).then_some(*key);
            if let Some(key) = state.tags.iter().find_map(ended) {
                state.values.remove(&key);
                state.tags.remove(&key);
            }
            keyspace::Reply::Ok
        }
    }
}

/// What an operation of the common model does to times to live.
fn move_tags(state: &mut State, old: &keyspace::State, op: &Op) {
    let changed = |key: &Key| state.values.get(key) != old.get(key);
    match op {
        Op::Set(key, _) => {
            state.tags.remove(key);
        }
        Op::MSet(pairs) => pairs.iter().for_each(|(key, _)| {
            state.tags.remove(key);
        }),
        Op::Rename(from, to) | Op::RenameNx(from, to) if from != to && changed(from) => {
            let tag = state.tags.remove(from);
            state.tags.remove(to);
            state.tags.extend(tag.map(|tag| (*to, tag)));
        }
        _ => {}
    }
    let State { values, tags, .. } = state;
    tags.retain(|key, _| values.contains_key(key));
}

/// The length of the longest common subsequence, by the textbook recurrence.
fn common_subsequence(one: &[u8], other: &[u8]) -> usize {
    let mut lengths = vec![0; other.len() + 1];
    for a in one {
        let mut diagonal = 0;
        for (column, b) in other.iter().enumerate() {
            let above = lengths[column + 1];
            lengths[column + 1] = if a == b { diagonal + 1 } else { above.max(lengths[column]) };
            diagonal = above;
        }
    }
    lengths[other.len()]
}

/// Which keys an operation reads or writes.
pub(crate) enum Keys {
    Some(Vec<Key>),
    All,
}

impl Action {
    fn keys(&self) -> Keys {
        let Self::Plain(op) = self else {
            return Keys::Some(match self {
                Self::SetPx(key, ..) => vec![*key],
                Self::MSetEx(pairs, _) => pairs.iter().map(|(key, ..)| *key).collect(),
                Self::LcsLen(one, other) => vec![*one, *other],
                Self::Expire(_) | Self::Plain(_) => vec![],
            });
        };
        Keys::Some(match op {
            Op::Get(key)
            | Op::Set(key, _)
            | Op::SetNx(key, _)
            | Op::GetDel(key)
            | Op::Append(key, _)
            | Op::Incr(key) => vec![*key],
            Op::Del(keys) | Op::Unlink(keys) | Op::Exists(keys) | Op::MGet(keys) => keys.clone(),
            Op::MSet(pairs) | Op::MSetNx(pairs) => pairs.iter().map(|(key, _)| *key).collect(),
            Op::Rename(from, to) | Op::RenameNx(from, to) | Op::Copy(from, to) => vec![*from, *to],
            Op::FlushAll | Op::DbSize | Op::Keys => return Keys::All,
        })
    }

    /// Whether it changes nothing, whatever its reply.
    pub(crate) fn only_reads(&self) -> bool {
        match self {
            Self::Plain(op) => {
                matches!(op, Op::Get(_) | Op::Exists(_) | Op::MGet(_) | Op::DbSize | Op::Keys)
            }
            Self::LcsLen(..) => true,
            _ => false,
        }
    }

    /// Whether the pipeline's order of the two can be seen: one changes what the other touches.
    pub(crate) fn meets(&self, other: &Self) -> bool {
        if self.only_reads() && other.only_reads() {
            return false;
        }
        match (self.keys(), other.keys()) {
            (Keys::Some(ours), Keys::Some(theirs)) => ours.iter().any(|key| theirs.contains(key)),
            _ => true,
        }
    }
}
