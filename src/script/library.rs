//! What the libraries for scripts have in common: functions that fail with Lua's own texts.

use mlua::{Lua, LuaString, MultiValue, Table, Value};

use super::api::{bad_argument, number_of, position};
use super::convert;

/// Why a function of a library fails.
#[derive(Debug)]
pub(super) enum Failure {
    /// With this text, which the place of the script precedes.
    Text(String),
    /// By this argument, counted from 1.
    Argument(usize, String),
    /// Within Lua.
    Lua(mlua::Error),
}

impl From<mlua::Error> for Failure {
    fn from(error: mlua::Error) -> Self {
        Self::Lua(error)
    }
}

impl From<&str> for Failure {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

/// A function's results.
pub(super) type Results = Result<MultiValue, Failure>;

/// One result.
pub(super) fn one(value: Value) -> Results {
    Ok(MultiValue::from_iter([value]))
}

/// Adds a function to a library: one that returns its failure, or nothing, before its results.
pub(super) fn add(
    lua: &Lua,
    library: &Table,
    name: &'static str,
    function: impl Fn(&Lua, &Arguments<'_>) -> Results + 'static,
) -> mlua::Result<()> {
    let function = lua.create_function(move |lua, args: MultiValue| {
        let text = match function(lua, &Arguments { args: &args }) {
            Ok(mut results) => {
                results.push_front(Value::Nil);
                return Ok(results);
            }
            Err(Failure::Text(text)) => position(lua) + &text,
            Err(Failure::Argument(number, text)) => bad_argument(lua, number, name, &text),
            Err(Failure::Lua(error)) => super::interpreter::message(&error),
        };
        Ok(MultiValue::from_iter([Value::String(lua.create_string(text)?)]))
    })?;
    library.raw_set(name, function)
}

/// The arguments of a function.
pub(super) struct Arguments<'a> {
    pub(super) args: &'a MultiValue,
}

impl Arguments<'_> {
    /// An argument, counted from 0; nil where there is none.
    pub(super) fn get(&self, index: usize) -> Value {
        self.args.get(index).cloned().unwrap_or(Value::Nil)
    }

    fn wrong(&self, index: usize, wanted: &str) -> Failure {
        let found = self.args.get(index).map_or("no value", |value| value.type_name());
        Failure::Argument(index + 1, format!("{wanted} expected, got {found}"))
    }

    /// A string, or a number as one.
    pub(super) fn string(&self, lua: &Lua, index: usize) -> Result<LuaString, Failure> {
        match self.args.get(index) {
            Some(Value::String(text)) => Ok(text.clone()),
            Some(value) => match convert::text_of(value) {
                Some(text) => Ok(lua.create_string(text)?),
                None => Err(self.wrong(index, "string")),
            },
            None => Err(self.wrong(index, "string")),
        }
    }

    /// A number, or a string that is one.
    pub(super) fn number(&self, index: usize) -> Result<f64, Failure> {
        let number = self.args.get(index).and_then(number_of);
        number.ok_or_else(|| self.wrong(index, "number"))
    }

    /// An integer, or `default` where there is none.
    pub(super) fn integer_or(&self, index: usize, default: i64) -> Result<i64, Failure> {
        match self.args.get(index) {
            None | Some(Value::Nil) => Ok(default),
            Some(_) => Ok(convert::to_integer(self.number(index)?)),
        }
    }
}
