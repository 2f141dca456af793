//! The page of all commands in `docs/`, written from their definitions.

use std::fmt::Write;

use super::definition::{Arg, ArgFlags, ArgKind, Group};
use super::table::{Entry, Table, table};

/// Renders the page as Markdown: the commands by group, each with its syntax, summary, version,
/// complexity and ACL categories.
pub fn render() -> String {
    let table = table();
    let mut page = String::from(
        "# Commands\n\n\
        Written by `cargo run --example commands_page > docs/commands.md` from the definitions in \
        `src/commands`.\nVersions are the peers' (Valkey, Redis) that introduced a command.\n",
    );
    let callable = table.commands().len();
    let subcommands = table.iter().filter(|entry| entry.container.is_some()).count();
    line(&mut page, &format!("\n{callable} commands and {subcommands} subcommands."));
    let mut groups: Vec<Group> = table.commands().map(|entry| entry.command.group).collect();
    groups.sort_unstable_by_key(|group| group.wire());
    groups.dedup();
    for group in groups {
        line(&mut page, &format!("\n## {}", group.wire()));
        for entry in table.commands().filter(|entry| entry.command.group == group) {
            render_entry(&mut page, table, entry);
        }
    }
    page
}

fn line(page: &mut String, text: &str) {
    page.push_str(text);
    page.push('\n');
}

fn render_entry(page: &mut String, table: &Table, entry: &Entry) {
    let command = entry.command;
    let name = entry.full_name.replace('|', " ").to_uppercase();
    line(page, &format!("\n### {name}"));
    let subcommands = table.subcommands(entry);
    // A container is only its subcommands, unless it can be called itself.
    if subcommands.is_empty() || command.arity.accepts(1) {
        line(page, &format!("\n    {}", syntax(&name, command.args)));
    }
    line(page, &format!("\n{}", command.summary));
    if let Some(deprecation) = command.deprecated {
        let (since, replaced_by) = (deprecation.since, deprecation.replaced_by);
        line(page, &format!("Deprecated since {since}: use {replaced_by}."));
    }
    let mut facts = format!("\n- since {}", command.since);
    if !command.complexity.is_empty() {
        facts.extend(["\n- ", command.complexity]);
    }
    facts.push_str("\n- ACL:");
    for category in entry.categories.names() {
        // Writing to a string cannot fail.
        let _ = write!(facts, " `@{category}`");
    }
    line(page, &facts);
    for subcommand in subcommands {
        render_entry(page, table, subcommand);
    }
}

/// A command with its arguments, in the notation of the peers' documentation: `[optional]`,
/// `<one | of>`, `repeated [repeated ...]`.
pub fn syntax(name: &str, args: &[Arg]) -> String {
    let mut text = name.to_owned();
    for arg in args {
        text.push(' ');
        text.push_str(&argument(arg));
    }
    text
}

fn argument(arg: &Arg) -> String {
    let members = || arg.args.iter().map(argument).collect::<Vec<_>>();
    let repeats = arg.is_multiple();
    let value = match arg.kind {
        ArgKind::PureToken => String::new(),
        ArgKind::OneOf if arg.is_optional() && arg.token.is_none() && !repeats => {
            members().join(" | ")
        }
        ArgKind::OneOf => format!("<{}>", members().join(" | ")),
        ArgKind::Block => members().join(" "),
        _ => arg.display_name().to_owned(),
    };
    // The empty word, which MIGRATE has, must be seen.
    let token = arg.token.map(|token| if token.is_empty() { "\"\"" } else { token });
    let words = |parts: [Option<&str>; 2]| {
        parts.into_iter().flatten().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(" ")
    };
    let whole = words([token, Some(&value)]);
    let whole = match (repeats, arg.flags.has(ArgFlags::MULTIPLE_TOKEN)) {
        (false, _) => whole,
        (true, true) => format!("{whole} [{whole} ...]"),
        (true, false) => format!("{whole} [{value} ...]"),
    };
    if arg.is_optional() { format!("[{whole}]") } else { whole }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notation() {
        const ARGS: &[Arg] = &[
            Arg::key("key", 0).multiple(),
            Arg::one_of("when", &[Arg::token("nx", "NX"), Arg::string("v").after("IFEQ")]),
            Arg::one_of("order", &[Arg::token("asc", "ASC"), Arg::token("desc", "DESC")])
                .optional(),
            Arg::block("limit", &[Arg::integer("offset"), Arg::integer("count")])
                .after("LIMIT")
                .optional(),
            Arg::pattern("get").after("GET").display("pattern").optional().multiple_token(),
            Arg::integer("id").after("ID").optional().multiple(),
            Arg::one_of("side", &[Arg::token("a", "A"), Arg::token("b", "B")])
                .after("SIDE")
                .optional(),
        ];
        let expected = "DO key [key ...] <NX | IFEQ v> [ASC | DESC] [LIMIT offset count] \
            [GET pattern [GET pattern ...]] [ID id [id ...]] [SIDE <A | B>]";
        assert_eq!(syntax("DO", ARGS), expected);
    }

    #[test]
    fn the_committed_page_is_fresh() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/commands.md");
        let committed = std::fs::read_to_string(path).unwrap_or_default();
        let fresh = render() == committed;
        assert!(fresh, "run: cargo run --example commands_page > docs/commands.md");
    }
}
