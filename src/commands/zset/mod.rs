//! Sorted sets.

pub(super) mod add;
pub(super) mod bounds;
mod expire;
mod gathered;
mod join;
mod lookup;
pub(super) mod pop;
mod range;
mod remove;
mod sample;
pub(super) mod store;
mod wait;

use super::definition::Command;

/// The commands of the family, by name.
pub(super) const COMMANDS: &[&Command] = &[
    &wait::BZMPOP,
    &wait::BZPOPMAX,
    &wait::BZPOPMIN,
    &add::ZADD,
    &lookup::ZCARD,
    &lookup::ZCOUNT,
    &join::ZDIFF,
    &join::ZDIFFSTORE,
    &expire::ZEXPIRE,
    &expire::ZEXPIREAT,
    &expire::ZEXPIRETIME,
    &add::ZINCRBY,
    &join::ZINTER,
    &join::ZINTERCARD,
    &join::ZINTERSTORE,
    &lookup::ZLEXCOUNT,
    &pop::ZMPOP,
    &lookup::ZMSCORE,
    &expire::ZPERSIST,
    &expire::ZPEXPIRE,
    &expire::ZPEXPIREAT,
    &expire::ZPEXPIRETIME,
    &pop::ZPOPMAX,
    &pop::ZPOPMIN,
    &expire::ZPTTL,
    &sample::ZRANDMEMBER,
    &range::ZRANGE,
    &range::ZRANGEBYLEX,
    &range::ZRANGEBYSCORE,
    &store::ZRANGESTORE,
    &lookup::ZRANK,
    &remove::ZREM,
    &remove::ZREMRANGEBYLEX,
    &remove::ZREMRANGEBYRANK,
    &remove::ZREMRANGEBYSCORE,
    &range::ZREVRANGE,
    &range::ZREVRANGEBYLEX,
    &range::ZREVRANGEBYSCORE,
    &lookup::ZREVRANK,
    &sample::ZSCAN,
    &lookup::ZSCORE,
    &expire::ZTTL,
    &join::ZUNION,
    &join::ZUNIONSTORE,
];
