//! Every command by name and by id, with what follows from its definition.

use std::fmt;
use std::sync::OnceLock;

use kvasir_proto::Args;

use super::FAMILIES;
use super::definition::{BeginSearch, Categories, Command, FindKeys, Flags, Handler};
use super::keys::Layout;
use super::names::Names;
use crate::errors::CommandError;

/// The number of a command or subcommand: dense from 0, the same as long as the process runs.
/// Statistics and ACL rules are arrays by it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct CommandId(u16);

impl CommandId {
    /// The lowest.
    pub(super) const FIRST: Self = Self(0);

    /// The id of this number.
    #[cfg(test)]
    pub(super) const fn at(index: u16) -> Self {
        Self(index)
    }

    /// As the index of an array of [`Table::len`] elements.
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

impl From<CommandId> for usize {
    fn from(id: CommandId) -> Self {
        id.index()
    }
}

/// A command or subcommand in the table: its definition, and what is derived from it once.
pub struct Entry {
    /// Its number.
    pub id: CommandId,
    /// Its definition.
    pub command: &'static Command,
    /// Lower case, a subcommand's after its container's: `client|list`.
    pub full_name: &'static str,
    /// Its ACL categories.
    pub categories: Categories,
    /// The argument that is its first key, where that does not depend on the others.
    pub first_key: Option<usize>,
    /// First key, last key and step, as clients knew them before key specifications.
    pub key_range: KeyRange,
    pub(super) layout: Layout,
    /// The container, for a subcommand.
    pub container: Option<CommandId>,
    subcommands: Option<Names>,
}

impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.full_name)
    }
}

impl Entry {
    /// Whether it has to wait until the data set has been loaded.
    pub fn needs_data(&self) -> bool {
        !self.command.flags.has(Flags::LOADING)
    }

    /// Whether it is one of `CLIENT`'s subcommands.
    pub fn is_about_clients(&self) -> bool {
        self.full_name.starts_with("client|")
    }

    /// Whether a client may use it that waits for messages and cannot tell them from replies.
    pub fn is_about_subscriptions(&self) -> bool {
        matches!(self.command.handler, Handler::Subscribe(_))
            || matches!(self.full_name, "ping" | "quit" | "reset")
    }
}

/// The keys of a command as one range of arguments; all zero if they cannot be told so.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct KeyRange {
    /// The first key.
    pub first: i32,
    /// The last key; from the end when negative.
    pub last: i32,
    /// From key to key.
    pub step: i32,
}

impl KeyRange {
    /// Joins the specifications that follow each other without a gap, as the peers do.
    fn of(command: &Command) -> Self {
        let mut joined = Self::default();
        let single = command.keys.len() == 1;
        for spec in command.keys {
            let (BeginSearch::Index(first), FindKeys::Range { last, step, .. }) =
                (spec.begin, spec.find)
            else {
                continue;
            };
            let gap = joined.last != 0 && joined.last != first - 1;
            if !single && (step != 1 || gap) {
                continue;
            }
            let last = if last >= 0 { first + last } else { last };
            let first = if joined.first == 0 { first } else { joined.first.min(first) };
            // As unsigned numbers, those counted from the end are beyond all others.
            let last = (last as u32).max(joined.last as u32) as i32;
            joined = Self { first, last, step };
        }
        joined
    }
}

/// Every command and subcommand.
pub struct Table {
    entries: Vec<Entry>,
    names: Names,
    /// What can be called, in the order of ids: renaming can take commands away.
    callable: Vec<CommandId>,
}

/// Why commands cannot be renamed as the configuration wants.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum RenameError {
    /// There is no command of the old name.
    Unknown(String),
    /// A command of the new name exists already.
    Taken(String),
}

impl fmt::Display for RenameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown(name) => write!(f, "no such command in rename-command: '{name}'"),
            Self::Taken(name) => write!(f, "rename-command: a command named '{name}' exists"),
        }
    }
}

impl std::error::Error for RenameError {}

static TABLE: OnceLock<Table> = OnceLock::new();

/// The commands of this process.
#[inline]
pub fn table() -> &'static Table {
    TABLE.get_or_init(|| Table::new(&[]).expect("invariant: nothing is renamed"))
}

/// Builds the table with commands renamed (or, to an empty name, taken away), in the given order.
/// To be called once, before anything has asked for the table.
pub fn rename(renames: &[(&str, &str)]) -> Result<(), RenameError> {
    let built = Table::new(renames)?;
    assert!(TABLE.set(built).is_ok(), "commands are renamed before the first one is looked up");
    Ok(())
}

/// The command that a request names, with the peers' errors for one that does not exist or has the
/// wrong number of arguments. `args` has at least one argument.
#[inline]
pub fn resolve(args: Args<'_>) -> Result<&'static Entry, CommandError> {
    let Some(entry) = table().find(args) else { return Err(unknown(args)) };
    if entry.command.arity.accepts(args.len()) { Ok(entry) } else { Err(wrong_arity(entry)) }
}

impl Table {
    pub(super) fn new(renames: &[(&str, &str)]) -> Result<Self, RenameError> {
        let mut entries = Vec::new();
        let mut names: Vec<(&'static str, CommandId)> = Vec::new();
        let mut all: Vec<_> = FAMILIES.iter().flat_map(|family| family.commands).collect();
        all.sort_by_key(|command| command.name);
        for command in all {
            names.push((command.name, add(&mut entries, command)));
        }
        for &(old, new) in renames {
            let Some(at) = names.iter().position(|(name, _)| name.eq_ignore_ascii_case(old)) else {
                return Err(RenameError::Unknown(old.into()));
            };
            let (_, id) = names.remove(at);
            if names.iter().any(|(name, _)| name.eq_ignore_ascii_case(new)) {
                return Err(RenameError::Taken(new.into()));
            }
            if !new.is_empty() {
                names.push((String::leak(new.to_owned()), id));
            }
        }
        let mut callable: Vec<_> = names.iter().map(|(_, id)| *id).collect();
        callable.sort_unstable();
        Ok(Self { entries, names: Names::new(&names), callable })
    }

    /// How many commands and subcommands there are.
    #[expect(clippy::len_without_is_empty, reason = "it is never empty")]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// The command of this id.
    #[inline]
    pub fn entry(&self, id: CommandId) -> &Entry {
        &self.entries[id.index()]
    }

    /// Every command by name, each followed by its subcommands, by name.
    pub fn iter(&self) -> impl Iterator<Item = &Entry> + Clone {
        self.entries.iter()
    }

    /// Every command that can be called, by its name in the definition, without subcommands.
    pub fn commands(&self) -> impl ExactSizeIterator<Item = &Entry> {
        self.callable.iter().map(|id| self.entry(*id))
    }

    /// The subcommands of a container, by name.
    pub fn subcommands(&self, container: &Entry) -> &[Entry] {
        let first = container.id.index() + 1;
        &self.entries[first..first + container.command.subcommands.len()]
    }

    /// The command that the first argument names, or the subcommand that the second does.
    /// A container without a subcommand is found as itself.
    #[inline]
    pub fn find(&self, args: Args<'_>) -> Option<&Entry> {
        let entry = self.entry(self.names.find(args.get(0)?)?);
        if let (Some(names), Some(name)) = (&entry.subcommands, args.get(1)) {
            return self.find_subcommand(names, name);
        }
        Some(entry)
    }

    #[inline(never)]
    fn find_subcommand(&self, names: &Names, name: &[u8]) -> Option<&Entry> {
        Some(self.entry(names.find(name)?))
    }

    /// The command of a full name: `get`, or `client|list`.
    pub fn by_full_name(&self, name: &[u8]) -> Option<&Entry> {
        let mut parts = name.split(|&byte| byte == b'|');
        let entry = self.entry(self.names.find(parts.next()?)?);
        match (parts.next(), parts.next()) {
            (None, _) => Some(entry),
            (Some(name), None) => Some(self.entry(entry.subcommands.as_ref()?.find(name)?)),
            _ => None,
        }
    }
}

/// Adds a command and its subcommands.
fn add(entries: &mut Vec<Entry>, command: &'static Command) -> CommandId {
    let id = push(entries, command, None);
    let mut names = Vec::new();
    for &subcommand in command.subcommands {
        names.push((subcommand.name, push(entries, subcommand, Some(id))));
    }
    if !names.is_empty() {
        entries[id.index()].subcommands = Some(Names::new(&names));
    }
    id
}

fn push(
    entries: &mut Vec<Entry>,
    command: &'static Command,
    container: Option<CommandId>,
) -> CommandId {
    let id = CommandId(entries.len() as u16);
    let full_name = match container {
        None => command.name,
        Some(id) => String::leak(format!("{}|{}", entries[id.index()].command.name, command.name)),
    };
    let layout = Layout::of(command);
    entries.push(Entry {
        id,
        command,
        full_name,
        categories: command.categories(),
        first_key: layout.first_key(),
        key_range: KeyRange::of(command),
        layout,
        container,
        subcommands: None,
    });
    id
}

/// A command that is in no family, for tests of what runs commands. It is counted as the first one.
#[cfg(test)]
pub(crate) fn entry_of_test(command: &'static Command) -> &'static Entry {
    let mut entries = Vec::new();
    push(&mut entries, command, None);
    &Vec::leak(entries)[0]
}

/// As much of an argument as an error quotes.
const QUOTED_BYTES: usize = 128;

#[cold]
fn unknown(args: Args<'_>) -> CommandError {
    let container = table().names.find(args.at(0)).map(|id| table().entry(id));
    if let (Some(container), Some(name)) = (container, args.get(1)) {
        debug_assert!(container.subcommands.is_some(), "only subcommands can be missing");
        return CommandError::UnknownSubcommand {
            subcommand: quoted(name, QUOTED_BYTES),
            command: args.at(0).to_ascii_uppercase(),
        };
    }
    let mut arguments = Vec::new();
    for argument in args.tail(1).iter() {
        if arguments.len() >= QUOTED_BYTES {
            break;
        }
        let text = quoted(argument, QUOTED_BYTES - arguments.len());
        arguments.extend([b"'", &text[..], b"' "].concat());
    }
    CommandError::UnknownCommand { name: quoted(args.at(0), QUOTED_BYTES), arguments }
}

/// The beginning of an argument for an error: up to a zero byte, as the peers' C strings end there,
/// on one line.
fn quoted(argument: &[u8], most: usize) -> Vec<u8> {
    let end = argument.iter().position(|&byte| byte == 0).unwrap_or(argument.len()).min(most);
    let one_line = |&byte: &u8| if matches!(byte, b'\r' | b'\n') { b' ' } else { byte };
    argument[..end].iter().map(one_line).collect()
}

#[cold]
fn wrong_arity(entry: &Entry) -> CommandError {
    CommandError::WrongArity(entry.full_name.to_owned())
}
