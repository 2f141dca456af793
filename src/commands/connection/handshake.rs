//! Who a client is and what it speaks: `HELLO` and `AUTH`.

use kvasir_proto::{Args, Encoder, Resp, number};

use super::client::identity::check_attribute;
use crate::commands::arguments::is_word;
use crate::commands::context::LocalContext;
use crate::commands::definition::{Arg, Arity, Command, Flags, Group, Handler};
use crate::errors::CommandError;
use crate::identity;

/// The one user that exists without an access control list.
const DEFAULT_USER: &[u8] = b"default";

const WRONG_PASSWORD: CommandError =
    CommandError::Other("WRONGPASS invalid username-password pair or user is disabled.");

const NO_PASSWORD_CONFIGURED: CommandError = CommandError::Other(
    "ERR AUTH <password> called without any password configured for the default user. Are you \
     sure your configuration is correct?",
);

const HELLO_NEEDS_AUTH: CommandError = CommandError::Other(
    "NOAUTH HELLO must be called with the client already authenticated, otherwise the HELLO \
     <proto> AUTH <user> <pass> option can be used to authenticate the client and select the \
     RESP protocol version at the same time",
);

pub(super) const HELLO: Command = Command {
    name: "hello",
    summary: "Handshakes with the server.",
    complexity: "O(1)",
    since: "6.0.0",
    group: Group::Connection,
    arity: Arity::at_least(1),
    flags: Flags::NOSCRIPT
        .or(Flags::LOADING)
        .or(Flags::STALE)
        .or(Flags::FAST)
        .or(Flags::NO_AUTH)
        .or(Flags::ALLOW_BUSY),
    args: &[Arg::block(
        "arguments",
        &[
            Arg::integer("protover"),
            Arg::block("auth", &[Arg::string("username"), Arg::string("password")])
                .after("AUTH")
                .optional(),
            Arg::string("clientname").after("SETNAME").optional(),
        ],
    )
    .optional()],
    history: &[
        (
            "8.1.0",
            "A new `availability_zone` field is added to the response if the \
            `availability-zone` config is set.",
        ),
        (
            "6.2.0",
            "`protover` made optional; when called without arguments the command \
            reports the current connection's context.",
        ),
    ],
    secrets: Some(hello_secrets),
    handler: Handler::Local(hello),
    ..Command::BASE
};

/// The user and the password after `AUTH`.
fn hello_secrets(args: Args<'_>) -> Vec<usize> {
    let auth = (2..args.len()).find(|index| is_word(args.at(*index), "AUTH"));
    auth.map_or_else(Vec::new, |auth| vec![auth + 1, auth + 2])
}

/// What a `HELLO` asks for.
#[derive(Default)]
struct Greeting<'a> {
    resp: Option<Resp>,
    credentials: Option<(&'a [u8], &'a [u8])>,
    name: Option<&'a [u8]>,
}

impl<'a> Greeting<'a> {
    fn parse(args: Args<'a>) -> Result<Self, CommandError> {
        let mut greeting = Self::default();
        let Some(version) = args.get(1) else { return Ok(greeting) };
        greeting.resp = match number::parse_i64(version) {
            Some(2) => Some(Resp::V2),
            Some(3) => Some(Resp::V3),
            Some(_) => {
                return Err(CommandError::Other("NOPROTO unsupported protocol version"));
            }
            None => {
                return Err(CommandError::Other(
                    "ERR Protocol version is not an integer or out of range",
                ));
            }
        };
        let mut at = 2;
        while let Some(option) = args.get(at) {
            if let (true, Some(user), Some(password)) =
                (is_word(option, "AUTH"), args.get(at + 1), args.get(at + 2))
            {
                greeting.credentials = Some((user, password));
                at += 3;
            } else if let (true, Some(name)) = (is_word(option, "SETNAME"), args.get(at + 1)) {
                check_attribute(b"Client names", name)?;
                greeting.name = Some(name);
                at += 2;
            } else {
                let before = "ERR Syntax error in HELLO option '";
                return Err(CommandError::quoting(before, option, "'"));
            }
        }
        Ok(greeting)
    }
}

fn hello(
    context: &mut LocalContext<'_>,
    args: Args<'_>,
    reply: &mut Encoder<'_>,
) -> Result<(), CommandError> {
    let greeting = Greeting::parse(args)?;
    if let Some((user, password)) = greeting.credentials {
        authenticate(context, user, password)?;
    }
    let client = context.client();
    if !client.authenticated {
        return Err(HELLO_NEEDS_AUTH);
    }
    if let Some(name) = greeting.name {
        client.name = name.to_vec();
    }
    if let Some(resp) = greeting.resp {
        client.view.resp = resp;
        reply.set_resp(resp);
    }
    let id = client.id;
    describe_server(context, id, reply);
    Ok(())
}

/// The map that `HELLO` answers: the peers' fields in their order.
fn describe_server(context: &LocalContext<'_>, id: u64, reply: &mut Encoder<'_>) {
    let config = context.state.shared.config.load();
    let (server, version) = identity::shown(config.process.redis_compatibility);
    let zone = config.process.availability_zone.as_bytes();
    reply.map(7 + usize::from(!zone.is_empty()));
    let text = |reply: &mut Encoder<'_>, name: &str, value: &str| {
        reply.bulk(name.as_bytes());
        reply.bulk(value.as_bytes());
    };
    text(reply, "server", server);
    text(reply, "version", version);
    reply.bulk(b"proto");
    reply.integer(if reply.resp() == Resp::V3 { 3 } else { 2 });
    reply.bulk(b"id");
    reply.integer(id as i64);
    text(reply, "mode", "standalone");
    text(reply, "role", "master");
    reply.bulk(b"modules");
    reply.array(0);
    if !zone.is_empty() {
        reply.bulk(b"availability_zone");
        reply.bulk(zone);
    }
}

pub(super) const AUTH: Command = Command {
    name: "auth",
    summary: "Authenticates the connection.",
    complexity: "O(N) where N is the number of passwords defined for the user",
    since: "1.0.0",
    group: Group::Connection,
    arity: Arity::at_least(2),
    flags: Flags::NOSCRIPT
        .or(Flags::LOADING)
        .or(Flags::STALE)
        .or(Flags::FAST)
        .or(Flags::NO_AUTH)
        .or(Flags::ALLOW_BUSY),
    args: &[Arg::string("username").optional().since("6.0.0"), Arg::string("password")],
    history: &[("6.0.0", "Added ACL style (username and password).")],
    secrets: Some(|args| (1..args.len()).collect()),
    handler: Handler::Local(auth),
    ..Command::BASE
};

fn auth(
    context: &mut LocalContext<'_>,
    args: Args<'_>,
    reply: &mut Encoder<'_>,
) -> Result<(), CommandError> {
    let (user, password) = match args.len() {
        2 if context.state.shared.config.load().security.password.is_empty() => {
            return Err(NO_PASSWORD_CONFIGURED);
        }
        2 => (DEFAULT_USER, args.at(1)),
        3 => (args.at(1), args.at(2)),
        _ => return Err(CommandError::Syntax),
    };
    authenticate(context, user, password)?;
    reply.ok();
    Ok(())
}

/// Lets the client in as this user, if the password is right: without a configured one, any is.
fn authenticate(
    context: &mut LocalContext<'_>,
    user: &[u8],
    password: &[u8],
) -> Result<(), CommandError> {
    let config = context.state.shared.config.load_full();
    let expected = &config.security.password;
    if user != DEFAULT_USER || !(expected.is_empty() || same_bytes(expected, password)) {
        return Err(WRONG_PASSWORD);
    }
    let client = context.client();
    client.authenticated = true;
    client.user = user.to_vec();
    Ok(())
}

/// Whether two byte strings are equal, in a time that tells nothing of the first but its length.
fn same_bytes(secret: &[u8], given: &[u8]) -> bool {
    let differing = secret.iter().zip(given).fold(0, |bits, (one, other)| bits | (one ^ other));
    secret.len() == given.len() && differing == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_is_equal() {
        for (one, other) in [("", ""), ("a", "a"), ("ab", "ac"), ("ab", "a"), ("a", "ab")] {
            assert_eq!(same_bytes(one.as_bytes(), other.as_bytes()), one == other, "{one} {other}");
        }
    }
}
