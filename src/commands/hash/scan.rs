//! HSCAN.

use kvasir_proto::{Args, Encoder};

use super::whole::encode;
use crate::commands::context::ShardContext;
use crate::commands::definition::{Arg, Arity, Command, Flags, Group, Handler, KeyFlags, KeySpec};
use crate::commands::element_scan::{ElementScan, Kind};
use crate::errors::CommandError;

pub(super) const HSCAN: Command = Command {
    name: "hscan",
    summary: "Iterates over fields and values of a hash.",
    complexity: "O(1) for every call. O(N) for a complete iteration, including enough \
        command calls for the cursor to return back to 0. N is the number of \
        elements inside the collection.",
    since: "2.8.0",
    group: Group::Hash,
    arity: Arity::at_least(3),
    flags: Flags::READONLY,
    tips: &["nondeterministic_output"],
    keys: &[KeySpec::at(1).flags(KeyFlags::RO.or(KeyFlags::ACCESS))],
    args: &[
        Arg::key("key", 0),
        Arg::integer("cursor"),
        Arg::pattern("pattern").after("MATCH").optional(),
        Arg::integer("count").after("COUNT").optional(),
        Arg::token("novalues", "NOVALUES").optional(),
    ],
    handler: Handler::Shard(hscan),
    ..Command::BASE
};

fn hscan(
    context: &mut ShardContext<'_>,
    args: Args<'_>,
    reply: &mut Encoder<'_>,
) -> Result<(), CommandError> {
    let cursor = ElementScan::cursor(args)?;
    let key = context.key(args.at(1));
    let Some(hash) = context.read_hash(&key)? else {
        ElementScan::reply_nothing(reply);
        return Ok(());
    };
    let scan = ElementScan::parse(args, Kind::Hash)?;
    let mut found = Vec::new();
    let mut encoder = Encoder::new(&mut found, reply.resp());
    let mut count = 0;
    let next = hash.scan(cursor, scan.count, |field, value| {
        if !scan.includes(field) {
            return;
        }
        encode(field, &mut encoder);
        count += 1;
        if !scan.names_only {
            encode(value, &mut encoder);
            count += 1;
        }
    });
    ElementScan::reply(next, count, &found, reply);
    Ok(())
}
