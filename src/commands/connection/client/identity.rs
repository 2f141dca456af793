//! What a client says of itself: `CLIENT ID`, `GETNAME`, `SETNAME`, `SETINFO`, `CAPA`.

use kvasir_proto::{Args, Encoder};

use crate::commands::arguments::is_word;
use crate::commands::context::LocalContext;
use crate::commands::definition::{Arg, Arity, Command, Flags, Group, Handler};
use crate::errors::CommandError;

/// Refuses what would break the lines of `CLIENT LIST` apart. `what` names it in the error.
pub(in crate::commands::connection) fn check_attribute(
    what: &[u8],
    value: &[u8],
) -> Result<(), CommandError> {
    if value.iter().all(u8::is_ascii_graphic) {
        return Ok(());
    }
    let after = " cannot contain spaces, newlines or special characters.";
    Err(CommandError::quoting("ERR ", what, after))
}

pub(super) const CLIENT_ID: Command = Command {
    name: "id",
    summary: "Returns the unique client ID of the connection.",
    complexity: "O(1)",
    since: "5.0.0",
    group: Group::Connection,
    arity: Arity::exactly(2),
    flags: Flags::NOSCRIPT.or(Flags::LOADING).or(Flags::STALE),
    handler: Handler::Local(id),
    ..Command::BASE
};

fn id(
    context: &mut LocalContext<'_>,
    _: Args<'_>,
    reply: &mut Encoder<'_>,
) -> Result<(), CommandError> {
    reply.integer(context.client().id as i64);
    Ok(())
}

pub(super) const CLIENT_GETNAME: Command = Command {
    name: "getname",
    summary: "Returns the name of the connection.",
    complexity: "O(1)",
    since: "2.6.9",
    group: Group::Connection,
    arity: Arity::exactly(2),
    flags: Flags::NOSCRIPT.or(Flags::LOADING).or(Flags::STALE),
    handler: Handler::Local(get_name),
    ..Command::BASE
};

fn get_name(
    context: &mut LocalContext<'_>,
    _: Args<'_>,
    reply: &mut Encoder<'_>,
) -> Result<(), CommandError> {
    let name = &context.client().name;
    reply.bulk_or_null((!name.is_empty()).then_some(name));
    Ok(())
}

pub(super) const CLIENT_SETNAME: Command = Command {
    name: "setname",
    summary: "Sets the connection name.",
    complexity: "O(1)",
    since: "2.6.9",
    group: Group::Connection,
    arity: Arity::exactly(3),
    flags: Flags::NOSCRIPT.or(Flags::LOADING).or(Flags::STALE),
    tips: &["request_policy:all_nodes", "response_policy:all_succeeded"],
    args: &[Arg::string("connection-name")],
    handler: Handler::Local(set_name),
    ..Command::BASE
};

fn set_name(
    context: &mut LocalContext<'_>,
    args: Args<'_>,
    reply: &mut Encoder<'_>,
) -> Result<(), CommandError> {
    let name = args.at(2);
    check_attribute(b"Client names", name)?;
    context.client().name = name.to_vec();
    reply.ok();
    Ok(())
}

pub(super) const CLIENT_SETINFO: Command = Command {
    name: "setinfo",
    summary: "Sets information specific to the client or connection.",
    complexity: "O(1)",
    since: "7.2.0",
    group: Group::Connection,
    arity: Arity::exactly(4),
    flags: Flags::NOSCRIPT.or(Flags::LOADING).or(Flags::STALE),
    tips: &["request_policy:all_nodes", "response_policy:all_succeeded"],
    args: &[Arg::one_of(
        "attr",
        &[Arg::string("libname").after("LIB-NAME"), Arg::string("libver").after("LIB-VER")],
    )],
    handler: Handler::Local(set_info),
    ..Command::BASE
};

fn set_info(
    context: &mut LocalContext<'_>,
    args: Args<'_>,
    reply: &mut Encoder<'_>,
) -> Result<(), CommandError> {
    let (option, value) = (args.at(2), args.at(3));
    let client = context.client();
    let field = if is_word(option, "LIB-NAME") {
        &mut client.lib_name
    } else if is_word(option, "LIB-VER") {
        &mut client.lib_ver
    } else {
        return Err(CommandError::quoting("ERR Unrecognized option '", option, "'"));
    };
    check_attribute(option, value)?;
    *field = value.to_vec();
    reply.ok();
    Ok(())
}

pub(super) const CLIENT_CAPA: Command = Command {
    name: "capa",
    summary: "A client claims its capability.",
    complexity: "O(1)",
    since: "8.0.0",
    group: Group::Connection,
    arity: Arity::at_least(3),
    flags: Flags::NOSCRIPT.or(Flags::LOADING).or(Flags::STALE),
    args: &[Arg::string("capability").multiple()],
    handler: Handler::Local(capa),
    ..Command::BASE
};

/// Capabilities that are not known are ignored, so that newer clients can tell older servers.
fn capa(
    context: &mut LocalContext<'_>,
    args: Args<'_>,
    reply: &mut Encoder<'_>,
) -> Result<(), CommandError> {
    if args.tail(2).iter().any(|word| is_word(word, "redirect")) {
        context.client().redirect = true;
    }
    reply.ok();
    Ok(())
}
