//! Hashes.

mod counter;
mod expire;
mod field;
mod get_ex;
mod import;
mod random;
mod scan;
mod set_ex;
mod ttl;
mod whole;

use super::definition::Command;

/// The commands of the family, by name.
pub(super) const COMMANDS: &[&Command] = &[
    &field::HDEL,
    &field::HEXISTS,
    &expire::HEXPIRE,
    &expire::HEXPIREAT,
    &ttl::HEXPIRETIME,
    &field::HGET,
    &whole::HGETALL,
    &get_ex::HGETDEL,
    &get_ex::HGETEX,
    &import::HIMPORT,
    &counter::HINCRBY,
    &counter::HINCRBYFLOAT,
    &whole::HKEYS,
    &field::HLEN,
    &field::HMGET,
    &field::HMSET,
    &expire::HPERSIST,
    &expire::HPEXPIRE,
    &expire::HPEXPIREAT,
    &ttl::HPEXPIRETIME,
    &ttl::HPTTL,
    &random::HRANDFIELD,
    &scan::HSCAN,
    &field::HSET,
    &set_ex::HSETEX,
    &field::HSETNX,
    &field::HSTRLEN,
    &ttl::HTTL,
    &whole::HVALS,
];
