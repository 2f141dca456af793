//! The commands between `MULTI` and `EXEC`: one buffer for all of them, which travels as it is.

use std::ops::Range;

use kvasir_proto::{ArgRange, Args};

use crate::commands::definition::{Flags, Handler};
use crate::commands::table::Entry;
use crate::route::engine::ShardId;

/// Where a queued command runs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::route) enum Place {
    /// On the shard that owns all of its keys.
    One(ShardId),
    /// On the client's core: it is about the connection.
    Home,
    /// Where there are subscribers.
    Publish,
    /// On several shards.
    Spread,
}

/// A command of a queue.
#[derive(Clone, Copy, Debug)]
pub(super) struct Queued {
    pub(super) entry: &'static Entry,
    pub(super) place: Place,
    /// The database that will be selected when it runs.
    pub(super) db: u32,
    /// The table hash of its first key, if its definition tells where that is; 0 otherwise.
    pub(super) hash: u64,
    data: (usize, usize),
    ranges: (usize, usize),
}

impl Queued {
    /// The shard of a command that runs on one.
    pub(super) fn shard(&self) -> ShardId {
        match self.place {
            Place::One(shard) => shard,
            place => unreachable!("{place:?} is no shard"),
        }
    }
}

/// What a queue has room for from the first command on.
const ROOM_COMMANDS: usize = 12;
/// See [`ROOM_COMMANDS`].
const ROOM_BYTES: usize = 1024;

/// See the module's head.
#[derive(Default, Debug)]
pub(in crate::route) struct Queue {
    data: Vec<u8>,
    ranges: Vec<ArgRange>,
    commands: Vec<Queued>,
    /// What its commands do, taken together.
    flags: Flags,
    /// One of them has to wait until the data set has been loaded.
    needs_data: bool,
    /// The database that is selected behind the last command, if one selects any.
    db: Option<u32>,
    /// A command was refused: `EXEC` will do nothing.
    failed: bool,
    /// The request `EXEC` itself.
    request: Option<Queued>,
}

impl Queue {
    /// Adds a command that does this, for a client that had this database selected at `MULTI`.
    pub(super) fn push(
        &mut self,
        entry: &'static Entry,
        flags: Flags,
        (place, hash): (Place, u64),
        client_db: u32,
        args: Args<'_>,
    ) {
        if self.commands.is_empty() {
            // Most queues need no more, and grow in no steps.
            self.data.reserve(ROOM_BYTES);
            self.ranges.reserve(3 * ROOM_COMMANDS);
            self.commands.reserve(ROOM_COMMANDS);
        }
        let db = self.db.unwrap_or(client_db);
        let queued = Queued { hash, ..self.keep(entry, place, db, args) };
        self.commands.push(queued);
        self.flags = self.flags.or(flags);
        self.needs_data |= entry.needs_data();
    }

    /// Notes that the last command selects this database.
    pub(super) fn select(&mut self, db: u32) {
        self.db = Some(db);
    }

    /// Adds the request that ends it.
    pub(super) fn end(&mut self, entry: &'static Entry, args: Args<'_>) {
        self.request = Some(self.keep(entry, Place::Home, 0, args));
    }

    fn keep(&mut self, entry: &'static Entry, place: Place, db: u32, args: Args<'_>) -> Queued {
        let data = (self.data.len(), args.buffer().len());
        let ranges = (self.ranges.len(), args.len());
        self.data.extend_from_slice(args.buffer());
        self.ranges.extend_from_slice(args.ranges());
        Queued { entry, place, db, hash: 0, data, ranges }
    }

    /// Notes that a command was refused. What is queued will not be needed.
    pub(super) fn fail(&mut self) {
        let Self { flags, needs_data, .. } = *self;
        *self = Self { failed: true, flags, needs_data, ..Self::default() };
    }

    /// Whether a command was refused.
    pub(super) fn failed(&self) -> bool {
        self.failed
    }

    /// What its commands do, taken together.
    pub(in crate::route) fn flags(&self) -> Flags {
        self.flags
    }

    /// Whether one of its commands has to wait until the data set has been loaded.
    pub(in crate::route) fn needs_data(&self) -> bool {
        self.needs_data
    }

    /// How many commands there are.
    pub(super) fn len(&self) -> usize {
        self.commands.len()
    }

    /// Bytes that it occupies.
    pub(super) fn bytes(&self) -> usize {
        self.data.capacity()
            + self.ranges.capacity() * size_of::<ArgRange>()
            + self.commands.capacity() * size_of::<Queued>()
    }

    /// Bytes of its arguments, as the peers count them against `client-query-buffer-limit`.
    pub(super) fn argument_bytes(&self) -> usize {
        self.data.len() + self.ranges.len() * size_of::<ArgRange>()
    }

    /// The commands in order.
    pub(super) fn commands(&self) -> &[Queued] {
        &self.commands
    }

    /// The arguments of one of its commands.
    pub(super) fn args(&self, queued: &Queued) -> Args<'_> {
        let part = |(start, len): (usize, usize)| start..start + len;
        Args::new(&self.data[part(queued.data)], &self.ranges[part(queued.ranges)])
    }

    /// The request that ended it.
    pub(super) fn request(&self) -> (&'static Entry, Args<'_>) {
        let request = self.request.as_ref().expect("invariant: what is executed has been ended");
        (request.entry, self.args(request))
    }

    /// The commands from `from` on that run on one shard each, without another between them.
    pub(super) fn group(&self, from: usize) -> Range<usize> {
        let single = |queued: &&Queued| matches!(queued.place, Place::One(_));
        from..from + self.commands[from..].iter().take_while(single).count()
    }

    /// The one shard where all of its commands run, if there is one; `None` for the shard if any
    /// would do. A message to be published asks with `is_here` whether it concerns only `home`.
    pub(super) fn common_shard(
        &self,
        home: ShardId,
        watched: impl IntoIterator<Item = ShardId>,
        is_here: impl Fn(Args<'_>, Handler) -> bool,
    ) -> Result<Option<ShardId>, Several> {
        let mut common = None;
        let mut visit = |shard| {
            if *common.get_or_insert(shard) == shard { Ok(()) } else { Err(Several) }
        };
        watched.into_iter().try_for_each(&mut visit)?;
        for queued in &self.commands {
            match queued.place {
                Place::One(shard) => visit(shard)?,
                Place::Home => visit(home)?,
                Place::Publish if is_here(self.args(queued), queued.entry.command.handler) => {
                    visit(home)?;
                }
                Place::Publish | Place::Spread => return Err(Several),
            }
        }
        Ok(common)
    }
}

/// More than one shard is concerned.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Several;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::table::table;

    fn queue(places: &[Place]) -> Queue {
        let mut queue = Queue::default();
        for place in places {
            let entry = table().by_full_name(b"get").expect("it exists");
            let ranges = [ArgRange { start: 0, len: 3 }, ArgRange { start: 3, len: 1 }];
            let args = Args::new(b"getk", &ranges);
            queue.push(entry, entry.command.flags, (*place, 0), 5, args);
        }
        queue
    }

    #[test]
    fn arguments_come_out_as_they_went_in() {
        let mut queue = queue(&[Place::Home, Place::Spread]);
        queue.select(7);
        let entry = table().by_full_name(b"get").expect("it exists");
        let args = Args::new(b"xy", &[ArgRange { start: 1, len: 1 }]);
        queue.push(entry, Flags::NONE, (Place::Home, 0), 5, args);
        let shown = |queued: &Queued| {
            (queued.db, queue.args(queued).iter().map(<[u8]>::to_vec).collect::<Vec<_>>())
        };
        let get = || vec![b"get".to_vec(), b"k".to_vec()];
        let all: Vec<_> = queue.commands().iter().map(shown).collect();
        assert_eq!(all, [(5, get()), (5, get()), (7, vec![b"y".to_vec()])]);
    }

    #[test]
    fn groups_end_at_commands_of_several_shards() {
        let (a, b) = (Place::One(ShardId(0)), Place::One(ShardId(1)));
        let queue = queue(&[a, b, a, Place::Spread, b]);
        assert_eq!(queue.group(0), 0..3);
        assert_eq!(queue.group(3), 3..3);
        assert_eq!(queue.group(4), 4..5);
    }

    #[test]
    fn one_shard_is_enough_where_everything_lies_there() {
        let (zero, one) = (ShardId(0), ShardId(1));
        let common = |places: &[Place], watched: &[ShardId]| {
            queue(places).common_shard(zero, watched.iter().copied(), |_, _| false)
        };
        assert_eq!(common(&[], &[]), Ok(None));
        assert_eq!(common(&[Place::One(one)], &[]), Ok(Some(one)));
        assert_eq!(common(&[Place::One(one)], &[one]), Ok(Some(one)));
        assert_eq!(common(&[Place::One(one)], &[zero]), Err(Several));
        assert_eq!(common(&[Place::One(one), Place::Home], &[]), Err(Several));
        assert_eq!(common(&[Place::One(zero), Place::Home], &[]), Ok(Some(zero)));
        assert_eq!(common(&[Place::Publish], &[]), Err(Several));
        assert_eq!(common(&[Place::Spread], &[]), Err(Several));
    }

    #[test]
    fn a_failed_queue_keeps_nothing() {
        let mut queue = queue(&[Place::Home]);
        queue.fail();
        assert!(queue.failed());
        assert_eq!(queue.len(), 0);
        assert_eq!(queue.bytes(), 0);
    }
}
