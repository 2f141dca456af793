//! Streams.

mod access;
mod add;
mod claim;
mod delete;
mod group;
mod idempotence;
mod ids;
mod info;
mod logged;
mod pending;
mod range;
mod read;
mod trim;

use super::definition::Command;

/// The commands of the family, by name.
pub(super) const COMMANDS: &[&Command] = &[
    &pending::XACK,
    &delete::XACKDEL,
    &add::XADD,
    &claim::XAUTOCLAIM,
    &idempotence::XCFGSET,
    &claim::XCLAIM,
    &delete::XDEL,
    &delete::XDELEX,
    &group::XGROUP,
    &idempotence::XIDMPRECORD,
    &info::XINFO,
    &range::XLEN,
    &pending::XNACK,
    &pending::XPENDING,
    &range::XRANGE,
    &read::XREAD,
    &read::XREADGROUP,
    &range::XREVRANGE,
    &delete::XSETID,
    &trim::XTRIM,
];
