//! Commands about keys, whatever their values are.

mod exist;
pub(super) mod expire;
mod keys;
mod object;
mod random;
mod relocate;
mod scan;
mod sum;
mod ttl;

use super::definition::Command;

/// The commands of the family, by name.
pub(super) const COMMANDS: &[&Command] = &[
    &relocate::COPY,
    &exist::DEL,
    &exist::EXISTS,
    &expire::EXPIRE,
    &expire::EXPIREAT,
    &ttl::EXPIRETIME,
    &keys::KEYS,
    &relocate::MOVE,
    &object::OBJECT,
    &ttl::PERSIST,
    &expire::PEXPIRE,
    &expire::PEXPIREAT,
    &ttl::PEXPIRETIME,
    &ttl::PTTL,
    &random::RANDOMKEY,
    &relocate::RENAME,
    &relocate::RENAMENX,
    &scan::SCAN,
    &exist::TOUCH,
    &ttl::TTL,
    &exist::TYPE,
    &exist::UNLINK,
];
