//! Drives scripts: where they run, under which locks, and what their calls come to.
//!
//! A script whose declared keys one shard owns (and one without keys, on its client's core) runs
//! there in one turn, without locks. Each call runs at once, as long as that shard owns its keys
//! and no transaction has claimed them. When one reaches beyond, the script is given up, what it
//! has written is taken back (`undo`), and it is begun again under locks on everything (`wide`),
//! where calls visit whatever shard they like. A script that is about to do what cannot be taken
//! back is given up in the same way, unless it is known to keep to its shard: what it does under
//! the locks tells that for later runs ([`Reach`]). One such script of the process at a time may
//! do it ([`Commitment`](crate::script::commitment::Commitment)). If it reaches beyond after all
//! it goes on where it is, under locks on everything, for which others give way
//! ([`Locks::raise`](super::locks::Locks::raise)).
//!
//! A script whose declared keys lie on several shards is coordinated under locks on those keys
//! (`narrow`), and begins again or goes on in the same way when it needs more.
//!
//! A script that runs for long on its shard claims all of it and goes on a little in each round
//! (`turn`); so does one that holds all shards. In between, the cores serve whoever needs nothing
//! of what is held.

mod answer;
mod busy;
mod coordinated;
mod functions;
mod narrow;
mod shown;
mod subject;
mod turn;
mod undo;
mod wide;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use kvasir_proto::{Args, Encoder, Resp};

use self::answer::Uncounted;
use self::shown::{News, Traces};
use self::undo::Undo;
use super::connection::Blocked;
use super::core::{Core, CoreState};
use super::engine::{ConnectionKey, Now, ShardId};
use super::message::{Blame, ClientView, Done, OwnedArgs, ReplyTo};
use crate::commands::definition::{Flags, Handler, ScriptKind, ScriptSource};
use crate::commands::table::Entry;
use crate::errors::CommandError;
use crate::persist::log::Records;
use crate::pubsub::message::Publication;
use crate::script::cache::{self, Digest, Reach, Script};
use crate::script::digests::Digests;
use crate::script::exchange::Ending;
use crate::script::interpreter::{Finished, Interpreter, Running, Step};
use crate::script::shebang::{self, Declared};
pub use coordinated::Astray;
use functions::LoadRun;
pub use functions::{LoadTime, RunningFunction, forget_libraries, run_library};
use subject::Subject;

pub use shown::LoggedCall;
pub(super) use wide::widely;

/// Memory of one interpreter where there is no `maxmemory`, bytes.
const MEMORY_MAX: u64 = 4 << 30;
/// What one may always have.
const MEMORY_MIN: u64 = 64 << 20;
/// Interpreters without work that a core keeps.
const IDLE_MAX: usize = 4;
/// How long a script runs before others have their turn.
const TURN_NS: u64 = 1_000_000;

/// What an unknown digest is answered with.
const NO_SCRIPT: CommandError = CommandError::Other("NOSCRIPT No matching script.");

/// Who has sent a script.
#[derive(Clone, Copy, Debug)]
pub(super) enum Caller {
    /// A connection of this core, which has reserved no place for the reply yet.
    Here(ConnectionKey),
    /// One of some core, which has.
    There(ShardId, ReplyTo),
}

/// A request that runs a script, whose reply has its place already.
#[derive(Clone, Debug)]
pub struct Asked {
    pub(super) to: ReplyTo,
    pub(super) entry: &'static Entry,
    pub(super) view: ClientView,
    pub(super) args: OwnedArgs,
}

/// A script that has begun.
#[expect(clippy::struct_excessive_bools, reason = "each is a fact by itself")]
pub(super) struct Run {
    running: Running,
    script: Subject,
    /// What runs it.
    entry: &'static Entry,
    /// The request, once others have to be told about it, or it is coordinated.
    command: Option<OwnedArgs>,
    /// The database of the declared keys.
    declared_db: u32,
    /// The client's view, which `SELECT` of the script changes for the script alone.
    view: ClientView,
    /// The shard that owns the declared keys, if there are any and one does.
    owner: Option<ShardId>,
    /// Its declared keys lie on several shards.
    apart: bool,
    read_only: bool,
    allow_oom: bool,
    /// It may call what is not for scripts.
    unrestricted: bool,
    /// Memory was exhausted when it began.
    out_of_memory: bool,
    wrote: bool,
    /// It has done what cannot be taken back, and has the process's commitment for that.
    irrevocable: bool,
    /// It cannot want anything but the keys that it declares, which this shard has. They have been
    /// admitted before it began, so nobody else's claim can stand in the way of a call.
    contained: bool,
    /// It has every shard.
    everywhere: bool,
    /// What it has changed, as it was.
    undo: Undo,
    /// What it has published, which goes out when it ends.
    published: Vec<Publication>,
    published_bytes: usize,
    /// Nobody else has claimed anything of its shard.
    undisturbed: bool,
    /// It has used keys that its owner does not have or, with several of those, that it does not
    /// declare.
    strayed: bool,
    ending: Option<Ending>,
    began: u64,
    /// The time for the script.
    now: Now,
    /// It has run for longer than `busy-reply-threshold`.
    busy: bool,
    /// Who waits for it, and on which core.
    client: (ShardId, ReplyTo),
    traces: Traces,
    /// What it has changed so far on the one shard that it has, for the log.
    caused: Records,
    /// Calls that have run.
    calls: u32,
    /// Those of them that are not in the statistics yet.
    uncounted: Vec<Uncounted>,
}

impl Run {
    /// Lets it go on until it wants something, or makes it end if it has to.
    fn step(&mut self) -> Step {
        match self.ending.take() {
            Some(ending) => Step::Done(self.running.end(ending)),
            None => self.running.go_on(),
        }
    }
}

/// The scripts of one core.
#[derive(Default)]
pub struct Scripts {
    idle: Vec<Interpreter>,
    flushes: u64,
    /// Those for functions.
    idle_for_functions: Vec<Interpreter>,
    /// Libraries that are being loaded for the first time.
    loads: HashMap<u64, LoadRun, ahash::RandomState>,
    /// Scripts that have stopped in the middle.
    held: HashMap<u64, Run, ahash::RandomState>,
    jobs: turn::Jobs,
    next: u64,
    news: News,
    digests: Digests,
}

/// What `SCRIPT KILL` or `FUNCTION KILL` came to on one core.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Kill {
    /// No script runs here.
    Idle,
    /// What runs is for the other one of the two.
    Other,
    /// The one that runs has written.
    Written,
    /// It ends.
    Done,
}

impl Scripts {
    /// Whether a script of this core waits for its next turn.
    pub(super) fn any_jobs(&self) -> bool {
        !self.jobs.is_empty()
    }

    /// Whether something that scripts have left waits to be handed on.
    pub(super) fn has_news(&self) -> bool {
        !self.news.is_empty()
    }

    /// Whether the shard is held by a script that has run for longer than `busy-reply-threshold`.
    fn is_busy(&self) -> bool {
        self.jobs.numbers().any(|number| self.held.get(&number).is_some_and(|run| run.busy))
    }

    /// Bytes that the interpreters of scripts hold, without those of scripts that run.
    pub fn memory(&self) -> usize {
        self.idle.iter().map(Interpreter::memory).sum()
    }

    /// Bytes that the interpreters of functions hold, without those of functions that run.
    pub fn function_memory(&self) -> usize {
        self.idle_for_functions.iter().map(Interpreter::memory).sum()
    }

    /// Ends the scripts, or the functions, that have stopped in the middle, if they have not
    /// written.
    pub fn kill(&mut self, functions: bool) -> Kill {
        let mut kill = Kill::Idle;
        for run in self.held.values_mut() {
            let of_run = if run.wrote {
                Kill::Written
            } else if run.script.is_function() == functions {
                run.ending = Some(if functions { Ending::FunctionKilled } else { Ending::Killed });
                Kill::Done
            } else {
                Kill::Other
            };
            kill = kill.max(of_run);
        }
        kill
    }

    fn hold(&mut self, run: Run) -> u64 {
        let number = self.next;
        self.next += 1;
        self.held.insert(number, run);
        number
    }

    fn held_mut(&mut self, number: u64) -> &mut Run {
        self.held.get_mut(&number).expect("invariant: a script that has stopped is held")
    }

    fn take(&mut self, number: u64) -> Run {
        self.held.remove(&number).expect("invariant: a script is held once")
    }
}

/// The keys and the other arguments of a request that runs a script.
fn parts(kind: ScriptKind, args: Args<'_>) -> Result<(Args<'_>, Args<'_>), CommandError> {
    let count = kvasir_proto::number::parse_i64(args.at(2)).ok_or(match kind.source {
        ScriptSource::Function => CommandError::Other("ERR Bad number of keys provided"),
        ScriptSource::Text | ScriptSource::Digest => CommandError::NotAnInteger,
    })?;
    let rest = args.tail(3);
    if count > rest.len() as i64 {
        return Err(CommandError::Other("ERR Number of keys can't be greater than number of args"));
    }
    let Ok(count) = usize::try_from(count) else {
        return Err(CommandError::Other("ERR Number of keys can't be negative"));
    };
    Ok((Args::new(rest.buffer(), &rest.ranges()[..count]), rest.tail(count)))
}

impl CoreState {
    /// An interpreter for scripts in which nothing runs.
    fn interpreter(&mut self) -> Result<Interpreter, CommandError> {
        let flushes = self.shared.scripts.flushes();
        if self.scripts.flushes != flushes {
            self.scripts.flushes = flushes;
            self.scripts.idle.clear();
        }
        let idle = self.scripts.idle.pop();
        idle.map_or_else(|| Interpreter::new(self.interpreter_memory(), false), Ok)
    }

    /// What one interpreter may have, bytes.
    fn interpreter_memory(&self) -> usize {
        let limit = if self.room.limit == 0 { MEMORY_MAX } else { self.room.limit };
        limit.max(MEMORY_MIN) as usize
    }

    /// Whether what has run in an interpreter leaves enough for the next: it may be garbage that is
    /// collected much later.
    fn has_room(&self, interpreter: &Interpreter) -> bool {
        interpreter.memory() <= self.interpreter_memory() / 2
    }

    fn keep_interpreter(&mut self, mut interpreter: Interpreter) {
        if interpreter.has_functions() {
            return self.keep_for_functions(interpreter);
        }
        let current = self.scripts.flushes == self.shared.scripts.flushes();
        if current && self.has_room(&interpreter) && self.scripts.idle.len() < IDLE_MAX {
            let cache = &self.shared.scripts;
            interpreter.forget(|digest| cache.contains(digest));
            self.scripts.idle.push(interpreter);
        }
    }

    /// Adds a script to the server's, if it compiles. Returns its digest.
    pub fn load_script(&mut self, body: &[u8]) -> Result<Digest, CommandError> {
        let script = self.know(&crate::sha1::sha1(body), Some(body))?;
        let mut interpreter = self.interpreter()?;
        let compiled = interpreter.compile(&script);
        self.keep_interpreter(interpreter);
        compiled?;
        self.shared.scripts.add(&script, true);
        Ok(script.digest)
    }

    /// The script of this digest, which may be new if its body is there.
    fn know(&self, digest: &Digest, body: Option<&[u8]>) -> Result<Arc<Script>, CommandError> {
        let now_us = self.now.monotonic_us;
        if let Some(script) = self.shared.scripts.find(digest, now_us) {
            return Ok(script);
        }
        cache::script(*digest, body.ok_or(NO_SCRIPT)?, now_us)
    }

    /// Begins the script that a request names, of which nothing has run when this returns.
    fn begin_script(
        &mut self,
        entry: &'static Entry,
        kind: ScriptKind,
        args: Args<'_>,
        view: ClientView,
        client: (ShardId, ReplyTo),
    ) -> Result<Run, CommandError> {
        let (running, script, out_of_memory) = match kind.source {
            ScriptSource::Function => self.start_function(kind, args, view)?,
            ScriptSource::Text | ScriptSource::Digest => self.start_script(kind, args, view)?,
        };
        let declared = script.declared();
        let map = self.shared.map;
        let (keys, _) = parts(kind, args)?;
        let owner = (!keys.is_empty()).then(|| entry.declared_owner(args, map)).flatten();
        let apart = owner.is_none() && !keys.is_empty();
        let contained = owner == Some(self.id) && script.is_contained();
        Ok(Run {
            running,
            script,
            entry,
            command: None,
            declared_db: view.db,
            view: ClientView { resp: Resp::V2, scripted: true, ..view },
            owner,
            read_only: kind.read_only || declared.any && declared.no_writes,
            allow_oom: declared.any && declared.allow_oom,
            unrestricted: self.shared.scripts_unrestricted.load(Ordering::Relaxed),
            out_of_memory,
            wrote: false,
            irrevocable: false,
            contained,
            everywhere: false,
            undo: Undo::default(),
            published: Vec::new(),
            published_bytes: 0,
            undisturbed: true,
            strayed: owner.is_none() && !apart,
            apart,
            ending: None,
            began: self.shared.stopwatch.ticks(),
            now: self.now,
            busy: false,
            client,
            traces: Traces::default(),
            caused: Records::default(),
            calls: 0,
            uncounted: Vec::new(),
        })
    }

    /// Starts a script by its text or its digest. Tells also whether memory is exhausted.
    fn start_script(
        &mut self,
        kind: ScriptKind,
        args: Args<'_>,
        view: ClientView,
    ) -> Result<(Running, Subject, bool), CommandError> {
        let (digest, body) = match kind.source {
            ScriptSource::Digest => (cache::digest_of(args.at(1)).ok_or(NO_SCRIPT)?, None),
            _ => (self.scripts.digests.of(args.at(1)), Some(args.at(1))),
        };
        let (keys, argv) = parts(kind, args)?;
        let script = self.know(&digest, body)?;
        let mut interpreter = self.interpreter()?;
        let compiled = match interpreter.compile(&script) {
            Ok(compiled) => compiled,
            Err(error) => {
                self.keep_interpreter(interpreter);
                return Err(error);
            }
        };
        if body.is_some() && !self.shared.scripts.contains(&script.digest) {
            self.shared.scripts.add(&script, false);
        }
        let out_of_memory = self.room.exceeded && !self.make_room();
        if let Err(error) = permit(script.declared, kind, out_of_memory) {
            self.keep_interpreter(interpreter);
            return Err(error);
        }
        match interpreter.start(&script, compiled, keys, argv, view.resp) {
            Ok(running) => Ok((running, Subject::Script(script), out_of_memory)),
            Err((interpreter, error)) => {
                self.keep_interpreter(*interpreter);
                Err(error)
            }
        }
    }

    /// Takes leave of a script that has ended: its interpreter is for the next.
    fn end_script(&mut self, mut run: Run) {
        self.release_traces(&mut run);
        self.count_calls_of(&mut run);
        self.effects.put_unit(&mut run.caused);
        if run.irrevocable {
            self.shared.commitment.end();
        }
        if run.everywhere {
            self.shared.wide_scripts.fetch_sub(1, Ordering::Relaxed);
        }
        self.published.append(&mut run.published.into());
        if run.busy {
            tracing::info!("A slow script has ended: {}", run.script.name());
        }
        self.keep_interpreter(run.running.into_interpreter());
    }

    /// As [`end_script`](Self::end_script), for one that begins again: it leaves nothing.
    fn forget_run(&mut self, mut run: Run) {
        run.traces = Traces::default();
        run.published.clear();
        run.caused.clear();
        run.uncounted.clear();
        self.end_script(run);
    }

    /// Notes how long a script has been running. Returns whether it has just become a busy one.
    fn note_duration(&self, run: &mut Run) -> bool {
        let elapsed_ms = self.shared.stopwatch.elapsed_ns(run.began) / 1_000_000;
        let threshold_ms = self.shared.config.load().clients.busy_reply_ms;
        if run.busy || threshold_ms == 0 || elapsed_ms < threshold_ms {
            return false;
        }
        run.busy = true;
        tracing::warn!(
            "Slow script detected: still in execution after {elapsed_ms} milliseconds. You can try \
             killing the script using the {} command. Script name is: {}.",
            kill_command(run.script.is_function()),
            run.script.name()
        );
        true
    }
}

/// What ends a script, or a function.
fn kill_command(is_function: bool) -> &'static str {
    if is_function { "FUNCTION KILL" } else { "SCRIPT KILL" }
}

/// What one is told who would have to wait for a script that has run for too long.
pub fn busy_error(is_function: bool, compatible: bool) -> CommandError {
    let name = if compatible { "Redis" } else { "Valkey" };
    CommandError::Custom(format!(
        "BUSY {name} is busy running a script. You can only call {} or SHUTDOWN NOSAVE.",
        kill_command(is_function)
    ))
}

impl CoreState {
    /// What a request does: what its definition says or, of a script, what that declares.
    pub(super) fn flags_of(&self, entry: &Entry, args: Args<'_>) -> Flags {
        let flags = entry.command.flags;
        let Handler::Script(kind) = entry.command.handler else { return flags };
        let declared = match kind.source {
            ScriptSource::Text => shebang::parse(args.at(1)).ok().map(|(declared, _)| declared),
            _ => self.known_subject(kind, args).map(|subject| subject.declared()),
        };
        match declared {
            Some(declared) if declared.no_writes => flags.without(Flags::MAY_REPLICATE),
            Some(declared) if declared.any => flags.or(Flags::WRITE),
            _ => flags,
        }
    }
}

/// How a script with so many calls has ended, for its command's figures.
fn done_of(finished: &Finished, reply_end: usize, nanoseconds: u64, calls: u32) -> Done {
    let failed = finished.failed || finished.is_error();
    Done { reply_end, nanoseconds, failed, blame: blame_of(finished), calls, parked: false }
}

/// Whose the error is that a script has ended with, if it has.
fn blame_of(finished: &Finished) -> Blame {
    match (finished.counted, finished.failed) {
        (true, _) => Blame::Counted,
        (false, true) => Blame::Command,
        (false, false) => Blame::Script,
    }
}

/// Whether a script that declares this may run.
fn permit(declared: Declared, kind: ScriptKind, out_of_memory: bool) -> Result<(), CommandError> {
    if !declared.any {
        return Ok(());
    }
    if !declared.no_writes && kind.read_only {
        return Err(CommandError::Other(
            "ERR Can not execute a script with write flag using *_ro command.",
        ));
    }
    if out_of_memory && !declared.allow_oom && !declared.no_writes {
        return Err(CommandError::Other(
            "OOM allow-oom flag is not set on the script, can not run it when used memory > \
             'maxmemory'",
        ));
    }
    Ok(())
}

impl Entry {
    /// The shard that owns every key that a script's request declares, if one does.
    fn declared_owner(&self, args: Args<'_>, map: super::shard_map::ShardMap) -> Option<ShardId> {
        let mut owner = None;
        let mut differ = false;
        self.keys(args, |index, _| {
            let shard = map.owner(args.at(index));
            differ |= *owner.get_or_insert(shard) != shard;
        })
        .ok()?;
        if differ { None } else { owner }
    }
}

impl Core {
    /// Sends a script where its declared keys are.
    pub(super) fn route_script(
        &mut self,
        key: ConnectionKey,
        entry: &'static Entry,
        hash: u64,
        args: Args<'_>,
    ) -> Result<(), CommandError> {
        let map = self.state.shared.map;
        if map.shards() == 1 {
            self.run_on_one(self.state.id, key, entry, hash, args);
            return Ok(());
        }
        let mut any = false;
        let found = entry.keys(args, |_, _| any = true);
        let owner = entry.declared_owner(args, map);
        let Handler::Script(kind) = entry.command.handler else {
            unreachable!("only scripts are routed here");
        };
        if found.is_err() {
            // A malformed request is refused wherever it is.
            self.run_on(self.state.id, key, entry, hash, args);
            return Ok(());
        }
        let subject = match kind.source {
            ScriptSource::Text if any => {
                let digest = self.state.scripts.digests.of(args.at(1));
                self.state.know(&digest, None).ok().map(Subject::Script)
            }
            _ => self.state.known_subject(kind, args),
        };
        let contained = subject.as_ref().is_some_and(Subject::is_contained);
        let wide = subject.is_some_and(|subject| subject.reach() == Reach::Everything);
        match owner {
            _ if wide => self.coordinate(key, entry, widely, args)?,
            Some(owner) if contained => self.run_on(owner, key, entry, hash, args),
            Some(owner) => self.run_on_one(owner, key, entry, hash, args),
            None if !any => self.run_on_one(self.state.id, key, entry, hash, args),
            None => {
                let db = self.state.connections[key.0 as usize].client.view.db;
                let mut scopes = Vec::new();
                self.add_scopes_of_keys(entry, args, db, &mut scopes)?;
                self.coordinate_in(key, entry, narrow::narrowly, args, scopes, None);
            }
        }
        Ok(())
    }

    /// Runs a script on a shard, where it may turn out to need others. The connection waits for it.
    fn run_on_one(
        &mut self,
        shard: ShardId,
        key: ConnectionKey,
        entry: &'static Entry,
        hash: u64,
        args: Args<'_>,
    ) {
        self.run_on(shard, key, entry, hash, args);
        let has_others = self.state.shared.map.shards() > 1;
        let connection = &mut self.state.connections[key.0 as usize];
        if has_others && connection.blocked == Blocked::No && !connection.in_order() {
            connection.blocked = Blocked::Script;
        }
    }
}

/// An error as a reply.
fn error_reply(text: &str, reply: &mut Vec<u8>) {
    Encoder::new(reply, Resp::V2).error(text);
}

/// What has been learnt of a script's keys by a run that had every shard.
fn learn(run: &Run) {
    let reach = if run.strayed { Reach::Everything } else { Reach::OneShard };
    if run.strayed || run.wrote {
        run.script.note_reach(reach);
    }
}
