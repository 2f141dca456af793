//! Scripts: Lua 5.1 in the peers' sandbox, run so that it can be stopped anywhere.
//!
//! | module | what it holds |
//! |---|---|
//! | [`cache`] | the scripts that clients have sent, for the whole server |
//! | [`shebang`] | what a script's first line declares |
//! | [`interpreter`] | an interpreter, and a script that runs in it |
//! | [`functions`] | libraries of functions |
//! | [`exchange`] | the switch between a script and its driver |
//! | `prelude.lua` | the sandbox |
//! | `api` | `redis.call` and the other functions of `redis` |
//! | `raw` | `redis.call` and `redis.pcall`, over Lua's own interface |
//! | `convert` | values to replies |
//! | `bits`, `json`, `msgpack`, `pack` | `bit`, `cjson`, `cmsgpack`, `struct` |
//!
//! Nothing here knows shards, connections or locks: [`crate::route::script`] drives scripts.

pub mod cache;
pub mod commitment;
pub mod digests;
pub mod exchange;
pub mod functions;
pub mod interpreter;
pub mod shebang;

mod api;
mod bits;
mod contained;
mod convert;
mod json;
mod library;
mod msgpack;
mod number;
mod pack;
mod random;
mod raw;

use mlua::Value;

/// The text of an error that is no table.
fn message_of(error: &Value) -> Vec<u8> {
    match error {
        Value::Error(error) => interpreter::message(error).into_bytes(),
        other => convert::text_of(other).unwrap_or_else(|| other.type_name().as_bytes().to_vec()),
    }
}
