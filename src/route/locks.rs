//! The locks of one shard: intents of the transactions that span several shards.
//!
//! Strict two-phase locking with ordered identifiers, after the intent locks of VLL (Ren, Thomson,
//! Abadi, "VLL: a lock manager redesign for main memory database systems") with one difference: a
//! transaction runs only once *every* shard has granted *all* its locks, so its serialization point
//! is the moment at which it holds them all, and no shard needs to remember finished transactions.
//!
//! Each key that some transaction wants has a queue of claims; a claim is granted when it is
//! compatible with every claim before it. A transaction that could not be granted a claim at once
//! where a transaction with a higher identifier is queued is refused, and its coordinator tries
//! again with a new identifier. So a transaction only ever waits for lower ones: no deadlock.
//! Under contention a transaction from a core that is further away than others may always find
//! higher ones before it. After some refusals it therefore becomes patient: it is never refused,
//! counts as higher than all others, and claims one shard after the other, in their order. Nobody
//! else waits for a patient one, and of two patient ones the first on any shard is the first on all
//! later ones.
//! A parked command counts as the highest transaction that it may itself be waiting for, on any of
//! its keys, since who waits for it waits for that one too.
//!
//! A script may turn out to need everything when it has done what cannot be taken back. It cannot
//! be refused, and cannot wait in the queues either: others may wait for what it holds. Then its
//! coordinator has every shard raise a barrier. From then on commands of that shard alone wait, and
//! transactions that wait are refused, as are all that come; those that have their locks come to
//! their end. When nobody else holds anything the shard is quiet, and the script has it. There is
//! one such script in the process at a time, and nobody who is expelled has done anything yet, so
//! every shard becomes quiet.
//!
//! A command of a single shard takes no lock. It runs at once unless it conflicts with a claim;
//! then it is parked as a claim of its own, in arrival order, and handed back when its turn has
//! come. While no transaction holds or wants anything here, that costs it one comparison.
//!
//! | operation | cost |
//! |---|---|
//! | `is_idle` | O(1), no memory access beyond the table's head |
//! | `request`, `release` | O(keys * claims queued on each) |

use std::collections::VecDeque;

/// The identity of a transaction: drawn from one counter for the whole process.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct TransactionId(pub u64);

impl TransactionId {
    /// The bit that makes a patient transaction higher than all that are not.
    const PATIENT: u64 = 1 << 63;

    /// The same transaction as a patient one.
    #[must_use]
    pub fn patient(self) -> Self {
        Self(self.0 | Self::PATIENT)
    }

    /// Whether it waits for whoever comes before it, and claims one shard after the other.
    pub fn is_patient(self) -> bool {
        self.0 & Self::PATIENT != 0
    }
}

/// What a claim does with its key, or with the keyspace as a whole.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mode {
    /// Reads.
    Read,
    /// Changes.
    Write,
}

/// A key as the locks see it: a hash of database and key. Two keys with one fingerprint conflict
/// without need, which costs a wait and nothing else.
pub type Fingerprint = u64;

/// What a transaction or a parked command wants of a shard.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Scope {
    /// These keys.
    Keys(Vec<(Fingerprint, Mode)>),
    /// Every key of every database.
    Everything(Mode),
}

impl Scope {
    /// Adds what another command wants, so that both can run under one claim. Whoever reads
    /// everything and writes something claims all of it for writing.
    pub fn join(&mut self, other: Self) {
        let writes = |scope: &Self| match scope {
            Self::Everything(mode) => *mode == Mode::Write,
            Self::Keys(keys) => keys.iter().any(|(_, mode)| *mode == Mode::Write),
        };
        match (&mut *self, other) {
            (Self::Keys(keys), Self::Keys(others)) => keys.extend(others),
            (this, other) => {
                let any = writes(this) || writes(&other);
                *this = Self::Everything(if any { Mode::Write } else { Mode::Read });
            }
        }
    }
}

/// Who made a claim.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Owner {
    /// A transaction, which holds its claims until it is released.
    Transaction(TransactionId),
    /// A command of this shard alone, which runs and is done as soon as it is granted.
    Parked(u64),
    /// A script that runs on this shard already, beside the claims before its own, and has to be
    /// waited for by all that come later.
    Script(u64),
}

/// What a request came to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// All claims are granted.
    Granted,
    /// Some wait; the owner is returned by a later [`Locks::release`].
    Queued,
    /// As `Queued`, and a script has held what it waits for too long: its client need not wait.
    Busy,
    /// Nothing was claimed: try again with a new identifier.
    Refused,
}

/// What a claim on the whole keyspace is compatible with: the usual hierarchy of intents.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Intent {
    ReadSome,
    WriteSome,
    ReadAll,
    WriteAll,
}

impl Intent {
    const ALL: [Self; 4] = [Self::ReadSome, Self::WriteSome, Self::ReadAll, Self::WriteAll];

    fn compatible(self, other: Self) -> bool {
        use Intent::{ReadAll, ReadSome, WriteAll, WriteSome};
        match (self, other) {
            (WriteAll, _) | (_, WriteAll) | (ReadAll, WriteSome) | (WriteSome, ReadAll) => false,
            (ReadSome, _) | (_, ReadSome) | (WriteSome, WriteSome) | (ReadAll, ReadAll) => true,
        }
    }
}

#[derive(Clone, Copy, Debug)]
struct Claim {
    owner: Owner,
    intent: Intent,
    /// The highest transaction that a claim behind this one would wait for: the owner itself, or
    /// for a parked command the highest that it would wait for in any of its queues.
    rank: TransactionId,
}

/// Claims on one key, or on the whole, in the order in which they came.
type Queue = VecDeque<Claim>;

/// An owner with claims that are not all granted yet, or a transaction that holds some.
#[derive(Debug)]
struct Holding {
    scope: Scope,
    /// Queues in which the owner still waits.
    waits: usize,
}

/// What keeps everybody out for the one that is to have everything.
#[derive(Debug)]
struct Barrier {
    id: TransactionId,
    /// Parked commands that have come since, each of which waits for it as for a claim.
    barred: Vec<Owner>,
    /// Its coordinator has been told that the shard is quiet.
    is_told: bool,
}

/// The locks of one shard.
#[derive(Debug, Default)]
pub struct Locks {
    barrier: Option<Barrier>,
    whole: Queue,
    keys: std::collections::HashMap<Fingerprint, Queue, ahash::RandomState>,
    owners: std::collections::HashMap<Owner, Holding, ahash::RandomState>,
}

impl Locks {
    /// Whether nobody holds or wants anything: every command may run at once.
    pub fn is_idle(&self) -> bool {
        self.whole.is_empty() && self.barrier.is_none()
    }

    /// Whether a command of this shard alone may run now.
    pub fn admits(&self, scope: &Scope) -> bool {
        let is_free = || queues_of(scope).all(|(key, intent)| self.free(key, intent, None));
        self.is_idle() || self.barrier.is_none() && is_free()
    }

    /// Claims `scope` for `owner`. See the module's head for when it is refused.
    pub fn request(&mut self, owner: Owner, scope: Scope) -> Outcome {
        assert!(!self.owners.contains_key(&owner), "invariant: an owner requests once");
        let mut waits = 0;
        match (&mut self.barrier, owner) {
            (None, _) | (_, Owner::Script(_)) => {}
            (Some(_), Owner::Transaction(_)) => return Outcome::Refused,
            (Some(barrier), Owner::Parked(_)) => {
                barrier.barred.push(owner);
                waits += 1;
            }
        }
        let scope = normalized(scope);
        for (key, intent) in queues_of(&scope) {
            if !self.free(key, intent, None) {
                if self.overtaken(owner, key, intent) {
                    return Outcome::Refused;
                }
                waits += 1;
            }
        }
        let rank = match owner {
            Owner::Transaction(id) => id,
            Owner::Parked(_) => self.highest(&scope),
            Owner::Script(_) => TransactionId(u64::MAX),
        };
        for (key, intent) in queues_of(&scope) {
            self.queue_mut(key).push_back(Claim { owner, intent, rank });
        }
        self.owners.insert(owner, Holding { scope, waits });
        if waits == 0 { Outcome::Granted } else { Outcome::Queued }
    }

    /// Claims everything for a script that runs here already and uses nothing that has been claimed
    /// before. Whoever comes later waits for it, as for the highest of all transactions.
    pub fn seize(&mut self, owner: Owner) {
        self.request(owner, Scope::Everything(Mode::Write));
    }

    /// Makes the claims of a script those of a transaction. Who waits for the one waits for the
    /// other.
    pub fn rename(&mut self, script: Owner, id: TransactionId) {
        let holding = self.owners.remove(&script).expect("invariant: a script that seized holds");
        let owner = Owner::Transaction(id);
        for (key, _) in queues_of(&holding.scope) {
            let mut claims = self.queue_mut(key).iter_mut();
            let claim = claims.find(|claim| claim.owner == script);
            claim.expect("invariant: an owner has a claim in each queue of its scope").owner =
                owner;
        }
        self.owners.insert(owner, holding);
    }

    /// Raises a barrier for a transaction. Returns the transactions that wait, which have to be
    /// released in this order, so that none of them is granted thereby, and told so.
    pub fn raise(&mut self, id: TransactionId) -> Vec<TransactionId> {
        assert!(self.barrier.is_none(), "invariant: one barrier at a time");
        self.barrier = Some(Barrier { id, barred: Vec::new(), is_told: false });
        let claims = self.whole.iter().rev().filter(|claim| self.owners[&claim.owner].waits > 0);
        let transactions = claims.filter_map(|claim| match claim.owner {
            Owner::Transaction(id) => Some(id),
            Owner::Parked(_) | Owner::Script(_) => None,
        });
        transactions.collect()
    }

    /// Whether there is a barrier.
    pub fn has_barrier(&self) -> bool {
        self.barrier.is_some()
    }

    /// The transaction for which the barrier was raised, once, when nobody else holds anything.
    pub fn quiet_for(&mut self) -> Option<TransactionId> {
        let barrier = self.barrier.as_mut().filter(|barrier| !barrier.is_told)?;
        let own = Owner::Transaction(barrier.id);
        let is_out = |(owner, holding): (&Owner, &Holding)| match owner {
            Owner::Parked(_) => holding.waits > 0,
            Owner::Transaction(_) | Owner::Script(_) => *owner == own,
        };
        barrier.is_told = self.owners.iter().all(is_out);
        barrier.is_told.then_some(barrier.id)
    }

    /// Whether a command of one who has claimed the whole conflicts with nothing that was claimed
    /// before that.
    pub fn admits_past(&self, owner: Owner, scope: &Scope) -> bool {
        let earlier = self.whole.iter().take_while(|claim| claim.owner != owner);
        earlier.into_iter().all(|claim| {
            let theirs = &self.owners[&claim.owner].scope;
            queues_of(scope).all(|(key, intent)| {
                queues_of(theirs)
                    .filter(|(queue, _)| *queue == key)
                    .all(|(_, other)| other.compatible(intent))
            })
        })
    }

    /// Whether a transaction holds or wants something. O(owners), nothing when idle.
    pub fn has_transactions(&self) -> bool {
        self.owners.keys().any(|owner| matches!(owner, Owner::Transaction(_)))
    }

    /// Who waits, in the order in which they came; with `owner`, who has come after that one.
    pub fn waiting_behind(&self, owner: Option<Owner>) -> Vec<Owner> {
        let owners = self.whole.iter().map(|claim| claim.owner);
        let behind = owners.skip_while(|other| owner.is_some_and(|owner| *other != owner));
        behind.filter(|other| self.owners[other].waits > 0).collect()
    }

    /// Ends the claims of `owner` (granted or not) and appends to `granted` those whose turn has
    /// come thereby, in arrival order for any one key. Unknown owners are ignored: a cancelled
    /// transaction may have been refused here. With it goes the barrier that was raised for it.
    pub fn release(&mut self, owner: Owner, granted: &mut VecDeque<Owner>) {
        if let Some(barrier) = &mut self.barrier {
            barrier.barred.retain(|barred| *barred != owner);
        }
        let own = |barrier: &mut Barrier| Owner::Transaction(barrier.id) == owner;
        if let Some(barrier) = self.barrier.take_if(own) {
            for barred in barrier.barred {
                self.wait_less(barred, granted);
            }
        }
        let Some(holding) = self.owners.remove(&owner) else { return };
        for (key, _) in queues_of(&holding.scope) {
            self.leave(owner, key, granted);
        }
    }

    /// Every claim that is queued on a key is in its owner's scope, waits are counted right, and
    /// no queue is empty. For tests and the simulation; O(all claims).
    pub fn verify(&self) {
        for (key, queue) in
            self.keys.iter().map(|(k, q)| (Some(*k), q)).chain([(None, &self.whole)])
        {
            assert!(key.is_none() || !queue.is_empty(), "an empty queue is removed");
            for claim in queue {
                let holding = &self.owners[&claim.owner];
                assert!(queues_of(&holding.scope).any(|(k, _)| k == key));
            }
        }
        for (owner, holding) in &self.owners {
            let waits = queues_of(&holding.scope)
                .filter(|(key, intent)| !self.free(*key, *intent, Some(*owner)))
                .count();
            let is_barred = |barrier: &Barrier| barrier.barred.contains(owner);
            let waits = waits + usize::from(self.barrier.as_ref().is_some_and(is_barred));
            assert_eq!(waits, holding.waits, "waits of {owner:?}");
        }
    }

    fn queue(&self, key: Option<Fingerprint>) -> Option<&Queue> {
        match key {
            None => Some(&self.whole),
            Some(key) => self.keys.get(&key),
        }
    }

    fn queue_mut(&mut self, key: Option<Fingerprint>) -> &mut Queue {
        match key {
            None => &mut self.whole,
            Some(key) => self.keys.entry(key).or_default(),
        }
    }

    /// Whether a claim at the end of the queue, or the one that `owner` already has in it, is
    /// compatible with every claim before it.
    fn free(&self, key: Option<Fingerprint>, intent: Intent, owner: Option<Owner>) -> bool {
        let Some(queue) = self.queue(key) else { return true };
        queue
            .iter()
            .take_while(|claim| Some(claim.owner) != owner)
            .all(|claim| claim.intent.compatible(intent))
    }

    /// Whether waiting in the queue would be waiting for a transaction with a higher identifier.
    fn overtaken(&self, owner: Owner, key: Option<Fingerprint>, intent: Intent) -> bool {
        let Owner::Transaction(id) = owner else { return false };
        if id.is_patient() {
            return false;
        }
        self.obstacles(key, intent).any(|claim| claim.rank > id)
    }

    /// The highest transaction that a command with this scope would wait for.
    fn highest(&self, scope: &Scope) -> TransactionId {
        let obstacles = queues_of(scope).flat_map(|(key, intent)| self.obstacles(key, intent));
        obstacles.map(|claim| claim.rank).max().unwrap_or(TransactionId(0))
    }

    /// The claims of a queue that one at its end would have to wait for.
    fn obstacles(&self, key: Option<Fingerprint>, intent: Intent) -> impl Iterator<Item = &Claim> {
        let queue = self.queue(key).into_iter().flatten();
        queue.filter(move |claim| !claim.intent.compatible(intent))
    }

    fn leave(&mut self, owner: Owner, key: Option<Fingerprint>, granted: &mut VecDeque<Owner>) {
        let queue = self.queue_mut(key);
        let position = queue
            .iter()
            .position(|claim| claim.owner == owner)
            .expect("invariant: an owner has a claim in each queue of its scope");
        let before: Vec<bool> = grants(queue).collect();
        queue.remove(position);
        let mut freed: Vec<Owner> = Vec::new();
        for (index, now) in grants(queue).enumerate().skip(position) {
            if now && !before[index + 1] {
                freed.push(queue[index].owner);
            }
        }
        if let (Some(key), true) = (key, queue.is_empty()) {
            self.keys.remove(&key);
        }
        for owner in freed {
            self.wait_less(owner, granted);
        }
    }

    /// One of those that an owner waits for is gone.
    fn wait_less(&mut self, owner: Owner, granted: &mut VecDeque<Owner>) {
        let holding = self.owners.get_mut(&owner).expect("invariant: claims have owners");
        holding.waits -= 1;
        if holding.waits == 0 {
            granted.push_back(owner);
        }
    }
}

/// For each claim of the queue, whether it is granted.
fn grants(queue: &Queue) -> impl Iterator<Item = bool> {
    let mut seen = [false; Intent::ALL.len()];
    queue.iter().map(move |claim| {
        let granted = Intent::ALL
            .iter()
            .all(|earlier| !seen[*earlier as usize] || earlier.compatible(claim.intent));
        seen[claim.intent as usize] = true;
        granted
    })
}

/// Each key once, with the stronger of its modes.
fn normalized(scope: Scope) -> Scope {
    match scope {
        Scope::Everything(_) => scope,
        Scope::Keys(mut keys) => {
            keys.sort_unstable_by_key(|(key, mode)| (*key, *mode == Mode::Read));
            keys.dedup_by_key(|(key, _)| *key);
            Scope::Keys(keys)
        }
    }
}

/// The queues that a scope joins, the whole's first.
fn queues_of(scope: &Scope) -> impl Iterator<Item = (Option<Fingerprint>, Intent)> + '_ {
    let (whole, keys): (Intent, &[(Fingerprint, Mode)]) = match scope {
        Scope::Everything(Mode::Read) => (Intent::ReadAll, &[]),
        Scope::Everything(Mode::Write) => (Intent::WriteAll, &[]),
        Scope::Keys(keys) => {
            let writes = keys.iter().any(|(_, mode)| *mode == Mode::Write);
            (if writes { Intent::WriteSome } else { Intent::ReadSome }, keys)
        }
    };
    let of_key = |mode: Mode| match mode {
        Mode::Read => Intent::ReadAll,
        Mode::Write => Intent::WriteAll,
    };
    std::iter::once((None, whole))
        .chain(keys.iter().map(move |(key, mode)| (Some(*key), of_key(*mode))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const fn transaction(id: u64) -> Owner {
        Owner::Transaction(TransactionId(id))
    }

    fn keys(keys: &[(u64, Mode)]) -> Scope {
        Scope::Keys(keys.to_vec())
    }

    fn released(locks: &mut Locks, owner: Owner) -> Vec<Owner> {
        let mut granted = VecDeque::new();
        locks.release(owner, &mut granted);
        locks.verify();
        granted.into()
    }

    #[test]
    fn readers_share_and_writers_wait() {
        let mut locks = Locks::default();
        let read = keys(&[(1, Mode::Read)]);
        let write = keys(&[(1, Mode::Write)]);
        assert_eq!(locks.request(transaction(1), read.clone()), Outcome::Granted);
        assert_eq!(locks.request(transaction(2), read.clone()), Outcome::Granted);
        assert!(locks.admits(&read));
        assert!(!locks.admits(&write));
        assert_eq!(locks.request(transaction(3), write), Outcome::Queued);
        assert!(!locks.admits(&read), "a reader does not overtake a writer that waits");
        assert_eq!(released(&mut locks, transaction(1)), []);
        assert_eq!(released(&mut locks, transaction(2)), [transaction(3)]);
        assert_eq!(released(&mut locks, transaction(3)), []);
        assert!(locks.is_idle());
    }

    #[test]
    fn a_lower_identifier_that_would_wait_for_a_higher_one_is_refused() {
        let mut locks = Locks::default();
        let write = keys(&[(1, Mode::Write)]);
        assert_eq!(locks.request(transaction(5), write.clone()), Outcome::Granted);
        assert_eq!(locks.request(transaction(4), write.clone()), Outcome::Refused);
        assert_eq!(locks.request(transaction(6), write), Outcome::Queued);
        locks.verify();
    }

    /// A reader behind a parked writer behind a reader of a higher identifier would wait for that
    /// one although the two are compatible.
    #[test]
    fn waiting_through_a_parked_command_counts_as_waiting() {
        let mut locks = Locks::default();
        let read = keys(&[(1, Mode::Read)]);
        assert_eq!(locks.request(transaction(9), read.clone()), Outcome::Granted);
        let parked = Owner::Parked(0);
        assert_eq!(locks.request(parked, keys(&[(1, Mode::Write)])), Outcome::Queued);
        assert_eq!(locks.request(transaction(5), read), Outcome::Refused);
        assert_eq!(released(&mut locks, transaction(9)), [parked]);
    }

    /// Symptom: with MSET and GET from a few clients on two shards, all of them stopped for ever.
    /// Cause: a command with two keys, parked behind a higher transaction on the first, stood in
    /// the queue of the second, where a lower transaction came to wait for it; on another shard the
    /// higher one waited for the lower.
    #[test]
    fn waiting_through_another_key_of_a_parked_command_counts_as_waiting() {
        let mut locks = Locks::default();
        let write =
            |names: &[u64]| keys(&names.iter().map(|n| (*n, Mode::Write)).collect::<Vec<_>>());
        assert_eq!(locks.request(transaction(9), write(&[1])), Outcome::Granted);
        let (first, second) = (Owner::Parked(0), Owner::Parked(1));
        assert_eq!(locks.request(first, write(&[1, 2])), Outcome::Queued);
        assert_eq!(locks.request(second, write(&[2, 3])), Outcome::Queued);
        assert_eq!(locks.request(transaction(5), write(&[2])), Outcome::Refused);
        assert_eq!(locks.request(transaction(6), write(&[3])), Outcome::Refused);
        assert_eq!(locks.request(transaction(10), write(&[3])), Outcome::Queued);
        assert_eq!(released(&mut locks, transaction(9)), [first]);
        assert_eq!(released(&mut locks, first), [second]);
        assert_eq!(released(&mut locks, second), [transaction(10)]);
    }

    #[test]
    fn a_patient_transaction_is_never_refused_and_nobody_else_waits_for_it() {
        let mut locks = Locks::default();
        let write = keys(&[(1, Mode::Write)]);
        let patient = |id| Owner::Transaction(TransactionId(id).patient());
        assert_eq!(locks.request(transaction(9), write.clone()), Outcome::Granted);
        assert_eq!(locks.request(patient(5), write.clone()), Outcome::Queued);
        assert_eq!(locks.request(patient(3), write.clone()), Outcome::Queued);
        assert_eq!(locks.request(transaction(10), write.clone()), Outcome::Refused);
        assert_eq!(locks.request(Owner::Parked(0), write.clone()), Outcome::Queued);
        assert_eq!(locks.request(transaction(11), write), Outcome::Refused);
        assert_eq!(released(&mut locks, transaction(9)), [patient(5)]);
        assert_eq!(released(&mut locks, patient(5)), [patient(3)]);
        assert_eq!(released(&mut locks, patient(3)), [Owner::Parked(0)]);
    }

    #[test]
    fn behind_a_barrier_transactions_are_expelled_and_commands_wait() {
        let mut locks = Locks::default();
        let write = |key| keys(&[(key, Mode::Write)]);
        let parked = Owner::Parked;
        assert_eq!(locks.request(transaction(1), write(1)), Outcome::Granted);
        assert_eq!(locks.request(transaction(2), write(2)), Outcome::Granted);
        assert_eq!(locks.request(transaction(3), write(2)), Outcome::Queued);
        assert_eq!(locks.request(parked(0), write(2)), Outcome::Queued);
        assert_eq!(locks.request(transaction(4), write(2)), Outcome::Queued);
        let expelled = locks.raise(TransactionId(1));
        assert_eq!(expelled, [TransactionId(4), TransactionId(3)]);
        for id in expelled {
            assert_eq!(released(&mut locks, Owner::Transaction(id)), []);
        }
        assert_eq!(locks.quiet_for(), None, "one holds its locks");
        assert!(!locks.admits(&write(9)) && !locks.admits(&write(1)));
        assert_eq!(locks.request(transaction(5), write(9)), Outcome::Refused);
        assert_eq!(locks.request(parked(1), write(9)), Outcome::Queued);
        assert_eq!(locks.request(parked(2), write(1)), Outcome::Queued);
        assert_eq!(locks.request(parked(3), write(8)), Outcome::Queued);
        locks.verify();
        assert_eq!(released(&mut locks, transaction(2)), [parked(0)]);
        assert_eq!(locks.quiet_for(), None, "one has just been granted");
        assert_eq!(released(&mut locks, parked(0)), []);
        assert_eq!(released(&mut locks, parked(3)), [], "it was turned away");
        assert_eq!(locks.quiet_for(), Some(TransactionId(1)));
        assert_eq!(locks.quiet_for(), None, "it is told once");
        assert_eq!(released(&mut locks, transaction(1)), [parked(1), parked(2)]);
        assert!(!locks.has_barrier());
        released(&mut locks, parked(1));
        released(&mut locks, parked(2));
        assert!(locks.is_idle());
    }

    #[test]
    fn a_script_becomes_a_transaction_in_its_place() {
        let mut locks = Locks::default();
        locks.seize(Owner::Script(7));
        assert_eq!(locks.request(Owner::Parked(0), keys(&[(1, Mode::Read)])), Outcome::Queued);
        locks.rename(Owner::Script(7), TransactionId(3));
        locks.verify();
        assert_eq!(locks.raise(TransactionId(3)), []);
        assert_eq!(locks.quiet_for(), Some(TransactionId(3)));
        assert_eq!(released(&mut locks, transaction(3)), [Owner::Parked(0)]);
    }

    #[test]
    fn the_whole_keyspace_excludes_what_it_must() {
        let mut locks = Locks::default();
        assert_eq!(locks.request(transaction(1), Scope::Everything(Mode::Read)), Outcome::Granted);
        assert!(locks.admits(&keys(&[(7, Mode::Read)])));
        assert!(!locks.admits(&keys(&[(7, Mode::Write)])));
        let all = Scope::Everything(Mode::Write);
        assert_eq!(locks.request(transaction(2), all), Outcome::Queued);
        assert_eq!(released(&mut locks, transaction(1)), [transaction(2)]);
        assert!(!locks.admits(&keys(&[(7, Mode::Read)])));
        released(&mut locks, transaction(2));
        assert!(locks.is_idle());
    }

    #[test]
    fn a_key_named_twice_is_one_claim_of_the_stronger_mode() {
        let mut locks = Locks::default();
        let twice = keys(&[(1, Mode::Read), (1, Mode::Write), (1, Mode::Read)]);
        assert_eq!(locks.request(transaction(1), twice), Outcome::Granted);
        assert!(!locks.admits(&keys(&[(1, Mode::Read)])));
        released(&mut locks, transaction(1));
    }

    fn scope() -> impl Strategy<Value = Scope> {
        let mode = prop_oneof![Just(Mode::Read), Just(Mode::Write)];
        prop_oneof![
            8 => prop::collection::vec((0..4_u64, mode.clone()), 1..4).prop_map(Scope::Keys),
            1 => mode.prop_map(Scope::Everything),
        ]
    }

    fn conflict(a: &Scope, b: &Scope) -> bool {
        let write = |m: &Mode| *m == Mode::Write;
        match (a, b) {
            (Scope::Everything(m), Scope::Everything(n)) => write(m) || write(n),
            (Scope::Everything(m), Scope::Keys(keys))
            | (Scope::Keys(keys), Scope::Everything(m)) => {
                write(m) || keys.iter().any(|(_, n)| write(n))
            }
            (Scope::Keys(a), Scope::Keys(b)) => {
                a.iter().any(|(k, m)| b.iter().any(|(l, n)| k == l && (write(m) || write(n))))
            }
        }
    }

    proptest! {
        /// Whatever is requested and released in whatever order: owners that hold their claims at
        /// the same time never conflict, and everybody is granted in the end.
        #[test]
        fn conflicting_owners_never_hold_together(
            scopes in prop::collection::vec(scope(), 1..40),
            releases in prop::collection::vec(any::<prop::sample::Index>(), 40),
        ) {
            let mut locks = Locks::default();
            let mut holding: Vec<(Owner, Scope)> = Vec::new();
            let mut waiting: Vec<(Owner, Scope)> = Vec::new();
            for (id, (scope, release)) in scopes.into_iter().zip(releases).enumerate() {
                let id = id as u64;
                let owner = if id.is_multiple_of(3) { Owner::Parked(id) } else { transaction(id) };
                match locks.request(owner, scope.clone()) {
                    Outcome::Granted => holding.push((owner, scope)),
                    Outcome::Queued => waiting.push((owner, scope)),
                    Outcome::Refused | Outcome::Busy => panic!("identifiers rise"),
                }
                locks.verify();
                for (i, (_, a)) in holding.iter().enumerate() {
                    prop_assert!(holding.iter().skip(i + 1).all(|(_, b)| !conflict(a, b)));
                }
                if id % 2 == 1 && !holding.is_empty() {
                    let (owner, _) = holding.remove(release.index(holding.len()));
                    for owner in released(&mut locks, owner) {
                        let at = waiting.iter().position(|(o, _)| *o == owner);
                        holding.push(waiting.remove(at.expect("it waited")));
                    }
                }
            }
            while let Some((owner, _)) = holding.pop() {
                for owner in released(&mut locks, owner) {
                    let at = waiting.iter().position(|(o, _)| *o == owner);
                    holding.push(waiting.remove(at.expect("it waited")));
                }
            }
            prop_assert!(waiting.is_empty(), "nobody waits for nobody");
            prop_assert!(locks.is_idle());
        }
    }
}
