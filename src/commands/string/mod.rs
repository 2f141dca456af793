//! Strings.

mod counter;
mod digest;
mod get;
mod increx;
mod lcs;
mod many;
mod range;
mod set;

use super::definition::Command;
pub(super) use get::encode_string;

/// The commands of the family, by name.
pub(super) const COMMANDS: &[&Command] = &[
    &range::APPEND,
    &counter::DECR,
    &counter::DECRBY,
    &digest::DELEX,
    &digest::DELIFEQ,
    &digest::DIGEST,
    &get::GET,
    &get::GETDEL,
    &get::GETEX,
    &range::GETRANGE,
    &get::GETSET,
    &counter::INCR,
    &counter::INCRBY,
    &counter::INCRBYFLOAT,
    &increx::INCREX,
    &lcs::LCS,
    &many::MGET,
    &many::MSET,
    &many::MSETEX,
    &many::MSETNX,
    &set::PSETEX,
    &set::SET,
    &set::SETEX,
    &set::SETNX,
    &range::SETRANGE,
    &get::STRLEN,
    &range::SUBSTR,
];
