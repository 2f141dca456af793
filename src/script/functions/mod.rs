//! Libraries of functions.
//!
//! One catalog for the whole server says which libraries there are. An interpreter runs the code
//! of a library when it is first asked for one of its functions: on the core that was given the
//! library that is at once, elsewhere with the first call. The code cannot tell where it runs, nor
//! does what it may use change, so it registers the same functions everywhere. What functions keep
//! in variables of their library is kept by each interpreter for itself, and is gone with it.

mod catalog;
mod environment;
mod metadata;

use std::cell::RefCell;
use std::rc::Rc;

use kvasir_proto::{Args, Encoder, Resp};

pub use catalog::{Callee, Catalog, Draft, Function, Functions, Library, LibraryId, Registered};
pub(super) use environment::{Environment, Tools};

use super::exchange::Ending;
use super::interpreter::{self, Finished, Interpreter, NotStarted, Running, Step};
use crate::errors::CommandError;

impl Interpreter {
    /// Whether it is one for functions.
    pub fn has_functions(&self) -> bool {
        self.functions.is_some()
    }

    fn environment(&self) -> &Rc<Environment> {
        self.functions.as_ref().expect("invariant: it was made for functions")
    }

    /// Forgets the libraries that are not in the present catalog. False when a new interpreter is
    /// better than this one.
    pub fn follow(&self, catalog: &Catalog) -> bool {
        self.environment().follow(catalog)
    }

    /// Forgets a library, which has come to nothing.
    pub fn forget_library(&self, id: LibraryId) {
        self.environment().forget(id);
    }

    /// Begins to load a library, of which nothing has run when this returns. [`Loading`] tells
    /// what comes of it.
    pub fn start_load(self, draft: Draft) -> Result<Loading, NotStarted> {
        let (lua, exchange) = (self.lua.clone(), Rc::clone(&self.exchange));
        let environment = Rc::clone(self.environment());
        // It may have to end before it has begun.
        let late = Ending::LoadTimeout.text().as_bytes().to_vec();
        let registered = Rc::new(RefCell::new(Err(late)));
        let (result, library) = (Rc::clone(&registered), draft.clone());
        let running = self.launch(move || {
            let outcome = environment.load(&lua, &exchange, library.id, library.body(), false);
            let failed = outcome.is_err();
            *result.borrow_mut() = outcome;
            Finished { reply: Vec::new(), failed, counted: false }
        })?;
        Ok(Loading { running, draft, registered })
    }

    /// Begins a function, of which nothing has run when this returns; nor has the code of its
    /// library, if that has not been loaded here.
    pub fn start_function(
        self,
        callee: &Callee,
        keys: Args<'_>,
        args: Args<'_>,
        resp: Resp,
    ) -> Result<Running, NotStarted> {
        let (keys, args) = match self.tables(keys, args) {
            Ok(tables) => tables,
            Err(error) => return Err((Box::new(self), error)),
        };
        let (lua, exchange) = (self.lua.clone(), Rc::clone(&self.exchange));
        let environment = Rc::clone(self.environment());
        let names = Rc::clone(&self.names);
        let Callee { library, index } = callee.clone();
        self.launch(move || {
            environment.reset();
            let id = library.id();
            let loaded = if environment.has(id) {
                Ok(())
            } else {
                environment.load(&lua, &exchange, id, library.body(), true).map(drop)
            };
            let name = &library.functions()[index].name;
            match loaded {
                Ok(()) => {
                    let result = environment.call(id, index, keys, args);
                    interpreter::finish(result, &names, &exchange, || name.to_string(), resp)
                }
                Err(fault) => {
                    let ended = exchange.ending.get().map(Ending::text);
                    let fault = ended.map_or([b"ERR ", &fault[..]].concat(), Vec::from);
                    let mut reply = Vec::new();
                    Encoder::new(&mut reply, resp).error_bytes(&fault);
                    Finished { reply, failed: true, counted: false }
                }
            }
        })
    }
}

/// A library whose code runs for the first time.
pub struct Loading {
    running: Running,
    draft: Draft,
    registered: Rc<RefCell<Result<Vec<Registered>, Vec<u8>>>>,
}

impl Loading {
    /// Lets it go on for a moment. True when it is done.
    pub fn go_on(&mut self) -> bool {
        match self.running.go_on() {
            Step::Slice => false,
            Step::Done(_) => true,
            Step::Call => unreachable!("the code of a library has no commands to call"),
        }
    }

    /// Has it end, since it takes too long.
    pub fn time_out(&mut self) {
        self.running.end(Ending::LoadTimeout);
    }

    /// The interpreter, and the library if all went well; to be called when it is done.
    pub fn finish(self) -> (Interpreter, Result<Library, CommandError>) {
        let (interpreter, id) = (self.running.into_interpreter(), self.draft.id);
        let registered = self.registered.replace(Ok(Vec::new()));
        let library = registered
            .map_err(|fault| CommandError::quoting("ERR ", &fault, ""))
            .and_then(|registered| self.draft.finish(registered));
        if library.is_err() {
            interpreter.forget_library(id);
        }
        (interpreter, library)
    }
}
