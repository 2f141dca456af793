//! Any key at all: RANDOMKEY.

use kvasir_shard::RandomKey;

use crate::commands::context::Coordination;
use crate::commands::definition::{Arity, Command, Flags, Group, Handler, LockScope};
use crate::route::core::CoreState;
use crate::route::message::ClientView;
use crate::route::transaction::{Request, Transaction};

pub(super) const RANDOMKEY: Command = Command {
    name: "randomkey",
    summary: "Returns a random key name from the database.",
    complexity: "O(1)",
    since: "1.0.0",
    group: Group::Generic,
    arity: Arity::exactly(1),
    flags: Flags::READONLY.or(Flags::TOUCHES_ARBITRARY_KEYS),
    tips: &["request_policy:all_shards", "response_policy:special", "nondeterministic_output"],
    handler: Handler::Global(LockScope::Shared, randomkey),
    ..Command::BASE
};

/// What one shard proposes.
struct Candidate {
    /// A random key of the shard, and the number of keys among which it was chosen.
    key: Option<(Box<[u8]>, u64)>,
    random: u64,
    /// It has keys, but has found none that is not due.
    again: bool,
}

fn randomkey(transaction: Transaction, request: Request) -> Coordination {
    Box::pin(async move {
        let view = request.view;
        loop {
            let propose = |shard| (shard, move |state: &mut CoreState| candidate(state, view));
            let candidates = transaction.hop(transaction.shards().map(propose)).await;
            if !candidates.iter().any(|candidate| candidate.again) {
                let key = choose(candidates);
                return Ok(request.encode(|reply| reply.bulk_or_null(key.as_deref())));
            }
            // Due keys go with every attempt; where they stay, some key has no deadline, and is
            // drawn in the end.
            transaction.rest().await;
        }
    })
}

fn candidate(state: &mut CoreState, view: ClientView) -> Candidate {
    state.show_as_to(view);
    let random = state.shard.next_random();
    let found = state.shard.random_key(view.db);
    let again = found == RandomKey::NotFound;
    let key: Option<Box<[u8]>> = match found {
        RandomKey::Key(key) => Some(key.into()),
        RandomKey::Empty | RandomKey::NotFound => None,
    };
    let len = state.shard.len(view.db) as u64;
    Candidate { key: key.map(|key| (key, len)), random, again }
}

/// Chooses among the shards by their numbers of keys, so that each key is as likely as any other.
fn choose(candidates: Vec<Candidate>) -> Option<Box<[u8]>> {
    let random = candidates.first()?.random;
    let keys = candidates.into_iter().filter_map(|candidate| candidate.key);
    let keys: Vec<(Box<[u8]>, u64)> = keys.collect();
    let total: u64 = keys.iter().map(|(_, len)| len).sum();
    let mut place = random.checked_rem(total)?;
    for (key, len) in keys {
        if place < len {
            return Some(key);
        }
        place -= len;
    }
    unreachable!("the place is below the sum of the lengths")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidates(random: u64) -> Vec<Candidate> {
        let key = |name: &[u8], len| Some((name.into(), len));
        vec![
            Candidate { key: None, random, again: false },
            Candidate { key: key(b"a", 1), random: 0, again: false },
            Candidate { key: key(b"b", 3), random: 0, again: false },
        ]
    }

    #[test]
    fn shards_are_chosen_by_their_number_of_keys() {
        let chosen: Vec<_> = (0..8).map(|random| choose(candidates(random)).unwrap()).collect();
        let chosen: Vec<u8> = chosen.iter().map(|key| key[0]).collect();
        assert_eq!(chosen, b"abbbabbb");
        assert_eq!(choose(vec![Candidate { key: None, random: 5, again: false }]), None);
    }
}
