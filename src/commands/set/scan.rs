//! Members in pieces: SSCAN.

use kvasir_proto::{Args, Encoder};

use super::encode_member;
use crate::commands::context::ShardContext;
use crate::commands::definition::{Arg, Arity, Command, Flags, Group, Handler, KeyFlags, KeySpec};
use crate::commands::element_scan::{ElementScan, Kind};
use crate::errors::CommandError;

pub(super) const SSCAN: Command = Command {
    name: "sscan",
    summary: "Iterates over members of a set.",
    complexity: "O(1) for every call. O(N) for a complete iteration, including enough \
        command calls for the cursor to return back to 0. N is the number of \
        elements inside the collection.",
    since: "2.8.0",
    group: Group::Set,
    arity: Arity::at_least(3),
    flags: Flags::READONLY,
    tips: &["nondeterministic_output"],
    keys: &[KeySpec::at(1).flags(KeyFlags::RO.or(KeyFlags::ACCESS))],
    args: &[
        Arg::key("key", 0),
        Arg::integer("cursor"),
        Arg::pattern("pattern").after("MATCH").optional(),
        Arg::integer("count").after("COUNT").optional(),
    ],
    handler: Handler::Shard(sscan),
    ..Command::BASE
};

fn sscan(
    context: &mut ShardContext<'_>,
    args: Args<'_>,
    reply: &mut Encoder<'_>,
) -> Result<(), CommandError> {
    let cursor = ElementScan::cursor(args)?;
    let key = context.key(args.at(1));
    let Some(set) = context.read_set(&key)? else {
        ElementScan::reply_nothing(reply);
        return Ok(());
    };
    let scan = ElementScan::parse(args, Kind::Set)?;
    let mut found = Vec::new();
    let mut encoder = Encoder::new(&mut found, reply.resp());
    let mut count = 0;
    let next = set.scan(cursor, scan.count, |member| {
        if scan.includes(member) {
            encode_member(member, &mut encoder);
            count += 1;
        }
    });
    ElementScan::reply(next, count, &found, reply);
    Ok(())
}
