//! `redis.call` over Lua's own interface, and the tables of arguments that scripts are given.
//!
//! Through mlua each value would cost a place in its registry and each string and table a protected
//! call; most of what a short script costs would be that. Here values lie on Lua's stack.
//!
//! What a function of Lua raises leaves by a long jump over the frames between it and the script.
//! So **nothing of this module that has to be dropped is alive while Lua may raise an error**: what
//! outlives that lies in the [`Exchange`], and guards of it end before. What may raise are the
//! functions that allocate; it is told of each below.

#![expect(unsafe_code, reason = "Lua's own interface; every block argues its safety")]

use std::ffi::{CStr, c_int, c_void};
use std::rc::Rc;

use kvasir_proto::Args;
use kvasir_proto::number::{DoubleText, as_exact_i64, parse_f64, parse_i64};
use mlua::ffi::{self, lua_State};
use mlua::{Function, Lua, Table};

use super::convert::error_parts;
use super::exchange::{Exchange, Stop};

/// What the two functions have with them: the exchange, the names of fields, and a function of
/// mlua that gives the error with which a script ends that is made to.
#[derive(Clone, Copy)]
enum Kept {
    Exchange = 1,
    Err,
    Ok,
    Ignore,
    Ending,
}

/// How many there are.
const KEPT: c_int = 5;

/// The functions behind `redis.call`, which raises errors, and `redis.pcall`, which returns them.
/// `ending` is called without arguments when the script is to end, and returns an error.
pub(super) fn functions(
    lua: &Lua,
    exchange: &Rc<Exchange>,
    ending: Function,
) -> mlua::Result<(Function, Function)> {
    // The state keeps what its functions point to.
    lua.set_app_data(Rc::clone(exchange));
    let pointer = Rc::as_ptr(exchange).cast_mut().cast::<c_void>();
    let build = |state: *mut lua_State| {
        let stack = Stack(state);
        for function in [call as unsafe extern "C-unwind" fn(_) -> _, pcall] {
            stack.pointer(pointer);
            stack.string(b"err");
            stack.string(b"ok");
            stack.string(b"ignore_error_stats_update");
            stack.copy(1);
            stack.function(function, KEPT);
        }
        stack.remove(1);
    };
    // SAFETY: `build` leaves two functions in place of its argument, and drops nothing.
    unsafe { lua.exec_raw(ending, build) }
}

/// Arguments as a script sees them: its keys, and the others.
pub(super) fn tables(lua: &Lua, keys: Args<'_>, argv: Args<'_>) -> mlua::Result<(Table, Table)> {
    let build = |state: *mut lua_State| {
        for args in [keys, argv] {
            Stack(state).array_of(args);
        }
    };
    // SAFETY: `build` leaves two tables, and drops nothing.
    unsafe { lua.exec_raw((), build) }
}

/// `redis.call`.
unsafe extern "C-unwind" fn call(state: *mut lua_State) -> c_int {
    let stack = Stack(state);
    if run_command(stack) {
        return 1;
    }
    stack.raise()
}

/// `redis.pcall`.
unsafe extern "C-unwind" fn pcall(state: *mut lua_State) -> c_int {
    run_command(Stack(state));
    1
}

/// Has the command run that the arguments are, and leaves its reply, or an error and returns false.
fn run_command(stack: Stack) -> bool {
    let exchange = stack.exchange();
    let count = stack.top();
    if count == 0 {
        return stack.refuse("Please specify at least one argument for this call");
    }
    exchange.call.borrow_mut().clear();
    if !(1..=count).all(|index| push_argument(exchange, stack, index)) {
        return stack.refuse("Command arguments must be strings or integers");
    }
    match exchange.stop(Stop::Call) {
        Ok(()) => {}
        Err(Some(_)) => {
            stack.kept(Kept::Ending);
            stack.call();
            return false;
        }
        Err(None) => return stack.refuse("No script is running"),
    }
    let reply = exchange.reply();
    match reply.strip_suffix(b"\r\n") {
        Some(error) if error.starts_with(b"-") => {
            stack.error(error, true);
            false
        }
        _ => {
            Reader { rest: reply }.push(stack);
            true
        }
    }
}

/// Adds an argument of a call; false when it is neither a string nor a number. Raises nothing.
fn push_argument(exchange: &Exchange, stack: Stack, index: c_int) -> bool {
    let mut call = exchange.call.borrow_mut();
    match stack.kind(index) {
        ffi::LUA_TSTRING => call.push(stack.text(index)),
        ffi::LUA_TNUMBER => {
            let number = stack.number_at(index);
            match as_exact_i64(number) {
                Some(integer) => call.push(itoa::Buffer::new().format(integer).as_bytes()),
                None => call.push(DoubleText::new(number).as_bytes()),
            }
        }
        _ => return false,
    }
    true
}

/// Reads one of the server's replies, which is well-formed, and leaves it as a script sees it.
struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// The bytes up to the next line end, which goes too.
    fn line(&mut self) -> &'a [u8] {
        let end = memchr::memchr(b'\r', self.rest).expect("invariant: a reply's lines end");
        let line = &self.rest[..end];
        self.rest = &self.rest[end + 2..];
        line
    }

    fn integer(line: &[u8]) -> i64 {
        parse_i64(line).expect("invariant: a reply's numbers are numbers")
    }

    fn bulk(&mut self, length: usize) -> &'a [u8] {
        let bytes = &self.rest[..length];
        self.rest = &self.rest[length + 2..];
        bytes
    }

    /// May raise.
    fn push(&mut self, stack: Stack) {
        let line = self.line();
        let (kind, text) = line.split_first().expect("invariant: a reply has a type");
        match kind {
            b'$' => match usize::try_from(Self::integer(text)) {
                Ok(length) => stack.string(self.bulk(length)),
                Err(_) => stack.boolean(false),
            },
            b':' => stack.number(Self::integer(text) as f64),
            b'+' => {
                stack.table(0, 1);
                stack.kept(Kept::Ok);
                stack.string(text);
                stack.set();
            }
            b'-' => stack.error(line, true),
            b'*' | b'>' => match c_int::try_from(Self::integer(text)) {
                Ok(length @ 0..) => self.push_array(stack, length),
                _ => stack.boolean(false),
            },
            b'%' => self.push_pairs(stack, Self::integer(text)),
            b'~' => self.push_set(stack, Self::integer(text)),
            b'#' => stack.boolean(text == b"t"),
            b',' => {
                stack.table(0, 1);
                stack.number(parse_f64(text).unwrap_or(f64::NAN));
                stack.name(c"double");
            }
            b'(' => {
                stack.table(0, 1);
                stack.string(text);
                stack.name(c"big_number");
            }
            b'=' => self.push_verbatim(stack, Self::integer(text)),
            b'|' => {
                for _ in 0..2 * Self::integer(text) {
                    self.push(stack);
                    stack.pop();
                }
                self.push(stack);
            }
            _ => stack.nil(),
        }
    }

    fn push_array(&mut self, stack: Stack, length: c_int) {
        stack.make_room();
        stack.table(length, 0);
        for index in 1..=length {
            self.push(stack);
            stack.set_at(index);
        }
    }

    fn push_pairs(&mut self, stack: Stack, count: i64) {
        self.push_keyed(stack, c"map", count, Self::push);
    }

    fn push_set(&mut self, stack: Stack, count: i64) {
        self.push_keyed(stack, c"set", count, |_, stack| stack.boolean(true));
    }

    /// Pushes a table under this name, whose keys come next, each with what `push_value` pushes.
    fn push_keyed(
        &mut self,
        stack: Stack,
        name: &CStr,
        count: i64,
        push_value: impl Fn(&mut Self, Stack),
    ) {
        stack.make_room();
        stack.table(0, 1);
        stack.table(0, c_int::try_from(count).unwrap_or(0));
        for _ in 0..count {
            self.push(stack);
            let has_key = stack.kind(-1) != ffi::LUA_TNIL;
            push_value(self, stack);
            stack.set_or_pop(has_key);
        }
        stack.name(name);
    }

    fn push_verbatim(&mut self, stack: Stack, length: i64) {
        let bytes = self.bulk(length as usize);
        stack.table(0, 1);
        stack.table(0, 2);
        stack.string(&bytes[4..]);
        stack.name(c"string");
        stack.string(&bytes[..3]);
        stack.name(c"format");
        stack.name(c"verbatim_string");
    }
}

/// Lua's stack within a function of this module.
///
/// **Invariant, which every block below relies on:** the state is the one that Lua has called that
/// function with, so it is alive; the function has Lua's 20 places beyond its arguments, uses fewer
/// between two calls of [`make_room`](Self::make_room), and names only places that it has filled.
#[derive(Clone, Copy)]
struct Stack(*mut lua_State);

impl Stack {
    fn exchange<'a>(self) -> &'a Exchange {
        // SAFETY: the invariant; the place is one of those that the function was made with.
        let pointer =
            unsafe { ffi::lua_touserdata(self.0, ffi::lua_upvalueindex(Kept::Exchange as c_int)) };
        // SAFETY: `functions` put a pointer to an exchange there that the state keeps, and the
        // caller's frame ends before the state does. It is never borrowed for changes.
        unsafe { &*pointer.cast::<Exchange>() }
    }

    /// How many values there are.
    fn top(self) -> c_int {
        // SAFETY: the invariant.
        unsafe { ffi::lua_gettop(self.0) }
    }

    fn kind(self, index: c_int) -> c_int {
        // SAFETY: the invariant.
        unsafe { ffi::lua_type(self.0, index) }
    }

    /// The bytes of a string.
    fn text<'a>(self, index: c_int) -> &'a [u8] {
        let mut length = 0;
        // SAFETY: the invariant. The value is a string, so nothing is converted or raised.
        let bytes = unsafe { ffi::lua_tolstring(self.0, index, &raw mut length) };
        // SAFETY: so many bytes belong to the string, which does not change and is alive as long
        // as it lies on the stack: until the function returns, and callers copy it before.
        unsafe { std::slice::from_raw_parts(bytes.cast::<u8>(), length) }
    }

    fn number_at(self, index: c_int) -> f64 {
        // SAFETY: the invariant. The value is a number, so nothing is converted.
        unsafe { ffi::lua_tonumber(self.0, index) }
    }

    fn nil(self) {
        // SAFETY: the invariant.
        unsafe { ffi::lua_pushnil(self.0) }
    }

    fn boolean(self, value: bool) {
        // SAFETY: the invariant.
        unsafe { ffi::lua_pushboolean(self.0, c_int::from(value)) }
    }

    fn number(self, value: f64) {
        // SAFETY: the invariant.
        unsafe { ffi::lua_pushnumber(self.0, value) }
    }

    /// May raise.
    fn string(self, bytes: &[u8]) {
        // SAFETY: the invariant; the bytes are copied.
        unsafe { ffi::lua_pushlstring_(self.0, bytes.as_ptr().cast(), bytes.len()) }
    }

    fn pointer(self, pointer: *mut c_void) {
        // SAFETY: the invariant; Lua keeps the pointer and does not look behind it.
        unsafe { ffi::lua_pushlightuserdata(self.0, pointer) }
    }

    /// A function with the last values. May raise.
    fn function(self, function: ffi::lua_CFunction, kept: c_int) {
        // SAFETY: the invariant; there are so many values.
        unsafe { ffi::lua_pushcclosure(self.0, function, kept) }
    }

    /// What the function was made with.
    fn kept(self, kept: Kept) {
        self.copy(ffi::lua_upvalueindex(kept as c_int));
    }

    fn copy(self, index: c_int) {
        // SAFETY: the invariant.
        unsafe { ffi::lua_pushvalue(self.0, index) }
    }

    fn remove(self, index: c_int) {
        // SAFETY: the invariant.
        unsafe { ffi::lua_remove(self.0, index) }
    }

    fn pop(self) {
        // SAFETY: the invariant.
        unsafe { ffi::lua_pop(self.0, 1) }
    }

    /// A table with room for so many. May raise.
    fn table(self, elements: c_int, fields: c_int) {
        // SAFETY: the invariant; neither is negative.
        unsafe { ffi::lua_createtable(self.0, elements, fields) }
    }

    /// Gives the table below them the field that the last two values are. May raise.
    fn set(self) {
        // SAFETY: the invariant; the third last value is a table, and the key is not nil.
        unsafe { ffi::lua_rawset(self.0, -3) }
    }

    /// As [`set`](Self::set), or takes the two away.
    fn set_or_pop(self, set: bool) {
        if set {
            self.set();
        } else {
            self.pop();
            self.pop();
        }
    }

    /// Gives the table below it an element. May raise.
    fn set_at(self, index: c_int) {
        // SAFETY: the invariant; the value before the last is a table.
        unsafe { ffi::lua_rawseti_(self.0, -2, index) }
    }

    /// Gives the table below it a field. May raise.
    fn name(self, name: &CStr) {
        // SAFETY: the invariant; the value before the last is a table without a metatable.
        unsafe { ffi::lua_setfield(self.0, -2, name.as_ptr()) }
    }

    /// Room for a table within a table. May raise.
    fn make_room(self) {
        // SAFETY: the invariant.
        unsafe { ffi::luaL_checkstack(self.0, ffi::LUA_MINSTACK, c"reply".as_ptr()) }
    }

    /// Makes one string of the last values. May raise.
    fn join(self, count: c_int) {
        // SAFETY: the invariant; there are so many strings.
        unsafe { ffi::lua_concat(self.0, count) }
    }

    /// Calls the last value, which gives one. May raise.
    fn call(self) {
        // SAFETY: the invariant.
        unsafe { ffi::lua_call(self.0, 0, 1) }
    }

    /// Raises the last value.
    fn raise(self) -> ! {
        // SAFETY: the invariant; nothing above has anything to drop.
        unsafe { ffi::lua_error(self.0) }
    }

    /// A table of strings. May raise.
    fn array_of(self, args: Args<'_>) {
        self.table(args.len() as c_int, 0);
        for index in 0..args.len() {
            self.string(args.at(index));
            self.set_at(index as c_int + 1);
        }
    }

    /// The table that an error is for a script; `counted` if it is in the statistics already. May
    /// raise.
    fn error(self, text: &[u8], counted: bool) {
        let (code, rest) = error_parts(text);
        self.table(0, 4);
        self.kept(Kept::Err);
        self.string(code);
        self.string(b" ");
        self.string(rest);
        self.join(3);
        self.set();
        if counted {
            self.kept(Kept::Ignore);
            self.boolean(true);
            self.set();
        }
    }

    /// Leaves an error of the call itself. May raise.
    fn refuse(self, text: &str) -> bool {
        self.error(text.as_bytes(), false);
        false
    }
}
