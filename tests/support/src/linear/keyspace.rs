//! The model of a keyspace of strings: what the commands used in histories do, one at a time.

use std::collections::BTreeMap;

use super::Model;

/// A key's name: a number, so that states are small.
pub type Key = u8;
/// The keys that exist and their values.
pub type State = BTreeMap<Key, String>;

/// A keyspace of strings.
#[derive(Debug)]
pub struct Keyspace;

/// A command with its arguments.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "each variant is the command that bears its name")]
pub enum Op {
    Get(Key),
    Set(Key, String),
    SetNx(Key, String),
    GetDel(Key),
    Append(Key, String),
    Incr(Key),
    Del(Vec<Key>),
    Unlink(Vec<Key>),
    Exists(Vec<Key>),
    MGet(Vec<Key>),
    MSet(Vec<(Key, String)>),
    MSetNx(Vec<(Key, String)>),
    Rename(Key, Key),
    RenameNx(Key, Key),
    Copy(Key, Key),
    FlushAll,
    DbSize,
    Keys,
    /// `MULTI`, these commands, `EXEC`.
    Multi(Vec<Self>),
    /// The same, by a client that watches keys since it has read these values.
    Guarded(Vec<(Key, Option<String>)>, Vec<Self>),
    /// `EVAL` of a script that executes these commands, whatever keys it declares. Scripts with
    /// different numbers have different texts.
    Script {
        declared: Vec<Key>,
        number: u64,
        ops: Vec<Self>,
    },
}

impl Op {
    /// The keys that a command on some keys names; every one for those on the whole keyspace.
    pub fn keys(&self) -> Option<Vec<Key>> {
        Some(match self {
            Self::Get(key)
            | Self::Set(key, _)
            | Self::SetNx(key, _)
            | Self::GetDel(key)
            | Self::Append(key, _)
            | Self::Incr(key) => vec![*key],
            Self::Del(keys) | Self::Unlink(keys) | Self::Exists(keys) | Self::MGet(keys) => {
                keys.clone()
            }
            Self::MSet(pairs) | Self::MSetNx(pairs) => pairs.iter().map(|(key, _)| *key).collect(),
            Self::Rename(from, to) | Self::RenameNx(from, to) | Self::Copy(from, to) => {
                vec![*from, *to]
            }
            Self::FlushAll | Self::DbSize | Self::Keys => return None,
            Self::Multi(ops) | Self::Guarded(_, ops) | Self::Script { ops, .. } => {
                let each: Option<Vec<_>> = ops.iter().map(Self::keys).collect();
                each?.concat()
            }
        })
    }

    /// Whether it changes nothing, whatever its reply.
    pub fn only_reads(&self) -> bool {
        match self {
            Self::Get(_) | Self::Exists(_) | Self::MGet(_) | Self::DbSize | Self::Keys => true,
            Self::Multi(ops) | Self::Guarded(_, ops) | Self::Script { ops, .. } => {
                ops.iter().all(Self::only_reads)
            }
            _ => false,
        }
    }
}

/// A reply, as far as the commands of [`Op`] give any.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// `+OK`.
    Ok,
    /// An integer.
    Int(i64),
    /// A value or its absence.
    Bulk(Option<String>),
    /// One value for each key asked for.
    Values(Vec<Option<String>>),
    /// The names of keys, sorted: their order on the wire means nothing.
    Names(Vec<Key>),
    /// An error with its text.
    Error(String),
    /// One reply for each command of a transaction.
    Many(Vec<Self>),
}

impl Model for Keyspace {
    type State = State;
    type Op = Op;
    type Reply = Reply;

    fn apply(state: &State, op: &Op) -> (State, Reply) {
        let mut state = state.clone();
        let reply = execute(&mut state, op);
        (state, reply)
    }

    fn only_looks(op: &Op, reply: &Reply) -> bool {
        match (op, reply) {
            (
                Op::Multi(ops) | Op::Guarded(_, ops) | Op::Script { ops, .. },
                Reply::Many(replies),
            ) => {
                return ops.iter().zip(replies).all(|(op, reply)| Self::only_looks(op, reply));
            }
            (Op::Multi(_) | Op::Guarded(..) | Op::Script { .. }, _) => return false,
            _ => {}
        }
        match op {
            op if op.only_reads() => true,
            Op::Set(..) | Op::Append(..) | Op::MSet(_) | Op::FlushAll => false,
            _ => matches!(reply, Reply::Int(0) | Reply::Bulk(None) | Reply::Error(_)),
        }
    }
}

fn execute(state: &mut State, op: &Op) -> Reply {
    match op {
        Op::Get(key) => Reply::Bulk(state.get(key).cloned()),
        Op::Set(key, value) => {
            state.insert(*key, value.clone());
            Reply::Ok
        }
        Op::SetNx(key, value) => set_all_if_none_exists(state, &[(*key, value.clone())]),
        Op::GetDel(key) => Reply::Bulk(state.remove(key)),
        Op::Append(key, tail) => {
            let value = state.entry(*key).or_default();
            value.push_str(tail);
            Reply::Int(value.len() as i64)
        }
        Op::Incr(key) => increment(state, *key),
        Op::Del(keys) | Op::Unlink(keys) => {
            count(keys.iter().filter(|key| state.remove(key).is_some()))
        }
        Op::Exists(keys) => count(keys.iter().filter(|key| state.contains_key(key))),
        Op::MGet(keys) => Reply::Values(keys.iter().map(|key| state.get(key).cloned()).collect()),
        Op::MSet(pairs) => {
            state.extend(pairs.iter().cloned());
            Reply::Ok
        }
        Op::MSetNx(pairs) => set_all_if_none_exists(state, pairs),
        Op::Rename(..) | Op::RenameNx(..) | Op::Copy(..) => transfer(state, op),
        Op::FlushAll => {
            state.clear();
            Reply::Ok
        }
        Op::DbSize => Reply::Int(state.len() as i64),
        Op::Keys => Reply::Names(state.keys().copied().collect()),
        Op::Guarded(seen, _)
            if seen.iter().any(|(key, value)| state.get(key) != value.as_ref()) =>
        {
            Reply::Error("a watched key has changed".to_owned())
        }
        Op::Multi(ops) | Op::Guarded(_, ops) | Op::Script { ops, .. } => {
            Reply::Many(ops.iter().map(|op| execute(state, op)).collect())
        }
    }
}

/// RENAME, RENAMENX and COPY without REPLACE.
fn transfer(state: &mut State, op: &Op) -> Reply {
    let (Op::Rename(from, to) | Op::RenameNx(from, to) | Op::Copy(from, to)) = op else {
        unreachable!("only these three move a value");
    };
    let is_copy = matches!(op, Op::Copy(..));
    let Some(value) = state.get(from).cloned() else {
        let missing = Reply::Error("ERR no such key".to_owned());
        return if is_copy { Reply::Int(0) } else { missing };
    };
    let is_rename = matches!(op, Op::Rename(..));
    if !is_rename && state.contains_key(to) {
        return Reply::Int(0);
    }
    if !is_copy {
        state.remove(from);
    }
    state.insert(*to, value);
    if is_rename { Reply::Ok } else { Reply::Int(1) }
}

fn increment(state: &mut State, key: Key) -> Reply {
    let text = state.get(&key).map_or("0", String::as_str);
    let number = text.parse::<i64>().ok();
    let Some(next) = number.and_then(|number| number.checked_add(1)) else {
        return Reply::Error("ERR value is not an integer or out of range".to_owned());
    };
    state.insert(key, next.to_string());
    Reply::Int(next)
}

fn set_all_if_none_exists(state: &mut State, pairs: &[(Key, String)]) -> Reply {
    if pairs.iter().any(|(key, _)| state.contains_key(key)) {
        return Reply::Int(0);
    }
    state.extend(pairs.iter().cloned());
    Reply::Int(1)
}

fn count<T>(items: impl Iterator<Item = T>) -> Reply {
    Reply::Int(items.count() as i64)
}

#[cfg(test)]
mod tests {
    use super::super::{Event, Verdict, check};
    use super::*;
    use crate::Rng;

    type Seen = Event<Op, Reply>;

    fn seen(client: usize, span: (u64, u64), op: Op, reply: Reply) -> Seen {
        Event { client, op, invoked: span.0, returned: Some((span.1, reply)) }
    }

    fn value(text: &str) -> Reply {
        Reply::Bulk(Some(text.into()))
    }

    fn verdict(history: &[Seen]) -> Verdict {
        check::<Keyspace>(&State::new(), history)
    }

    fn is_violation(history: &[Seen]) -> bool {
        matches!(verdict(history), Verdict::Violation { .. })
    }

    #[test]
    fn an_empty_history_is_linearizable() {
        assert_eq!(verdict(&[]), Verdict::Linearizable);
    }

    #[test]
    fn a_read_that_overlaps_a_write_may_see_either_value() {
        let write = seen(0, (0, 10), Op::Set(1, "a".to_owned()), Reply::Ok);
        let before = seen(1, (5, 6), Op::Get(1), Reply::Bulk(None));
        let after = seen(1, (5, 6), Op::Get(1), value("a"));
        assert_eq!(verdict(&[write.clone(), before.clone()]), Verdict::Linearizable);
        assert_eq!(verdict(&[write.clone(), after.clone()]), Verdict::Linearizable);
        // Both reads may be explained when the one that sees nothing comes first, not otherwise.
        let later = |mut event: Seen| {
            event.invoked += 2;
            event.returned = event.returned.map(|(end, reply)| (end + 2, reply));
            event
        };
        assert_eq!(
            verdict(&[write.clone(), before.clone(), later(after.clone())]),
            Verdict::Linearizable
        );
        assert!(is_violation(&[write, after, later(before)]));
    }

    #[test]
    fn a_stale_read_is_found() {
        let history = [
            seen(0, (0, 1), Op::Set(1, "old".to_owned()), Reply::Ok),
            seen(0, (2, 3), Op::Set(1, "new".to_owned()), Reply::Ok),
            seen(1, (4, 5), Op::Get(1), value("old")),
        ];
        assert!(is_violation(&history));
    }

    #[test]
    fn a_torn_mget_is_found() {
        let pairs = vec![(1, "x".to_owned()), (2, "x".to_owned())];
        let torn = Reply::Values(vec![Some("x".to_owned()), None]);
        let whole = Reply::Values(vec![None, None]);
        let history = |reply| {
            [
                seen(0, (0, 10), Op::MSet(pairs.clone()), Reply::Ok),
                seen(1, (1, 9), Op::MGet(vec![1, 2]), reply),
            ]
        };
        assert!(is_violation(&history(torn)));
        assert_eq!(verdict(&history(whole)), Verdict::Linearizable);
    }

    #[test]
    fn a_lost_msetnx_is_found() {
        // Two that share a key cannot both succeed, nor can one that succeeded leave no trace.
        let pairs = |a: Key, b: Key| vec![(a, "v".to_owned()), (b, "v".to_owned())];
        let both = [
            seen(0, (0, 10), Op::MSetNx(pairs(1, 2)), Reply::Int(1)),
            seen(1, (0, 10), Op::MSetNx(pairs(2, 3)), Reply::Int(1)),
        ];
        assert!(is_violation(&both));
        let lost = [
            seen(0, (0, 10), Op::MSetNx(pairs(1, 2)), Reply::Int(1)),
            seen(1, (11, 12), Op::Exists(vec![1, 2]), Reply::Int(1)),
        ];
        assert!(is_violation(&lost));
    }

    #[test]
    fn a_rename_is_never_seen_half_done() {
        let history = |names: &[Key]| {
            [
                seen(0, (0, 1), Op::Set(1, "v".to_owned()), Reply::Ok),
                seen(0, (2, 9), Op::Rename(1, 2), Reply::Ok),
                seen(1, (3, 8), Op::Keys, Reply::Names(names.to_vec())),
            ]
        };
        assert_eq!(verdict(&history(&[1])), Verdict::Linearizable);
        assert_eq!(verdict(&history(&[2])), Verdict::Linearizable);
        assert!(is_violation(&history(&[1, 2])));
        assert!(is_violation(&history(&[])));
    }

    #[test]
    fn an_operation_without_a_reply_may_have_happened_or_not() {
        let lost = Event { client: 0, op: Op::Incr(1), invoked: 0, returned: None };
        for text in [Reply::Bulk(None), value("1")] {
            let read = seen(1, (5, 6), Op::Get(1), text);
            assert_eq!(verdict(&[lost.clone(), read]), Verdict::Linearizable);
        }
        assert!(is_violation(&[lost, seen(1, (5, 6), Op::Get(1), value("2"))]));
    }

    #[test]
    fn a_violation_names_the_longest_explained_beginning() {
        let history = [
            seen(0, (0, 1), Op::Set(1, "a".to_owned()), Reply::Ok),
            seen(0, (2, 3), Op::Get(1), value("b")),
        ];
        assert_eq!(verdict(&history), Verdict::Violation { explained: vec![0] });
    }

    /// Histories made by executing random operations one at a time at random moments within their
    /// intervals are linearizable by construction; with one reply falsified they mostly are not.
    #[test]
    fn random_histories_made_sequentially_are_accepted_and_falsified_ones_mostly_refused() {
        let mut refused = 0;
        for seed in 0..200 {
            let mut rng = Rng::new(seed);
            let mut history = random_history(&mut rng, 40);
            assert_eq!(verdict(&history), Verdict::Linearizable, "seed {seed}");
            let victim = rng.below(history.len());
            let reply = history[victim].returned.as_mut().expect("every operation returned");
            reply.1 = Reply::Error("FALSIFIED".to_owned());
            refused += u32::from(is_violation(&history));
        }
        assert_eq!(refused, 200);
    }

    fn random_history(rng: &mut Rng, len: u64) -> Vec<Seen> {
        let mut state = State::new();
        let mut history = Vec::new();
        for moment in 1..=len {
            let op = random_op(rng);
            let (next, reply) = Keyspace::apply(&state, &op);
            state = next;
            let time = moment * 10;
            let (early, late) = (rng.below(25) as u64, rng.below(25) as u64);
            let span = (time.saturating_sub(early), time + late);
            history.push(seen(rng.below(4), span, op, reply));
        }
        history
    }

    fn random_op(rng: &mut Rng) -> Op {
        let (a, b) = (rng.below(4) as Key, rng.below(4) as Key);
        let text = rng.below(3).to_string();
        match rng.below(12) {
            0 => Op::Get(a),
            1 => Op::Set(a, text),
            2 => Op::Incr(a),
            3 => Op::MGet(vec![a, b]),
            4 => Op::MSet(vec![(a, text.clone()), (b, text)]),
            5 => Op::MSetNx(vec![(a, text.clone()), (b, text)]),
            6 => Op::Del(vec![a, b]),
            7 => Op::Rename(a, b),
            8 => Op::Copy(a, b),
            9 => Op::Append(a, text),
            10 => Op::FlushAll,
            _ => Op::DbSize,
        }
    }
}
