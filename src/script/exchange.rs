//! What a running script and its driver hand to each other, and the switch between the two.
//!
//! A script runs on a native stack of its own. At a `redis.call` it leaves the arguments here and
//! switches to whoever drives it, which runs the command with all that it owns in its hands and
//! switches back with the reply. So a script can stop anywhere, below `pcall`, comparators of
//! `table.sort` and callbacks of `string.gsub`, which Lua's own coroutines cannot leave.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use corosensei::Yielder;
use kvasir_proto::{ArgRange, Args, Resp};

use super::json::Settings;
use super::random::Random;

/// What lets a script go on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Wake {
    /// It begins, goes on after its time slice, or finds a reply in [`Exchange::call`].
    Go,
    /// It is to end at once.
    End(Ending),
}

/// Why a script ends before it is done.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ending {
    /// `SCRIPT KILL`.
    Killed,
    /// `FUNCTION KILL`.
    FunctionKilled,
    /// A library has taken too long to load.
    LoadTimeout,
    /// It is to be run again under other locks, or nobody wants its result any more.
    Abandoned,
}

impl Ending {
    /// What the client is told.
    pub(super) fn text(self) -> &'static str {
        match self {
            Self::Killed => "ERR Script killed by user with SCRIPT KILL.",
            Self::FunctionKilled => "ERR Script killed by user with FUNCTION KILL.",
            Self::LoadTimeout => "ERR FUNCTION LOAD timeout",
            Self::Abandoned => "ERR Script abandoned.",
        }
    }
}

/// Why a script has stopped.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Stop {
    /// It wants a command run, and its reply.
    Call,
    /// It has run for a while.
    Slice,
}

/// The arguments of a call and the reply to it; the memory is reused.
#[derive(Default, Debug)]
pub struct Call {
    /// The bytes of all arguments.
    pub data: Vec<u8>,
    /// The arguments, as ranges of the bytes.
    pub ranges: Vec<ArgRange>,
    /// The reply, encoded in the script's protocol version.
    pub reply: Vec<u8>,
}

impl Call {
    /// The arguments, the command's name included.
    pub fn args(&self) -> Args<'_> {
        Args::new(&self.data, &self.ranges)
    }

    /// Forgets the arguments and the reply.
    pub(super) fn clear(&mut self) {
        self.data.clear();
        self.ranges.clear();
        self.reply.clear();
    }

    /// Adds an argument.
    pub(super) fn push(&mut self, argument: &[u8]) {
        let start = self.data.len() as u32;
        self.data.extend_from_slice(argument);
        self.ranges.push(ArgRange { start, len: argument.len() as u32 });
    }
}

/// What the functions of one interpreter share with the driver of the script that runs in it.
pub(super) struct Exchange {
    yielder: Cell<*const Yielder<Wake, Stop>>,
    /// Set when the script is to end, for as long as it has not.
    pub(super) ending: Cell<Option<Ending>>,
    /// The call under way.
    pub(super) call: RefCell<Call>,
    /// The protocol version of replies to the script (`redis.setresp`).
    pub(super) resp: Cell<Resp>,
    /// `math.random`.
    pub(super) random: RefCell<Random>,
    /// The settings of `cjson`.
    pub(super) json: Rc<Cell<Settings>>,
    /// Whether the hook has been changed to end a script, and has to be set anew for the next.
    pub(super) died: Cell<bool>,
}

impl Exchange {
    pub(super) fn new() -> Self {
        Self {
            yielder: Cell::new(std::ptr::null()),
            ending: Cell::new(None),
            call: RefCell::default(),
            resp: Cell::new(Resp::V2),
            random: RefCell::default(),
            json: Rc::default(),
            died: Cell::new(false),
        }
    }

    /// Runs a script's body, during which [`Self::stop`] switches by `yielder`.
    pub(super) fn run<R>(&self, yielder: &Yielder<Wake, Stop>, body: impl FnOnce() -> R) -> R {
        assert!(
            self.yielder.get().is_null(),
            "invariant: an interpreter runs one script at a time"
        );
        self.yielder.set(yielder);
        let result = body();
        self.yielder.set(std::ptr::null());
        self.ending.set(None);
        result
    }

    /// The reply to the call under way, for a script that has just been given it.
    #[expect(unsafe_code, reason = "a guard would not be dropped if Lua raises an error meanwhile")]
    pub(super) fn reply(&self) -> &[u8] {
        // SAFETY: the driver, who writes there, runs when the script stops next. Whoever has this
        // is done with it by then, and does not write.
        let call = unsafe { &*self.call.as_ptr() };
        &call.reply
    }

    /// Stops the script until its driver lets it go on. An error when it is to end instead, or when
    /// no script runs: a function of a script may be called late, by the collector.
    #[expect(unsafe_code, reason = "the yielder lives on the script's stack")]
    pub(super) fn stop(&self, stop: Stop) -> Result<(), Option<Ending>> {
        if let Some(ending) = self.ending.get() {
            return Err(Some(ending));
        }
        let yielder = self.yielder.get();
        if yielder.is_null() {
            return Err(None);
        }
        // SAFETY: `run` set the pointer to a yielder that it borrows until it has cleared the
        // pointer again, so the yielder is alive; and whoever calls this was called by the body of
        // that `run`, on the stack that the yielder belongs to, since nothing else enters the
        // interpreter while a script runs in it.
        let wake = unsafe { &*yielder }.suspend(stop);
        match wake {
            Wake::Go => Ok(()),
            Wake::End(ending) => {
                self.ending.set(Some(ending));
                Err(Some(ending))
            }
        }
    }
}
