//! An interpreter of Lua 5.1 in the peers' sandbox, and the scripts that run in it.

use std::collections::HashMap;
use std::ops::{Deref, DerefMut};
use std::rc::Rc;

use corosensei::stack::DefaultStack;
use corosensei::{Coroutine, CoroutineResult};
use kvasir_proto::{Args, Encoder, Resp};
use mlua::chunk::ChunkMode;
use mlua::state::{GcIncParams, GcMode};
use mlua::{Function, HookTriggers, Lua, LuaOptions, StdLib, Table, Value, VmState};

use super::api;
use super::cache::{Digest, Script};
use super::convert::{self, Names};
use super::exchange::{Call, Ending, Exchange, Stop, Wake};
use super::functions::{Environment, Tools};
use super::json::Settings;
use super::raw;
use crate::errors::CommandError;
use crate::sha1;

/// A script's native stack, of which only what it touches is ever backed by memory. Room for 200
/// nested calls through C, each with the buffer of a `string.gsub`, and for the deepest pattern.
const STACK_BYTES: usize = 8 << 20;
/// Instructions between two looks at the clock.
const SLICE_INSTRUCTIONS: u32 = 20_000;
/// Compiled scripts of one interpreter, beyond which those that the server has forgotten go.
const COMPILED_MAX: usize = 1000;

/// The collector begins anew when the memory in use has become so many percent of what was alive,
/// and then goes so much faster than memory is allocated. Between two short scripts nothing has to
/// drive it, and an interpreter that does nothing else stays small.
const COLLECTOR_PAUSE: i32 = 180;
const COLLECTOR_PACE: i32 = 400;

/// What a script is refused with that there is no memory for.
const NO_MEMORY: CommandError = CommandError::Other("ERR out of memory for scripts");

/// The name of the prelude's chunk, of whose functions errors tell nothing.
pub(super) const PRELUDE_NAME: &str = "=server";

/// One interpreter. It runs one script at a time, and changes hands for each.
pub struct Interpreter(Box<Parts>);

/// What an interpreter is made of.
pub struct Parts {
    pub(super) lua: Lua,
    pub(super) exchange: Rc<Exchange>,
    pub(super) names: Rc<Names>,
    /// What libraries of functions have, if it is one for them.
    pub(super) functions: Option<Rc<Environment>>,
    run: Rc<Function>,
    /// Lua's own compiler. Its messages quote the script's bytes, which mlua's must be text for.
    load: Function,
    compiled: HashMap<Digest, Rc<Function>, ahash::RandomState>,
    stack: Option<DefaultStack>,
}

impl Deref for Interpreter {
    type Target = Parts;

    fn deref(&self) -> &Parts {
        &self.0
    }
}

impl DerefMut for Interpreter {
    fn deref_mut(&mut self) -> &mut Parts {
        &mut self.0
    }
}

/// A script as an interpreter has it.
pub struct Compiled(Rc<Function>);

/// What a script ended with.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Finished {
    /// The reply, encoded for the client.
    pub reply: Vec<u8>,
    /// Whether the script itself failed (and not only returned an error).
    pub failed: bool,
    /// Whether a call of the script has counted the error already.
    pub counted: bool,
}

/// A script that has not begun: why, and the interpreter.
pub type NotStarted = (Box<Interpreter>, CommandError);
impl Finished {
    /// Whether the reply is an error.
    pub fn is_error(&self) -> bool {
        self.reply.first() == Some(&b'-')
    }
}

/// What a script wants.
#[derive(Debug)]
pub enum Step {
    /// The command in [`Running::call`] run, and its reply put there.
    Call,
    /// To go on, after others have had their turn.
    Slice,
    /// Nothing more.
    Done(Finished),
}

/// A script that has begun and not ended.
pub struct Running {
    fiber: Option<Fiber>,
    interpreter: Option<Interpreter>,
    exchange: Rc<Exchange>,
}

type Fiber = Coroutine<Wake, Stop, Finished, DefaultStack>;

impl Interpreter {
    /// A new interpreter, in which nothing has run: one for scripts, or one for functions.
    pub fn new(memory_max: usize, for_functions: bool) -> Result<Self, CommandError> {
        Self::build(memory_max, for_functions).map_err(|error| {
            tracing::warn!("No interpreter for scripts: {error}");
            NO_MEMORY
        })
    }

    fn build(memory_max: usize, for_functions: bool) -> mlua::Result<Self> {
        let libraries = StdLib::TABLE | StdLib::STRING | StdLib::MATH | StdLib::OS;
        let lua = Lua::new_with(libraries, LuaOptions::default())?;
        // Before the sandbox takes it away.
        let load: Function = lua.globals().get("loadstring")?;
        let tools = Tools::take(&lua)?;
        let exchange = Rc::new(Exchange::new());
        let names = Rc::new(Names::new(&lua)?);
        let native = api::natives(&lua, &exchange, &names)?;
        let prelude = lua.load(include_str!("prelude.lua")).set_name(PRELUDE_NAME);
        let run: Function = prelude.set_mode(ChunkMode::Text).call(native)?;
        let functions =
            for_functions.then(|| Environment::new(&lua, &names, tools, &load)).transpose()?;
        let functions = functions.map(Rc::new);
        set_hook(&lua, &exchange)?;
        lua.set_memory_limit(memory_max)?;
        let pace = GcIncParams::default().pause(COLLECTOR_PAUSE).step_multiplier(COLLECTOR_PACE);
        lua.gc_set_mode(GcMode::Incremental(pace));
        let compiled = HashMap::default();
        let (run, stack) = (Rc::new(run), None);
        let parts = Parts { lua, exchange, names, functions, run, load, compiled, stack };
        Ok(Self(Box::new(parts)))
    }

    /// Bytes that the interpreter has allocated.
    pub fn memory(&self) -> usize {
        self.lua.used_memory()
    }

    /// Compiles a script, unless it has been compiled before.
    pub fn compile(&mut self, script: &Script) -> Result<Compiled, CommandError> {
        if let Some(function) = self.compiled.get(&script.digest) {
            return Ok(Compiled(Rc::clone(function)));
        }
        let outcome = self
            .lua
            .create_string(script.code())
            .and_then(|code| self.load.call((code, "@user_script")));
        let fault: Vec<u8> = match outcome {
            Ok((Value::Function(function), _)) => {
                let function = Rc::new(function);
                self.compiled.insert(script.digest, Rc::clone(&function));
                return Ok(Compiled(function));
            }
            Ok((_, fault)) => convert::text_of(&fault).unwrap_or_default(),
            Err(error) => message(&error).into_bytes(),
        };
        Err(CommandError::quoting("ERR Error compiling script (new function): ", &fault, ""))
    }

    /// Forgets compiled scripts for which `known` is false, if there are many.
    pub fn forget(&mut self, known: impl Fn(&Digest) -> bool) {
        if self.compiled.len() > COMPILED_MAX {
            self.compiled.retain(|digest, _| known(digest));
        }
    }

    /// Begins a script that has been compiled here. Nothing of it has run when this returns.
    pub fn start(
        self,
        script: &Script,
        Compiled(function): Compiled,
        keys: Args<'_>,
        argv: Args<'_>,
        resp: Resp,
    ) -> Result<Running, NotStarted> {
        let (keys, argv) = match self.tables(keys, argv) {
            Ok(tables) => tables,
            Err(error) => return Err((Box::new(self), error)),
        };
        let (run, names, exchange) =
            (Rc::clone(&self.run), Rc::clone(&self.names), Rc::clone(&self.exchange));
        let digest = script.digest;
        self.launch(move || {
            let result = run.call::<(bool, Value)>((&*function, keys, argv));
            finish(result, &names, &exchange, || sha1::to_hex(&digest), resp)
        })
    }

    /// The keys and the other arguments of a script as it sees them.
    pub(super) fn tables(
        &self,
        keys: Args<'_>,
        argv: Args<'_>,
    ) -> Result<(Table, Table), CommandError> {
        raw::tables(&self.lua, keys, argv).map_err(|error| {
            tracing::warn!("No memory for the arguments of a script: {error}");
            NO_MEMORY
        })
    }

    /// Begins something that runs on a stack of its own. Nothing of it has when this returns.
    pub(super) fn launch(
        mut self,
        body: impl FnOnce() -> Finished + 'static,
    ) -> Result<Running, NotStarted> {
        let stack = match self.stack.take().map_or_else(|| DefaultStack::new(STACK_BYTES), Ok) {
            Ok(stack) => stack,
            Err(error) => {
                tracing::warn!("No stack for a script: {error}");
                return Err((Box::new(self), NO_MEMORY));
            }
        };
        if self.exchange.died.take()
            && let Err(error) = set_hook(&self.lua, &self.exchange)
        {
            tracing::warn!("The hook of scripts failed: {error}");
        }
        self.exchange.resp.set(Resp::V2);
        self.exchange.json.set(Settings::default());
        let exchange = Rc::clone(&self.exchange);
        let fiber = Coroutine::with_stack(stack, move |yielder, wake| {
            if wake != Wake::Go {
                return Finished { reply: Vec::new(), failed: true, counted: true };
            }
            exchange.run(yielder, body)
        });
        let exchange = Rc::clone(&self.exchange);
        Ok(Running { fiber: Some(fiber), interpreter: Some(self), exchange })
    }
}

/// What has come of a script that has run to its end: its reply.
pub(super) fn finish(
    result: mlua::Result<(bool, Value)>,
    names: &Names,
    exchange: &Exchange,
    name: impl FnOnce() -> String,
    resp: Resp,
) -> Finished {
    let mut reply = Vec::new();
    let mut encoder = Encoder::new(&mut reply, resp);
    match result {
        Ok((true, value)) => {
            let counted = convert::counted(&value, names);
            convert::encode(&value, names, exchange.resp.get(), &mut encoder);
            Finished { reply, failed: false, counted }
        }
        Ok((false, value)) => {
            let (text, counted) = convert::failure(&value, names, &name());
            encoder.error_bytes(&text);
            Finished { reply, failed: true, counted }
        }
        Err(error) => {
            let text = message(&error);
            // A script that is made to end may not even come to its error's handler.
            let text = text.strip_prefix("ERR ").unwrap_or(&text);
            let text = format!("ERR {text} script: {}", name());
            encoder.error_bytes(text.as_bytes());
            Finished { reply, failed: true, counted: false }
        }
    }
}

impl Running {
    /// Lets the script go on until it wants something.
    pub fn go_on(&mut self) -> Step {
        self.resume(Wake::Go)
    }

    /// Has the script end, whatever it is at. Its reply tells why.
    pub fn end(&mut self, ending: Ending) -> Finished {
        loop {
            if let Step::Done(finished) = self.resume(Wake::End(ending)) {
                return finished;
            }
        }
    }

    /// The call that the script wants, with its arguments, and place for the reply.
    pub fn call(&self) -> std::cell::RefMut<'_, Call> {
        self.exchange.call.borrow_mut()
    }

    /// The protocol version in which the script wants its replies.
    pub fn resp(&self) -> Resp {
        self.exchange.resp.get()
    }

    /// The interpreter of a script that has ended.
    pub fn into_interpreter(mut self) -> Interpreter {
        let fiber = self.fiber.take().expect("invariant: it has not been taken");
        let mut interpreter = self.interpreter.take().expect("invariant: it has not been taken");
        interpreter.stack = Some(fiber.into_stack());
        interpreter
    }

    fn resume(&mut self, wake: Wake) -> Step {
        let fiber = self.fiber.as_mut().expect("invariant: it has not been taken");
        match fiber.resume(wake) {
            CoroutineResult::Yield(Stop::Call) => Step::Call,
            CoroutineResult::Yield(Stop::Slice) => Step::Slice,
            CoroutineResult::Return(finished) => Step::Done(finished),
        }
    }
}

impl Drop for Running {
    /// Ends the script: a stack with frames of C on it cannot be unwound as Rust's are.
    fn drop(&mut self) {
        if self.fiber.as_ref().is_some_and(|fiber| fiber.started() && !fiber.done()) {
            self.end(Ending::Abandoned);
        }
    }
}

/// Has others get their turn after so many instructions.
fn set_hook(lua: &Lua, exchange: &Rc<Exchange>) -> mlua::Result<()> {
    let exchange = Rc::clone(exchange);
    let triggers = HookTriggers::new().every_nth_instruction(SLICE_INSTRUCTIONS);
    lua.set_global_hook(triggers, move |lua, _| match exchange.stop(Stop::Slice) {
        Ok(()) | Err(None) => Ok(VmState::Continue),
        Err(Some(ending)) => {
            die(lua, &exchange, ending)?;
            Err(mlua::Error::runtime(ending.text()))
        }
    })
}

/// Has every instruction of the thread fail from now on, so that no `pcall` of the script goes on.
pub(super) fn die(lua: &Lua, exchange: &Exchange, ending: Ending) -> mlua::Result<()> {
    exchange.died.set(true);
    let each = HookTriggers::new().every_nth_instruction(1);
    lua.set_hook(each, move |_, _| Err(mlua::Error::runtime(ending.text())))
}

/// The text of an error that Lua or a function of ours has raised, without a trace of calls.
pub(super) fn message(error: &mlua::Error) -> String {
    match error {
        mlua::Error::CallbackError { cause, .. } => message(cause),
        mlua::Error::RuntimeError(text) | mlua::Error::SyntaxError { message: text, .. } => {
            text.split("\nstack traceback:").next().unwrap_or_default().to_owned()
        }
        mlua::Error::MemoryError(_) => "not enough memory".to_owned(),
        other => other.to_string(),
    }
}
