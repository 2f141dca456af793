//! Sets.

mod algebra;
mod algebra_spread;
mod expire;
mod member;
mod random;
mod relocate;
mod scan;

use kvasir_proto::Encoder;
use kvasir_shard::ValueRef;

use super::definition::Command;

/// The commands of the family, by name.
pub(super) const COMMANDS: &[&Command] = &[
    &member::SADD,
    &member::SCARD,
    &algebra::SDIFF,
    &algebra::SDIFFCARD,
    &algebra::SDIFFSTORE,
    &expire::SEXPIRE,
    &expire::SEXPIREAT,
    &expire::SEXPIRETIME,
    &algebra::SINTER,
    &algebra::SINTERCARD,
    &algebra::SINTERSTORE,
    &member::SISMEMBER,
    &member::SMEMBERS,
    &member::SMISMEMBER,
    &relocate::SMOVE,
    &expire::SPERSIST,
    &expire::SPEXPIRE,
    &expire::SPEXPIREAT,
    &expire::SPEXPIRETIME,
    &random::SPOP,
    &expire::SPTTL,
    &random::SRANDMEMBER,
    &member::SREM,
    &scan::SSCAN,
    &expire::STTL,
    &algebra::SUNION,
    &algebra::SUNIONCARD,
    &algebra::SUNIONSTORE,
];

/// Encodes a member.
fn encode_member(member: ValueRef<'_>, reply: &mut Encoder<'_>) {
    match member {
        ValueRef::Int(value) => reply.bulk_integer(value),
        ValueRef::Bytes(bytes) => reply.bulk(bytes),
        ValueRef::Collection(_) => unreachable!("a member is a string"),
    }
}
