//! Client-side caching: `CLIENT TRACKING`, `TRACKINGINFO`, `CACHING`, `GETREDIR`.
//!
//! Tracking is not there yet: switching it on is refused in words that say so, after the checks of
//! the options, and everything else answers as for a client that does not track.

use kvasir_proto::{Args, Encoder};

use crate::commands::arguments::{integer, is_word};
use crate::commands::context::LocalContext;
use crate::commands::definition::{Arg, Arity, Command, Flags, Group, Handler};
use crate::errors::CommandError;

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
    handler: Handler::Local(tracking),
    ..Command::BASE
};

fn tracking(
    _: &mut LocalContext<'_>,
    args: Args<'_>,
    reply: &mut Encoder<'_>,
) -> Result<(), CommandError> {
    let options = parse_options(args.tail(3))?;
    let word = args.at(2);
    if is_word(word, "OFF") {
        reply.ok();
        return Ok(());
    }
    if !is_word(word, "ON") {
        return Err(CommandError::Syntax);
    }
    check_options(&options)?;
    Err(CommandError::NotYet("client-side caching comes in a later version"))
}

/// An option of `CLIENT TRACKING`, as far as it matters which go together.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum TrackingOption {
    Broadcast,
    Prefix,
    OptIn,
    OptOut,
}

fn parse_options(args: Args<'_>) -> Result<Vec<TrackingOption>, CommandError> {
    let mut options = Vec::new();
    let mut words = args.iter();
    while let Some(word) = words.next() {
        if is_word(word, "REDIRECT") {
            integer(words.next().ok_or(CommandError::Syntax)?)?;
        } else if is_word(word, "PREFIX") {
            words.next().ok_or(CommandError::Syntax)?;
            options.push(TrackingOption::Prefix);
        } else if is_word(word, "BCAST") {
            options.push(TrackingOption::Broadcast);
        } else if is_word(word, "OPTIN") {
            options.push(TrackingOption::OptIn);
        } else if is_word(word, "OPTOUT") {
            options.push(TrackingOption::OptOut);
        } else if !is_word(word, "NOLOOP") {
            return Err(CommandError::Syntax);
        }
    }
    Ok(options)
}

/// Refuses what does not go together.
fn check_options(options: &[TrackingOption]) -> Result<(), CommandError> {
    use TrackingOption::{Broadcast, OptIn, OptOut, Prefix};
    let has = |option| options.contains(&option);
    if has(Prefix) && !has(Broadcast) {
        return Err(CommandError::Other("ERR PREFIX option requires BCAST mode to be enabled"));
    }
    if has(Broadcast) && (has(OptIn) || has(OptOut)) {
        return Err(CommandError::Other("ERR OPTIN and OPTOUT are not compatible with BCAST"));
    }
    if has(OptIn) && has(OptOut) {
        return Err(CommandError::Other("ERR You can't specify both OPTIN mode and OPTOUT mode"));
    }
    Ok(())
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
    _: &mut LocalContext<'_>,
    _: Args<'_>,
    reply: &mut Encoder<'_>,
) -> Result<(), CommandError> {
    reply.map(3);
    reply.bulk(b"flags");
    reply.set(1);
    reply.bulk(b"off");
    reply.bulk(b"redirect");
    reply.integer(-1);
    reply.bulk(b"prefixes");
    reply.array(0);
    Ok(())
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

fn caching(_: &mut LocalContext<'_>, _: Args<'_>, _: &mut Encoder<'_>) -> Result<(), CommandError> {
    Err(CommandError::Other(
        "ERR CLIENT CACHING can be called only when the client is in tracking mode with OPTIN or \
         OPTOUT mode enabled",
    ))
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
    _: &mut LocalContext<'_>,
    _: Args<'_>,
    reply: &mut Encoder<'_>,
) -> Result<(), CommandError> {
    reply.integer(-1);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use kvasir_proto::{ArgRanges, Limits, RequestParser, append_request};

    #[test]
    fn options_that_do_not_go_together() {
        let check = |line: &str, expected: &str| {
            let words: Vec<_> = line.split(' ').map(str::as_bytes).collect();
            let mut request = Vec::new();
            append_request(&mut request, words);
            let mut ranges = ArgRanges::default();
            RequestParser::new().parse(&request, &Limits::default(), &mut ranges).unwrap();
            let result =
                parse_options(ranges.view(&request)).and_then(|options| check_options(&options));
            let text = result.err().map(|error| error.to_string()).unwrap_or_default();
            assert_eq!(text, expected, "{line}");
        };
        check("bcast prefix a noloop", "");
        check("prefix a", "ERR PREFIX option requires BCAST mode to be enabled");
        check("bcast optin", "ERR OPTIN and OPTOUT are not compatible with BCAST");
        check("optin optout", "ERR You can't specify both OPTIN mode and OPTOUT mode");
        check("prefix", "ERR syntax error");
        check("redirect x", "ERR value is not an integer or out of range");
    }
}
