//! Values that get another key or another database: RENAME, RENAMENX, COPY, MOVE.

use kvasir_proto::{Args, Encoder};
use kvasir_shard::{ChangeKind, Key};

use super::transfer::Transfer;
use crate::commands::arguments::{Options, database, is_word};
use crate::commands::context::{Coordination, ShardContext};
use crate::commands::definition::{Arg, Arity, Command, Flags, Group, Handler, KeyFlags, KeySpec};
use crate::errors::CommandError;
use crate::route::core::CoreState;
use crate::route::message::ClientView;
use crate::route::transaction::{Request, Transaction, shard_context};

const SAME_OBJECT: CommandError =
    CommandError::Other("ERR source and destination objects are the same");

/// What is recorded of a key that has become a copy.
const COPIED: ChangeKind = ChangeKind::Event("copy_to");

/// What becomes of a key that has the new name already.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Existing {
    /// It is replaced.
    Replace,
    /// It stays, and the command does nothing.
    Keep,
}

pub(super) const RENAME: Command = Command {
    name: "rename",
    summary: "Renames a key and overwrites the destination.",
    complexity: "O(1)",
    since: "1.0.0",
    group: Group::Generic,
    arity: Arity::exactly(3),
    flags: Flags::WRITE,
    keys: &[
        KeySpec::at(1).flags(KeyFlags::RW.or(KeyFlags::ACCESS).or(KeyFlags::DELETE)),
        KeySpec::at(2).flags(KeyFlags::OW.or(KeyFlags::UPDATE)),
    ],
    args: &[Arg::key("key", 0), Arg::key("newkey", 1)],
    handler: Handler::Multi { whole: rename, spread: rename_spread },
    ..Command::BASE
};

fn rename(
    context: &mut ShardContext<'_>,
    args: Args<'_>,
    reply: &mut Encoder<'_>,
) -> Result<(), CommandError> {
    rename_here(context, args, Existing::Replace)?;
    reply.ok();
    Ok(())
}

fn rename_spread(transaction: Transaction, request: Request) -> Coordination {
    Box::pin(async move {
        rename_between(&transaction, &request, Existing::Replace).await?;
        Ok(request.encode(|reply| reply.simple("OK")))
    })
}

pub(super) const RENAMENX: Command = Command {
    name: "renamenx",
    summary: "Renames a key only when the target key name doesn't exist.",
    complexity: "O(1)",
    since: "1.0.0",
    group: Group::Generic,
    arity: Arity::exactly(3),
    flags: Flags::WRITE.or(Flags::FAST),
    keys: &[
        KeySpec::at(1).flags(KeyFlags::RW.or(KeyFlags::ACCESS).or(KeyFlags::DELETE)),
        KeySpec::at(2).flags(KeyFlags::OW.or(KeyFlags::INSERT)),
    ],
    args: &[Arg::key("key", 0), Arg::key("newkey", 1)],
    history: &[(
        "3.2.0",
        "The command no longer returns an error when source and destination \
            names are the same.",
    )],
    handler: Handler::Multi { whole: renamenx, spread: renamenx_spread },
    ..Command::BASE
};

fn renamenx(
    context: &mut ShardContext<'_>,
    args: Args<'_>,
    reply: &mut Encoder<'_>,
) -> Result<(), CommandError> {
    let renamed = rename_here(context, args, Existing::Keep)?;
    reply.integer(i64::from(renamed));
    Ok(())
}

fn renamenx_spread(transaction: Transaction, request: Request) -> Coordination {
    Box::pin(async move {
        let renamed = rename_between(&transaction, &request, Existing::Keep).await?;
        Ok(request.encode(|reply| reply.integer(i64::from(renamed))))
    })
}

/// Renames within a shard; whether anything was done.
fn rename_here(
    context: &mut ShardContext<'_>,
    args: Args<'_>,
    existing: Existing,
) -> Result<bool, CommandError> {
    let (from, to) = (context.key(args.at(1)), context.key(args.at(2)));
    if !context.shard.exists(context.db, &from) {
        return Err(CommandError::NoSuchKey);
    }
    let stays = existing == Existing::Keep && context.shard.exists(context.db, &to);
    if from.bytes == to.bytes || stays {
        return Ok(false);
    }
    context.shard.rename(context.db, &from, &to)?;
    context.changed(1);
    Ok(true)
}

/// Renames from one shard to another; whether anything was done.
async fn rename_between(
    transaction: &Transaction,
    request: &Request,
    existing: Existing,
) -> Result<bool, CommandError> {
    let (from, to) = (request.args().at(1), request.args().at(2));
    let view = request.view;
    if existing == Existing::Keep {
        let lookups = [from, to].map(|key| (request.owner(key), exists_task(view, view.db, key)));
        let found = transaction.hop(lookups).await;
        if !found[0] {
            return Err(CommandError::NoSuchKey);
        }
        if found[1] {
            return Ok(false);
        }
    }
    // The value is copied before it is removed, so that a lack of memory does not lose it. The
    // peers tell of a new key, then of the old name, then of the new one: so do the hops.
    let (sees, why) = (|_: &mut ShardContext<'_>, _: &Key<'_>| true, ChangeKind::Modified);
    let transfer = Transfer { from, sees, to, db: view.db, why, is_last: false };
    if !transfer.run(transaction, request).await? {
        return Err(CommandError::NoSuchKey);
    }
    let name: Box<[u8]> = from.into();
    let remove = move |state: &mut CoreState| {
        let context = shard_context(state, view);
        let key = context.key(&name);
        context.shard.remove_moved(context.db, &key, ChangeKind::RenamedFrom);
    };
    transaction.on(request.owner(from), remove).await;
    let name: Box<[u8]> = to.into();
    let tell = move |state: &mut CoreState| {
        let db = view.db;
        state.shard.journal.record(ChangeKind::RenamedTo, db, &name);
    };
    transaction.last_hop([(request.owner(to), tell)]).await;
    Ok(true)
}

/// A task that tells whether a key exists.
fn exists_task(
    view: ClientView,
    db: u32,
    key: &[u8],
) -> impl FnOnce(&mut CoreState) -> bool + Send + use<> {
    let key: Box<[u8]> = key.into();
    move |state| {
        let context = shard_context(state, view);
        let key = context.key(&key);
        context.shard.exists(db, &key)
    }
}

/// What COPY is asked for.
#[derive(Clone, Copy, Debug)]
struct CopyOptions {
    /// The database of the copy; the client's if there is none.
    db: Option<u32>,
    existing: Existing,
}

impl CopyOptions {
    /// Reads the words after the keys.
    fn parse(args: Args<'_>, databases: u32) -> Result<Self, CommandError> {
        let mut options = Self { db: None, existing: Existing::Keep };
        let mut words = Options::new(args, 3);
        while let Some(word) = words.next() {
            if is_word(word, "REPLACE") {
                options.existing = Existing::Replace;
            } else if is_word(word, "DB") {
                options.db = Some(database(words.value()?, databases)?);
            } else {
                return Err(CommandError::Syntax);
            }
        }
        Ok(options)
    }

    /// The database of the copy that a client of database `db` asks for.
    fn target(self, args: Args<'_>, db: u32) -> Result<u32, CommandError> {
        let target = self.db.unwrap_or(db);
        if target == db && args.at(1) == args.at(2) { Err(SAME_OBJECT) } else { Ok(target) }
    }
}

pub(super) const COPY: Command = Command {
    name: "copy",
    summary: "Copies the value of a key to a new key.",
    complexity: "O(N) worst case for collections, where N is the number of nested items. \
        O(1) for string values.",
    since: "6.2.0",
    group: Group::Generic,
    arity: Arity::at_least(3),
    flags: Flags::WRITE.or(Flags::DENYOOM),
    keys: &[
        KeySpec::at(1).flags(KeyFlags::RO.or(KeyFlags::ACCESS)),
        KeySpec::at(2).flags(KeyFlags::OW.or(KeyFlags::UPDATE)),
    ],
    args: &[
        Arg::key("source", 0),
        Arg::key("destination", 1),
        Arg::integer("destination-db").after("DB").optional(),
        Arg::token("replace", "REPLACE").optional(),
    ],
    other_db: Some(copy_target),
    handler: Handler::Multi { whole: copy, spread: copy_spread },
    ..Command::BASE
};

/// The database that COPY's arguments name, if they can be understood.
fn copy_target(args: Args<'_>) -> Option<u32> {
    CopyOptions::parse(args, u32::MAX).ok()?.db
}

fn copy(
    context: &mut ShardContext<'_>,
    args: Args<'_>,
    reply: &mut Encoder<'_>,
) -> Result<(), CommandError> {
    let options = CopyOptions::parse(args, context.shard.databases() as u32)?;
    let target = options.target(args, context.db)?;
    let (from, to) = (context.key(args.at(1)), context.key(args.at(2)));
    let copies = context.read(&from).is_some()
        && (options.existing == Existing::Replace || !context.shard.exists(target, &to));
    if copies && let Some(value) = context.shard.copy(context.db, &from) {
        context.shard.put_anew(target, &to, value, COPIED)?;
        context.changed(1);
    }
    reply.integer(i64::from(copies));
    Ok(())
}

fn copy_spread(transaction: Transaction, request: Request) -> Coordination {
    Box::pin(async move {
        let view = request.view;
        let (from, to) = (request.args().at(1), request.args().at(2));
        let databases = request.shared.config.load().process.databases;
        let options = CopyOptions::parse(request.args(), databases)?;
        let target = options.target(request.args(), view.db)?;
        let stays = options.existing == Existing::Keep
            && transaction.on(request.owner(to), exists_task(view, target, to)).await;
        let sees = if stays { reads_in_vain } else { reads };
        let transfer = Transfer { from, sees, to, db: target, why: COPIED, is_last: true };
        let copied = transfer.run(&transaction, &request).await?;
        Ok(request.encode(|reply| reply.integer(i64::from(copied))))
    })
}

/// Reads the key that is copied; whether it is there.
fn reads(context: &mut ShardContext<'_>, key: &Key<'_>) -> bool {
    context.read(key).is_some()
}

/// Reads a key that is not copied.
fn reads_in_vain(context: &mut ShardContext<'_>, key: &Key<'_>) -> bool {
    context.read(key);
    false
}

pub(super) const MOVE: Command = Command {
    name: "move",
    summary: "Moves a key to another database.",
    complexity: "O(1)",
    since: "1.0.0",
    group: Group::Generic,
    arity: Arity::exactly(3),
    flags: Flags::WRITE.or(Flags::FAST),
    keys: &[KeySpec::at(1).flags(KeyFlags::RW.or(KeyFlags::ACCESS).or(KeyFlags::UPDATE))],
    args: &[Arg::key("key", 0), Arg::integer("db")],
    other_db: Some(move_target),
    handler: Handler::Shard(move_key),
    ..Command::BASE
};

/// The database that MOVE's arguments name, if they can be understood.
fn move_target(args: Args<'_>) -> Option<u32> {
    database(args.at(2), u32::MAX).ok()
}

fn move_key(
    context: &mut ShardContext<'_>,
    args: Args<'_>,
    reply: &mut Encoder<'_>,
) -> Result<(), CommandError> {
    let target = database(args.at(2), context.shard.databases() as u32)?;
    if target == context.db {
        return Err(SAME_OBJECT);
    }
    let key = context.key(args.at(1));
    let (from, to) = ((context.db, &key), (target, &key));
    let why = (ChangeKind::MovedFrom, ChangeKind::MovedTo);
    let moved = !context.shard.exists(target, &key) && context.shard.relocate(from, to, why)?;
    context.changed(u64::from(moved));
    reply.integer(i64::from(moved));
    Ok(())
}
