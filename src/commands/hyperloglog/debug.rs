//! Looking inside: PFDEBUG, PFSELFTEST.

use std::fmt::Write as _;

use kvasir_proto::{Args, Encoder};
use kvasir_shard::hyperloglog::{self, Encoding, Observation, Registers};

use super::look;
use crate::commands::arguments::is_word;
use crate::commands::context::{LocalContext, ShardContext};
use crate::commands::definition::{Arg, Arity, Command, Flags, Group, Handler, KeyFlags, KeySpec};
use crate::errors::CommandError;

pub(super) const PFDEBUG: Command = Command {
    name: "pfdebug",
    summary: "Internal commands for debugging HyperLogLog values.",
    complexity: "N/A",
    since: "2.8.9",
    group: Group::HyperLogLog,
    arity: Arity::exactly(3),
    flags: Flags::WRITE.or(Flags::DENYOOM).or(Flags::ADMIN).or(Flags::SYSCMD),
    keys: &[KeySpec::at(2).flags(KeyFlags::RW.or(KeyFlags::ACCESS))],
    args: &[Arg::string("subcommand"), Arg::key("key", 0)],
    handler: Handler::Shard(pfdebug),
    ..Command::BASE
};

fn pfdebug(
    context: &mut ShardContext<'_>,
    args: Args<'_>,
    reply: &mut Encoder<'_>,
) -> Result<(), CommandError> {
    let word = args.at(1);
    if is_word(word, "SIMD") {
        return simd(args.at(2), reply);
    }
    let key = context.key(args.at(2));
    let missing = CommandError::Other("ERR The specified key does not exist");
    let (bytes, encoding) = look(context, &key)?.ok_or(missing)?;
    let converts = encoding == Encoding::Sparse;
    if is_word(word, "GETREG") {
        let mut registers = Registers::new();
        registers.merge(bytes)?;
        if converts {
            to_dense(context, args.at(2))?;
        }
        reply.array(hyperloglog::REGISTERS);
        registers.values().iter().for_each(|value| reply.integer(i64::from(*value)));
    } else if is_word(word, "DECODE") {
        if !converts {
            return Err(CommandError::Other("ERR HLL encoding is not sparse"));
        }
        reply.bulk(decoded(bytes).as_bytes());
    } else if is_word(word, "ENCODING") {
        reply.simple(if converts { "sparse" } else { "dense" });
    } else if is_word(word, "TODENSE") {
        if converts {
            to_dense(context, args.at(2))?;
        }
        reply.integer(i64::from(converts));
    } else {
        return Err(CommandError::quoting("ERR Unknown PFDEBUG subcommand '", word, "'"));
    }
    Ok(())
}

/// There is one implementation, which the compiler vectorizes as it can: nothing to turn on.
fn simd(word: &[u8], reply: &mut Encoder<'_>) -> Result<(), CommandError> {
    if !is_word(word, "ON") && !is_word(word, "OFF") {
        return Err(CommandError::Other("ERR Argument must be ON or OFF"));
    }
    reply.simple("disabled");
    Ok(())
}

fn to_dense(context: &mut ShardContext<'_>, key: &[u8]) -> Result<(), CommandError> {
    let key = context.key(key);
    if let Some((bytes, _)) = look(context, &key)? {
        let mut bytes = bytes.to_vec();
        hyperloglog::make_dense(&mut bytes)?;
        context.shard.rewrite_string(context.db, &key, &bytes)?;
        context.changed(1);
    }
    Ok(())
}

/// The runs of a sparse value, in the peers' notation: `z` and `Z` for zeros, `v` for others.
fn decoded(bytes: &[u8]) -> String {
    let mut text = String::new();
    for run in hyperloglog::runs(bytes) {
        let space = if text.is_empty() { "" } else { " " };
        let len = run.len;
        let written = match (run.value, run.bytes) {
            (0, 1) => write!(text, "{space}z:{len}"),
            (0, _) => write!(text, "{space}Z:{len}"),
            (value, _) => write!(text, "{space}v:{value},{len}"),
        };
        written.expect("invariant: a string takes any text");
    }
    text
}

pub(super) const PFSELFTEST: Command = Command {
    name: "pfselftest",
    summary: "An internal command for testing HyperLogLog values.",
    complexity: "N/A",
    since: "2.8.9",
    group: Group::HyperLogLog,
    arity: Arity::exactly(1),
    flags: Flags::ADMIN.or(Flags::SYSCMD),
    handler: Handler::Local(pfselftest),
    ..Command::BASE
};

/// How many elements are counted. The peers count ten million, which takes them a second.
const TEST_ELEMENTS: usize = 10_000;
/// Four standard errors.
const TEST_ERROR_MAX: f64 = 0.0325;

/// Counts a known number of elements in both encodings.
fn pfselftest(
    _: &mut LocalContext<'_>,
    _: Args<'_>,
    reply: &mut Encoder<'_>,
) -> Result<(), CommandError> {
    let mut dense = hyperloglog::empty();
    hyperloglog::make_dense(&mut dense)?;
    let mut sparse = hyperloglog::empty();
    for number in 1..=TEST_ELEMENTS {
        let seen = Observation::of(&number.to_le_bytes());
        let changed = hyperloglog::observe_dense(&mut dense, seen);
        if hyperloglog::observe(&mut sparse, seen, TEST_SPARSE_BYTES_MAX)? != changed {
            return Err(CommandError::Other("ERR TESTFAILED encodings disagree about an element"));
        }
    }
    let counts = (hyperloglog::count(&dense)?, hyperloglog::count(&sparse)?);
    let error = (counts.0 as f64 - TEST_ELEMENTS as f64).abs() / TEST_ELEMENTS as f64;
    if counts.0 != counts.1 || error > TEST_ERROR_MAX {
        let text = format!("ERR TESTFAILED {counts:?} counted instead of {TEST_ELEMENTS}");
        return Err(CommandError::Custom(text));
    }
    reply.ok();
    Ok(())
}

/// The sparse value becomes dense on the way.
const TEST_SPARSE_BYTES_MAX: usize = 1000;
