//! Commands about keys, whatever their values are.

mod dump;
mod exist;
pub(super) mod expire;
mod keys;
mod migrate;
mod object;
mod random;
mod relocate;
mod scan;
mod sort;
mod sum;
mod transfer;
mod ttl;

pub(in crate::commands) use dump::RESTORE_ASKING;

use super::definition::Command;

/// The commands of the family, by name.
pub(super) const COMMANDS: &[&Command] = &[
    &relocate::COPY,
    &exist::DEL,
    &dump::DUMP,
    &exist::EXISTS,
    &expire::EXPIRE,
    &expire::EXPIREAT,
    &ttl::EXPIRETIME,
    &keys::KEYS,
    &migrate::MIGRATE,
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
    &dump::RESTORE,
    &scan::SCAN,
    &sort::SORT,
    &sort::SORT_RO,
    &exist::TOUCH,
    &ttl::TTL,
    &exist::TYPE,
    &exist::UNLINK,
];
