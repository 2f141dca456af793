//! Client-side caching in the cores' machinery: reads are remembered, changes told, and what is
//! told takes its place among a connection's replies. The rules are in [`crate::tracking`].

use std::sync::atomic::Ordering;

use kvasir_proto::{Args, Encoder, Resp};

use super::connection::{Blocked, Connection};
use super::core::{Core, CoreState};
use super::engine::{Close, ConnectionKey, ShardId};
use super::message::{ClientView, Control, OwnedArgs};
use super::transaction::Request;
use crate::commands::definition::{Flags, Handler};
use crate::commands::table::Entry;
use crate::errors::CommandError;
use crate::tracking::client::{ClientTracking, Options};
use crate::tracking::{ClientId, Delivery, Invalid, Message, Target, Tracker};

/// The channel in which clients of the older protocol are told.
const CHANNEL: &[u8] = b"__redis__:invalidate";
/// Keys forgotten beyond `tracking-table-max-keys` in one piece of work.
const FORGET_BUDGET: usize = 256;

/// A command of several shards whose client's reads are remembered.
#[derive(Clone)]
pub(super) struct Reader {
    entry: &'static Entry,
    args: OwnedArgs,
    view: ClientView,
}

impl Reader {
    /// The reader of a request, if what it reads is to be remembered.
    pub(super) fn of(request: &Request) -> Option<Self> {
        let (entry, view) = (request.entry, request.view);
        let remembers = view.tracks && entry.reads_tracked_keys();
        remembers.then(|| Self { entry, args: request.owned_args(), view })
    }

    /// Remembers those of its keys that lie on this shard.
    pub(super) fn remember(&self, state: &mut CoreState) {
        state.remember_read(self.entry, self.view, self.args.view());
    }
}

impl Entry {
    /// Whether its keys are remembered for a client that tracks. A script's are not, only those of
    /// the commands that it calls.
    pub(super) fn reads_tracked_keys(&self) -> bool {
        self.command.flags.has(Flags::READONLY)
            && !matches!(self.command.handler, Handler::Script(_))
    }
}

impl CoreState {
    /// Remembers that a client that tracks has read those keys of a request that lie here. O(keys).
    #[cold]
    pub(super) fn remember_read(
        &mut self,
        entry: &'static Entry,
        view: ClientView,
        args: Args<'_>,
    ) {
        if !entry.reads_tracked_keys() || self.tracking.tracker(view.client).is_none() {
            return;
        }
        // What the command has found due has changed before it was read.
        self.follow_journal();
        let (map, me) = (self.shared.map, self.id);
        let tracking = &mut self.tracking;
        let mut new = 0;
        let found = entry.keys(args, |index, _| {
            let key = args.at(index);
            new += usize::from(map.owner(key) == me && tracking.remember(key, view.client));
        });
        debug_assert!(found.is_ok() || new == 0, "an error comes before the first key");
        if new > 0 {
            self.shared.tracked_keys.fetch_add(new, Ordering::Relaxed);
            self.limit_tracked(new);
        }
    }

    /// Forgets up to so many keys while all cores remember more than they may; whether there are
    /// more to forget here.
    pub(super) fn limit_tracked(&mut self, budget: usize) -> bool {
        let most = self.tracking.keys_max;
        let tracked = &self.shared.tracked_keys;
        if most == 0 {
            return false;
        }
        for _ in 0..budget {
            // Only one core may forget for each that is too many.
            let surplus = |count: usize| (count > most).then(|| count - 1);
            let (set, fetch) = (Ordering::Relaxed, Ordering::Relaxed);
            if self.tracking.keys() == 0 || tracked.fetch_update(set, fetch, surplus).is_err() {
                return false;
            }
            let forgotten = self.tracking.forget_any();
            assert!(forgotten, "invariant: there was a key to forget");
        }
        tracked.load(Ordering::Relaxed) > most && self.tracking.keys() > 0
    }

    /// Notes that databases have been emptied on this shard, as on all others.
    pub fn note_flush(&mut self) {
        if self.tracking.is_active() || self.tracking.keys() > 0 {
            let forgotten = self.tracking.note_flush(self.id);
            self.shared.tracked_keys.fetch_sub(forgotten, Ordering::Relaxed);
        }
    }

    /// Has a client of this core track from now on, or otherwise than before. Returns what all
    /// cores have to know of it; nothing when the client is gone.
    pub fn begin_tracking(
        &mut self,
        (key, client): (ConnectionKey, ClientId),
        options: Options,
        target: Option<Target>,
    ) -> Result<Option<Tracker>, CommandError> {
        let Some(connection) = self.connections.get_mut(key.0 as usize) else { return Ok(None) };
        if connection.client.id != client {
            return Ok(None);
        }
        let redirect = target.map_or(0, |target| target.client);
        let former = connection.client.tracking.as_deref();
        let session = self.tracking.new_session();
        let tracking = ClientTracking { session, ..options.apply(former, redirect)? };
        connection.client.view.tracks = tracking.remembers();
        let own = Target { core: self.id, connection: key, client };
        let tracker = Tracker {
            home: self.id,
            connection: key,
            session,
            target: target.unwrap_or(own),
            broadcast: !tracking.prefixes.is_empty(),
            prefixes: tracking.prefixes.iter().cloned().collect(),
            no_loop: tracking.no_loop,
        };
        connection.client.tracking = Some(Box::new(tracking));
        Ok(Some(tracker))
    }

    /// Knows of a client that tracks.
    pub fn register_tracker(&mut self, client: ClientId, tracker: Tracker) {
        self.tracking.register(client, tracker);
        self.follow_readers();
    }

    /// Forgets a client that has tracked.
    pub fn unregister_tracker(&mut self, client: ClientId, session: u64) {
        self.tracking.unregister(client, session);
        self.follow_readers();
    }

    /// Ends what `CLIENT TRACKING` began for a connection; the other cores are told at the end of
    /// the round. Returns the client and its registration, if there was one.
    pub fn end_tracking(&mut self, key: ConnectionKey) -> Option<(ClientId, u64)> {
        let client = &mut self.connections[key.0 as usize].client;
        let session = client.tracking.take()?.session;
        client.view.tracks = false;
        let id = client.id;
        self.tracking.end(id, session);
        self.follow_readers();
        Some((id, session))
    }

    /// Tells clients of this core, or those who are told in their place. Returns the clients, with
    /// their cores, in whose place nobody is left.
    fn deliver_invalid(&mut self, delivery: &Delivery) -> Vec<(ShardId, ClientId)> {
        let mut broken = Vec::new();
        for id in &delivery.trackers {
            let Some(tracker) = self.tracking.tracker(*id) else { continue };
            let is_key = matches!(delivery.invalid, Invalid::Keys(_));
            if is_key && tracker.broadcast != delivery.broadcast {
                continue;
            }
            let (home, Target { connection: key, client, .. }) = (tracker.home, tracker.target);
            let is_redirected = client != *id;
            let connection = self.connection(key).filter(|connection| {
                connection.client.id == client && connection.close == Close::No
            });
            match connection {
                Some(connection) => {
                    if let Some(text) = encode_for(connection, &delivery.invalid, is_redirected) {
                        self.push_behind_replies(key, &text);
                    }
                }
                None if is_redirected => broken.push((home, *id)),
                None => {}
            }
        }
        broken
    }

    /// Tells a client of this core that the one to which it redirects is gone.
    fn note_broken(&mut self, id: ClientId) {
        let Some(&Tracker { connection: key, session, .. }) = self.tracking.tracker(id) else {
            return;
        };
        let Some(connection) = self.connection(key).filter(|own| own.client.id == id) else {
            return;
        };
        let Some(tracking) = connection.client.tracking.as_deref_mut() else { return };
        if tracking.session != session {
            return;
        }
        tracking.broken = true;
        let redirect = tracking.redirect;
        if connection.client.view.resp == Resp::V3 {
            let mut text = Vec::new();
            let mut encoder = Encoder::new(&mut text, Resp::V3);
            encoder.push(2);
            encoder.bulk(b"tracking-redir-broken");
            encoder.integer(redirect as i64);
            self.push_behind_replies(key, &text);
        }
    }

    /// Sends something that must not overtake a reply that is under way. A command that waits for a
    /// key is not under way: the client hears of changes meanwhile.
    pub(crate) fn push_behind_replies(&mut self, key: ConnectionKey, bytes: &[u8]) {
        let connection = &mut self.connections[key.0 as usize];
        let client = connection.client.id;
        let waits = connection.blocked == Blocked::Waiting && !self.waits.is_attempted(client);
        connection.push_behind(bytes, waits);
        self.mark_dirty(key);
    }
}

/// What a connection is told, if it can be told anything.
fn encode_for(connection: &Connection, invalid: &Invalid, is_redirected: bool) -> Option<Vec<u8>> {
    let resp = connection.client.view.resp;
    let mut text = Vec::new();
    let mut encoder = Encoder::new(&mut text, resp);
    match resp {
        Resp::V3 => {
            encoder.push(2);
            encoder.bulk(b"invalidate");
        }
        Resp::V2 if is_redirected && connection.client.subscriptions.any() => {
            encoder.push(3);
            encoder.bulk(b"message");
            encoder.bulk(CHANNEL);
        }
        Resp::V2 => return None,
    }
    match invalid {
        Invalid::Keys(keys) => encoder.raw(keys),
        Invalid::Everything => encoder.null(),
    }
    Some(text)
}

impl Core {
    /// Sends what clients that track are to be told to the cores that tell them.
    pub(crate) fn spread_invalid(&mut self) {
        while let Some((core, delivery)) = self.state.tracking.next_due() {
            if core == self.state.id {
                self.deliver_invalid(&delivery);
            } else {
                self.outboxes.control(core, Control::Tracking(Message::Deliver(delivery)));
            }
        }
    }

    fn deliver_invalid(&mut self, delivery: &Delivery) {
        for (home, client) in self.state.deliver_invalid(delivery) {
            if home == self.state.id {
                self.state.note_broken(client);
            } else {
                self.outboxes.control(home, Control::Tracking(Message::Broken(client)));
            }
        }
    }

    /// A message about clients that track.
    pub(super) fn heed_tracking(&mut self, message: Message) {
        match message {
            Message::Deliver(delivery) => self.deliver_invalid(&delivery),
            Message::End(client, session) => self.state.unregister_tracker(client, session),
            Message::Broken(client) => self.state.note_broken(client),
        }
    }

    /// Ends a round: broadcasts are sent, and what is remembered is limited. Whether there is more
    /// of that to do.
    pub(super) fn end_tracking_round(&mut self) -> bool {
        let tracking = &mut self.state.tracking;
        let frees = tracking.free_some();
        let is_over = tracking.keys() > 0 && self.state.limit_tracked(FORGET_BUDGET);
        self.state.tracking.end_round();
        self.spread_invalid();
        frees || is_over
    }

    /// Tells the other cores of registrations that have ended.
    pub(super) fn send_ended_trackers(&mut self) {
        for (client, session) in self.state.tracking.take_ended() {
            for core in (0..self.state.shared.map.shards()).map(ShardId) {
                if core != self.state.id {
                    let message = Message::End(client, session);
                    self.outboxes.control(core, Control::Tracking(message));
                }
            }
        }
    }
}
