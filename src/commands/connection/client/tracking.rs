//! Client-side caching: `CLIENT TRACKING`, `TRACKINGINFO`, `CACHING`, `GETREDIR`.

use kvasir_proto::{Args, Encoder};

use crate::commands::arguments::{integer, is_word};
use crate::commands::context::{Coordination, LocalContext};
use crate::commands::definition::{Arg, Arity, Command, Flags, Group, Handler, LockScope};
use crate::errors::CommandError;
use crate::route::core::CoreState;
use crate::route::engine::ConnectionKey;
use crate::route::transaction::{Request, Transaction};
use crate::tracking::Target;
use crate::tracking::client::{Choice, ClientTracking, Options};

pub(super) const CLIENT_TRACKING: Command = Command {
    name: "tracking",
    summary: "Controls server-assisted client-side caching for the connection.",
    complexity: "O(1). Some options may introduce additional complexity.",
    since: "6.0.0",
    group: Group::Connection,
    arity: Arity::at_least(3),
    flags: Flags::NOSCRIPT.or(Flags::LOADING).or(Flags::STALE),
    args: &[
        Arg::one_of("status", &[Arg::token("on", "ON"), Arg::token("off", "OFF")]),
        Arg::integer("client-id").after("REDIRECT").optional(),
        Arg::string("prefix").after("PREFIX").optional().multiple_token(),
        Arg::token("bcast", "BCAST").optional(),
        Arg::token("optin", "OPTIN").optional(),
        Arg::token("optout", "OPTOUT").optional(),
        Arg::token("noloop", "NOLOOP").optional(),
    ],
    handler: Handler::Global(LockScope::None, tracking),
    ..Command::BASE
};

/// Every core knows of the client, or has forgotten it, before the reply.
fn tracking(transaction: Transaction, request: Request) -> Coordination {
    Box::pin(async move {
        let args = request.args();
        let Asked { options, redirect, fault } = Asked::parse(args.tail(3));
        let target = match redirect {
            Some(id) => Some(find_client(&transaction, id).await?),
            None => None,
        };
        fault.map_or(Ok(()), Err)?;
        let client = (request.connection, request.client);
        match args.at(2) {
            word if is_word(word, "ON") => {
                let begin =
                    move |state: &mut CoreState| state.begin_tracking(client, options, target);
                if let Some(tracker) = transaction.on(request.home, begin).await? {
                    let register = move |state: &mut CoreState| {
                        state.register_tracker(client.1, tracker);
                    };
                    transaction.on_all(register).await;
                }
            }
            word if is_word(word, "OFF") => {
                let end = move |state: &mut CoreState| {
                    let connection = state.connection(client.0);
                    let is_there = connection.is_some_and(|own| own.client.id == client.1);
                    if is_there { state.end_tracking(client.0) } else { None }
                };
                if let Some((id, session)) = transaction.on(request.home, end).await {
                    let forget = move |state: &mut CoreState| state.unregister_tracker(id, session);
                    transaction.on_all(forget).await;
                }
            }
            _ => return Err(CommandError::Syntax),
        }
        Ok(request.ok())
    })
}

/// A client of some core, which must exist when it is redirected to.
async fn find_client(transaction: &Transaction, id: u64) -> Result<Target, CommandError> {
    let find = move |state: &mut CoreState| {
        let found = state.connections.iter().find(|(_, connection)| connection.client.id == id);
        let connection = ConnectionKey(found?.0 as u32);
        Some(Target { core: state.id, connection, client: id })
    };
    let found = transaction.on_all(find).await.into_iter().flatten().next();
    found.ok_or(CommandError::Other("ERR The client ID you want redirect to does not exist"))
}

/// What the arguments ask for, up to the first that is wrong.
struct Asked {
    options: Options,
    redirect: Option<u64>,
    /// What is wrong; told unless the client to redirect to does not exist.
    fault: Option<CommandError>,
}

impl Asked {
    fn parse(args: Args<'_>) -> Self {
        let mut asked = Self { options: Options::default(), redirect: None, fault: None };
        asked.fault = asked.read(args).err();
        asked
    }

    fn read(&mut self, args: Args<'_>) -> Result<(), CommandError> {
        let mut words = args.iter();
        while let Some(word) = words.next() {
            if is_word(word, "REDIRECT") {
                let id = words.next().ok_or(CommandError::Syntax)?;
                if self.redirect.is_some() {
                    return Err(CommandError::Other(
                        "ERR A client can only redirect to a single other client",
                    ));
                }
                // No client has a negative id, nor the largest.
                self.redirect = Some(u64::try_from(integer(id)?).unwrap_or(u64::MAX));
            } else if is_word(word, "PREFIX") {
                let prefix = words.next().ok_or(CommandError::Syntax)?;
                self.options.prefixes.push(prefix.into());
            } else if is_word(word, "BCAST") {
                self.options.broadcast = true;
            } else if is_word(word, "OPTIN") {
                self.options.opt_in = true;
            } else if is_word(word, "OPTOUT") {
                self.options.opt_out = true;
            } else if is_word(word, "NOLOOP") {
                self.options.no_loop = true;
            } else {
                return Err(CommandError::Syntax);
            }
        }
        Ok(())
    }
}

pub(super) const CLIENT_TRACKINGINFO: Command = Command {
    name: "trackinginfo",
    summary: "Returns information about server-assisted client-side caching for the \
        connection.",
    complexity: "O(1)",
    since: "6.2.0",
    group: Group::Connection,
    arity: Arity::exactly(2),
    flags: Flags::NOSCRIPT.or(Flags::LOADING).or(Flags::STALE),
    handler: Handler::Local(tracking_info),
    ..Command::BASE
};

fn tracking_info(
    context: &mut LocalContext<'_>,
    _: Args<'_>,
    reply: &mut Encoder<'_>,
) -> Result<(), CommandError> {
    let tracking = context.client().tracking.as_deref();
    reply.map(3);
    reply.bulk(b"flags");
    let state = if tracking.is_some() { "on" } else { "off" };
    let flags: Vec<&str> = std::iter::once(state)
        .chain(tracking.into_iter().flat_map(ClientTracking::flags))
        .collect();
    reply.set(flags.len());
    for flag in flags {
        reply.bulk(flag.as_bytes());
    }
    reply.bulk(b"redirect");
    reply.integer(redirection(tracking));
    reply.bulk(b"prefixes");
    reply.array(tracking.map_or(0, |tracking| tracking.prefixes.len()));
    for prefix in tracking.into_iter().flat_map(|tracking| &tracking.prefixes) {
        reply.bulk(prefix);
    }
    Ok(())
}

/// The client that is told in its place: 0 for none, -1 for a client that does not track.
fn redirection(tracking: Option<&ClientTracking>) -> i64 {
    tracking.map_or(-1, |tracking| tracking.redirect as i64)
}

pub(super) const CLIENT_CACHING: Command = Command {
    name: "caching",
    summary: "Instructs the server whether to track the keys in the next request.",
    complexity: "O(1)",
    since: "6.0.0",
    group: Group::Connection,
    arity: Arity::exactly(3),
    flags: Flags::NOSCRIPT.or(Flags::LOADING).or(Flags::STALE),
    args: &[Arg::one_of("mode", &[Arg::token("yes", "YES"), Arg::token("no", "NO")])],
    handler: Handler::Local(caching),
    ..Command::BASE
};

fn caching(
    context: &mut LocalContext<'_>,
    args: Args<'_>,
    reply: &mut Encoder<'_>,
) -> Result<(), CommandError> {
    let client = context.client();
    let Some(tracking) = client.tracking.as_deref_mut() else {
        return Err(CommandError::Other(
            "ERR CLIENT CACHING can be called only when the client is in tracking mode with OPTIN \
             or OPTOUT mode enabled",
        ));
    };
    let (choice, refusal) = match args.at(2) {
        word if is_word(word, "YES") => (
            Choice::OptIn,
            "ERR CLIENT CACHING YES is only valid when tracking is enabled in OPTIN mode.",
        ),
        word if is_word(word, "NO") => (
            Choice::OptOut,
            "ERR CLIENT CACHING NO is only valid when tracking is enabled in OPTOUT mode.",
        ),
        _ => return Err(CommandError::Syntax),
    };
    if tracking.choice != choice {
        return Err(CommandError::Other(refusal));
    }
    tracking.caching = true;
    client.view.tracks = tracking.remembers();
    reply.ok();
    Ok(())
}

pub(super) const CLIENT_GETREDIR: Command = Command {
    name: "getredir",
    summary: "Returns the client ID to which the connection's tracking notifications are \
        redirected.",
    complexity: "O(1)",
    since: "6.0.0",
    group: Group::Connection,
    arity: Arity::exactly(2),
    flags: Flags::NOSCRIPT.or(Flags::LOADING).or(Flags::STALE),
    handler: Handler::Local(get_redir),
    ..Command::BASE
};

fn get_redir(
    context: &mut LocalContext<'_>,
    _: Args<'_>,
    reply: &mut Encoder<'_>,
) -> Result<(), CommandError> {
    reply.integer(redirection(context.client().tracking.as_deref()));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use kvasir_proto::{ArgRanges, Limits, RequestParser, append_request};

    #[test]
    fn what_is_asked_before_something_wrong_counts() {
        let check = |line: &str, redirect: Option<u64>, fault: &str| {
            let words: Vec<_> = line.split(' ').map(str::as_bytes).collect();
            let mut request = Vec::new();
            append_request(&mut request, words);
            let mut ranges = ArgRanges::default();
            RequestParser::new().parse(&request, &Limits::default(), &mut ranges).unwrap();
            let asked = Asked::parse(ranges.view(&request));
            let text = asked.fault.map(|error| error.to_string()).unwrap_or_default();
            assert_eq!((asked.redirect, text.as_str()), (redirect, fault), "{line}");
        };
        check("bcast prefix a noloop", None, "");
        check("redirect 5 prefix", Some(5), "ERR syntax error");
        check("redirect x", None, "ERR value is not an integer or out of range");
        let twice = "ERR A client can only redirect to a single other client";
        check("redirect -1 redirect 2", Some(u64::MAX), twice);
        check("noloop nonsense redirect 2", None, "ERR syntax error");
    }
}
