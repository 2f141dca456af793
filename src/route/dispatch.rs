//! From a connection's bytes to the execution of its requests.

use kvasir_proto::{ArgRanges, Args, Encoder, Parsed, ProtocolError, RequestParser};

use super::connection::{
    Blocked, ClientState, Connection, OUTPUT_PAUSE_BYTES, PENDING_MAX, ReplyMode,
};
use super::core::{Core, CoreState, LOOKAHEAD, Pause};
use super::engine::{Close, ConnectionKey, ShardId};
use super::long::Long;
use super::message::{Done, RemoteRequest, ReplyTo};
use super::shard_map::ShardMap;
use crate::commands::context::{LocalContext, LocalHandler};
use crate::commands::definition::{Flags, Handler, TransactionStep};
use crate::commands::help::answer_help;
use crate::commands::table::{Entry, resolve};
use crate::errors::CommandError;

/// What becomes of the requests after one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Flow {
    /// They are executed.
    Continue,
    /// They wait: this one is under way, or was the last.
    Stop,
    /// They wait, and this one with them: it has not been executed.
    Postpone,
}

/// Up to so many keys in all shards, a walk through them visits several shards in one call.
pub(super) const FEW_KEYS: u64 = 10_000;

/// A request that has been parsed but not executed.
#[derive(Clone, Copy)]
pub(super) struct Ahead {
    /// Where it begins in the input.
    pub(super) start: usize,
    /// Where the next one begins.
    pub(super) end: usize,
    /// The command, if there is one of that name and it takes so many arguments.
    pub(super) entry: Option<&'static Entry>,
    /// The table hash of its first key, if its definition tells where that is.
    pub(super) hash: u64,
    /// The owner of that key; this core if there is none.
    pub(super) owner: ShardId,
}

/// Why parsing ahead ended.
enum End {
    /// There is room for no more, or the next must see what these do.
    Full,
    /// The input ends within a request, or exactly here.
    Exhausted,
    /// What follows is no request.
    Failed(ProtocolError),
}

impl Core {
    /// Executes the requests in `input`, until about `budget` bytes have been consumed or the
    /// connection has to wait. Returns how many bytes were consumed.
    pub(super) fn execute_input(
        &mut self,
        key: ConnectionKey,
        input: &[u8],
        budget: usize,
    ) -> usize {
        let mut space = std::mem::take(&mut self.lookahead);
        let mut ahead = std::mem::take(&mut self.ahead);
        let mut consumed = 0;
        self.state.metrics.start_lap();
        while consumed < budget {
            ahead.clear();
            let (end, parsed) = self.parse_ahead(key, input, consumed, &mut space, &mut ahead);
            self.prefetch_ahead(key, input, &space, &ahead);
            if !self.execute_ahead(key, input, &space, &ahead, &mut consumed) {
                self.state.connections[key.0 as usize].parser = RequestParser::new();
                break;
            }
            consumed = parsed;
            match end {
                End::Full => {}
                End::Exhausted => break,
                End::Failed(error) => {
                    self.refuse_stream(key, error, &input[parsed..]);
                    consumed = input.len();
                    break;
                }
            }
        }
        self.lookahead = space;
        self.ahead = ahead;
        consumed
    }

    /// Parses requests from `from` on. Returns why it ended, and where.
    fn parse_ahead(
        &mut self,
        key: ConnectionKey,
        input: &[u8],
        from: usize,
        space: &mut [ArgRanges],
        ahead: &mut Vec<Ahead>,
    ) -> (End, usize) {
        let map = self.state.shared.map;
        let me = self.state.id;
        let mut limits = self.state.limits;
        let connection = &mut self.state.connections[key.0 as usize];
        limits.authenticated = connection.client.authenticated;
        if connection.is_replay() {
            limits.max_bulk_len = u64::MAX;
        }
        let most = if limits.authenticated { LOOKAHEAD } else { 1 };
        let mut at = from;
        while ahead.len() < most {
            let ranges = &mut space[ahead.len()];
            match connection.parser.parse(&input[at..], &limits, ranges) {
                Ok(Parsed::Complete { consumed }) => {
                    let args = ranges.view(&input[at..at + consumed]);
                    let entry = resolve(args).ok();
                    let (mut hash, mut owner) = (0, me);
                    if let Some(entry) = entry
                        && let Some(first) = entry.first_key
                        && let Some(bytes) = args.get(first)
                    {
                        let key = map.key(bytes);
                        hash = key.hash;
                        owner = map.owner_of_slot(key.slot);
                    }
                    ahead.push(Ahead { start: at, end: at + consumed, entry, hash, owner });
                    at += consumed;
                    if map.shards() > 1
                        && entry.is_some_and(|entry| entry.is_likely_last(args.len()))
                    {
                        return (End::Full, at);
                    }
                }
                Ok(Parsed::Empty { consumed }) => at += consumed,
                Ok(Parsed::Incomplete { needed }) => {
                    connection.needed = needed;
                    return (End::Exhausted, at);
                }
                Err(error) => return (End::Failed(error), at),
            }
        }
        (End::Full, at)
    }

    /// Brings the memory that the requests will touch towards the core, if there is more than one.
    fn prefetch_ahead(
        &self,
        key: ConnectionKey,
        input: &[u8],
        space: &[ArgRanges],
        ahead: &[Ahead],
    ) {
        if ahead.len() < 2 {
            return;
        }
        let db = self.state.connections[key.0 as usize].client.view.db;
        let here = |a: &&Ahead| a.hash != 0 && a.owner == self.state.id;
        let keys = ahead.iter().filter(here).map(|request| (db, request.hash));
        self.state.shard.prefetch_keys(keys);
        // Then the same for the elements of large collections.
        let requests = ahead.iter().zip(space).filter(|(request, _)| here(request));
        let elements = requests.filter_map(|(request, ranges)| {
            let at = request.entry?.command.element?;
            let args = ranges.view(&input[request.start..request.end]);
            Some((request.hash, args.get(at)?))
        });
        self.state.shard.prefetch_elements(db, elements);
    }

    /// Executes parsed requests in order. False when the connection has to wait before all are
    /// done; `consumed` is then the end of the last one that was executed.
    fn execute_ahead(
        &mut self,
        key: ConnectionKey,
        input: &[u8],
        space: &[ArgRanges],
        ahead: &[Ahead],
        consumed: &mut usize,
    ) -> bool {
        let mut done = 0;
        while done < ahead.len() {
            let stretch = self.run_stretch(key, input, &space[done..], &ahead[done..]);
            let flow = if stretch > 0 {
                done += stretch;
                self.state.connections[key.0 as usize].flow()
            } else {
                let Ahead { start, end, .. } = ahead[done];
                let args = space[done].view(&input[start..end]);
                done += 1;
                self.dispatch(key, ahead[done - 1], args)
            };
            let last = ahead[done - 1];
            *consumed = if flow == Flow::Postpone { last.start } else { last.end };
            if flow != Flow::Continue {
                return false;
            }
        }
        true
    }

    fn dispatch(&mut self, key: ConnectionKey, request: Ahead, args: Args<'_>) -> Flow {
        if (self.state.pause.is_some() || self.state.choked)
            && let Some(entry) = request.entry
            && self.postpones(key, entry, args)
        {
            self.state.connections[key.0 as usize].blocked = Blocked::Paused;
            self.coordinations.pause(key);
            return Flow::Postpone;
        }
        let connection = &mut self.state.connections[key.0 as usize];
        connection.client.commands += 1;
        if connection.client.reply_mode == ReplyMode::SkipNext {
            connection.client.reply_mode = ReplyMode::SkipThis;
        }
        let entry = request.entry;
        if let Err(error) = self.route(key, request, args) {
            let error = self.refuse_in_queue(key, entry, error);
            self.reject(key, entry, &error);
        }
        let connection = &mut self.state.connections[key.0 as usize];
        if connection.client.reply_mode == ReplyMode::SkipThis {
            connection.client.reply_mode = ReplyMode::On;
        }
        if connection.client.tracking.is_some() {
            connection.end_caching(entry);
        }
        connection.flow()
    }

    /// Whether a command has to wait for the end of a pause, or until a snapshot has room again for
    /// what it would change.
    fn postpones(&self, key: ConnectionKey, entry: &'static Entry, args: Args<'_>) -> bool {
        let executed = self.state.connections[key.0 as usize].executed_flags(entry);
        let flags = self.state.flags_of(entry, args).or(executed);
        let choke = self.state.choked.then_some(Pause { until_us: 0, all: false });
        let pauses = [self.state.pause, choke].into_iter().flatten();
        pauses.into_iter().any(|pause| pause.postpones(entry, flags))
    }

    /// Sends a request where it belongs: to its handler here, to another core, to a coordination.
    fn route(
        &mut self,
        key: ConnectionKey,
        request: Ahead,
        args: Args<'_>,
    ) -> Result<(), CommandError> {
        let Some(entry) = request.entry else {
            return Err(resolve(args).expect_err("invariant: it did not resolve before either"));
        };
        let connection = &mut self.state.connections[key.0 as usize];
        let flags = entry.command.flags.or(connection.executed_flags(entry));
        let client = &mut connection.client;
        client.last_command = Some(entry);
        if !client.authenticated && !entry.command.flags.has(Flags::NO_AUTH) {
            return Err(CommandError::NoAuth);
        }
        if connection.queue.is_some() && entry.command.flags.has(Flags::NO_MULTI) {
            return Err(CommandError::Other("ERR Command not allowed inside a transaction"));
        }
        if client.is_confined() && !entry.is_about_subscriptions() {
            let name = entry.full_name;
            return Err(CommandError::Custom(format!(
                "ERR Can't execute '{name}': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT \
                 / RESET are allowed in this context"
            )));
        }
        self.check_persistence(key, entry, args)?;
        if self.state.room.exceeded && flags.has(Flags::DENYOOM) && !self.state.make_room() {
            return Err(CommandError::OutOfMemory);
        }
        let monitored = self.state.shared.monitored();
        if monitored {
            self.check_monitor(key, entry)?;
        }
        if self.state.connections[key.0 as usize].queues(entry) {
            self.check_busy_in_queue(entry, request, args)?;
            self.enqueue(key, entry, request, args);
            return Ok(());
        }
        // Monitors see a script before what it calls.
        let shows_first = monitored && matches!(entry.command.handler, Handler::Script(_));
        if shows_first {
            self.feed_all_monitors(key, entry, args);
        }
        match entry.command.handler {
            Handler::Container => unreachable!("a container resolves to a subcommand"),
            Handler::Local(handler) | Handler::Subscribe(handler) => {
                self.run_local(key, entry, handler, args);
            }
            Handler::Help(_) => self.run_local(key, entry, answer_help, args),
            Handler::Publish(topic) => self.publish(key, entry, topic, args),
            Handler::Shard(_) => self.run_on(request.owner, key, entry, request.hash, args),
            Handler::Placed { shard, spread, .. } => {
                let map = self.state.shared.map;
                if map.shards() > 1 && self.state.shared.memory.keys() <= FEW_KEYS {
                    self.coordinate(key, entry, spread, args)?;
                } else {
                    self.run_on(shard(args, map), key, entry, request.hash, args);
                }
            }
            Handler::Multi { spread, .. } => match self.common_owner(entry, args) {
                Some(owner) => self.run_on(owner, key, entry, request.hash, args),
                None => self.coordinate(key, entry, spread, args)?,
            },
            Handler::Blocking(blocking) => self.block(key, entry, blocking, request, args)?,
            Handler::Global(_, coordinator) => self.coordinate(key, entry, coordinator, args)?,
            Handler::Transaction(step) => self.step(key, entry, step, args)?,
            Handler::Script(_) => self.route_script(key, entry, request.hash, args)?,
        }
        // Monitors see EXEC after what it has executed.
        if monitored
            && !shows_first
            && !matches!(entry.command.handler, Handler::Transaction(TransactionStep::Execute))
        {
            self.feed_all_monitors(key, entry, args);
        }
        Ok(())
    }

    /// The shard that owns every key of the command, if there is one.
    pub(super) fn common_owner(&self, entry: &'static Entry, args: Args<'_>) -> Option<ShardId> {
        entry.common_owner(args, self.state.shared.map, self.state.id)
    }

    /// Runs a command on the shard that owns its keys.
    pub(super) fn run_on(
        &mut self,
        owner: ShardId,
        key: ConnectionKey,
        entry: &'static Entry,
        hash: u64,
        args: Args<'_>,
    ) {
        let connection = &mut self.state.connections[key.0 as usize];
        let (client, view) = (connection.client.id, connection.client.view);
        if owner != self.state.id {
            let reply_to = ReplyTo { connection: key, client, sequence: connection.reserve() };
            let request = RemoteRequest::new(entry, reply_to, view, hash);
            self.outboxes.to(owner).push(request, args);
            return;
        }
        if !self.locks.is_idle() {
            let scope = self.scope_of(entry, args, view.db);
            if !self.locks.admits(&scope) {
                if let Some(busy) = self.busy(entry) {
                    return self.reject(key, Some(entry), &busy);
                }
                let sequence = self.state.connections[key.0 as usize].reserve();
                let reply_to = ReplyTo { connection: key, client, sequence };
                return self.park(owner, entry, reply_to, view, args, scope);
            }
        }
        if let Handler::Script(kind) = entry.command.handler {
            return self.run_script_of(key, entry, kind, view, args);
        }
        let mut buffer = self.state.connections[key.0 as usize].reply_start();
        let start = buffer.len();
        let done = self.run_alone(entry, view, args, &mut buffer);
        if let Some(work) = self.state.postponed.take() {
            let reply = buffer.split_off(start);
            let connection = &mut self.state.connections[key.0 as usize];
            connection.reply_cancel(buffer);
            let reply_to = ReplyTo { connection: key, client, sequence: connection.reserve() };
            let long = Self::long_of((owner, entry, reply_to), view, args, done, work);
            return self.begin_long(Long { reply, ..long });
        }
        self.end_reply(key, entry, buffer, start, done, args);
        self.after_command();
    }

    fn run_local(
        &mut self,
        key: ConnectionKey,
        entry: &'static Entry,
        handler: LocalHandler,
        args: Args<'_>,
    ) {
        let mut buffer = self.state.connections[key.0 as usize].reply_start();
        let start = buffer.len();
        let done = self.state.run_locally(key, handler, args, &mut buffer);
        self.end_reply(key, entry, buffer, start, done, args);
    }

    /// Gives a reply that was written at once to its connection, and counts the command.
    pub(crate) fn end_reply(
        &mut self,
        key: ConnectionKey,
        entry: &'static Entry,
        mut buffer: Vec<u8>,
        start: usize,
        done: Done,
        args: Args<'_>,
    ) {
        let client = self.state.connections[key.0 as usize].client.id;
        let reply_to = ReplyTo { connection: key, client, sequence: 0 };
        self.record(entry, done, args, &buffer[start..], reply_to);
        let connection = &mut self.state.connections[key.0 as usize];
        let is_message = matches!(entry.command.handler, Handler::Subscribe(_));
        if connection.takes_no_reply() && !is_message {
            buffer.truncate(start);
        }
        connection.reply_end(buffer, start);
    }

    /// Answers a request that has not been executed with an error.
    fn reject(&mut self, key: ConnectionKey, entry: Option<&'static Entry>, error: &CommandError) {
        let connection = &mut self.state.connections[key.0 as usize];
        let suppressed = connection.takes_no_reply();
        let mut buffer = connection.reply_start();
        let start = buffer.len();
        if !suppressed {
            Encoder::new(&mut buffer, connection.client.view.resp).error_bytes(&error.to_wire());
        }
        connection.reply_end(buffer, start);
        self.state.metrics.rejected(entry, error);
    }

    /// Answers bytes that are no request with the peers' error, and closes the connection.
    fn refuse_stream(&mut self, key: ConnectionKey, error: ProtocolError, rest: &[u8]) {
        let hides = self.state.shared.config.load().log.hide_user_data;
        let connection = &mut self.state.connections[key.0 as usize];
        log_protocol_error(&connection.client, error, if hides { None } else { Some(rest) });
        let mut buffer = connection.reply_start();
        let start = buffer.len();
        let mut text = b"ERR ".to_vec();
        error.append_to(&mut text);
        Encoder::new(&mut buffer, connection.client.view.resp).error_bytes(&text);
        connection.reply_end(buffer, start);
        self.state.metrics.counters.protocol_errors += 1;
        self.state.metrics.count_error(&text);
        self.state.close(key, Close::AfterOutput);
    }

    /// A reply has come from another core, or from a coordination.
    pub(crate) fn fill(&mut self, to: ReplyTo, reply: &[u8]) {
        let Some(connection) = self.state.connection(to.connection) else { return };
        if connection.client.id != to.client {
            return;
        }
        connection.fill(to.sequence, reply);
        let resume = match connection.blocked {
            Blocked::Pending => connection.pending() < PENDING_MAX / 2,
            Blocked::Script => connection.in_order(),
            _ => false,
        };
        let finished = connection.is_finished();
        if resume {
            self.unblock(to.connection);
        } else if finished {
            self.state.close(to.connection, Close::AfterOutput);
        }
        self.state.mark_dirty(to.connection);
    }
}

impl Entry {
    /// Whether the connection will probably wait for its end, if there are several shards: what is
    /// parsed ahead of that is parsed again. It has so many arguments.
    fn is_likely_last(&self, arguments: usize) -> bool {
        match self.command.handler {
            Handler::Transaction(step) => matches!(step, TransactionStep::Execute),
            Handler::Multi { .. } => arguments > 2,
            Handler::Global(..) => true,
            _ => false,
        }
    }

    /// The shard that owns every key of a request, if there is one. A request whose keys cannot be
    /// told is malformed: any shard will answer so, and `home` is as good as another.
    pub(super) fn common_owner(
        &self,
        args: Args<'_>,
        map: ShardMap,
        home: ShardId,
    ) -> Option<ShardId> {
        if map.shards() == 1 {
            return Some(home);
        }
        if self.command.beyond(args).is_some() {
            return None;
        }
        let mut common = None;
        let mut differ = false;
        let found = self.keys(args, |index, _| {
            let owner = map.owner(args.at(index));
            differ |= *common.get_or_insert(owner) != owner;
        });
        match (found, differ) {
            (Ok(()), true) => None,
            (Ok(()), false) => common.or(Some(home)),
            (Err(_), _) => Some(home),
        }
    }
}

impl CoreState {
    /// Runs a command about a connection of this core, appending its reply.
    pub(super) fn run_locally(
        &mut self,
        key: ConnectionKey,
        handler: LocalHandler,
        args: Args<'_>,
        replies: &mut Vec<u8>,
    ) -> Done {
        let resp = self.connections[key.0 as usize].client.view.resp;
        let start = replies.len();
        let mut context = LocalContext { state: self, connection: key };
        let result = handler(&mut context, args, &mut Encoder::new(replies, resp));
        let failed = result.is_err();
        if let Err(error) = result {
            replies.truncate(start);
            Encoder::new(replies, resp).error_bytes(&error.to_wire());
        }
        let nanoseconds = self.metrics.lap();
        Done { reply_end: replies.len(), nanoseconds, failed, ..Done::default() }
    }
}

impl Connection {
    /// Ends what `CLIENT CACHING` has asked for, after the command or the transaction that it was
    /// for. Commands about clients do not count.
    #[cold]
    fn end_caching(&mut self, entry: Option<&'static Entry>) {
        if self.queue.is_some() || entry.is_some_and(Entry::is_about_clients) {
            return;
        }
        if let Some(tracking) = &mut self.client.tracking {
            tracking.caching = false;
            self.client.view.tracks = tracking.remembers();
        }
    }

    /// Whether its next request may be executed, after the last one.
    fn flow(&mut self) -> Flow {
        if self.close != Close::No {
            return Flow::Stop;
        }
        if self.blocked == Blocked::No {
            if self.pending() >= PENDING_MAX {
                self.blocked = Blocked::Pending;
            } else if self.output_bytes() > OUTPUT_PAUSE_BYTES {
                self.blocked = Blocked::Output;
            }
        }
        if self.blocked == Blocked::No { Flow::Continue } else { Flow::Stop }
    }
}

/// Tells of bytes that are no request, as the peers do: with some of them, unless they may be
/// somebody's data.
fn log_protocol_error(client: &ClientState, error: ProtocolError, bytes: Option<&[u8]>) {
    const SHOWN_BYTES: usize = 128;
    let shown = bytes.map_or_else(
        || "*redacted*".to_owned(),
        |bytes| {
            let shown = bytes[..bytes.len().min(SHOWN_BYTES)].escape_ascii();
            let more = bytes.len().saturating_sub(SHOWN_BYTES);
            if more > 0 {
                format!("'{shown}' (... more {more} bytes)")
            } else {
                format!("'{shown}'")
            }
        },
    );
    let (id, peer) = (client.id, &client.socket.peer);
    tracing::debug!("{error} from client: id={id} addr={peer}. Query buffer: {shown}");
}

impl Pause {
    /// Whether the pause holds this command back, which does so much.
    fn postpones(self, entry: &Entry, flags: Flags) -> bool {
        let exempt = matches!(entry.command.name, "unpause" | "quit" | "reset");
        !exempt && (self.all || flags.has(Flags::WRITE) || flags.has(Flags::MAY_REPLICATE))
    }
}
