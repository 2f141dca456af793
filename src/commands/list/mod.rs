//! Lists.

mod arguments;
mod edit;
mod first;
mod pop;
mod push;
mod read;
mod transfer;

use super::definition::Command;

/// The commands of the family, by name.
pub(super) const COMMANDS: &[&Command] = &[
    &transfer::BLMOVE,
    &transfer::BLMOVEM,
    &first::BLMPOP,
    &first::BLPOP,
    &first::BRPOP,
    &transfer::BRPOPLPUSH,
    &read::LINDEX,
    &edit::LINSERT,
    &read::LLEN,
    &transfer::LMOVE,
    &transfer::LMOVEM,
    &first::LMPOP,
    &pop::LPOP,
    &read::LPOS,
    &push::LPUSH,
    &push::LPUSHX,
    &read::LRANGE,
    &edit::LREM,
    &edit::LSET,
    &edit::LTRIM,
    &pop::RPOP,
    &transfer::RPOPLPUSH,
    &push::RPUSH,
    &push::RPUSHX,
];
