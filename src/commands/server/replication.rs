//! The server's place among others: `ROLE`, `WAIT`, `WAITAOF`. It is a primary without replicas.

use std::time::Duration;

use kvasir_proto::{Args, Encoder, number};

use crate::commands::arguments::integer;
use crate::commands::context::{Coordination, LocalContext};
use crate::commands::definition::{
    Arg, Arity, Categories, Command, Flags, Group, Handler, LockScope,
};
use crate::errors::CommandError;
use crate::route::core::CoreState;
use crate::route::transaction::{Request, Transaction};

/// How often a client that waits for the disk looks.
const LOOK: Duration = Duration::from_millis(1);
/// How often a wait without end looks whether its client is still there.
const WAIT_POLL: Duration = Duration::from_millis(100);

pub(super) const ROLE: Command = Command {
    name: "role",
    summary: "Returns the replication role.",
    complexity: "O(1)",
    since: "2.8.12",
    group: Group::Server,
    arity: Arity::exactly(1),
    flags: Flags::NOSCRIPT.or(Flags::LOADING).or(Flags::STALE).or(Flags::FAST),
    acl: Categories::ADMIN.or(Categories::DANGEROUS),
    handler: Handler::Local(role),
    ..Command::BASE
};

fn role(
    _: &mut LocalContext<'_>,
    _: Args<'_>,
    reply: &mut Encoder<'_>,
) -> Result<(), CommandError> {
    reply.array(3);
    reply.bulk(b"master");
    reply.integer(0);
    reply.array(0);
    Ok(())
}

pub(super) const WAIT: Command = Command {
    name: "wait",
    summary: "Blocks until the asynchronous replication of all preceding write commands sent \
        by the connection is completed.",
    complexity: "O(1)",
    since: "3.0.0",
    group: Group::Generic,
    arity: Arity::exactly(3),
    flags: Flags::BLOCKING,
    acl: Categories::CONNECTION,
    tips: &["request_policy:all_shards", "response_policy:agg_min"],
    args: &[Arg::integer("numreplicas"), Arg::integer("timeout")],
    handler: Handler::Global(LockScope::None, wait),
    ..Command::BASE
};

fn wait(transaction: Transaction, request: Request) -> Coordination {
    Box::pin(async move {
        let args = request.args();
        let replicas = integer(args.at(1))?;
        let timeout = timeout(args.at(2))?;
        wait_for_replicas(&transaction, &request, replicas, timeout).await;
        Ok(request.encode(|reply| reply.integer(0)))
    })
}

pub(super) const WAITAOF: Command = Command {
    name: "waitaof",
    summary: "Blocks until all of the preceding write commands sent by the connection are \
        written to the append-only file of the primary and/or replicas.",
    complexity: "O(1)",
    since: "7.2.0",
    group: Group::Generic,
    arity: Arity::exactly(4),
    flags: Flags::BLOCKING,
    acl: Categories::CONNECTION,
    tips: &["request_policy:all_shards", "response_policy:agg_min"],
    args: &[Arg::integer("numlocal"), Arg::integer("numreplicas"), Arg::integer("timeout")],
    handler: Handler::Global(LockScope::None, wait_aof),
    ..Command::BASE
};

fn wait_aof(transaction: Transaction, request: Request) -> Coordination {
    Box::pin(async move {
        let args = request.args();
        let local = number::parse_i64(args.at(1))
            .filter(|local| (0..=1).contains(local))
            .ok_or(CommandError::Other("ERR value is out of range, value must between 0 and 1"))?;
        let replicas = number::parse_i64(args.at(2))
            .filter(|replicas| *replicas >= 0)
            .ok_or(CommandError::Other("ERR value is out of range, must be positive"))?;
        let timeout = timeout(args.at(3))?;
        if local > 0 && !request.shared.persistence.rewriting.is_wanted() {
            return Err(CommandError::Other(
                "ERR WAITAOF cannot be used when numlocal is set but appendonly is disabled.",
            ));
        }
        let is_here = wait_for_log(&transaction, &request, local, timeout).await;
        if is_here || local == 0 {
            wait_for_replicas(&transaction, &request, replicas, timeout).await;
        }
        Ok(request.encode(|reply| {
            reply.array(2);
            reply.integer(is_here.into());
            reply.integer(0);
        }))
    })
}

/// Waits until what the client has changed is on the disk, if it wants that, and whether it is.
async fn wait_for_log(
    transaction: &Transaction,
    request: &Request,
    local: i64,
    timeout: Option<Duration>,
) -> bool {
    let log = &request.shared.persistence.log;
    let ends = transaction.on_all(CoreState::end_of_log).await;
    let end = ends.into_iter().max().unwrap_or(0);
    let stopwatch = request.shared.stopwatch;
    let began = stopwatch.ticks();
    let is_over = || {
        let elapsed = Duration::from_nanos(stopwatch.elapsed_ns(began));
        timeout.is_some_and(|timeout| elapsed >= timeout)
    };
    while local > 0 && log.durable() < end && !transaction.is_part() && !is_over() {
        transaction.sleep(LOOK).await;
    }
    log.is_on() && log.durable() >= end
}

/// Milliseconds; none for ever.
fn timeout(bytes: &[u8]) -> Result<Option<Duration>, CommandError> {
    let ms = number::parse_i64(bytes)
        .ok_or(CommandError::Other("ERR timeout is not an integer or out of range"))?;
    let ms = u64::try_from(ms).map_err(|_| CommandError::Other("ERR timeout is negative"))?;
    Ok((ms > 0).then(|| Duration::from_millis(ms)))
}

/// Waits until so many replicas have everything: at once for none, otherwise in vain. A part of
/// another command does not wait, as with the peers.
async fn wait_for_replicas(
    transaction: &Transaction,
    request: &Request,
    replicas: i64,
    timeout: Option<Duration>,
) {
    if replicas <= 0 || transaction.is_part() {
        return;
    }
    if let Some(timeout) = timeout {
        return transaction.sleep(timeout).await;
    }
    let (key, client) = (request.connection, request.client);
    let connected = move |state: &mut CoreState| {
        state.connection(key).is_some_and(|connection| connection.client.id == client)
    };
    while transaction.on(request.home, connected).await {
        transaction.sleep(WAIT_POLL).await;
    }
}
