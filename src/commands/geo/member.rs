//! Members by name: GEOADD, GEODIST, GEOHASH, GEOPOS.

use kvasir_proto::{Args, Encoder};

use super::hash::Position;
use super::shape::distance;
use super::text::{Unit, encode_distance, encode_position, position};
use crate::commands::arguments::is_word;
use crate::commands::context::ShardContext;
use crate::commands::definition::{Arg, Arity, Command, Flags, Group, Handler, KeyFlags, KeySpec};
use crate::commands::zset::add::{Addition, Presence, presence};
use crate::errors::CommandError;

pub(super) const GEOADD: Command = Command {
    name: "geoadd",
    summary: "Adds one or more members to a geospatial index. The key is created if it \
        doesn't exist.",
    complexity: "O(log(N)) for each item added, where N is the number of elements in the \
        sorted set.",
    since: "3.2.0",
    group: Group::Geo,
    arity: Arity::at_least(5),
    flags: Flags::WRITE.or(Flags::DENYOOM),
    keys: &[KeySpec::at(1).flags(KeyFlags::RW.or(KeyFlags::UPDATE))],
    args: &[
        Arg::key("key", 0),
        Arg::one_of("condition", &[Arg::token("nx", "NX"), Arg::token("xx", "XX")])
            .optional()
            .since("6.2.0"),
        Arg::token("change", "CH").optional().since("6.2.0"),
        Arg::block(
            "data",
            &[Arg::double("longitude"), Arg::double("latitude"), Arg::string("member")],
        )
        .multiple(),
    ],
    history: &[("6.2.0", "Added the `CH`, `NX` and `XX` options.")],
    handler: Handler::Shard(geoadd),
    ..Command::BASE
};

fn geoadd(
    context: &mut ShardContext<'_>,
    args: Args<'_>,
    reply: &mut Encoder<'_>,
) -> Result<(), CommandError> {
    let mut addition = Addition::default();
    let mut at = 2;
    while let Some(word) = args.get(at) {
        if let Some(presence) = presence(word) {
            if ![Presence::Any, presence].contains(&addition.presence) {
                return Err(CommandError::Syntax);
            }
            addition.presence = presence;
        } else if is_word(word, "CH") {
            addition.count_changed = true;
        } else {
            break;
        }
        at += 1;
    }
    let triples = args.tail(at);
    if triples.is_empty() || !triples.len().is_multiple_of(3) {
        return Err(CommandError::Syntax);
    }
    let scores: Result<Vec<f64>, _> = (0..triples.len())
        .step_by(3)
        .map(|at| position(triples.at(at), triples.at(at + 1)).map(Position::score))
        .collect();
    let scores = scores?;
    let pairs = (0..scores.len()).map(|at| (scores[at], triples.at(3 * at + 2)));
    let added = addition.apply(context, args.at(1), pairs)?;
    reply.integer(addition.count(added));
    Ok(())
}

pub(super) const GEODIST: Command = Command {
    name: "geodist",
    summary: "Returns the distance between two members of a geospatial index.",
    complexity: "O(1)",
    since: "3.2.0",
    group: Group::Geo,
    arity: Arity::at_least(4),
    flags: Flags::READONLY,
    keys: &[KeySpec::at(1).flags(KeyFlags::RO.or(KeyFlags::ACCESS))],
    args: &[
        Arg::key("key", 0),
        Arg::string("member1"),
        Arg::string("member2"),
        Arg::one_of(
            "unit",
            &[
                Arg::token("m", "M"),
                Arg::token("km", "KM"),
                Arg::token("ft", "FT"),
                Arg::token("mi", "MI"),
            ],
        )
        .optional(),
    ],
    handler: Handler::Shard(geodist),
    ..Command::BASE
};

fn geodist(
    context: &mut ShardContext<'_>,
    args: Args<'_>,
    reply: &mut Encoder<'_>,
) -> Result<(), CommandError> {
    if args.len() > 5 {
        return Err(CommandError::Syntax);
    }
    let unit = args.get(4).map_or(Ok(Unit::METRES), Unit::parse)?;
    let key = context.key(args.at(1));
    let zset = context.read_zset(&key)?;
    let place = |name: &[u8]| zset.and_then(|zset| zset.score(name)).map(Position::of_score);
    match place(args.at(2)).zip(place(args.at(3))) {
        Some((a, b)) => encode_distance(unit.of_metres(distance(a, b)), reply),
        None => reply.null(),
    }
    Ok(())
}

pub(super) const GEOHASH: Command = Command {
    name: "geohash",
    summary: "Returns members from a geospatial index as geohash strings.",
    complexity: "O(1) for each member requested.",
    since: "3.2.0",
    group: Group::Geo,
    arity: Arity::at_least(2),
    flags: Flags::READONLY,
    keys: &[KeySpec::at(1).flags(KeyFlags::RO.or(KeyFlags::ACCESS))],
    args: &[Arg::key("key", 0), Arg::string("member").optional().multiple()],
    handler: Handler::Shard(geohash),
    ..Command::BASE
};

fn geohash(
    context: &mut ShardContext<'_>,
    args: Args<'_>,
    reply: &mut Encoder<'_>,
) -> Result<(), CommandError> {
    let key = context.key(args.at(1));
    let zset = context.read_zset(&key)?;
    reply.array(args.len() - 2);
    for name in args.iter().skip(2) {
        let score = zset.and_then(|zset| zset.score(name));
        let text = score.map(|score| Position::of_score(score).text());
        reply.bulk_or_null(text.as_ref().map(<[u8; 11]>::as_slice));
    }
    Ok(())
}

pub(super) const GEOPOS: Command = Command {
    name: "geopos",
    summary: "Returns the longitude and latitude of members from a geospatial index.",
    complexity: "O(1) for each member requested.",
    since: "3.2.0",
    group: Group::Geo,
    arity: Arity::at_least(2),
    flags: Flags::READONLY,
    keys: &[KeySpec::at(1).flags(KeyFlags::RO.or(KeyFlags::ACCESS))],
    args: &[Arg::key("key", 0), Arg::string("member").optional().multiple()],
    handler: Handler::Shard(geopos),
    ..Command::BASE
};

fn geopos(
    context: &mut ShardContext<'_>,
    args: Args<'_>,
    reply: &mut Encoder<'_>,
) -> Result<(), CommandError> {
    let key = context.key(args.at(1));
    let zset = context.read_zset(&key)?;
    reply.array(args.len() - 2);
    for name in args.iter().skip(2) {
        match zset.and_then(|zset| zset.score(name)) {
            Some(score) => encode_position(Position::of_score(score), reply),
            None => reply.null_array(),
        }
    }
    Ok(())
}
