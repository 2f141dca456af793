//! Client-side caching: who is to be told that a key has changed.
//!
//! A client's registration is known to every core ([`Tracker`]); `CLIENT TRACKING` is answered when
//! that is so. The shard of a key remembers who has read it ([`table`]) or finds who follows its
//! prefix ([`broadcast`]), and its core tells, without a detour, the core of the connection that is
//! to be told. So what a client has been told, or could have been told, before somebody else hears
//! of a change, is told before that.
//!
//! A client must not be told of a change before it has the value from before it. That value may be
//! on its way from another core: the client's core has reserved the place of the reply by then, and
//! puts an invalidation behind all places that are reserved (`route/tracking.rs`).
//!
//! Here is what is remembered and its rules; nothing here sends or receives.

pub(crate) mod broadcast;
pub mod client;
pub(crate) mod table;

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use kvasir_proto::{Encoder, Resp};
use kvasir_shard::{Change, ChangeKind, ChangeMask};

use self::broadcast::{Changed, News, Prefixes};
use self::client::Prefix;
use self::table::{Discarded, Table};
use crate::route::engine::{ConnectionKey, ShardId};

/// A client's id.
pub type ClientId = u64;

/// The changes after which what a client has read is not true any more. A flush is told by itself.
pub(crate) const TRACKED_CHANGES: ChangeMask = ChangeMask::ALL
    .without(ChangeKind::Missed)
    .without(ChangeKind::New)
    .without(ChangeKind::Flushed)
    .without(ChangeKind::Swapped);

/// Remembered keys freed in one piece of work.
const FREE_BUDGET: usize = 1024;

/// A client that tracks, as every core knows it.
#[derive(Clone, Debug)]
pub struct Tracker {
    /// The core of its connection.
    pub home: ShardId,
    /// Its connection there.
    pub connection: ConnectionKey,
    /// Tells this registration from earlier ones of the same client.
    pub session: u64,
    /// Who is told.
    pub target: Target,
    /// It hears of keys by their prefix.
    pub broadcast: bool,
    /// Those prefixes.
    pub prefixes: Arc<[Prefix]>,
    /// It is not told of its own changes.
    pub no_loop: bool,
}

/// The connection that is told: the client's own, or that to which it redirects.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Target {
    /// Its core.
    pub core: ShardId,
    /// Its key there.
    pub connection: ConnectionKey,
    /// Its client's id: the key may have been reused since.
    pub client: ClientId,
}

/// What clients are told.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Invalid {
    /// These keys: an array of strings, encoded.
    Keys(Arc<[u8]>),
    /// All keys.
    Everything,
}

/// What some clients are to be told, all of them by one core.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Delivery {
    /// What.
    pub invalid: Invalid,
    /// Whom: the clients that track, in whose place others may be told.
    pub trackers: Vec<ClientId>,
    /// They hear of it because of the key's prefix.
    pub broadcast: bool,
}

/// What cores tell each other about clients that track.
#[derive(Debug)]
pub enum Message {
    /// Tell these clients.
    Deliver(Delivery),
    /// To every core: the registration of this client has ended.
    End(ClientId, u64),
    /// To a client's core: the client to which it redirects is gone.
    Broken(ClientId),
}

/// What one core knows of tracking.
#[derive(Debug, Default)]
pub struct Tracking {
    /// The registrations of all cores' clients.
    trackers: HashMap<ClientId, Tracker, ahash::RandomState>,
    table: Table,
    prefixes: Prefixes,
    due: VecDeque<(ShardId, Delivery)>,
    /// The client whose command runs; none for what the server does by itself.
    author: Option<ClientId>,
    /// Registrations of this core's clients that have ended, and that the others do not know of.
    ended: Vec<(ClientId, u64)>,
    last_session: u64,
    discarded: VecDeque<Discarded>,
    /// `tracking-table-max-keys`, of all cores; 0 for no limit.
    pub keys_max: usize,
}

impl Tracking {
    /// Whether any client of any core tracks.
    #[inline]
    pub fn is_active(&self) -> bool {
        !self.trackers.is_empty()
    }

    /// Clients of a core that track.
    pub fn clients_of(&self, core: ShardId) -> usize {
        self.trackers.values().filter(|tracker| tracker.home == core).count()
    }

    /// Keys of this shard that are remembered.
    pub fn keys(&self) -> usize {
        self.table.len()
    }

    /// How many readers of them.
    pub fn items(&self) -> usize {
        self.table.items()
    }

    /// Prefixes that somebody follows, the same on every core.
    pub fn prefixes(&self) -> usize {
        self.prefixes.len()
    }

    /// The registration of a client.
    pub fn tracker(&self, client: ClientId) -> Option<&Tracker> {
        self.trackers.get(&client)
    }

    /// The number of a new registration of one of this core's clients.
    pub fn new_session(&mut self) -> u64 {
        self.last_session += 1;
        self.last_session
    }

    /// Registers a client, in place of what was registered of it before.
    pub fn register(&mut self, client: ClientId, tracker: Tracker) {
        self.unregister(client, tracker.session);
        for prefix in &*tracker.prefixes {
            self.prefixes.follow(prefix, client);
        }
        self.trackers.insert(client, tracker);
    }

    /// Ends a registration of a client up to this session. What it has read is forgotten by and by.
    pub fn unregister(&mut self, client: ClientId, session: u64) {
        if self.trackers.get(&client).is_none_or(|tracker| tracker.session > session) {
            return;
        }
        let tracker = self.trackers.remove(&client).expect("invariant: it is there");
        for prefix in &*tracker.prefixes {
            self.prefixes.leave(prefix, client);
        }
    }

    /// Ends a registration of one of this core's clients; the other cores are to be told.
    pub fn end(&mut self, client: ClientId, session: u64) {
        self.unregister(client, session);
        self.ended.push((client, session));
    }

    /// The registrations whose end the other cores have to be told of.
    pub fn take_ended(&mut self) -> Vec<(ClientId, u64)> {
        std::mem::take(&mut self.ended)
    }

    /// Tells whose command runs now.
    #[inline]
    pub fn set_author(&mut self, author: Option<ClientId>) {
        self.author = author;
    }

    /// Remembers that a client has read a key. Whether the key is new here.
    pub fn remember(&mut self, key: &[u8], client: ClientId) -> bool {
        let trackers = &self.trackers;
        self.table.remember(key, client, |reader| trackers.contains_key(&reader))
    }

    /// Notes a change. Whether the key was remembered, and is no more.
    pub fn note(&mut self, change: &Change<'_>) -> bool {
        if !TRACKED_CHANGES.contains(change.kind) {
            return false;
        }
        // Nobody is the author of what want of memory has done, although the peers spare the client
        // whose command came then, which never hears of it.
        let author = if change.kind == ChangeKind::Evicted { None } else { self.author };
        if self.prefixes.len() > 0 {
            let author = if change.kind == ChangeKind::Expired { None } else { author };
            self.prefixes.note(change.key, author);
        }
        let Some(readers) = self.table.forget(change.key) else { return false };
        self.tell_readers(change.key, &readers, author);
        true
    }

    /// Forgets some key, as if it had changed; whether there was one.
    pub fn forget_any(&mut self) -> bool {
        let Some((key, readers)) = self.table.forget_any() else { return false };
        self.tell_readers(&key, &readers, None);
        true
    }

    /// Notes that databases have been emptied: everything is invalid for every client that is told
    /// by this core, as every core does the same. Returns how many keys were remembered.
    pub fn note_flush(&mut self, core: ShardId) -> usize {
        let told = |(client, tracker): (&ClientId, &Tracker)| {
            (tracker.target.core == core).then_some(*client)
        };
        let mut trackers: Vec<ClientId> = self.trackers.iter().filter_map(told).collect();
        trackers.sort_unstable();
        if !trackers.is_empty() {
            let delivery = Delivery { invalid: Invalid::Everything, trackers, broadcast: false };
            self.due.push_back((core, delivery));
        }
        let count = self.table.len();
        if count > 0 {
            self.discarded.push_back(self.table.take());
        }
        count
    }

    /// Ends a round: those who follow prefixes hear of what has changed.
    pub fn end_round(&mut self) {
        if !self.prefixes.has_news() {
            return;
        }
        for News { clients, changed } in self.prefixes.take_news() {
            let mut all = Vec::new();
            let mut by_core: Vec<(ShardId, Vec<ClientId>)> = Vec::new();
            for client in clients {
                let Some(tracker) = self.trackers.get(&client) else { continue };
                let core = tracker.target.core;
                let is_own = |author: &Option<ClientId>| *author == Some(client);
                if !tracker.no_loop || !changed.values().any(is_own) {
                    add_to(&mut by_core, core, client);
                    continue;
                }
                let others = changed.iter().filter(|(_, author)| !is_own(author));
                let others: Vec<&[u8]> = others.map(|(key, _)| &**key).collect();
                if !others.is_empty() {
                    let invalid = Invalid::Keys(encode(others.into_iter()));
                    all.push((core, Delivery { invalid, trackers: vec![client], broadcast: true }));
                }
            }
            let invalid = encode_all(&changed);
            for (core, trackers) in by_core {
                let invalid = Invalid::Keys(Arc::clone(&invalid));
                all.push((core, Delivery { invalid, trackers, broadcast: true }));
            }
            self.due.extend(all);
        }
    }

    /// Whether somebody is to be told something.
    #[inline]
    pub fn has_due(&self) -> bool {
        !self.due.is_empty()
    }

    /// The next thing that somebody is to be told, and the core that does it.
    pub fn next_due(&mut self) -> Option<(ShardId, Delivery)> {
        self.due.pop_front()
    }

    /// Frees some of what a flush has thrown away; whether there is more.
    pub fn free_some(&mut self) -> bool {
        if let Some(discarded) = self.discarded.front_mut()
            && !discarded.free(FREE_BUDGET)
        {
            self.discarded.pop_front();
        }
        !self.discarded.is_empty()
    }

    fn tell_readers(&mut self, key: &[u8], readers: &[ClientId], author: Option<ClientId>) {
        let mut by_core: Vec<(ShardId, Vec<ClientId>)> = Vec::new();
        for client in readers {
            // Whoever hears of prefixes now hears of this one, or does not want to.
            let Some(tracker) = self.trackers.get(client).filter(|tracker| !tracker.broadcast)
            else {
                continue;
            };
            if !(tracker.no_loop && author == Some(*client)) {
                add_to(&mut by_core, tracker.target.core, *client);
            }
        }
        if by_core.is_empty() {
            return;
        }
        let key = encode(std::iter::once(key));
        for (core, trackers) in by_core {
            let invalid = Invalid::Keys(Arc::clone(&key));
            self.due.push_back((core, Delivery { invalid, trackers, broadcast: false }));
        }
    }

    /// The parts agree with each other. O(all).
    pub(crate) fn verify(&self) {
        self.table.verify();
        self.prefixes.verify();
        for tracker in self.trackers.values() {
            assert_eq!(tracker.broadcast, !tracker.prefixes.is_empty(), "who broadcasts follows");
        }
    }
}

fn add_to(by_core: &mut Vec<(ShardId, Vec<ClientId>)>, core: ShardId, client: ClientId) {
    match by_core.iter_mut().find(|(other, _)| *other == core) {
        Some((_, clients)) => clients.push(client),
        None => by_core.push((core, vec![client])),
    }
}

fn encode_all(changed: &Changed) -> Arc<[u8]> {
    encode(changed.keys().map(|key| &**key))
}

/// Keys as an array, which is the same in both versions of the protocol.
fn encode<'k>(keys: impl ExactSizeIterator<Item = &'k [u8]>) -> Arc<[u8]> {
    let mut out = Vec::new();
    let mut encoder = Encoder::new(&mut out, Resp::V2);
    encoder.array(keys.len());
    keys.for_each(|key| encoder.bulk(key));
    out.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Client `client` of core `client % 4` is told by core `target`.
    fn tracker(client: ClientId, target: u16, prefixes: &[&str], no_loop: bool) -> Tracker {
        let (home, connection) = (ShardId((client % 4) as u16), ConnectionKey(0));
        Tracker {
            home,
            connection,
            session: 1,
            target: Target { core: ShardId(target), connection, client },
            broadcast: !prefixes.is_empty(),
            prefixes: prefixes.iter().map(|prefix| prefix.as_bytes().into()).collect(),
            no_loop,
        }
    }

    fn change(kind: ChangeKind, key: &str) -> Change<'_> {
        Change { kind, db: 0, key: key.as_bytes(), element: b"" }
    }

    /// What is due: the core, the keys (or `*`), and the clients.
    fn due(tracking: &mut Tracking) -> Vec<(u16, String, Vec<ClientId>)> {
        let mut all = Vec::new();
        while let Some((core, delivery)) = tracking.next_due() {
            let keys = match &delivery.invalid {
                Invalid::Everything => "*".to_owned(),
                Invalid::Keys(keys) => {
                    let lines = String::from_utf8(keys.to_vec()).unwrap();
                    let names = lines.split("\r\n").filter(|l| !l.starts_with(['*', '$']));
                    names.collect::<Vec<_>>().join(" ").trim().to_owned()
                }
            };
            all.push((core.0, keys, delivery.trackers));
        }
        tracking.verify();
        all
    }

    #[test]
    fn readers_are_told_once_by_the_cores_of_their_targets() {
        let mut tracking = Tracking::default();
        for client in 1..=3 {
            tracking.register(client, tracker(client, u16::from(client == 3), &[], client == 2));
            assert_eq!(tracking.remember(b"k", client), client == 1);
        }
        assert_eq!((tracking.keys(), tracking.items()), (1, 3));
        assert!(!tracking.note(&change(ChangeKind::New, "k")));
        tracking.set_author(Some(2));
        assert!(tracking.note(&change(ChangeKind::Set, "k")));
        assert!(!tracking.note(&change(ChangeKind::Set, "k")));
        let expected = [(0, "k".to_owned(), vec![1]), (1, "k".to_owned(), vec![3])];
        assert_eq!(due(&mut tracking), expected);
        tracking.remember(b"k", 1);
        tracking.unregister(1, 1);
        assert!(tracking.note(&change(ChangeKind::Deleted, "k")));
        assert_eq!(due(&mut tracking), []);
    }

    #[test]
    fn prefixes_are_told_at_the_end_of_the_round() {
        let mut tracking = Tracking::default();
        tracking.register(1, tracker(1, 0, &["a", "b"], true));
        tracking.register(2, tracker(2, 0, &["a"], false));
        tracking.register(3, tracker(3, 1, &[""], false));
        tracking.set_author(Some(1));
        tracking.note(&change(ChangeKind::Set, "ab"));
        tracking.note(&change(ChangeKind::Set, "aa"));
        tracking.note(&change(ChangeKind::Expired, "ab"));
        tracking.note(&change(ChangeKind::Set, "b"));
        assert_eq!(due(&mut tracking), []);
        tracking.end_round();
        let mut told = due(&mut tracking);
        told.sort();
        let all = [(0, "aa ab", 2), (0, "ab", 1), (1, "aa ab b", 3)];
        assert_eq!(told, all.map(|(core, keys, client)| (core, keys.to_owned(), vec![client])));
        tracking.end_round();
        assert_eq!(due(&mut tracking), []);
    }

    #[test]
    fn the_end_of_an_earlier_registration_does_not_end_a_later_one() {
        let mut tracking = Tracking::default();
        tracking.register(1, Tracker { session: 2, ..tracker(1, 0, &["x"], false) });
        tracking.unregister(1, 1);
        assert!(tracking.is_active() && tracking.prefixes() == 1);
        tracking.register(1, Tracker { session: 3, ..tracker(1, 0, &["x", "y"], false) });
        assert_eq!(tracking.prefixes(), 2);
        tracking.end(1, 3);
        assert_eq!((tracking.is_active(), tracking.prefixes()), (false, 0));
        assert_eq!(tracking.take_ended(), [(1, 3)]);
    }

    #[test]
    fn a_flush_is_told_by_each_core_to_its_own() {
        let mut tracking = Tracking::default();
        tracking.register(1, tracker(1, 0, &[], false));
        tracking.register(2, tracker(2, 1, &[], false));
        tracking.register(3, tracker(3, 0, &["p"], true));
        tracking.remember(b"k", 2);
        assert_eq!(tracking.note_flush(ShardId(0)), 1);
        assert_eq!(due(&mut tracking), [(0, "*".to_owned(), vec![1, 3])]);
        assert!(!tracking.note(&change(ChangeKind::Set, "k")));
        while tracking.free_some() {}
    }
}
