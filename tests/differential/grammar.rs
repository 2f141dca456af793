//! The syntax of commands: the argument trees that `COMMAND DOCS` gives.
//!
//! The trees are the real peer's, so a request exercises what the peer accepts, also an option that
//! ours has forgotten. (That our table documents the same trees is a test of the table's own.)

use kvasir_proto::Value;
use kvasir_testing::Client;

/// A command, or a subcommand with its container.
#[derive(Clone, Debug)]
pub(crate) struct Syntax {
    /// In lower case, `container|subcommand`.
    pub(crate) name: String,
    /// The group of commands that it belongs to.
    pub(crate) group: String,
    pub(crate) args: Vec<Arg>,
}

/// One argument, or a group of them.
#[derive(Clone, Debug)]
pub(crate) struct Arg {
    pub(crate) name: String,
    pub(crate) kind: Kind,
    pub(crate) token: Option<String>,
    pub(crate) optional: bool,
    pub(crate) multiple: bool,
    /// Whether the token is repeated with every repetition.
    pub(crate) multiple_token: bool,
    pub(crate) args: Vec<Arg>,
}

/// What an argument may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    String,
    Integer,
    Double,
    Key,
    Pattern,
    UnixTime,
    PureToken,
    OneOf,
    Block,
}

/// The syntax of every command that both servers have, by name.
pub(crate) fn shared(ours: &mut Client, peer: &mut Client) -> Vec<Syntax> {
    let listed = names(&ours.run("COMMAND LIST"));
    peer.run("HELLO 3");
    let docs = peer.run("COMMAND DOCS");
    let mut all: Vec<Syntax> = Vec::new();
    for (name, doc) in pairs(&docs) {
        let subcommands = field(doc, "subcommands").map(pairs).unwrap_or_default();
        if subcommands.is_empty() {
            all.push(syntax(&text(name), doc));
        }
        all.extend(subcommands.iter().map(|(name, doc)| syntax(&text(name), doc)));
    }
    all.retain(|syntax| listed.contains(&syntax.name));
    all.sort_by(|a, b| a.name.cmp(&b.name));
    all
}

fn names(list: &Value) -> Vec<String> {
    let Value::Array(names) = list else { panic!("COMMAND LIST answered {list:?}") };
    names.iter().map(text).collect()
}

fn syntax(name: &str, doc: &Value) -> Syntax {
    let group = field(doc, "group").map(text).unwrap_or_default();
    Syntax { name: name.to_owned(), group, args: arguments(doc) }
}

fn arguments(doc: &Value) -> Vec<Arg> {
    match field(doc, "arguments") {
        Some(Value::Array(args)) => args.iter().map(argument).collect(),
        _ => Vec::new(),
    }
}

fn argument(doc: &Value) -> Arg {
    let flags = field(doc, "flags").map(words).unwrap_or_default();
    let has = |flag: &str| flags.iter().any(|word| word == flag);
    let kind = match field(doc, "type").map(text).as_deref() {
        Some("integer") => Kind::Integer,
        Some("double") => Kind::Double,
        Some("key") => Kind::Key,
        Some("pattern") => Kind::Pattern,
        Some("unix-time") => Kind::UnixTime,
        Some("pure-token") => Kind::PureToken,
        Some("oneof") => Kind::OneOf,
        Some("block") => Kind::Block,
        _ => Kind::String,
    };
    Arg {
        name: field(doc, "name").map(text).unwrap_or_default(),
        kind,
        token: field(doc, "token").map(text),
        optional: has("optional"),
        multiple: has("multiple"),
        multiple_token: has("multiple_token"),
        args: arguments(doc),
    }
}

fn pairs(value: &Value) -> Vec<&(Value, Value)> {
    match value {
        Value::Map(pairs) => pairs.iter().collect(),
        _ => Vec::new(),
    }
}

fn field<'a>(map: &'a Value, name: &str) -> Option<&'a Value> {
    let found = pairs(map).into_iter().find(|(key, _)| key.as_bytes() == Some(name.as_bytes()));
    found.map(|(_, value)| value)
}

fn words(value: &Value) -> Vec<String> {
    match value {
        Value::Array(words) | Value::Set(words) => words.iter().map(text).collect(),
        _ => Vec::new(),
    }
}

fn text(value: &Value) -> String {
    String::from_utf8_lossy(value.as_bytes().unwrap_or_default()).into_owned()
}
