//! Functions of libraries: their interpreters, and how a library's code runs for the first time.

use kvasir_proto::Args;

use super::{Scripts, Subject, TURN_NS, parts, permit};
use crate::commands::definition::ScriptKind;
use crate::errors::CommandError;
use crate::route::core::CoreState;
use crate::route::engine::ShardId;
use crate::route::message::{ClientView, OwnedArgs};
use crate::route::transaction::Transaction;
use crate::script::functions::{Draft, Library, LibraryId, Loading};
use crate::script::interpreter::{Interpreter, Running};
use crate::server::clock::Stopwatch;

/// What the code of a library may take to run, as by the peers. Time that others had in between
/// does not count.
const LOAD_MAX_NS: u64 = 500_000_000;
/// What the libraries of one payload may take together, which the peers do not bound.
const RESTORE_MAX_NS: u64 = 5_000_000_000;
/// Interpreters without work that a core keeps for functions. More would seldom be of use, and
/// each has its own copy of every library.
const IDLE_MAX: usize = 2;

/// A library whose code runs.
pub(super) struct LoadRun {
    loading: Loading,
    left_ns: u64,
}

/// What libraries that are loaded together may still take.
#[derive(Debug)]
pub struct LoadTime {
    left_ns: u64,
}

impl Default for LoadTime {
    fn default() -> Self {
        Self { left_ns: RESTORE_MAX_NS }
    }
}

/// A function that has stopped in the middle, for `FUNCTION STATS`.
#[derive(Clone, Debug)]
pub struct RunningFunction {
    /// Its name.
    pub name: String,
    /// The request that runs it.
    pub command: Option<OwnedArgs>,
    /// Since when, in milliseconds.
    pub duration_ms: u64,
}

impl Scripts {
    /// Whether a script that is no function has run for longer than `busy-reply-threshold`.
    pub fn has_busy_script(&self) -> bool {
        self.held.values().any(|run| run.busy && !run.script.is_function())
    }

    /// Whether a function has.
    pub(super) fn has_busy_function(&self) -> bool {
        self.held.values().any(|run| run.busy && run.script.is_function())
    }

    /// Of the functions of this core that have stopped in the middle the one that has been running
    /// for the longest time.
    pub fn running_function(&self, stopwatch: Stopwatch) -> Option<RunningFunction> {
        let functions = self.held.values().filter(|run| run.script.is_function());
        let oldest = functions.min_by_key(|run| run.began)?;
        Some(RunningFunction {
            name: oldest.script.name().into_owned(),
            command: oldest.command.clone(),
            duration_ms: stopwatch.elapsed_ns(oldest.began) / 1_000_000,
        })
    }
}

impl CoreState {
    /// An interpreter for functions in which nothing runs.
    fn interpreter_for_functions(&mut self) -> Result<Interpreter, CommandError> {
        self.follow_catalog();
        if let Some(interpreter) = self.scripts.idle_for_functions.pop() {
            return Ok(interpreter);
        }
        let interpreter = Interpreter::new(self.interpreter_memory(), true)?;
        interpreter.follow(&self.shared.functions.catalog());
        Ok(interpreter)
    }

    /// Gives back what the interpreters of this core have of libraries that are gone.
    pub fn follow_catalog(&mut self) {
        let catalog = self.shared.functions.catalog();
        self.scripts.idle_for_functions.retain(|interpreter| interpreter.follow(&catalog));
    }

    /// Keeps an interpreter for functions.
    pub(super) fn keep_for_functions(&mut self, interpreter: Interpreter) {
        let is_useful = interpreter.follow(&self.shared.functions.catalog());
        if is_useful
            && self.has_room(&interpreter)
            && self.scripts.idle_for_functions.len() < IDLE_MAX
        {
            self.scripts.idle_for_functions.push(interpreter);
        }
    }

    /// Forgets libraries that have been loaded and came to nothing.
    fn forget_libraries(&self, ids: &[LibraryId]) {
        for interpreter in &self.scripts.idle_for_functions {
            for id in ids {
                interpreter.forget_library(*id);
            }
        }
    }

    /// Starts the function that a request names. Tells also whether memory is exhausted.
    pub(super) fn start_function(
        &mut self,
        kind: ScriptKind,
        args: Args<'_>,
        view: ClientView,
    ) -> Result<(Running, Subject, bool), CommandError> {
        let callee = self.shared.functions.find(args.at(1));
        let callee = callee.ok_or(CommandError::Other("ERR Function not found"))?;
        let (keys, argv) = parts(kind, args)?;
        let out_of_memory = self.room.exceeded && !self.make_room();
        permit(callee.function().declared, kind, out_of_memory)?;
        let interpreter = self.interpreter_for_functions()?;
        match interpreter.start_function(&callee, keys, argv, view.resp) {
            Ok(running) => Ok((running, Subject::Function(callee), out_of_memory)),
            Err((interpreter, error)) => {
                self.keep_interpreter(*interpreter);
                Err(error)
            }
        }
    }

    fn begin_load(&mut self, draft: Draft, left_ns: u64) -> Result<u64, CommandError> {
        let interpreter = self.interpreter_for_functions()?;
        match interpreter.start_load(draft) {
            Ok(loading) => {
                let number = self.scripts.next;
                self.scripts.next += 1;
                self.scripts.loads.insert(number, LoadRun { loading, left_ns });
                Ok(number)
            }
            Err((interpreter, error)) => {
                self.keep_interpreter(*interpreter);
                Err(error)
            }
        }
    }

    /// Lets the code of a library go on for a turn.
    fn go_on_loading(&mut self, number: u64) -> LoadTurn {
        let load = self.scripts.loads.remove(&number);
        let mut load = load.expect("invariant: a library is loaded by one coordinator");
        let began = self.shared.stopwatch.ticks();
        let mut is_done = false;
        let mut turn_ns = 0;
        while !is_done && turn_ns < TURN_NS.min(load.left_ns) {
            is_done = load.loading.go_on();
            turn_ns = self.shared.stopwatch.elapsed_ns(began);
        }
        load.left_ns = load.left_ns.saturating_sub(turn_ns);
        if !is_done && load.left_ns > 0 {
            self.scripts.loads.insert(number, load);
            return LoadTurn { nanoseconds: turn_ns, library: None };
        }
        if !is_done {
            load.loading.time_out();
        }
        let (interpreter, library) = load.loading.finish();
        self.keep_for_functions(interpreter);
        LoadTurn { nanoseconds: turn_ns, library: Some(library) }
    }
}

/// What a turn of a library's code came to.
struct LoadTurn {
    nanoseconds: u64,
    /// What has come of the library, when it is done or has taken too long.
    library: Option<Result<Library, CommandError>>,
}

/// Runs the code of a library for the first time, on this core, a little in each round.
pub async fn run_library(
    transaction: &Transaction,
    core: ShardId,
    draft: Draft,
    time: &mut LoadTime,
) -> Result<Library, CommandError> {
    let left_ns = time.left_ns.min(LOAD_MAX_NS);
    let begin = move |state: &mut CoreState| state.begin_load(draft, left_ns);
    let number = transaction.on(core, begin).await?;
    loop {
        let go_on = move |state: &mut CoreState| state.go_on_loading(number);
        let turn = transaction.on(core, go_on).await;
        time.left_ns = time.left_ns.saturating_sub(turn.nanoseconds);
        match turn.library {
            Some(library) => return library,
            None => transaction.rest().await,
        }
    }
}

/// Has a core forget libraries that it has loaded and that came to nothing.
pub async fn forget_libraries(transaction: &Transaction, core: ShardId, ids: Vec<LibraryId>) {
    transaction.on(core, move |state: &mut CoreState| state.forget_libraries(&ids)).await;
}
