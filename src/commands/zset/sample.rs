//! Members at random and in pieces: ZRANDMEMBER, ZSCAN.

use ahash::AHashSet;
use kvasir_proto::number::DoubleText;
use kvasir_proto::{Args, Encoder};

use super::bounds::{Pairing, encode_name};
use crate::commands::arguments::{integer, is_word};
use crate::commands::context::ShardContext;
use crate::commands::definition::{Arg, Arity, Command, Flags, Group, Handler, KeyFlags, KeySpec};
use crate::commands::element_scan::{ElementScan, Kind};
use crate::errors::CommandError;

pub(super) const ZRANDMEMBER: Command = Command {
    name: "zrandmember",
    summary: "Returns one or more random members from a sorted set.",
    complexity: "O(N) where N is the number of members returned",
    since: "6.2.0",
    group: Group::SortedSet,
    arity: Arity::at_least(2),
    flags: Flags::READONLY,
    tips: &["nondeterministic_output"],
    keys: &[KeySpec::at(1).flags(KeyFlags::RO.or(KeyFlags::ACCESS))],
    args: &[
        Arg::key("key", 0),
        Arg::block(
            "options",
            &[Arg::integer("count"), Arg::token("withscores", "WITHSCORES").optional()],
        )
        .optional(),
    ],
    handler: Handler::Shard(zrandmember),
    ..Command::BASE
};

/// A sequence of numbers that are random enough to choose members by.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ mixed >> 31
    }

    /// A number below `bound`, which is not zero.
    fn below(&mut self, bound: usize) -> usize {
        ((u128::from(self.next()) * bound as u128) >> 64) as usize
    }
}

/// More pairs than this cannot be counted in a reply.
const PAIRS_MAX: i64 = i64::MAX / 2;

/// Members that are replied at most when they may repeat: a core does nothing else meanwhile.
const REPEATED_MAX: usize = 1 << 24;

/// How many members are asked for.
#[derive(Clone, Copy, Debug)]
enum Choice {
    /// So many different ones, or all.
    Distinct(usize),
    /// So many, each among all.
    Independent(usize),
}

impl Choice {
    fn parse(count: &[u8], pairing: Pairing) -> Result<Self, CommandError> {
        let count = integer(count)?;
        if count == i64::MIN {
            let text = "ERR value is out of range, value must between -9223372036854775807 and \
                9223372036854775807";
            return Err(CommandError::Other(text));
        }
        if pairing == Pairing::Scores && !(-PAIRS_MAX..=PAIRS_MAX).contains(&count) {
            return Err(CommandError::Other("ERR value is out of range"));
        }
        let amount = count.unsigned_abs() as usize;
        Ok(if count < 0 {
            Self::Independent(amount.min(REPEATED_MAX))
        } else {
            Self::Distinct(amount)
        })
    }

    /// Ranks in a set of `len` members, which has one.
    fn ranks(self, len: usize, random: &mut Random) -> Box<dyn Iterator<Item = usize> + '_> {
        match self {
            Self::Independent(count) => Box::new((0..count).map(move |_| random.below(len))),
            Self::Distinct(count) if count >= len => Box::new(0..len),
            Self::Distinct(count) if count * 3 > len => {
                let mut ranks: Vec<usize> = (0..len).collect();
                for at in 0..count {
                    let other = at + random.below(len - at);
                    ranks.swap(at, other);
                }
                ranks.truncate(count);
                Box::new(ranks.into_iter())
            }
            Self::Distinct(count) => {
                let mut seen = AHashSet::with_capacity(count);
                let fresh = std::iter::repeat_with(move || random.below(len));
                Box::new(fresh.filter(move |rank| seen.insert(*rank)).take(count))
            }
        }
    }

    fn count(self, len: usize) -> usize {
        match self {
            Self::Distinct(count) => count.min(len),
            Self::Independent(count) => count,
        }
    }
}

fn zrandmember(
    context: &mut ShardContext<'_>,
    args: Args<'_>,
    reply: &mut Encoder<'_>,
) -> Result<(), CommandError> {
    let pairing = match args.get(3) {
        None => Pairing::Names,
        Some(word) if args.len() == 4 && is_word(word, "WITHSCORES") => Pairing::Scores,
        Some(_) => return Err(CommandError::Syntax),
    };
    let choice = args.get(2).map(|count| Choice::parse(count, pairing)).transpose()?;
    let mut random = Random(context.shard.next_random());
    let key = context.key(args.at(1));
    let zset = context.read_zset(&key)?;
    let Some(choice) = choice else {
        let member = zset.and_then(|zset| zset.at(random.below(zset.len())));
        match member {
            Some((name, _)) => encode_name(name, reply),
            None => reply.null(),
        }
        return Ok(());
    };
    let Some(zset) = zset else {
        reply.array(0);
        return Ok(());
    };
    let len = zset.len();
    pairing.begin(choice.count(len), reply);
    for rank in choice.ranks(len, &mut random) {
        let (name, score) = zset.at(rank).expect("invariant: the rank is below the length");
        pairing.encode(name, score, reply);
    }
    Ok(())
}

pub(super) const ZSCAN: Command = Command {
    name: "zscan",
    summary: "Iterates over members and scores of a sorted set.",
    complexity: "O(1) for every call. O(N) for a complete iteration, including enough \
        command calls for the cursor to return back to 0. N is the number of \
        elements inside the collection.",
    since: "2.8.0",
    group: Group::SortedSet,
    arity: Arity::at_least(3),
    flags: Flags::READONLY,
    tips: &["nondeterministic_output"],
    keys: &[KeySpec::at(1).flags(KeyFlags::RO.or(KeyFlags::ACCESS))],
    args: &[
        Arg::key("key", 0),
        Arg::integer("cursor"),
        Arg::pattern("pattern").after("MATCH").optional(),
        Arg::integer("count").after("COUNT").optional(),
        Arg::token("noscores", "NOSCORES").optional(),
    ],
    history: &[("8.0.0", "Added noscores option.")],
    handler: Handler::Shard(zscan),
    ..Command::BASE
};

fn zscan(
    context: &mut ShardContext<'_>,
    args: Args<'_>,
    reply: &mut Encoder<'_>,
) -> Result<(), CommandError> {
    let cursor = ElementScan::cursor(args)?;
    let key = context.key(args.at(1));
    let Some(zset) = context.read_zset(&key)? else {
        ElementScan::reply_nothing(reply);
        return Ok(());
    };
    let scan = ElementScan::parse(args, Kind::SortedSet)?;
    let mut found = Vec::new();
    let mut encoder = Encoder::new(&mut found, reply.resp());
    let mut count = 0;
    let next = zset.scan(cursor, scan.count, |name, score| {
        if scan.includes(name) {
            encode_name(name, &mut encoder);
            count += 1;
            if !scan.names_only {
                encoder.bulk(DoubleText::new(score).as_bytes());
                count += 1;
            }
        }
    });
    ElementScan::reply(next, count, &found, reply);
    Ok(())
}
