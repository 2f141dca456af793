//! Deleting entries, and what is remembered of them: XDEL, XDELEX, XACKDEL, XSETID.

use kvasir_proto::{Args, Encoder};
use kvasir_shard::stream::{Deletion, Id, References, Stream};

use super::access::{change, record};
use super::ids::{counted_ids, id};
use super::trim::{REFERENCES, references};
use crate::commands::arguments::{Options, integer, is_word};
use crate::commands::context::ShardContext;
use crate::commands::definition::{Arg, Arity, Command, Flags, Group, Handler, KeyFlags, KeySpec};
use crate::errors::CommandError;

pub(super) const XDEL: Command = Command {
    name: "xdel",
    summary: "Returns the number of messages after removing them from a stream.",
    complexity: "O(1) for each single item to delete in the stream, regardless of the stream \
        size.",
    since: "5.0.0",
    group: Group::Stream,
    arity: Arity::at_least(3),
    flags: Flags::WRITE.or(Flags::FAST),
    keys: &[KeySpec::at(1).flags(KeyFlags::RW.or(KeyFlags::DELETE))],
    args: &[Arg::key("key", 0), Arg::string("id").multiple()],
    handler: Handler::Shard(xdel),
    ..Command::BASE
};

fn xdel(
    context: &mut ShardContext<'_>,
    args: Args<'_>,
    reply: &mut Encoder<'_>,
) -> Result<(), CommandError> {
    let key = context.key(args.at(1));
    let deleted = change(context, &key, |stream| {
        // No identifier is looked at before all are known to be good, and none without a stream.
        let ids: Vec<Id> = args.iter().skip(2).map(id).collect::<Result<_, _>>()?;
        let deletions = ids.into_iter().map(|id| stream.delete(id, References::Keep));
        Ok::<_, CommandError>(deletions.filter(|fate| *fate == Deletion::Deleted).count())
    })?;
    let deleted = deleted.transpose()?.unwrap_or(0);
    if deleted > 0 {
        record(context, &key, &["xdel"], deleted as u64);
    }
    reply.integer(deleted as i64);
    Ok(())
}

/// The argument that [`Selection::parse`] reads.
const IDS: Arg =
    Arg::block("ids", &[Arg::integer("numids"), Arg::string("id").multiple()]).after("IDS");

/// Entries, and what becomes of what groups refer to.
struct Selection {
    references: References,
    ids: Vec<Id>,
}

impl Selection {
    /// Reads the options from an argument on, in any order.
    fn parse(args: Args<'_>, first: usize) -> Result<Self, CommandError> {
        let mut selection = Self { references: References::Keep, ids: Vec::new() };
        let mut words = Options::new(args, first);
        while let Some(word) = words.next() {
            if let Some(references) = references(word) {
                selection.references = references;
            } else if is_word(word, "IDS") && selection.ids.is_empty() {
                selection.ids = counted_ids(&mut words)?;
            } else {
                return Err(CommandError::Syntax);
            }
        }
        if selection.ids.is_empty() { Err(CommandError::Syntax) } else { Ok(selection) }
    }

    /// Lets `delete` decide about each entry of the stream at the key, and replies with the fates.
    fn run(
        &self,
        context: &mut ShardContext<'_>,
        key: &[u8],
        reply: &mut Encoder<'_>,
        mut delete: impl FnMut(&mut Stream, Id) -> Deletion,
    ) -> Result<(), CommandError> {
        let key = context.key(key);
        let fates = change(context, &key, |stream| -> Vec<Deletion> {
            self.ids.iter().map(|id| delete(stream, *id)).collect()
        })?;
        let fates = fates.unwrap_or_else(|| vec![Deletion::Missing; self.ids.len()]);
        let deleted = fates.iter().filter(|fate| **fate == Deletion::Deleted).count() as u64;
        let touched = fates.iter().filter(|fate| **fate != Deletion::Missing).count() as u64;
        let events: &[&str] = if deleted > 0 { &["xdel"] } else { &[] };
        record(context, &key, events, touched);
        reply.array(fates.len());
        for fate in fates {
            reply.integer(match fate {
                Deletion::Missing => -1,
                Deletion::Deleted => 1,
                Deletion::Referenced => 2,
            });
        }
        Ok(())
    }
}

pub(super) const XDELEX: Command = Command {
    name: "xdelex",
    summary: "Deletes one or more messages from a stream, and decides about the references \
        of consumer groups to them.",
    complexity: "O(1) for each single item to delete in the stream, regardless of the stream \
        size.",
    since: "8.2.0",
    group: Group::Stream,
    arity: Arity::at_least(5),
    flags: Flags::WRITE.or(Flags::FAST),
    keys: &[KeySpec::at(1).flags(KeyFlags::RW.or(KeyFlags::DELETE))],
    args: &[Arg::key("key", 0), REFERENCES, IDS],
    handler: Handler::Shard(xdelex),
    ..Command::BASE
};

fn xdelex(
    context: &mut ShardContext<'_>,
    args: Args<'_>,
    reply: &mut Encoder<'_>,
) -> Result<(), CommandError> {
    let selection = Selection::parse(args, 2)?;
    let references = selection.references;
    selection.run(context, args.at(1), reply, |stream, id| stream.delete(id, references))
}

pub(super) const XACKDEL: Command = Command {
    name: "xackdel",
    summary: "Acknowledges messages of a consumer group and deletes them from the stream, and \
        decides about the references of other groups to them.",
    complexity: "O(1) for each message ID processed.",
    since: "8.2.0",
    group: Group::Stream,
    arity: Arity::at_least(6),
    flags: Flags::WRITE.or(Flags::FAST),
    keys: &[KeySpec::at(1).flags(KeyFlags::RW.or(KeyFlags::DELETE))],
    args: &[Arg::key("key", 0), Arg::string("group"), REFERENCES, IDS],
    handler: Handler::Shard(xackdel),
    ..Command::BASE
};

fn xackdel(
    context: &mut ShardContext<'_>,
    args: Args<'_>,
    reply: &mut Encoder<'_>,
) -> Result<(), CommandError> {
    let selection = Selection::parse(args, 3)?;
    let (group, references) = (args.at(2), selection.references);
    selection.run(context, args.at(1), reply, |stream, id| {
        if stream.with_group(group, |_, group| group.acknowledge(id)) != Some(true) {
            return Deletion::Missing;
        }
        match stream.delete(id, references) {
            // It was pending, and what was left of it is gone now.
            Deletion::Missing => Deletion::Deleted,
            fate => fate,
        }
    })
}

pub(super) const XSETID: Command = Command {
    name: "xsetid",
    summary: "An internal command for replicating stream values.",
    complexity: "O(1)",
    since: "5.0.0",
    group: Group::Stream,
    arity: Arity::at_least(3),
    flags: Flags::WRITE.or(Flags::DENYOOM).or(Flags::FAST),
    keys: &[KeySpec::at(1).flags(KeyFlags::RW.or(KeyFlags::UPDATE))],
    args: &[
        Arg::key("key", 0),
        Arg::string("last-id"),
        Arg::integer("entries-added").after("ENTRIESADDED").optional().since("7.0.0"),
        Arg::string("max-deleted-id").after("MAXDELETEDID").optional().since("7.0.0"),
    ],
    history: &[("7.0.0", "Added the `entries_added` and `max_deleted_entry_id` arguments.")],
    handler: Handler::Shard(xsetid),
    ..Command::BASE
};

/// What XSETID is asked for.
struct NewState {
    last_id: Id,
    entries_added: Option<u64>,
    max_deleted: Id,
}

impl NewState {
    fn parse(args: Args<'_>) -> Result<Self, CommandError> {
        let mut state =
            Self { last_id: id(args.at(2))?, entries_added: None, max_deleted: Id::MIN };
        let mut words = Options::new(args, 3);
        while let Some(word) = words.next() {
            if is_word(word, "ENTRIESADDED") {
                let added = u64::try_from(integer(words.value()?)?);
                let added =
                    added.map_err(|_| CommandError::Other("ERR entries_added must be positive"))?;
                state.entries_added = Some(added);
            } else if is_word(word, "MAXDELETEDID") {
                state.max_deleted = id(words.value()?)?;
                if state.last_id < state.max_deleted {
                    return Err(CommandError::Other(
                        "ERR The ID specified in XSETID is smaller than the provided \
                        max_deleted_entry_id",
                    ));
                }
            } else {
                return Err(CommandError::Syntax);
            }
        }
        Ok(state)
    }

    fn apply(&self, stream: &mut Stream) -> Result<(), CommandError> {
        let log = stream.log_mut();
        if self.last_id < log.max_deleted() {
            return Err(CommandError::Other(
                "ERR The ID specified in XSETID is smaller than current max_deleted_entry_id",
            ));
        }
        if self.last_id < log.last_entry_id() {
            return Err(CommandError::Other(
                "ERR The ID specified in XSETID is smaller than the target stream top item",
            ));
        }
        if self.entries_added.is_some_and(|added| added < log.len()) {
            return Err(CommandError::Other(
                "ERR The entries_added specified in XSETID is smaller than the target stream \
                length",
            ));
        }
        log.set_last_id(self.last_id);
        if let Some(added) = self.entries_added {
            log.set_entries_added(added);
        }
        if self.max_deleted != Id::MIN {
            log.set_max_deleted(self.max_deleted);
        }
        Ok(())
    }
}

fn xsetid(
    context: &mut ShardContext<'_>,
    args: Args<'_>,
    reply: &mut Encoder<'_>,
) -> Result<(), CommandError> {
    let state = NewState::parse(args)?;
    let key = context.key(args.at(1));
    change(context, &key, |stream| state.apply(stream))?.ok_or(CommandError::NoSuchKey)??;
    record(context, &key, &["xsetid"], 1);
    reply.ok();
    Ok(())
}
