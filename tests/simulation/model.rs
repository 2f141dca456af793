//! What the commands of the simulation should do, one at a time: a single map.
//!
//! It adds four things to the keyspace of strings that all histories use. A key that is given a
//! time to live carries a tag, and its end is an operation of its own, [`Action::Expire`], which
//! takes place within the window that the clock leaves. Some more commands. Lists, and commands
//! that wait for an element of one: whoever gets none looked at a moment at which there was none,
//! and whoever gets one took it at some moment between request and reply. And the order that a
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
    /// `RPUSH`.
    Push(Key, Vec<String>),
    /// `LPOP`.
    Pop(Key),
    /// `BLPOP`, with a timeout in milliseconds.
    WaitPop(Vec<Key>, u64),
    /// `BLMOVE one other LEFT RIGHT`, with a timeout in milliseconds.
    WaitMove(Key, Key, u64),
    /// `LRANGE key 0 -1`.
    Range(Key),
    /// `RENAME` of a list.
    MoveList(Key, Key),
    /// `DEL` of lists.
    DeleteLists(Vec<Key>),
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

/// The lists that exist, which have names of their own.
pub(crate) type Lists = BTreeMap<Key, Vec<String>>;

/// What decides the outcome of later operations.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct State {
    values: keyspace::State,
    lists: Lists,
    tags: BTreeMap<Key, Tag>,
    /// The operations that have taken effect, a bit each.
    done: Vec<u64>,
}

impl State {
    /// The state in which a history begins.
    pub(crate) fn of(values: keyspace::State, lists: Lists) -> Self {
        Self { values, lists, ..Self::default() }
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
            Action::MSetEx(..) | Action::DeleteLists(_) => *reply == keyspace::Reply::Int(0),
            Action::Pop(_) | Action::WaitPop(..) | Action::WaitMove(..) => {
                *reply == keyspace::Reply::Bulk(None)
            }
            Action::LcsLen(..) | Action::Range(_) => true,
            Action::MoveList(..) => *reply != keyspace::Reply::Ok,
            Action::SetPx(..) | Action::Push(..) | Action::Expire(_) => false,
        }
    }
}

fn execute(state: &mut State, action: &Action) -> keyspace::Reply {
    match action {
        Action::Plain(Op::Multi(ops) | Op::Script { ops, .. }) => {
            let one = |op: &Op| execute(state, &Action::Plain(op.clone()));
            keyspace::Reply::Many(ops.iter().map(one).collect())
        }
        Action::Plain(op) => {
            let (values, reply) = Keyspace::apply(&state.values, op);
            let old = std::mem::replace(&mut state.values, values);
            move_tags(state, &old, op);
            if *op == Op::FlushAll {
                state.lists.clear();
            }
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
        Action::Push(..)
        | Action::Pop(_)
        | Action::WaitPop(..)
        | Action::WaitMove(..)
        | Action::Range(_)
        | Action::MoveList(..)
        | Action::DeleteLists(_) => execute_on_lists(&mut state.lists, action),
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

fn execute_on_lists(lists: &mut Lists, action: &Action) -> keyspace::Reply {
    use keyspace::Reply;
    match action {
        Action::Push(key, values) => {
            let list = lists.entry(*key).or_default();
            list.extend(values.iter().cloned());
            Reply::Int(list.len() as i64)
        }
        Action::Pop(key) => Reply::Bulk(pop(lists, *key)),
        Action::WaitPop(keys, _) => {
            let Some(key) = keys.iter().find(|key| lists.contains_key(key)) else {
                return Reply::Bulk(None);
            };
            Reply::Values(vec![Some(list_name(*key)), pop(lists, *key)])
        }
        Action::WaitMove(from, to, _) => {
            let moved = pop(lists, *from);
            if let Some(value) = &moved {
                lists.entry(*to).or_default().push(value.clone());
            }
            Reply::Bulk(moved)
        }
        Action::Range(key) => {
            let list = lists.get(key).into_iter().flatten();
            Reply::Values(list.map(|value| Some(value.clone())).collect())
        }
        Action::MoveList(from, to) => match lists.remove(from) {
            None => Reply::Error("ERR no such key".to_owned()),
            Some(list) => {
                lists.insert(*to, list);
                Reply::Ok
            }
        },
        Action::DeleteLists(keys) => {
            let removed = keys.iter().filter(|key| lists.remove(key).is_some());
            Reply::Int(removed.count() as i64)
        }
        _ => unreachable!("only these are about lists"),
    }
}

fn pop(lists: &mut Lists, key: Key) -> Option<String> {
    let list = lists.get_mut(&key)?;
    let value = list.remove(0);
    if list.is_empty() {
        lists.remove(&key);
    }
    Some(value)
}

/// The name of a list on the wire.
pub(crate) fn list_name(key: Key) -> String {
    format!("list:{key}")
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
    /// Whether nothing of its connection goes on before it is done.
    pub(crate) fn waits(&self) -> bool {
        matches!(self, Self::WaitPop(..) | Self::WaitMove(..))
    }

    fn keys(&self) -> Keys {
        // Lists have other names than strings.
        let list = |key: &Key| key + 100;
        let Self::Plain(op) = self else {
            return Keys::Some(match self {
                Self::SetPx(key, ..) => vec![*key],
                Self::MSetEx(pairs, _) => pairs.iter().map(|(key, ..)| *key).collect(),
                Self::LcsLen(one, other) => vec![*one, *other],
                Self::Push(key, _) | Self::Pop(key) | Self::Range(key) => vec![list(key)],
                Self::WaitPop(keys, _) | Self::DeleteLists(keys) => keys.iter().map(list).collect(),
                Self::WaitMove(one, other, _) | Self::MoveList(one, other) => {
                    vec![list(one), list(other)]
                }
                Self::Expire(_) | Self::Plain(_) => vec![],
            });
        };
        op.keys().map_or(Keys::All, Keys::Some)
    }

    /// Whether it changes nothing, whatever its reply.
    pub(crate) fn only_reads(&self) -> bool {
        match self {
            Self::Plain(op) => op.only_reads(),
            Self::LcsLen(..) | Self::Range(_) => true,
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
