//! `COMMAND LIST`: the names of commands and subcommands.

use kvasir_proto::{Args, Encoder};

use crate::commands::context::LocalContext;
use crate::commands::definition::{Arg, Arity, Categories, Command, Flags, Group, Handler};
use crate::commands::table::{Entry, table};
use crate::errors::CommandError;
use crate::glob::matches_any_case;

pub(super) const COMMAND_LIST: Command = Command {
    name: "list",
    summary: "Returns a list of command names.",
    complexity: "O(N) where N is the total number of commands",
    since: "7.0.0",
    group: Group::Server,
    arity: Arity::at_least(2),
    flags: Flags::LOADING.or(Flags::STALE),
    acl: Categories::CONNECTION,
    tips: &["nondeterministic_output_order"],
    args: &[Arg::one_of(
        "filterby",
        &[
            Arg::string("module-name").after("MODULE"),
            Arg::string("category").after("ACLCAT"),
            Arg::pattern("pattern").after("PATTERN"),
        ],
    )
    .after("FILTERBY")
    .optional()],
    handler: Handler::Local(list),
    ..Command::BASE
};

fn list(
    _: &mut LocalContext<'_>,
    args: Args<'_>,
    reply: &mut Encoder<'_>,
) -> Result<(), CommandError> {
    let filter = Filter::parse(args.tail(2))?;
    let callable = table().commands();
    let with_subcommands =
        callable.flat_map(|entry| std::iter::once(entry).chain(table().subcommands(entry)));
    let deferred = reply.defer_array();
    let mut listed = 0;
    for entry in with_subcommands.filter(|entry| filter.admits(entry)) {
        reply.bulk(entry.full_name.as_bytes());
        listed += 1;
    }
    reply.finish(deferred, listed);
    Ok(())
}

/// Which names are listed.
enum Filter<'a> {
    All,
    /// Nothing: of a module, as none is loaded, or of a category that does not exist.
    Nothing,
    Category(Categories),
    Pattern(&'a [u8]),
}

impl<'a> Filter<'a> {
    fn parse(options: Args<'a>) -> Result<Self, CommandError> {
        if options.is_empty() {
            return Ok(Self::All);
        }
        if options.len() != 3 || !options.at(0).eq_ignore_ascii_case(b"filterby") {
            return Err(CommandError::Syntax);
        }
        let (kind, argument) = (options.at(1).to_ascii_lowercase(), options.at(2));
        match kind.as_slice() {
            b"module" => Ok(Self::Nothing),
            b"aclcat" => Ok(Categories::by_name(argument).map_or(Self::Nothing, Self::Category)),
            b"pattern" => Ok(Self::Pattern(argument)),
            _ => Err(CommandError::Syntax),
        }
    }

    fn admits(&self, entry: &Entry) -> bool {
        match self {
            Self::All => true,
            Self::Nothing => false,
            Self::Category(category) => entry.categories.has(*category),
            Self::Pattern(pattern) => matches_any_case(pattern, entry.full_name.as_bytes()),
        }
    }
}
