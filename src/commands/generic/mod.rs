//! Commands about keys, whatever their values are.

mod exist;
mod expire;
mod keys;
mod sum;
mod ttl;

use super::definition::Command;

/// The commands of the family, by name.
pub(super) const COMMANDS: &[&Command] = &[
    &exist::DEL,
    &exist::EXISTS,
    &expire::EXPIRE,
    &expire::EXPIREAT,
    &ttl::EXPIRETIME,
    &keys::KEYS,
    &ttl::PERSIST,
    &expire::PEXPIRE,
    &expire::PEXPIREAT,
    &ttl::PEXPIRETIME,
    &ttl::PTTL,
    &exist::TOUCH,
    &ttl::TTL,
    &exist::TYPE,
    &exist::UNLINK,
];
