//! `COMMAND DOCS`: what a command is for, and its syntax.

use kvasir_proto::{Args, Encoder};

use super::info::encode_flags;
use crate::commands::context::LocalContext;
use crate::commands::definition::{Arg, Arity, Categories, Command, Flags, Group, Handler};
use crate::commands::table::{Entry, table};
use crate::errors::CommandError;

pub(super) const COMMAND_DOCS: Command = Command {
    name: "docs",
    summary: "Returns documentary information about one, multiple or all commands.",
    complexity: "O(N) where N is the number of commands to look up",
    since: "7.0.0",
    group: Group::Server,
    arity: Arity::at_least(2),
    flags: Flags::LOADING.or(Flags::STALE),
    acl: Categories::CONNECTION,
    tips: &["nondeterministic_output_order"],
    args: &[Arg::string("command-name").optional().multiple()],
    handler: Handler::Local(docs),
    ..Command::BASE
};

fn docs(
    _: &mut LocalContext<'_>,
    args: Args<'_>,
    reply: &mut Encoder<'_>,
) -> Result<(), CommandError> {
    let names = args.tail(2);
    let entries: Vec<&Entry> = if names.is_empty() {
        table().commands().collect()
    } else {
        names.iter().filter_map(|name| table().by_full_name(name)).collect()
    };
    encode_documents(entries.into_iter(), reply);
    Ok(())
}

fn encode_documents<'e>(
    entries: impl ExactSizeIterator<Item = &'e Entry>,
    reply: &mut Encoder<'_>,
) {
    reply.map(entries.len());
    for entry in entries {
        reply.bulk(entry.full_name.as_bytes());
        encode_document(entry, reply);
    }
}

fn encode_document(entry: &Entry, reply: &mut Encoder<'_>) {
    let command = entry.command;
    let has_complexity = !command.complexity.is_empty();
    let is_system = command.flags.has(Flags::SYSCMD);
    let fields = 3
        + usize::from(has_complexity)
        + usize::from(is_system || command.deprecated.is_some())
        + 2 * usize::from(command.deprecated.is_some())
        + usize::from(!command.history.is_empty())
        + usize::from(!command.args.is_empty())
        + usize::from(!command.subcommands.is_empty());
    reply.map(fields);
    encode_text("summary", command.summary, reply);
    encode_text("since", command.since, reply);
    encode_text("group", command.group.wire(), reply);
    if has_complexity {
        encode_text("complexity", command.complexity, reply);
    }
    if is_system || command.deprecated.is_some() {
        let deprecated = command.deprecated.map(|_| "deprecated");
        reply.bulk(b"doc_flags");
        encode_flags(deprecated.into_iter().chain(is_system.then_some("syscmd")), reply);
    }
    if let Some(deprecation) = command.deprecated {
        encode_text("deprecated_since", deprecation.since, reply);
        encode_text("replaced_by", deprecation.replaced_by, reply);
    }
    if !command.history.is_empty() {
        reply.bulk(b"history");
        reply.set(command.history.len());
        for (since, change) in command.history {
            reply.array(2);
            reply.bulk(since.as_bytes());
            reply.bulk(change.as_bytes());
        }
    }
    if !command.args.is_empty() {
        reply.bulk(b"arguments");
        encode_arguments(command.args, reply);
    }
    if !command.subcommands.is_empty() {
        reply.bulk(b"subcommands");
        encode_documents(table().subcommands(entry).iter(), reply);
    }
}

fn encode_arguments(arguments: &[Arg], reply: &mut Encoder<'_>) {
    reply.array(arguments.len());
    for argument in arguments {
        encode_argument(argument, reply);
    }
}

fn encode_argument(argument: &Arg, reply: &mut Encoder<'_>) {
    let texts = [
        ("token", argument.token),
        ("summary", argument.summary),
        ("since", argument.since),
        ("deprecated_since", argument.deprecated_since),
    ];
    let present = texts.iter().filter(|(_, text)| text.is_some()).count();
    let has_flags = !argument.flags.is_empty();
    // A group has its members where others have the text to display.
    reply.map(3 + usize::from(argument.key_spec.is_some()) + present + usize::from(has_flags));
    encode_text("name", argument.name, reply);
    encode_text("type", argument.kind.wire(), reply);
    if !argument.kind.is_group() {
        encode_text("display_text", argument.display_name(), reply);
    }
    if let Some(index) = argument.key_spec {
        reply.bulk(b"key_spec_index");
        reply.integer(index.into());
    }
    for (name, text) in texts {
        if let Some(text) = text {
            encode_text(name, text, reply);
        }
    }
    if has_flags {
        reply.bulk(b"flags");
        encode_flags(argument.flags.names(), reply);
    }
    if argument.kind.is_group() {
        reply.bulk(b"arguments");
        encode_arguments(argument.args, reply);
    }
}

fn encode_text(name: &str, text: &str, reply: &mut Encoder<'_>) {
    reply.bulk(name.as_bytes());
    reply.bulk(text.as_bytes());
}
