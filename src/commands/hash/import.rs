//! HIMPORT: hashes that share their field names, which a connection names once.
//!
//! The names are kept with the connection, so that `HIMPORT SET` begins on its core, and lives in
//! one message to the owner of the key from there.

use std::sync::Arc;

use kvasir_proto::{Args, Encoder};
use kvasir_shard::{ChangeKind, Elements, OwnedData, OwnedValue};

use crate::commands::context::{Coordination, LocalContext, ShardContext};
use crate::commands::definition::{
    Arg, Arity, Command, Flags, Group, Handler, KeyFlags, KeySpec, LockScope,
};
use crate::errors::CommandError;
use crate::persist::owned::text;
use crate::route::core::CoreState;
use crate::route::transaction::{Request, Transaction, shard_context};

const DUPLICATE: CommandError = CommandError::Other("ERR duplicate field name in fieldset");
const UNPREPARED: CommandError = CommandError::Other("ERR no such fieldset");
const WRONG_COUNT: CommandError =
    CommandError::Other("ERR number of values does not match the number of fields in fieldset");

pub(super) const HIMPORT: Command = Command {
    name: "himport",
    summary: "A container for session-based hash import commands using fieldsets.",
    complexity: "Depends on subcommand.",
    since: "8.10.0",
    group: Group::Hash,
    arity: Arity::at_least(2),
    subcommands: &[&HIMPORT_DISCARD, &HIMPORT_DISCARDALL, &HIMPORT_PREPARE, &HIMPORT_SET],
    ..Command::BASE
};

const HIMPORT_DISCARD: Command = Command {
    name: "discard",
    summary: "Removes a single session-local fieldset by name.",
    complexity: "O(N) where N is the number of session-local fieldsets.",
    since: "8.10.0",
    group: Group::Hash,
    arity: Arity::exactly(3),
    args: &[Arg::string("fieldset-name")],
    handler: Handler::Local(discard),
    ..Command::BASE
};

fn discard(
    context: &mut LocalContext<'_>,
    args: Args<'_>,
    reply: &mut Encoder<'_>,
) -> Result<(), CommandError> {
    let existed = context.client().fieldsets.remove(args.at(2));
    reply.integer(i64::from(existed));
    Ok(())
}

const HIMPORT_DISCARDALL: Command = Command {
    name: "discardall",
    summary: "Removes all session-local fieldsets for the connection.",
    complexity: "O(N) where N is the number of session-local fieldsets.",
    since: "8.10.0",
    group: Group::Hash,
    arity: Arity::exactly(2),
    handler: Handler::Local(discard_all),
    ..Command::BASE
};

fn discard_all(
    context: &mut LocalContext<'_>,
    _: Args<'_>,
    reply: &mut Encoder<'_>,
) -> Result<(), CommandError> {
    reply.integer(context.client().fieldsets.clear() as i64);
    Ok(())
}

const HIMPORT_PREPARE: Command = Command {
    name: "prepare",
    summary: "Defines a session-local fieldset that maps a name to an ordered list of field names.",
    complexity: "O(N*log(N)) where N is the number of fields.",
    since: "8.10.0",
    group: Group::Hash,
    arity: Arity::at_least(4),
    flags: Flags::DENYOOM,
    args: &[Arg::string("fieldset-name"), Arg::string("field").multiple()],
    handler: Handler::Local(prepare),
    ..Command::BASE
};

fn prepare(
    context: &mut LocalContext<'_>,
    args: Args<'_>,
    reply: &mut Encoder<'_>,
) -> Result<(), CommandError> {
    let fields: Arc<[Box<[u8]>]> = args.iter().skip(3).map(Into::into).collect();
    let mut sorted: Vec<&[u8]> = fields.iter().map(|field| &**field).collect();
    sorted.sort_unstable();
    if sorted.windows(2).any(|pair| pair[0] == pair[1]) {
        return Err(DUPLICATE);
    }
    context.client().fieldsets.insert(args.at(2), fields);
    reply.ok();
    Ok(())
}

const HIMPORT_SET: Command = Command {
    name: "set",
    summary: "Creates a fieldset-based hash from values supplied in the order matching a \
        previously prepared fieldset.",
    complexity: "O(N) where N is the number of fields in the fieldset.",
    since: "8.10.0",
    group: Group::Hash,
    arity: Arity::at_least(5),
    flags: Flags::WRITE.or(Flags::DENYOOM),
    keys: &[KeySpec::at(2).flags(KeyFlags::OW.or(KeyFlags::UPDATE))],
    args: &[Arg::key("key", 0), Arg::string("fieldset-name"), Arg::string("value").multiple()],
    handler: Handler::Global(LockScope::Keys, set),
    ..Command::BASE
};

fn set(transaction: Transaction, request: Request) -> Coordination {
    Box::pin(async move {
        let (connection, client) = (request.connection, request.client);
        let args = request.owned_args();
        let find = move |state: &mut CoreState| {
            let connection = state.connection(connection).filter(|c| c.client.id == client)?;
            connection.client.fieldsets.get(args.view().at(3)).cloned()
        };
        let fields = transaction.on(request.home, find).await.ok_or(UNPREPARED)?;
        if fields.len() != request.args().len() - 4 {
            return Err(WRONG_COUNT);
        }
        let (view, args) = (request.view, request.owned_args());
        let store = move |state: &mut CoreState| {
            store(&mut shard_context(state, view), args.view(), &fields)
        };
        let owner = request.owner(request.args().at(2));
        let mut results = transaction.last_hop([(owner, store)]).await;
        results.pop().expect("invariant: one task, one result")?;
        Ok(request.ok())
    })
}

/// Makes a hash of the fields and the values from the fifth argument on, whatever the key held.
fn store(
    context: &mut ShardContext<'_>,
    args: Args<'_>,
    fields: &[Box<[u8]>],
) -> Result<(), CommandError> {
    let values = args.tail(4);
    let bytes: usize =
        values.iter().chain(fields.iter().map(|field| &**field)).map(<[u8]>::len).sum();
    let mut elements = Elements::with_capacity(bytes + 4 * fields.len());
    for (field, value) in fields.iter().zip(values.iter()) {
        elements.push_field(text(field), text(value), None);
    }
    let key = context.key(args.at(2));
    let value = OwnedValue::new(OwnedData::Hash(elements), None);
    context.shard.put(context.db, &key, value, ChangeKind::Event("hset"))?;
    context.shard.journal.record(ChangeKind::Modified, context.db, key.bytes);
    context.changed(fields.len() as u64);
    context.log_removed(key.bytes);
    let pairs = fields.iter().zip(values.iter());
    context.log_on("HSET", key.bytes, pairs.flat_map(|(field, value)| [&**field, value]));
    Ok(())
}
