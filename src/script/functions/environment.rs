//! What libraries of functions see of an interpreter, and what it keeps of them.

use std::cell::{Cell, RefCell};
use std::collections::HashSet;
use std::rc::Rc;

use mlua::chunk::ChunkMode;
use mlua::{Function, Lua, MultiValue, Table, Value};

use super::catalog::{Catalog, LibraryId, Registered};
use crate::script::convert::{self, Names};
use crate::script::exchange::Exchange;
use crate::script::interpreter::{PRELUDE_NAME, message};
use crate::script::message_of;
use crate::script::shebang::Declared;

/// A failure, or nothing, and the result.
type Outcome = mlua::Result<(Value, Value)>;

/// Lua's own functions that the prelude of scripts takes away.
pub(in crate::script) struct Tools {
    freeze: Function,
    raising: Function,
    setfenv: Function,
}

impl Tools {
    /// Takes them before they are gone.
    pub(in crate::script) fn take(lua: &Lua) -> mlua::Result<Self> {
        let globals = lua.globals();
        let get = |name: &str| globals.get(name);
        Ok(Self { freeze: get("__freeze")?, raising: get("__raising")?, setfenv: get("setfenv")? })
    }
}

/// What has been registered by the library that is being loaded; none while nothing is.
type Registering = Rc<RefCell<Option<Vec<Registered>>>>;

/// See the module's head.
pub(in crate::script) struct Environment {
    load: Function,
    forget: Function,
    call: Function,
    /// Lua's own compiler.
    compile: Function,
    registering: Registering,
    loaded: RefCell<HashSet<LibraryId, ahash::RandomState>>,
    /// The catalog that it has followed.
    version: Cell<u64>,
}

impl Environment {
    /// Prepares an interpreter for libraries, after it has been for scripts.
    pub(in crate::script) fn new(
        lua: &Lua,
        names: &Rc<Names>,
        tools: Tools,
        compile: &Function,
    ) -> mlua::Result<Self> {
        let registering = Registering::default();
        let register = register(lua, names, &registering)?;
        let prelude = lua.load(include_str!("prelude.lua")).set_name(PRELUDE_NAME);
        let Tools { freeze, raising, setfenv } = tools;
        let made = prelude.set_mode(ChunkMode::Text).call((register, freeze, raising, setfenv))?;
        let (load, forget, call) = made;
        let (compile, loaded) = (compile.clone(), RefCell::default());
        Ok(Self { load, forget, call, compile, registering, loaded, version: Cell::new(0) })
    }

    /// Whether this library has been loaded here.
    pub(in crate::script) fn has(&self, id: LibraryId) -> bool {
        self.loaded.borrow().contains(&id)
    }

    /// Forgets the libraries that are not in the present catalog. False when it had some and that
    /// has none: a new interpreter is then better than this.
    pub(in crate::script) fn follow(&self, catalog: &Catalog) -> bool {
        if self.version.replace(catalog.version()) == catalog.version() {
            return true;
        }
        let present = catalog.ids();
        let gone: Vec<LibraryId> = self.loaded.borrow().difference(&present).copied().collect();
        for id in &gone {
            self.forget(*id);
        }
        gone.is_empty() || !present.is_empty()
    }

    /// Forgets a library.
    pub(in crate::script) fn forget(&self, id: LibraryId) {
        if self.loaded.borrow_mut().remove(&id)
            && let Err(error) = self.forget.call::<()>(id)
        {
            tracing::warn!("A library of functions could not be forgotten: {error}");
        }
    }

    /// Nothing is being loaded any more: for when loading was cut short.
    pub(in crate::script) fn reset(&self) {
        self.registering.take();
    }

    /// Runs the code of a library; what it has registered, or why that failed. `again`: it has
    /// been loaded elsewhere before.
    pub(in crate::script) fn load(
        &self,
        lua: &Lua,
        exchange: &Exchange,
        id: LibraryId,
        body: &[u8],
        again: bool,
    ) -> Result<Vec<Registered>, Vec<u8>> {
        let ended = || exchange.ending.get().map(|ending| ending.text().as_bytes().to_vec());
        let code = self.compile(lua, body)?;
        self.registering.replace(Some(Vec::new()));
        let outcome = self.load.call::<(bool, Value)>((id, code, again));
        let registered = self.registering.take().unwrap_or_default();
        let fault = match outcome {
            Ok((true, _)) => {
                self.loaded.borrow_mut().insert(id);
                return Ok(registered);
            }
            Ok((false, fault)) => message_of(&fault),
            Err(error) => message(&error).into_bytes(),
        };
        let fault = ended().unwrap_or(fault);
        let code: &[u8] = if fault.starts_with(b"ERR ") { b"" } else { b"ERR " };
        Err([b"Error registering functions: ", code, &fault].concat())
    }

    fn compile(&self, lua: &Lua, body: &[u8]) -> Result<Function, Vec<u8>> {
        let code = lua.create_string(body);
        let compiled = code.and_then(|code| self.compile.call((code, "@user_function")));
        let fault: Vec<u8> = match compiled {
            Ok((Value::Function(code), _)) => return Ok(code),
            Ok((_, fault)) => convert::text_of(&fault).unwrap_or_default(),
            Err(error) => message(&error).into_bytes(),
        };
        Err([&b"Error compiling function: "[..], &fault].concat())
    }

    /// Runs a function of a library that has been loaded here.
    pub(in crate::script) fn call(
        &self,
        id: LibraryId,
        index: usize,
        keys: Table,
        args: Table,
    ) -> mlua::Result<(bool, Value)> {
        self.call.call((id, index + 1, keys, args))
    }
}

/// `register_function`: notes what a library registers, and returns the callback, which stays in
/// Lua.
fn register(lua: &Lua, names: &Rc<Names>, registering: &Registering) -> mlua::Result<Function> {
    let (names, registering) = (Rc::clone(names), Rc::clone(registering));
    lua.create_function(move |lua, args: MultiValue| -> Outcome {
        let mut registering = registering.borrow_mut();
        let read = match registering.as_mut() {
            None => Err("server.register_function can only be called on FUNCTION LOAD command"),
            Some(registered) => read(&args).map(|(one, callback)| {
                registered.push(one);
                callback
            }),
        };
        Ok(match read {
            Ok(callback) => (Value::Nil, Value::Function(callback)),
            Err(text) => {
                let error = convert::error_table(lua, &names, text.as_bytes())?;
                (Value::Table(error), Value::Nil)
            }
        })
    })
}

/// Reads the arguments of `register_function`, in either of its forms.
fn read(args: &MultiValue) -> Result<(Registered, Function), &'static str> {
    let mut args = args.iter();
    match (args.next(), args.next(), args.next()) {
        (Some(Value::Table(table)), None, _) => read_named(table),
        (Some(_), None, _) => {
            Err("calling server.register_function with a single argument is only \
             applicable to Lua table (representing named arguments).")
        }
        (Some(name), Some(callback), None) => {
            let name = convert::text_of(name)
                .ok_or("first argument to server.register_function must be a string")?;
            let Value::Function(callback) = callback else {
                return Err("second argument to server.register_function must be a function");
            };
            let declared = Declared { any: true, ..Declared::default() };
            Ok((Registered { name, description: None, declared }, callback.clone()))
        }
        _ => Err("wrong number of arguments to server.register_function"),
    }
}

fn read_named(table: &Table) -> Result<(Registered, Function), &'static str> {
    let (mut name, mut description, mut callback) = (None, None, None);
    let mut declared = Declared { any: true, ..Declared::default() };
    for pair in table.pairs::<Value, Value>() {
        let (key, value) =
            pair.map_err(|_| "unknown argument given to server.register_function")?;
        let key = convert::text_of(&key)
            .ok_or("named argument key given to server.register_function is not a string")?;
        match &*key.to_ascii_lowercase() {
            b"function_name" => {
                name = Some(convert::text_of(&value).ok_or(
                    "function_name argument given to server.register_function must be a string",
                )?);
            }
            b"description" => {
                description = Some(convert::text_of(&value).ok_or(
                    "description argument given to server.register_function must be a string",
                )?);
            }
            b"callback" => {
                let Value::Function(function) = value else {
                    return Err(
                        "callback argument given to server.register_function must be a function",
                    );
                };
                callback = Some(function);
            }
            b"flags" => {
                let Value::Table(flags) = value else {
                    return Err("flags argument to server.register_function must be a table \
                         representing function flags");
                };
                read_flags(&flags, &mut declared).ok_or("unknown flag given")?;
            }
            _ => return Err("unknown argument given to server.register_function"),
        }
    }
    let name = name.ok_or("server.register_function must get a function name argument")?;
    let callback = callback.ok_or("server.register_function must get a callback argument")?;
    let description = description.map(Vec::into_boxed_slice);
    Ok((Registered { name, description, declared }, callback))
}

/// Sets the flags of a list; nothing if one is unknown.
fn read_flags(flags: &Table, declared: &mut Declared) -> Option<()> {
    for index in 1.. {
        match flags.raw_get::<Value>(index).ok()? {
            Value::Nil => break,
            flag => {
                let name = convert::text_of(&flag)?.to_ascii_lowercase();
                declared.set(&name).then_some(())?;
            }
        }
    }
    Some(())
}
