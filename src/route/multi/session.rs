//! A connection's transaction: what `MULTI`, `EXEC`, `DISCARD`, `WATCH` and `UNWATCH` do at once.

use std::sync::Arc;

use kvasir_proto::{Args, Encoder};

use super::Message;
use super::errand::Errand;
use super::execute::{self, Plan};
use super::queue::{Place, Queue};
use super::watch::Watching;
use crate::commands::arguments::database;
use crate::commands::definition::{Flags, Handler, TransactionStep};
use crate::commands::table::{Entry, table};
use crate::errors::CommandError;
use crate::route::connection::{Blocked, ClientState, Connection};
use crate::route::core::{Core, CoreState};
use crate::route::dispatch::Ahead;
use crate::route::engine::{Close, ConnectionKey};
use crate::route::message::{Control, Done, OwnedArgs, ReplyTo};

/// What `CLIENT LIST` shows of a connection's transaction.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Figures {
    /// Queued commands, after `MULTI`.
    pub queued: Option<usize>,
    /// Watched keys.
    pub watched: usize,
    /// A watched key has changed.
    pub touched: bool,
    /// Bytes of the queue and of the watch.
    pub bytes: usize,
}

impl Connection {
    /// What is shown of its transaction.
    pub fn transaction(&self) -> Figures {
        let queue = self.queue.as_deref();
        let watching = self.watching.as_deref();
        Figures {
            queued: queue.map(Queue::len),
            watched: watching.map_or(0, Watching::len),
            touched: watching.is_some_and(|watching| watching.watch.is_touched(0)),
            bytes: queue.map_or(0, Queue::bytes) + watching.map_or(0, Watching::bytes),
        }
    }

    /// What the commands that this one executes do besides what its definition says.
    pub(in crate::route) fn executed_flags(&self, entry: &Entry) -> Flags {
        self.executed(entry).map_or(Flags::NONE, Queue::flags)
    }

    /// Whether a command has to wait until the data set has been loaded, or one that it executes.
    pub(in crate::route) fn needs_data(&self, entry: &Entry) -> bool {
        entry.needs_data() || self.executed(entry).is_some_and(Queue::needs_data)
    }

    fn executed(&self, entry: &Entry) -> Option<&Queue> {
        let executes =
            matches!(entry.command.handler, Handler::Transaction(TransactionStep::Execute));
        self.queue.as_deref().filter(|_| executes)
    }

    /// Whether a request is queued instead of executed.
    pub(in crate::route) fn queues(&self, entry: &Entry) -> bool {
        use TransactionStep::{Begin, Discard, Execute, Watch};
        let at_once = match entry.command.handler {
            Handler::Transaction(step) => matches!(step, Begin | Discard | Execute | Watch),
            _ => matches!(entry.command.name, "quit" | "reset") && entry.container.is_none(),
        };
        self.queue.is_some() && !at_once
    }
}

/// What a client is told whose `EXEC` was refused for this reason.
fn discarding(error: &CommandError) -> CommandError {
    // An error of no special kind is quoted without its code.
    let text = error.to_string();
    let reason = text.strip_prefix("ERR ").unwrap_or(&text);
    CommandError::Custom(format!("EXECABORT Transaction discarded because of: {reason}"))
}

/// What a client is told whose command was refused for this reason after it had been accepted.
pub(in crate::route) fn refusal_of(entry: &Entry, error: CommandError) -> CommandError {
    match entry.command.handler {
        Handler::Transaction(TransactionStep::Execute) => discarding(&error),
        _ => error,
    }
}

impl Core {
    /// A command about the transaction of a connection.
    pub(in crate::route) fn step(
        &mut self,
        key: ConnectionKey,
        entry: &'static Entry,
        step: TransactionStep,
        args: Args<'_>,
    ) -> Result<(), CommandError> {
        let connection = &mut self.state.connections[key.0 as usize];
        let result = match step {
            TransactionStep::Begin => {
                connection.queue = Some(Box::default());
                Ok(())
            }
            TransactionStep::Discard if connection.queue.is_none() => {
                Err(CommandError::Other("ERR DISCARD without MULTI"))
            }
            TransactionStep::Discard => {
                self.state.discard(key);
                Ok(())
            }
            TransactionStep::Unwatch => {
                self.state.unwatch_all(key);
                Ok(())
            }
            TransactionStep::Watch if connection.transaction().touched => Ok(()),
            TransactionStep::Watch => return self.watch(key, entry, args),
            TransactionStep::Execute => {
                // As in the peers, one that waits for a slow script is told so in any case.
                if connection.queue.as_ref().is_some_and(|queue| queue.failed())
                    && let Some(busy) = self.busy(entry)
                {
                    return Err(busy);
                }
                match self.take_queue(key, entry, args) {
                    Ok(Some(queue)) => self.execute(key, entry, *queue, args),
                    Ok(None) => self.end_unexecuted(key, entry, args, &Ok(())),
                    Err(error) => self.end_unexecuted(key, entry, args, &Err(error)),
                }
                return Ok(());
            }
        };
        self.answer(key, entry, args, &result, |reply| {
            reply.ok();
        });
        Ok(())
    }

    /// Answers an `EXEC` that executes nothing: null, or the error.
    fn end_unexecuted(
        &mut self,
        key: ConnectionKey,
        entry: &'static Entry,
        args: Args<'_>,
        result: &Result<(), CommandError>,
    ) {
        self.answer(key, entry, args, result, |reply| {
            reply.null_array();
        });
        if self.state.shared.monitored() {
            self.feed_all_monitors(key, entry, args);
        }
    }

    /// Replies to a command that is done.
    fn answer(
        &mut self,
        key: ConnectionKey,
        entry: &'static Entry,
        args: Args<'_>,
        result: &Result<(), CommandError>,
        write: impl FnOnce(&mut Encoder<'_>),
    ) {
        let connection = &mut self.state.connections[key.0 as usize];
        let resp = connection.client.view.resp;
        let mut buffer = connection.reply_start();
        let start = buffer.len();
        let mut reply = Encoder::new(&mut buffer, resp);
        match result {
            Ok(()) => write(&mut reply),
            Err(error) => reply.error_bytes(&error.to_wire()),
        }
        let nanoseconds = self.state.metrics.lap();
        let failed = result.is_err();
        let done = Done { reply_end: buffer.len(), nanoseconds, failed, ..Done::default() };
        self.end_reply(key, entry, buffer, start, done, args);
    }

    /// Refuses a command behind `MULTI` that would have to wait for a script that has run for too
    /// long, as far as this core can tell.
    pub(in crate::route) fn check_busy_in_queue(
        &self,
        entry: &'static Entry,
        request: Ahead,
        args: Args<'_>,
    ) -> Result<(), CommandError> {
        if !self.is_busy() {
            return Ok(());
        }
        let concerned = match self.place_of(entry, request, args) {
            Place::One(shard) => shard == self.state.id,
            Place::Spread => true,
            Place::Home | Place::Publish => false,
        };
        match self.busy_error(entry) {
            Some(busy) if concerned => Err(busy),
            _ => Ok(()),
        }
    }

    /// Queues a request behind `MULTI`.
    pub(in crate::route) fn enqueue(
        &mut self,
        key: ConnectionKey,
        entry: &'static Entry,
        request: Ahead,
        args: Args<'_>,
    ) {
        let place = self.place_of(entry, request, args);
        let query_buffer_max = self.state.query_buffer_max;
        let flags = self.state.flags_of(entry, args);
        let connection = &mut self.state.connections[key.0 as usize];
        let (db, resp) = (connection.client.view.db, connection.client.view.resp);
        let touched = connection.watching.as_ref().is_some_and(|w| w.watch.is_touched(0));
        let queue = connection.queue.as_mut().expect("invariant: only behind MULTI");
        // What will not be executed need not be kept.
        if !queue.failed() && !touched {
            queue.push(entry, flags, (place, request.hash), db, args);
            // Where its keys will lie is told by the database that will be selected then.
            if entry.full_name == "select" {
                let databases = self.state.shared.config.load().process.databases;
                if let Ok(db) = database(args.at(1), databases) {
                    queue.select(db);
                }
            }
        }
        let too_large = queue.argument_bytes() > query_buffer_max;
        let suppressed = connection.takes_no_reply();
        let mut buffer = connection.reply_start();
        let start = buffer.len();
        if !suppressed {
            Encoder::new(&mut buffer, resp).simple("QUEUED");
        }
        connection.reply_end(buffer, start);
        if too_large {
            self.state.metrics.counters.query_buffer_limit_disconnections += 1;
            self.state.close(key, Close::Now);
        }
    }

    fn place_of(&self, entry: &'static Entry, request: Ahead, args: Args<'_>) -> Place {
        match entry.command.handler {
            Handler::Shard(_) => Place::One(request.owner),
            Handler::Multi { .. } | Handler::Blocking(_) => {
                self.common_owner(entry, args).map_or(Place::Spread, Place::One)
            }
            Handler::Placed { .. } if self.state.shared.map.shards() == 1 => {
                Place::One(self.state.id)
            }
            Handler::Placed { .. } | Handler::Global(..) | Handler::Script(_) => Place::Spread,
            Handler::Publish(_) => Place::Publish,
            Handler::Local(_)
            | Handler::Help(_)
            | Handler::Subscribe(_)
            | Handler::Transaction(_) => Place::Home,
            Handler::Container => unreachable!("a container resolves to a subcommand"),
        }
    }

    /// A request has been refused: behind `MULTI` nothing will be executed; and what is refused may
    /// be `EXEC` itself.
    pub(in crate::route) fn refuse_in_queue(
        &mut self,
        key: ConnectionKey,
        entry: Option<&'static Entry>,
        error: CommandError,
    ) -> CommandError {
        let named = match &error {
            CommandError::WrongArity(name) => table().by_full_name(name.as_bytes()),
            _ => None,
        };
        let step = entry.or(named).map(|entry| entry.command.handler);
        if matches!(step, Some(Handler::Transaction(TransactionStep::Execute))) {
            self.state.discard(key);
            return discarding(&error);
        }
        if let Some(queue) = &mut self.state.connections[key.0 as usize].queue {
            queue.fail();
        }
        error
    }

    /// Takes the queue that `EXEC` is to execute; none if a watched key has changed.
    fn take_queue(
        &mut self,
        key: ConnectionKey,
        entry: &'static Entry,
        args: Args<'_>,
    ) -> Result<Option<Box<Queue>>, CommandError> {
        let now_ms = self.state.unix_ms();
        let connection = &mut self.state.connections[key.0 as usize];
        let Some(mut queue) = connection.queue.take() else {
            return Err(CommandError::Other("ERR EXEC without MULTI"));
        };
        let touched = connection.watching.as_ref().is_some_and(|w| w.watch.is_touched(now_ms));
        if queue.failed() || touched {
            self.state.discard(key);
        }
        if queue.failed() {
            return Err(CommandError::Other(
                "EXECABORT Transaction discarded because of previous errors.",
            ));
        }
        queue.end(entry, args);
        Ok((!touched).then_some(queue))
    }

    fn execute(&mut self, key: ConnectionKey, entry: &'static Entry, queue: Queue, args: Args<'_>) {
        let me = self.state.id;
        let shards = self.state.shared.map.shards();
        let connection = &self.state.connections[key.0 as usize];
        let (client, view) = (connection.client.id, connection.client.view);
        let watching = connection.watching.as_deref();
        let watch = watching.map(|watching| Arc::clone(&watching.watch));
        let watched = watching.into_iter().flat_map(Watching::shards).copied();
        let is_here = |args: Args<'_>, handler: Handler| match handler {
            Handler::Publish(topic) => {
                self.state.cores_of(topic, args.at(1)).iter(shards).all(|core| core == me)
            }
            _ => false,
        };
        if let Ok(shard) = queue.common_shard(me, watched, is_here) {
            let to = self.block_for(key, client, Blocked::Errand);
            let errand = Errand::execute(me, to, view, queue, watch);
            return self.send_errand(shard.unwrap_or(me), errand);
        }
        let scopes = self.scopes_of_execution(&queue, watching);
        let plan = Box::new(Plan { queue, watch });
        self.coordinate_in(key, entry, execute::execute, args, scopes, Some(plan));
    }

    fn watch(
        &mut self,
        key: ConnectionKey,
        entry: &'static Entry,
        args: Args<'_>,
    ) -> Result<(), CommandError> {
        let (me, map) = (self.state.id, self.state.shared.map);
        let id = self.state.new_watch();
        let connection = &mut self.state.connections[key.0 as usize];
        let (client, view) = (connection.client.id, connection.client.view);
        let watching = connection.watching.get_or_insert_with(|| Box::new(Watching::new(id)));
        for key in args.iter().skip(1) {
            watching.add(view.db, key, map.owner(key));
        }
        let watch = Arc::clone(&watching.watch);
        if let Some(shard) = self.common_owner(entry, args) {
            let to = self.block_for(key, client, Blocked::Errand);
            let request = (entry, OwnedArgs::new(args));
            self.send_errand(shard, Errand::watch(me, to, view, request, watch));
            return Ok(());
        }
        let scopes = self.scopes_by_shard(entry, args, view.db)?;
        let plan = Box::new(Plan { queue: Queue::default(), watch: Some(watch) });
        self.coordinate_in(key, entry, execute::watch, args, scopes, Some(plan));
        Ok(())
    }

    /// Makes a connection wait, and reserves the place of the reply.
    fn block_for(&mut self, key: ConnectionKey, client: u64, why: Blocked) -> ReplyTo {
        let connection = &mut self.state.connections[key.0 as usize];
        connection.blocked = why;
        ReplyTo { connection: key, client, sequence: connection.reserve() }
    }

    /// Ends the watch of a client, if it is still there.
    pub(in crate::route) fn unwatch(&mut self, to: ReplyTo) {
        if self.state.client(to).is_some() {
            self.state.unwatch_all(to.connection);
        }
    }

    /// A message about transactions.
    pub(in crate::route) fn heed_multi(&mut self, message: Message) {
        match message {
            Message::Run(errand) => self.begin_errand(errand),
            Message::Ran(errand) => self.end_errand(*errand),
            Message::Forget(id) => self.state.forget_watch(id),
        }
    }

    /// Tells other shards of the watches that have ended.
    pub(in crate::route) fn send_ended_watches(&mut self) {
        for (shard, id) in std::mem::take(&mut self.state.ended_watches) {
            let message = Control::Multi(Message::Forget(id));
            self.outboxes.control(shard, message);
        }
    }
}

impl CoreState {
    /// Ends a connection's transaction, and its watch.
    pub fn discard(&mut self, key: ConnectionKey) {
        self.connections[key.0 as usize].queue = None;
        self.unwatch_all(key);
    }

    /// Ends a connection's watch.
    pub(super) fn unwatch_all(&mut self, key: ConnectionKey) {
        if let Some(watching) = self.connections[key.0 as usize].watching.take() {
            self.end_watch(&watching);
        }
    }

    /// The client that waits for a reply, if it is still there.
    pub(super) fn client(&self, to: ReplyTo) -> Option<&ClientState> {
        let connection = self.connections.get(to.connection.0 as usize)?;
        Some(&connection.client).filter(|client| client.id == to.client)
    }
}
