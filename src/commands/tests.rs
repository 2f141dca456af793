//! What must hold for every command, and how requests are resolved.

use kvasir_proto::{ArgRanges, Args, Limits, Parsed, RequestParser, append_request};

use super::FAMILIES;
use super::definition::{Arg, ArgFlags, ArgKind, Command, Flags, Handler};
use super::table::{Entry, RenameError, Table, resolve, table};

/// Commands that take more or fewer arguments than their documented syntax.
const LENIENT: &[(&str, &str)] = &[
    ("client|kill", "the filters are documented as optional, and one is needed"),
    ("debug", "its subcommands are not documented"),
    ("quit", "anything after it is ignored"),
];

/// Commands in a family that is named like a group that they are not in.
const GUESTS: &[(&str, &str)] = &[
    ("wait", "a generic command for the peers, about replication"),
    ("waitaof", "a generic command for the peers, about replication and persistence"),
];

/// Commands for which the peers state no complexity either.
const OF_UNSTATED_COMPLEXITY: &[&str] = &["lolwut", "monitor", "psync", "sync", "xread"];

/// Commands that write without naming a key.
const KEYLESS_WRITES: &[(&str, &str)] = &[
    ("flushall", "every key"),
    ("flushdb", "every key of a database"),
    ("function|delete", "a library"),
    ("function|flush", "every library"),
    ("function|load", "a library"),
    ("function|restore", "libraries"),
    ("swapdb", "every key of two databases"),
];

fn request(words: &[&str], then: impl FnOnce(Args<'_>)) {
    let bytes: Vec<&[u8]> = words.iter().map(|word| word.as_bytes()).collect();
    request_bytes(&bytes, then);
}

fn request_bytes(words: &[&[u8]], then: impl FnOnce(Args<'_>)) {
    let mut encoded = Vec::new();
    append_request(&mut encoded, words.iter().copied());
    let mut ranges = ArgRanges::default();
    let limits = Limits { authenticated: true, ..Limits::default() };
    let parsed = RequestParser::new().parse(&encoded, &limits, &mut ranges);
    assert!(matches!(parsed, Ok(Parsed::Complete { .. })));
    then(ranges.view(&encoded));
}

fn leaves() -> impl Iterator<Item = &'static Entry> {
    table().iter().filter(|entry| entry.command.subcommands.is_empty())
}

fn excused(list: &[(&str, &str)], entry: &Entry) -> bool {
    list.iter().any(|(name, _)| *name == entry.full_name)
}

#[test]
fn commands_are_sorted_and_unique() {
    assert!(FAMILIES.is_sorted_by_key(|family| family.name));
    let sorted = |commands: &[&Command]| commands.is_sorted_by(|a, b| a.name < b.name);
    for family in FAMILIES {
        assert!(sorted(family.commands), "family {}", family.name);
    }
    for entry in table().iter() {
        assert!(sorted(entry.command.subcommands), "{entry:?}");
    }
    let names: Vec<_> = table().commands().map(|entry| entry.full_name).collect();
    assert!(names.is_sorted_by(|a, b| a < b));
}

#[test]
fn ids_are_dense_and_names_find_their_commands() {
    for (index, entry) in table().iter().enumerate() {
        assert_eq!(entry.id.index(), index);
        assert_eq!(table().entry(entry.id).full_name, entry.full_name);
        let upper = entry.full_name.to_uppercase();
        assert_eq!(table().by_full_name(upper.as_bytes()).map(|e| e.id), Some(entry.id));
    }
    assert_eq!(table().iter().count(), table().len());
}

#[test]
fn a_family_named_like_a_group_is_that_group() {
    for family in FAMILIES {
        let is_guest = |name| GUESTS.iter().any(|(guest, _)| *guest == name);
        let members = family.commands.iter().filter(|command| !is_guest(command.name));
        let groups: Vec<_> = members.map(|command| command.group.wire()).collect();
        if groups.contains(&family.name) {
            assert!(groups.iter().all(|group| *group == family.name), "family {}", family.name);
        }
    }
}

#[test]
fn commands_are_documented() {
    for entry in table().iter() {
        let command = entry.command;
        assert!(!command.summary.is_empty(), "{entry:?}");
        let is_unstated = OF_UNSTATED_COMPLEXITY.contains(&entry.full_name);
        assert_eq!(command.complexity.is_empty(), is_unstated, "{entry:?}");
        let parts: Vec<_> = command.since.split('.').collect();
        assert!(parts.len() == 3 && parts.iter().all(|p| p.parse::<u8>().is_ok()), "{entry:?}");
        assert_eq!(command.name, command.name.to_lowercase());
    }
}

/// The fewest and the most words that arguments can be; nothing for no limit.
fn words_of(args: &[Arg]) -> (usize, Option<usize>) {
    let add = |(low, high): (usize, Option<usize>), arg: &Arg| {
        let (least, most) = words_of_one(arg);
        (low + least, high.zip(most).map(|(a, b)| a + b))
    };
    args.iter().fold((0, Some(0)), add)
}

fn words_of_one(arg: &Arg) -> (usize, Option<usize>) {
    let (mut least, mut most) = match arg.kind {
        ArgKind::OneOf => {
            let choices = || arg.args.iter().map(words_of_one);
            let least = choices().map(|(least, _)| least).min();
            let most = choices().map(|(_, most)| most).collect::<Option<Vec<_>>>();
            (least.unwrap_or(0), most.and_then(|most| most.into_iter().max()))
        }
        ArgKind::Block => words_of(arg.args),
        _ => (1, Some(1)),
    };
    if arg.token.is_some() && arg.kind != ArgKind::PureToken {
        least += 1;
        most = most.map(|most| most + 1);
    }
    if arg.flags.has(ArgFlags::MULTIPLE) {
        most = None;
    }
    (if arg.is_optional() { 0 } else { least }, most)
}

#[test]
fn arity_agrees_with_the_arguments() {
    for entry in leaves().filter(|entry| !excused(LENIENT, entry)) {
        let names = 1 + usize::from(entry.container.is_some());
        let (least, most) = words_of(entry.command.args);
        let (least, most) = (names + least, most.map(|most| names + most));
        let arity = entry.command.arity;
        assert!(arity.accepts(least) && !arity.accepts(least - 1), "{entry:?}: {arity:?}");
        assert_eq!(arity.accepts(least + 1), most != Some(least), "{entry:?}: {arity:?}");
    }
}

fn all_args(args: &'static [Arg]) -> Vec<&'static Arg> {
    args.iter().flat_map(|arg| std::iter::once(arg).chain(all_args(arg.args))).collect()
}

#[test]
fn arguments_are_well_formed() {
    for entry in table().iter() {
        for arg in all_args(entry.command.args) {
            assert_eq!(arg.kind.is_group(), !arg.args.is_empty(), "{entry:?}: {}", arg.name);
            assert!(arg.kind != ArgKind::PureToken || arg.token.is_some(), "{entry:?}");
            let specs = entry.command.keys.len();
            assert!(arg.key_spec.is_none_or(|index| usize::from(index) < specs), "{entry:?}");
        }
    }
}

#[test]
fn flags_keys_and_handlers_agree() {
    for entry in table().iter() {
        let Command { flags, handler, subcommands, .. } = *entry.command;
        assert!(!(flags.has(Flags::WRITE) && flags.has(Flags::READONLY)), "{entry:?}");
        if flags.has(Flags::WRITE) && !entry.has_keys() {
            assert!(excused(KEYLESS_WRITES, entry), "{entry:?} writes, but where?");
        }
        let keys_wanted = match handler {
            Handler::Container => {
                assert!(!subcommands.is_empty(), "{entry:?} has no handler");
                assert!(!entry.command.arity.accepts(1), "{entry:?} alone cannot be handled");
                false
            }
            Handler::Shard(_) | Handler::Multi { .. } | Handler::Blocking(_) => true,
            Handler::Placed { .. } => false,
            Handler::Local(_)
            | Handler::Help(_)
            | Handler::Subscribe(_)
            | Handler::Publish(_)
            | Handler::Transaction(_)
            | Handler::Script(_)
            | Handler::Global(..) => continue,
        };
        assert_eq!(entry.has_keys(), keys_wanted, "{entry:?}");
    }
}

#[test]
fn excuses_are_for_commands_that_need_them() {
    for entry in table().iter().filter(|entry| excused(KEYLESS_WRITES, entry)) {
        assert!(entry.command.flags.has(Flags::WRITE) && !entry.has_keys(), "{entry:?}");
    }
}

#[track_caller]
fn refused(words: &[&str], expected: &str) {
    request(words, |args| match resolve(args) {
        Ok(entry) => panic!("{words:?} is {entry:?}"),
        Err(error) => assert_eq!(error.to_string(), expected),
    });
}

#[test]
fn requests_that_name_no_command_are_refused_in_the_peers_words() {
    refused(&["nope"], "ERR unknown command 'nope', with args beginning with: ");
    let expected = "ERR unknown command 'NoPe', with args beginning with: 'a' 'b c' ";
    refused(&["NoPe", "a", "b c"], expected);
    let expected = "ERR unknown command 'a  b', with args beginning with: 'c' 'd' ";
    refused(&["a\r\nb", "c\0x", "d"], expected);
    refused(&["command", "nope", "x"], "ERR unknown subcommand 'nope'. Try COMMAND HELP.");
    refused(&["CommanD", "\r\n"], "ERR unknown subcommand '  '. Try COMMAND HELP.");
}

#[test]
fn errors_quote_no_more_than_128_bytes() {
    let (name, a, b) = ("n".repeat(200), "a".repeat(100), "b".repeat(100));
    let expected = format!(
        "ERR unknown command '{}', with args beginning with: '{a}' '{}' ",
        &name[..128],
        &b[..25]
    );
    refused(&[&name, &a, &b, "c"], &expected);
}

#[test]
fn wrong_numbers_of_arguments_are_refused() {
    let of = |name| format!("ERR wrong number of arguments for '{name}' command");
    refused(&["GET"], &of("get"));
    refused(&["get", "a", "b"], &of("get"));
    refused(&["COMMAND", "COUNT", "x"], &of("command|count"));
    refused(&["COMMAND", "GETKEYS"], &of("command|getkeys"));
}

#[test]
fn a_container_may_be_a_command_too() {
    request(&["command"], |args| assert_eq!(resolve(args).unwrap().full_name, "command"));
    request(&["COMMAND", "Info"], |args| {
        assert_eq!(resolve(args).unwrap().full_name, "command|info");
    });
}

#[test]
fn full_names_name_one_subcommand_or_a_command_without() {
    for name in ["get|", "get|x", "command|info|x", "", "|", "command|"] {
        assert!(table().by_full_name(name.as_bytes()).is_none(), "{name}");
    }
}

#[test]
fn commands_are_renamed_and_taken_away() {
    let renamed = Table::new(&[("GET", "fetch"), ("set", ""), ("fetch", "get2")]).unwrap();
    let found = |name: &str| renamed.by_full_name(name.as_bytes()).map(|entry| entry.full_name);
    assert_eq!(found("get2"), Some("get"));
    assert_eq!((found("get"), found("fetch"), found("set")), (None, None, None));
    assert_eq!(renamed.commands().len(), table().commands().len() - 1);
    assert_eq!(renamed.len(), table().len());

    let unknown = Table::new(&[("nope", "x")]).err();
    assert_eq!(unknown, Some(RenameError::Unknown("nope".into())));
    let taken = Table::new(&[("get", "SET")]).err();
    assert_eq!(taken, Some(RenameError::Taken("SET".into())));
}
