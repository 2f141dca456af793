//! Several sorted sets: ZUNION, ZINTER, ZDIFF, what stores their results, and ZINTERCARD.
//!
//! Sources may be sets, too. All forms work in the same steps, whether the sources lie in one shard
//! or in many: their sizes; the members of those that have to be gone through; for the others, the
//! scores of those members; the result.

use std::sync::Arc;

use kvasir_proto::{Args, Encoder, number};
use kvasir_shard::Elements;

use super::bounds::Pairing;
use super::gathered::{Aggregate, Gathered, Joined, scores_in};
use super::store::{store, store_last};
use crate::commands::arguments::{Options, integer, is_word};
use crate::commands::context::{Coordination, ShardContext};
use crate::commands::definition::{Arg, Arity, Command, Flags, Group, Handler, KeyFlags, KeySpec};
use crate::commands::keys::counted_keys;
use crate::errors::CommandError;
use crate::route::core::CoreState;
use crate::route::transaction::{Request, Transaction, shard_context};

fn find_joined(args: Args<'_>, found: &mut dyn FnMut(usize, KeyFlags)) {
    counted_keys(args, 1, None, found);
}

fn find_stored(args: Args<'_>, found: &mut dyn FnMut(usize, KeyFlags)) {
    counted_keys(args, 2, Some(1), found);
}

/// What is done with the sets.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Operation {
    Union,
    Intersection,
    Difference,
}

/// A command of this family.
#[derive(Clone, Copy, Debug)]
struct Form {
    name: &'static str,
    operation: Operation,
    /// Whether the first argument is where the result goes.
    stores: bool,
    /// Whether only the size of the result is asked for.
    counts: bool,
}

impl Form {
    const fn reads(name: &'static str, operation: Operation) -> Self {
        Self { name, operation, stores: false, counts: false }
    }

    const fn stores(name: &'static str, operation: Operation) -> Self {
        Self { name, operation, stores: true, counts: false }
    }

    const ZUNION: Self = Self::reads("zunion", Operation::Union);
    const ZINTER: Self = Self::reads("zinter", Operation::Intersection);
    const ZDIFF: Self = Self::reads("zdiff", Operation::Difference);
    const ZUNIONSTORE: Self = Self::stores("zunionstore", Operation::Union);
    const ZINTERSTORE: Self = Self::stores("zinterstore", Operation::Intersection);
    const ZDIFFSTORE: Self = Self::stores("zdiffstore", Operation::Difference);
    const ZINTERCARD: Self = Self {
        name: "zintercard",
        operation: Operation::Intersection,
        stores: false,
        counts: true,
    };

    /// The indices of the sources among the arguments.
    fn sources(self, args: Args<'_>) -> Result<std::ops::Range<usize>, CommandError> {
        let at = if self.stores { 2 } else { 1 };
        let count = integer(args.at(at))?;
        let count = usize::try_from(count).ok().filter(|count| *count > 0).ok_or_else(|| {
            let name = self.name;
            CommandError::Custom(format!("ERR at least 1 input key is needed for '{name}' command"))
        })?;
        let first = at + 1;
        if count > args.len() - first {
            return Err(CommandError::Syntax);
        }
        Ok(first..first + count)
    }
}

/// What the words after the sources say.
#[derive(Debug)]
struct Words {
    weights: Vec<f64>,
    aggregate: Aggregate,
    pairing: Pairing,
    /// Where counting may stop; 0: nowhere.
    limit: usize,
}

impl Words {
    fn parse(
        form: Form,
        args: Args<'_>,
        keys: std::ops::Range<usize>,
    ) -> Result<Self, CommandError> {
        let mut parsed = Self {
            weights: vec![1.0; keys.len()],
            aggregate: Aggregate::Sum,
            pairing: Pairing::Names,
            limit: 0,
        };
        let joins_scores = form.operation != Operation::Difference && !form.counts;
        let mut words = Options::new(args, keys.end);
        while let Some(word) = words.next() {
            if joins_scores && is_word(word, "WEIGHTS") && words.left() >= keys.len() {
                for weight in &mut parsed.weights {
                    let error = CommandError::Other("ERR weight value is not a float");
                    *weight = number::parse_f64(words.value()?).ok_or(error)?;
                }
            } else if joins_scores && is_word(word, "AGGREGATE") && words.left() > 0 {
                parsed.aggregate = aggregate(words.value()?)?;
            } else if !form.stores && !form.counts && is_word(word, "WITHSCORES") {
                parsed.pairing = Pairing::Scores;
            } else if form.counts && is_word(word, "LIMIT") && words.left() > 0 {
                let limit = number::parse_i64(words.value()?);
                let limit = limit.and_then(|limit| usize::try_from(limit).ok());
                let error = CommandError::Other("ERR LIMIT can't be negative");
                parsed.limit = limit.ok_or(error)?;
            } else {
                return Err(CommandError::Syntax);
            }
        }
        Ok(parsed)
    }
}

fn aggregate(word: &[u8]) -> Result<Aggregate, CommandError> {
    [
        ("SUM", Aggregate::Sum),
        ("MIN", Aggregate::Min),
        ("MAX", Aggregate::Max),
        ("COUNT", Aggregate::Count),
    ]
    .into_iter()
    .find_map(|(name, aggregate)| is_word(word, name).then_some(aggregate))
    .ok_or(CommandError::Syntax)
}

/// The sources in the order in which they are gone through, by their place among the keys: the
/// smallest first, as sums of floating-point numbers depend on it; those of a difference as given.
fn order_of(form: Form, sizes: &[usize]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..sizes.len()).collect();
    if form.operation != Operation::Difference {
        order.sort_by_key(|at| sizes[*at]);
    }
    order
}

/// How many of the sources, in that order, are read as a whole.
fn read_whole(form: Form, count: usize) -> usize {
    if form.operation == Operation::Union { count } else { 1 }
}

/// What was read of the sources, in the order of [`order_of`].
struct Sources {
    order: Vec<usize>,
    whole: Vec<Gathered>,
    /// For the others, their scores of the members of the first.
    scores: Vec<Vec<Option<f64>>>,
}

impl Sources {
    /// Joins them and lets `finish` have the result.
    fn join<R>(self, form: Form, words: &Words, finish: impl FnOnce(&Joined<'_>) -> R) -> R {
        let Self { order, whole, scores } = self;
        let weights: Vec<f64> = order.iter().map(|at| words.weights[*at]).collect();
        match form.operation {
            Operation::Union => {
                let sets: Vec<_> = whole.into_iter().zip(weights).collect();
                finish(&Joined::union(&sets, words.aggregate))
            }
            Operation::Intersection => {
                let others: Vec<_> =
                    scores.into_iter().zip(weights.iter().skip(1).copied()).collect();
                let first = &whole[0];
                finish(&Joined::intersection(first, weights[0], &others, words.aggregate))
            }
            Operation::Difference => finish(&Joined::difference(&whole[0], &scores)),
        }
    }
}

/// The size of a source; counted as a key that was read.
fn size(context: &mut ShardContext<'_>, name: &[u8]) -> Result<usize, CommandError> {
    let key = context.key(name);
    let source = context.shard.source_at(context.db, &key, !context.no_touch)?;
    let size = source.map(|source| source.len());
    context.note_lookup(&key, size.is_some());
    Ok(size.unwrap_or(0))
}

fn gather(context: &mut ShardContext<'_>, name: &[u8]) -> Gathered {
    let key = context.key(name);
    let source = context.shard.source_at(context.db, &key, false).ok().flatten();
    source.map_or_else(Gathered::default, |source| Gathered::all(&source))
}

fn look_up(context: &mut ShardContext<'_>, name: &[u8], names: &Gathered) -> Vec<Option<f64>> {
    let key = context.key(name);
    let source = context.shard.source_at(context.db, &key, false).ok().flatten();
    scores_in(source.as_ref(), names)
}

/// Reads the sources of a command whose keys are all here.
fn read_here(
    context: &mut ShardContext<'_>,
    form: Form,
    args: Args<'_>,
) -> Result<(Sources, Words), CommandError> {
    let keys = form.sources(args)?;
    let mut sizes = Vec::with_capacity(keys.len());
    for at in keys.clone() {
        sizes.push(size(context, args.at(at))?);
    }
    let words = Words::parse(form, args, keys.clone())?;
    let order = order_of(form, &sizes);
    let (first, rest) = order.split_at(read_whole(form, order.len()));
    let name = |at: &usize| args.at(keys.start + at);
    let whole: Vec<_> = first.iter().map(|at| gather(context, name(at))).collect();
    let scores = rest.iter().map(|at| look_up(context, name(at), &whole[0])).collect();
    Ok((Sources { order, whole, scores }, words))
}

/// Reads the sources wherever they are.
async fn read_there(
    transaction: &Transaction,
    request: &Request,
    form: Form,
) -> Result<(Sources, Words), CommandError> {
    let args = request.args();
    let keys = form.sources(args)?;
    let view = request.view;
    let name = |at: usize| args.at(keys.start + at);
    let tasks = (0..keys.len()).map(|at| {
        let key: Box<[u8]> = name(at).into();
        let task = move |state: &mut CoreState| size(&mut shard_context(state, view), &key);
        (request.owner(name(at)), task)
    });
    let sizes: Result<Vec<usize>, _> = transaction.hop(tasks).await.into_iter().collect();
    let sizes = sizes?;
    let words = Words::parse(form, args, keys.clone())?;
    let order = order_of(form, &sizes);
    let (first, rest) = order.split_at(read_whole(form, order.len()));
    let tasks = first.iter().map(|at| {
        let key: Box<[u8]> = name(*at).into();
        let task = move |state: &mut CoreState| gather(&mut shard_context(state, view), &key);
        (request.owner(name(*at)), task)
    });
    let mut whole = transaction.hop(tasks).await;
    let mut scores = Vec::new();
    if !rest.is_empty() {
        let names = Arc::new(whole.swap_remove(0));
        let tasks = rest.iter().map(|at| {
            let key: Box<[u8]> = name(*at).into();
            let names = Arc::clone(&names);
            let task =
                move |state: &mut CoreState| look_up(&mut shard_context(state, view), &key, &names);
            (request.owner(name(*at)), task)
        });
        scores = transaction.hop(tasks).await;
        whole.push(Arc::unwrap_or_clone(names));
    }
    Ok((Sources { order, whole, scores }, words))
}

fn elements(joined: &Joined<'_>) -> Elements {
    joined.elements()
}

/// Replies with a result that is not stored.
fn encode(form: Form, words: &Words, joined: &Joined<'_>, reply: &mut Encoder<'_>) {
    if form.counts {
        let most = if words.limit == 0 { usize::MAX } else { words.limit };
        reply.integer(joined.len().min(most) as i64);
        return;
    }
    words.pairing.begin(joined.len(), reply);
    for (name, score) in joined.iter() {
        words.pairing.encode(name, score, reply);
    }
}

fn run_here(
    context: &mut ShardContext<'_>,
    args: Args<'_>,
    reply: &mut Encoder<'_>,
    form: Form,
) -> Result<(), CommandError> {
    let (sources, words) = read_here(context, form, args)?;
    if !form.stores {
        sources.join(form, &words, |joined| encode(form, &words, joined, reply));
        return Ok(());
    }
    let elements = sources.join(form, &words, elements);
    let count = store(context, args.at(1), elements, form.name)?;
    reply.integer(count as i64);
    Ok(())
}

fn run_there(transaction: Transaction, request: Request, form: Form) -> Coordination {
    Box::pin(async move {
        let (sources, words) = read_there(&transaction, &request, form).await?;
        if !form.stores {
            return Ok(sources.join(form, &words, |joined| {
                request.encode(|reply| encode(form, &words, joined, reply))
            }));
        }
        let elements = sources.join(form, &words, elements);
        let to = request.args().at(1);
        let count = store_last(&transaction, &request, to, elements, form.name).await?;
        Ok(request.encode(|reply| reply.integer(count as i64)))
    })
}

pub(super) const ZUNION: Command = Command {
    name: "zunion",
    summary: "Returns the union of multiple sorted sets.",
    complexity: "O(N)+O(M*log(M)) with N being the sum of the sizes of the input sorted \
        sets, and M being the number of elements in the resulting sorted set.",
    since: "6.2.0",
    group: Group::SortedSet,
    arity: Arity::at_least(3),
    flags: Flags::READONLY.or(Flags::MOVABLEKEYS),
    keys: &[KeySpec::at(1).key_num(0, 1, 1).flags(KeyFlags::RO.or(KeyFlags::ACCESS))],
    find_keys: Some(find_joined),
    args: &[
        Arg::integer("numkeys"),
        Arg::key("key", 0).multiple(),
        Arg::integer("weight").after("WEIGHTS").optional().multiple(),
        Arg::one_of(
            "aggregate",
            &[Arg::token("sum", "SUM"), Arg::token("min", "MIN"), Arg::token("max", "MAX")],
        )
        .after("AGGREGATE")
        .optional(),
        Arg::token("withscores", "WITHSCORES").optional(),
    ],
    handler: Handler::Multi { whole: zunion, spread: zunion_spread },
    ..Command::BASE
};

fn zunion(
    context: &mut ShardContext<'_>,
    args: Args<'_>,
    reply: &mut Encoder<'_>,
) -> Result<(), CommandError> {
    run_here(context, args, reply, Form::ZUNION)
}

fn zunion_spread(transaction: Transaction, request: Request) -> Coordination {
    run_there(transaction, request, Form::ZUNION)
}

pub(super) const ZINTER: Command = Command {
    name: "zinter",
    summary: "Returns the intersect of multiple sorted sets.",
    complexity: "O(N*K)+O(M*log(M)) worst case with N being the smallest input sorted set, K \
        being the number of input sorted sets and M being the number of elements in \
        the resulting sorted set.",
    since: "6.2.0",
    group: Group::SortedSet,
    arity: Arity::at_least(3),
    flags: Flags::READONLY.or(Flags::MOVABLEKEYS),
    keys: &[KeySpec::at(1).key_num(0, 1, 1).flags(KeyFlags::RO.or(KeyFlags::ACCESS))],
    find_keys: Some(find_joined),
    args: &[
        Arg::integer("numkeys"),
        Arg::key("key", 0).multiple(),
        Arg::integer("weight").after("WEIGHTS").optional().multiple(),
        Arg::one_of(
            "aggregate",
            &[Arg::token("sum", "SUM"), Arg::token("min", "MIN"), Arg::token("max", "MAX")],
        )
        .after("AGGREGATE")
        .optional(),
        Arg::token("withscores", "WITHSCORES").optional(),
    ],
    handler: Handler::Multi { whole: zinter, spread: zinter_spread },
    ..Command::BASE
};

fn zinter(
    context: &mut ShardContext<'_>,
    args: Args<'_>,
    reply: &mut Encoder<'_>,
) -> Result<(), CommandError> {
    run_here(context, args, reply, Form::ZINTER)
}

fn zinter_spread(transaction: Transaction, request: Request) -> Coordination {
    run_there(transaction, request, Form::ZINTER)
}

pub(super) const ZDIFF: Command = Command {
    name: "zdiff",
    summary: "Returns the difference between multiple sorted sets.",
    complexity: "O(L + (N-K)log(N)) worst case where L is the total number of elements in \
        all the sets, N is the size of the first set, and K is the size of the \
        result set.",
    since: "6.2.0",
    group: Group::SortedSet,
    arity: Arity::at_least(3),
    flags: Flags::READONLY.or(Flags::MOVABLEKEYS),
    keys: &[KeySpec::at(1).key_num(0, 1, 1).flags(KeyFlags::RO.or(KeyFlags::ACCESS))],
    find_keys: Some(find_joined),
    args: &[
        Arg::integer("numkeys"),
        Arg::key("key", 0).multiple(),
        Arg::token("withscores", "WITHSCORES").optional(),
    ],
    handler: Handler::Multi { whole: zdiff, spread: zdiff_spread },
    ..Command::BASE
};

fn zdiff(
    context: &mut ShardContext<'_>,
    args: Args<'_>,
    reply: &mut Encoder<'_>,
) -> Result<(), CommandError> {
    run_here(context, args, reply, Form::ZDIFF)
}

fn zdiff_spread(transaction: Transaction, request: Request) -> Coordination {
    run_there(transaction, request, Form::ZDIFF)
}

pub(super) const ZUNIONSTORE: Command = Command {
    name: "zunionstore",
    summary: "Stores the union of multiple sorted sets in a key.",
    complexity: "O(N)+O(M log(M)) with N being the sum of the sizes of the input sorted \
        sets, and M being the number of elements in the resulting sorted set.",
    since: "2.0.0",
    group: Group::SortedSet,
    arity: Arity::at_least(4),
    flags: Flags::WRITE.or(Flags::DENYOOM).or(Flags::MOVABLEKEYS),
    keys: &[
        KeySpec::at(1).flags(KeyFlags::OW.or(KeyFlags::UPDATE)),
        KeySpec::at(2).key_num(0, 1, 1).flags(KeyFlags::RO.or(KeyFlags::ACCESS)),
    ],
    find_keys: Some(find_stored),
    args: &[
        Arg::key("destination", 0),
        Arg::integer("numkeys"),
        Arg::key("key", 1).multiple(),
        Arg::integer("weight").after("WEIGHTS").optional().multiple(),
        Arg::one_of(
            "aggregate",
            &[Arg::token("sum", "SUM"), Arg::token("min", "MIN"), Arg::token("max", "MAX")],
        )
        .after("AGGREGATE")
        .optional(),
    ],
    handler: Handler::Multi { whole: zunionstore, spread: zunionstore_spread },
    ..Command::BASE
};

fn zunionstore(
    context: &mut ShardContext<'_>,
    args: Args<'_>,
    reply: &mut Encoder<'_>,
) -> Result<(), CommandError> {
    run_here(context, args, reply, Form::ZUNIONSTORE)
}

fn zunionstore_spread(transaction: Transaction, request: Request) -> Coordination {
    run_there(transaction, request, Form::ZUNIONSTORE)
}

pub(super) const ZINTERSTORE: Command = Command {
    name: "zinterstore",
    summary: "Stores the intersect of multiple sorted sets in a key.",
    complexity: "O(N*K)+O(M*log(M)) worst case with N being the smallest input sorted set, K \
        being the number of input sorted sets and M being the number of elements in \
        the resulting sorted set.",
    since: "2.0.0",
    group: Group::SortedSet,
    arity: Arity::at_least(4),
    flags: Flags::WRITE.or(Flags::DENYOOM).or(Flags::MOVABLEKEYS),
    keys: &[
        KeySpec::at(1).flags(KeyFlags::OW.or(KeyFlags::UPDATE)),
        KeySpec::at(2).key_num(0, 1, 1).flags(KeyFlags::RO.or(KeyFlags::ACCESS)),
    ],
    find_keys: Some(find_stored),
    args: &[
        Arg::key("destination", 0),
        Arg::integer("numkeys"),
        Arg::key("key", 1).multiple(),
        Arg::integer("weight").after("WEIGHTS").optional().multiple(),
        Arg::one_of(
            "aggregate",
            &[Arg::token("sum", "SUM"), Arg::token("min", "MIN"), Arg::token("max", "MAX")],
        )
        .after("AGGREGATE")
        .optional(),
    ],
    handler: Handler::Multi { whole: zinterstore, spread: zinterstore_spread },
    ..Command::BASE
};

fn zinterstore(
    context: &mut ShardContext<'_>,
    args: Args<'_>,
    reply: &mut Encoder<'_>,
) -> Result<(), CommandError> {
    run_here(context, args, reply, Form::ZINTERSTORE)
}

fn zinterstore_spread(transaction: Transaction, request: Request) -> Coordination {
    run_there(transaction, request, Form::ZINTERSTORE)
}

pub(super) const ZDIFFSTORE: Command = Command {
    name: "zdiffstore",
    summary: "Stores the difference of multiple sorted sets in a key.",
    complexity: "O(L + (N-K)log(N)) worst case where L is the total number of elements in \
        all the sets, N is the size of the first set, and K is the size of the \
        result set.",
    since: "6.2.0",
    group: Group::SortedSet,
    arity: Arity::at_least(4),
    flags: Flags::WRITE.or(Flags::DENYOOM).or(Flags::MOVABLEKEYS),
    keys: &[
        KeySpec::at(1).flags(KeyFlags::OW.or(KeyFlags::UPDATE)),
        KeySpec::at(2).key_num(0, 1, 1).flags(KeyFlags::RO.or(KeyFlags::ACCESS)),
    ],
    find_keys: Some(find_stored),
    args: &[Arg::key("destination", 0), Arg::integer("numkeys"), Arg::key("key", 1).multiple()],
    handler: Handler::Multi { whole: zdiffstore, spread: zdiffstore_spread },
    ..Command::BASE
};

fn zdiffstore(
    context: &mut ShardContext<'_>,
    args: Args<'_>,
    reply: &mut Encoder<'_>,
) -> Result<(), CommandError> {
    run_here(context, args, reply, Form::ZDIFFSTORE)
}

fn zdiffstore_spread(transaction: Transaction, request: Request) -> Coordination {
    run_there(transaction, request, Form::ZDIFFSTORE)
}

pub(super) const ZINTERCARD: Command = Command {
    name: "zintercard",
    summary: "Returns the number of members of the intersect of multiple sorted sets.",
    complexity: "O(N*K) worst case with N being the smallest input sorted set, K being the \
        number of input sorted sets.",
    since: "7.0.0",
    group: Group::SortedSet,
    arity: Arity::at_least(3),
    flags: Flags::READONLY.or(Flags::MOVABLEKEYS),
    keys: &[KeySpec::at(1).key_num(0, 1, 1).flags(KeyFlags::RO.or(KeyFlags::ACCESS))],
    find_keys: Some(find_joined),
    args: &[
        Arg::integer("numkeys"),
        Arg::key("key", 0).multiple(),
        Arg::integer("limit").after("LIMIT").optional(),
    ],
    handler: Handler::Multi { whole: zintercard, spread: zintercard_spread },
    ..Command::BASE
};

fn zintercard(
    context: &mut ShardContext<'_>,
    args: Args<'_>,
    reply: &mut Encoder<'_>,
) -> Result<(), CommandError> {
    run_here(context, args, reply, Form::ZINTERCARD)
}

fn zintercard_spread(transaction: Transaction, request: Request) -> Coordination {
    run_there(transaction, request, Form::ZINTERCARD)
}
