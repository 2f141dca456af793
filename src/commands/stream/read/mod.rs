//! Reading several streams, by itself or for a consumer of a group: XREAD, XREADGROUP.
//!
//! Each stream is checked before any is read, so that an error changes nothing. Streams on several
//! shards are checked in one hop and read in another; one by one, when the reply as a whole is
//! limited.

mod options;
mod serve;

use std::sync::Arc;

use kvasir_proto::{Args, Encoder, Resp};
use kvasir_shard::ValueType;

use self::options::{Budget, Kind, Read, ReadArgs};
use self::serve::From;
use crate::commands::context::ShardContext;
use crate::commands::definition::{
    Arg, Arity, Attempt, Blocking, Command, Flags, Group, Handler, KeyFlags, KeySpec, Patience,
    SpreadAttempt, SpreadCoordination, SpreadOutcome,
};
use crate::errors::CommandError;
use crate::route::core::CoreState;
use crate::route::engine::ShardId;
use crate::route::message::ClientView;
use crate::route::transaction::{Request, Transaction, shard_context};

pub(super) const XREAD: Command = Command {
    name: "xread",
    summary: "Returns messages from multiple streams with IDs greater than the ones \
        requested. Blocks until a message is available otherwise.",
    since: "5.0.0",
    group: Group::Stream,
    arity: Arity::at_least(4),
    flags: Flags::READONLY.or(Flags::BLOCKING).or(Flags::MOVABLEKEYS),
    keys: &[KeySpec::after("STREAMS", 1).range(-1, 1, 2).flags(KeyFlags::RO.or(KeyFlags::ACCESS))],
    args: &[
        Arg::integer("count").after("COUNT").optional(),
        MAXCOUNT,
        MAXSIZE,
        Arg::integer("milliseconds").after("BLOCK").optional(),
        STREAMS,
    ],
    handler: Handler::Blocking(&Blocking {
        patience: |args| patience(args, Kind::Plain),
        awaits: ValueType::Stream,
        shares: true,
        notices_loss: false,
        whole: |context, args, reply| whole(context, args, reply, Kind::Plain),
        spread: SpreadAttempt::By(|transaction, request| spread(transaction, request, Kind::Plain)),
        nothing: |reply| reply.null_array(),
        not_waiting: |reply| reply.null_array(),
    }),
    ..Command::BASE
};

const MAXCOUNT: Arg = Arg::integer("maxcount").after("MAXCOUNT").optional().since("8.10.0");
const MAXSIZE: Arg = Arg::integer("maxsize").after("MAXSIZE").optional().since("8.10.0");
const STREAMS: Arg =
    Arg::block("streams", &[Arg::key("key", 0).multiple(), Arg::string("id").multiple()])
        .after("STREAMS");

pub(super) const XREADGROUP: Command = Command {
    name: "xreadgroup",
    summary: "Returns new or historical messages from a stream for a consumer in a group. \
        Blocks until a message is available otherwise.",
    complexity: "For each stream mentioned: O(M) with M being the number of elements \
        returned. If M is constant (e.g. always asking for the first 10 elements \
        with COUNT), you can consider it O(1). On the other side when XREADGROUP \
        blocks, XADD will pay the O(N) time in order to serve the N clients blocked \
        on the stream getting new data.",
    since: "5.0.0",
    group: Group::Stream,
    arity: Arity::at_least(7),
    flags: Flags::WRITE.or(Flags::BLOCKING).or(Flags::MOVABLEKEYS),
    keys: &[KeySpec::after("STREAMS", 4).range(-1, 1, 2).flags(KeyFlags::RO.or(KeyFlags::ACCESS))],
    args: &[
        Arg::block("group-block", &[Arg::string("group"), Arg::string("consumer")]).after("GROUP"),
        Arg::integer("count").after("COUNT").optional(),
        MAXCOUNT,
        MAXSIZE,
        Arg::integer("milliseconds").after("BLOCK").optional(),
        Arg::integer("min-idle-time").after("CLAIM").optional().since("8.4.0"),
        Arg::token("noack", "NOACK").optional(),
        STREAMS,
    ],
    handler: Handler::Blocking(&Blocking {
        patience: |args| patience(args, Kind::Group),
        awaits: ValueType::Stream,
        // Those of another group get the same entries.
        shares: true,
        notices_loss: true,
        whole: |context, args, reply| whole(context, args, reply, Kind::Group),
        spread: SpreadAttempt::By(|transaction, request| spread(transaction, request, Kind::Group)),
        nothing: |reply| reply.null_array(),
        not_waiting: |reply| reply.null_array(),
    }),
    ..Command::BASE
};

fn patience(args: Args<'_>, kind: Kind) -> Result<Patience, CommandError> {
    ReadArgs::parse(args, kind).map(|parsed| parsed.patience)
}

/// Begins the reply: one pair for each stream that has something.
fn begin(reply: &mut Encoder<'_>) -> kvasir_proto::Deferred {
    match reply.resp() {
        Resp::V2 => reply.defer_array(),
        Resp::V3 => reply.defer_map(),
    }
}

fn whole(
    context: &mut ShardContext<'_>,
    args: Args<'_>,
    reply: &mut Encoder<'_>,
    kind: Kind,
) -> Result<Attempt, CommandError> {
    let ReadArgs { read, mut budget, first_key, streams, .. } = ReadArgs::parse(args, kind)?;
    let keys = (first_key..first_key + streams).map(|at| args.at(at));
    let ids = (first_key + streams..args.len()).map(|at| args.at(at));
    let starts = keys.clone().zip(ids).map(|(key, id)| read.check(context, key, id));
    let starts = starts.collect::<Result<Vec<From>, _>>()?;
    let pairs = begin(reply);
    let mut served = 0;
    for (key, from) in keys.zip(&starts) {
        served += usize::from(read.serve(context, key, *from, &mut budget, reply)?);
    }
    reply.finish(pairs, served);
    if served > 0 {
        return Ok(Attempt::Done);
    }
    let fixed = fixed_args(args, first_key + streams, &starts);
    Ok(fixed.map_or(Attempt::Wait, Attempt::WaitAs))
}

/// The arguments with what `$` and `+` stand for now, for those who wait; `None` without them.
fn fixed_args(args: Args<'_>, first_id: usize, starts: &[From]) -> Option<Vec<Vec<u8>>> {
    let is_moving = |text: &[u8]| matches!(text, b"$" | b"+");
    if !args.iter().skip(first_id).any(is_moving) {
        return None;
    }
    let mut fixed: Vec<Vec<u8>> = args.iter().map(<[u8]>::to_vec).collect();
    for (text, from) in fixed[first_id..].iter_mut().zip(starts) {
        if let (true, From::After(id)) = (is_moving(text), from) {
            *text = id.to_string().into_bytes();
        }
    }
    Some(fixed)
}

/// [`Read`] by itself, for tasks on other shards.
struct OwnedRead {
    read: Read<'static>,
    group: (Box<[u8]>, Box<[u8]>),
}

impl OwnedRead {
    fn new(read: &Read<'_>) -> Arc<Self> {
        let group = (read.group.0.into(), read.group.1.into());
        Arc::new(Self { read: Read { group: (b"", b""), ..*read }, group })
    }

    fn get(&self) -> Read<'_> {
        Read { group: (&self.group.0, &self.group.1), ..self.read }
    }
}

/// One stream of a request with keys on several shards.
#[derive(Clone)]
struct Portion {
    position: usize,
    key: Box<[u8]>,
    id: Box<[u8]>,
}

fn spread(transaction: Transaction, request: Request, kind: Kind) -> SpreadCoordination {
    Box::pin(async move {
        let args = request.args();
        let ReadArgs { read, budget, first_key, streams, .. } = ReadArgs::parse(args, kind)?;
        let read = OwnedRead::new(&read);
        let first_id = first_key + streams;
        let portions: Vec<_> = (0..streams)
            .map(|position| Portion {
                position,
                key: args.at(first_key + position).into(),
                id: args.at(first_id + position).into(),
            })
            .collect();
        let starts = check_all(&transaction, &request, &read, &portions).await?;
        let encoded = if budget == Budget::ALL {
            serve_all(&transaction, &request, &read, &portions, &starts).await?
        } else {
            serve_in_turn(&transaction, &request, &read, &portions, &starts, budget).await?
        };
        if encoded.is_empty() {
            let fixed = fixed_args(request.args(), first_id, &starts);
            return Ok(fixed.map_or(SpreadOutcome::Wait, SpreadOutcome::WaitAs));
        }
        Ok(SpreadOutcome::Done(request.encode(|reply| {
            let pairs = begin(reply);
            for pair in &encoded {
                reply.raw(pair);
            }
            reply.finish(pairs, encoded.len());
        })))
    })
}

/// The portions by the shard that owns their keys.
fn by_shard(request: &Request, portions: &[Portion]) -> Vec<(ShardId, Vec<Portion>)> {
    let mut shards: Vec<(_, Vec<Portion>)> = Vec::new();
    for portion in portions {
        let owner = request.owner(&portion.key);
        match shards.iter_mut().find(|(shard, _)| *shard == owner) {
            Some((_, list)) => list.push(portion.clone()),
            None => shards.push((owner, vec![portion.clone()])),
        }
    }
    shards
}

/// From where on each stream is to be read; the error of the first that cannot be.
async fn check_all(
    transaction: &Transaction,
    request: &Request,
    read: &Arc<OwnedRead>,
    portions: &[Portion],
) -> Result<Vec<From>, CommandError> {
    let view = request.view;
    let tasks = by_shard(request, portions).into_iter().map(|(shard, portions)| {
        let read = Arc::clone(read);
        let task = move |state: &mut CoreState| -> Vec<(usize, Result<From, CommandError>)> {
            let mut context = shard_context(state, view);
            let check = |portion: &Portion| {
                let start = read.get().check(&mut context, &portion.key, &portion.id);
                (portion.position, start)
            };
            portions.iter().map(check).collect()
        };
        (shard, task)
    });
    let mut starts: Vec<_> = transaction.hop(tasks).await.into_iter().flatten().collect();
    starts.sort_unstable_by_key(|(position, _)| *position);
    starts.into_iter().map(|(_, start)| start).collect()
}

/// Reads one stream on its shard.
fn serve_one(
    state: &mut CoreState,
    view: ClientView,
    read: &OwnedRead,
    portion: &Portion,
    from: From,
    budget: &mut Budget,
) -> Result<Option<Vec<u8>>, CommandError> {
    let mut out = Vec::new();
    let mut reply = Encoder::new(&mut out, view.resp);
    let mut context = shard_context(state, view);
    let is_served = read.get().serve(&mut context, &portion.key, from, budget, &mut reply)?;
    Ok(is_served.then_some(out))
}

/// Reads all streams at the same time; the encoded pairs of those that have something.
async fn serve_all(
    transaction: &Transaction,
    request: &Request,
    read: &Arc<OwnedRead>,
    portions: &[Portion],
    starts: &[From],
) -> Result<Vec<Vec<u8>>, CommandError> {
    let view = request.view;
    let tasks = by_shard(request, portions).into_iter().map(|(shard, portions)| {
        let read = Arc::clone(read);
        let starts: Vec<_> = portions.iter().map(|portion| starts[portion.position]).collect();
        let task = move |state: &mut CoreState| {
            let serve = |(portion, from): (&Portion, From)| {
                let mut budget = Budget::ALL;
                let encoded = serve_one(state, view, &read, portion, from, &mut budget)?;
                Ok::<_, CommandError>((portion.position, encoded))
            };
            portions.iter().zip(starts).map(serve).collect::<Result<Vec<_>, _>>()
        };
        (shard, task)
    });
    let results = transaction.hop(tasks).await.into_iter().collect::<Result<Vec<_>, _>>()?;
    let mut pairs: Vec<_> = results.into_iter().flatten().collect();
    pairs.sort_unstable_by_key(|(position, _)| *position);
    Ok(pairs.into_iter().filter_map(|(_, encoded)| encoded).collect())
}

/// Reads the streams one after the other, as long as the budget lasts.
async fn serve_in_turn(
    transaction: &Transaction,
    request: &Request,
    read: &Arc<OwnedRead>,
    portions: &[Portion],
    starts: &[From],
    mut budget: Budget,
) -> Result<Vec<Vec<u8>>, CommandError> {
    let view = request.view;
    let mut pairs = Vec::new();
    for (portion, from) in portions.iter().cloned().zip(starts.iter().copied()) {
        let read = Arc::clone(read);
        let owner = request.owner(&portion.key);
        let task = move |state: &mut CoreState| {
            let mut left = budget;
            let encoded = serve_one(state, view, &read, &portion, from, &mut left);
            (encoded, left)
        };
        let (encoded, left) = transaction.on(owner, task).await;
        budget = left;
        pairs.extend(encoded?);
    }
    Ok(pairs)
}
