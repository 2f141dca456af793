//! The command line.
//!
//! `kvasir-server [FILE] [--PARAMETER VALUE...]... [-]`, as with the peers: what is not one of the
//! program's few options is a configuration, and is read by [`crate::config::load`].

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use clap::Parser;

use crate::check::aof::Order;
use crate::config::load::{Source, options_from_arguments};
use crate::config::parameter::Disposition;
use crate::config::table;

/// What the program was asked to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Serve, with this configuration.
    Serve(Source),
    /// Say whether the system suits the server, and exit.
    CheckSystem,
    /// Print the parameters, and exit.
    Parameters,
    /// Say whether a dump file is whole, and exit.
    CheckRdb(PathBuf),
    /// Say whether an append-only log is whole, mend it if that is wanted, and exit.
    CheckAof(Order),
}

/// An in-memory data store for Redis and Valkey clients that uses every core of the machine.
#[derive(Parser, Debug)]
#[command(
    name = "kvasir-server",
    display_name = "Kvasir server",
    version = VERSION.as_str(),
    disable_version_flag = true,
    override_usage = "kvasir-server [FILE] [--PARAMETER VALUE...]... [-]\n       \
                      kvasir-server --check-system | --parameters | --version | --help",
    after_help = AFTER_HELP
)]
struct Arguments {
    /// Say which version this is, and exit
    #[arg(short = 'v', long, action = clap::ArgAction::Version)]
    version: Option<bool>,

    /// Say whether this system lets the server run well, and exit
    #[arg(long, exclusive = true)]
    check_system: bool,

    /// List all parameters with their defaults, and exit
    #[arg(long, exclusive = true)]
    parameters: bool,

    /// A configuration file in the syntax of redis.conf, then any parameters; `-` as the first or
    /// the last argument reads standard input as well
    #[arg(value_name = "FILE | --PARAMETER VALUE", allow_hyphen_values = true,
          trailing_var_arg = true, num_args = 0..)]
    configuration: Vec<OsString>,
}

/// Tells whether a dump file is whole, and what is in it
#[derive(Parser, Debug)]
#[command(
    name = "kvasir-check-rdb",
    display_name = "Kvasir dump file check",
    version = VERSION.as_str(),
    disable_version_flag = true
)]
struct CheckRdbArguments {
    /// Say which version this is, and exit
    #[arg(short = 'v', long, action = clap::ArgAction::Version)]
    version: Option<bool>,

    /// The file
    #[arg(value_name = "rdb-file-name")]
    file: PathBuf,
}

/// Tells whether an append-only log is whole, and can cut off what is not
#[derive(Parser, Debug)]
#[command(
    name = "kvasir-check-aof",
    display_name = "Kvasir append-only log check",
    version = VERSION.as_str(),
    disable_version_flag = true
)]
struct CheckAofArguments {
    /// Say which version this is, and exit
    #[arg(short = 'v', long, action = clap::ArgAction::Version)]
    version: Option<bool>,

    /// Cut off what is not whole, after asking
    #[arg(long)]
    fix: bool,

    /// Cut off what is later than this Unix second
    #[arg(long, value_name = "timestamp", conflicts_with = "fix")]
    truncate_to_timestamp: Option<i64>,

    /// The log's manifest, or a file of it
    #[arg(value_name = "file.manifest|file.aof")]
    file: PathBuf,
}

static VERSION: LazyLock<String> = LazyLock::new(version_text);

const AFTER_HELP: &str = "\
Parameters often given:
  --port N              TCP port (6379); 0 for none
  --bind ADDRESS...     addresses to listen on (all)
  --unixsocket PATH     a unix socket to listen on as well
  --shards N            shards, each with a core of its own (0: all cores this process may use)
  --requirepass TEXT    password of the default user
  --maxmemory BYTES     memory limit, such as 4gb
  --save \"SEC CHANGES\"  when to write a snapshot; --save \"\" for never
  --dir PATH            working directory
  --logfile PATH        log file (standard output)
  --loglevel LEVEL      debug, verbose, notice, warning or nothing
  --log-format FORMAT   peer or json

Examples:
  kvasir-server
  kvasir-server /etc/kvasir/kvasir.conf
  kvasir-server /etc/kvasir/kvasir.conf --port 7000 --loglevel verbose
  kvasir-server --port 7000 --shards 4 --save \"\"
  echo 'maxmemory 128mb' | kvasir-server -

All parameters of Redis and Valkey are accepted; --parameters lists them.";

/// Reads the command line. The name of the program, which is the first argument, may be that of one
/// of the peers' tools.
///
/// The error is clap's: what to print, where (`--help` and `--version` go to standard output), and
/// the exit code; see [`clap::Error::exit`].
pub fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Command, clap::Error> {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    if is_named(&arguments, "check-rdb") {
        let CheckRdbArguments { version: _, file } = CheckRdbArguments::try_parse_from(arguments)?;
        return Ok(Command::CheckRdb(file));
    }
    if is_named(&arguments, "check-aof") {
        let arguments = CheckAofArguments::try_parse_from(arguments)?;
        let CheckAofArguments { version: _, fix, truncate_to_timestamp, file } = arguments;
        return Ok(Command::CheckAof(Order { file, fixes: fix, until_s: truncate_to_timestamp }));
    }
    let Arguments { version: _, check_system, parameters, configuration } =
        Arguments::try_parse_from(arguments)?;
    Ok(if check_system {
        Command::CheckSystem
    } else if parameters {
        Command::Parameters
    } else {
        Command::Serve(source(configuration))
    })
}

/// Whether the program was started as `kvasir-TOOL`, or under a peer's name in its place.
fn is_named(arguments: &[OsString], tool: &str) -> bool {
    let name = arguments.first().and_then(|program| Path::new(program).file_name());
    let name = name.map(OsStr::to_string_lossy);
    name.is_some_and(|name| name.strip_suffix(tool).is_some_and(|rest| rest.ends_with('-')))
}

/// The first argument is a file unless it starts with a dash; a dash alone, first or last, is
/// standard input.
fn source(arguments: Vec<OsString>) -> Source {
    let mut arguments = arguments.into_iter().peekable();
    let file = arguments.next_if(|first| !first.as_bytes().starts_with(b"-"));
    let mut rest: Vec<Vec<u8>> = arguments.map(OsStringExt::into_vec).collect();
    let dash = Some(&b"-"[..]);
    let mut stdin = false;
    if file.is_none() && rest.first().map(Vec::as_slice) == dash {
        rest.remove(0);
        stdin = true;
    }
    if rest.last().map(Vec::as_slice) == dash {
        rest.pop();
        stdin = true;
    }
    Source { file: file.map(Into::into), stdin, options: options_from_arguments(&rest) }
}

/// The commit that the program was built from, eight hexadecimal digits; zeros when unknown.
pub const COMMIT: &str = match option_env!("KVASIR_GIT_SHA") {
    Some(commit) => commit,
    None => "00000000",
};
/// `1` when files differed from [`COMMIT`].
pub const COMMIT_DIRTY: &str = match option_env!("KVASIR_GIT_DIRTY") {
    Some(dirty) => dirty,
    None => "0",
};
/// Hexadecimal digits that differ between builds of different sources; `0` for development builds.
pub const BUILD_ID: &str = match option_env!("KVASIR_BUILD_ID") {
    Some(build) => build,
    None => "0",
};

/// What was built, in the peers' form: version, commit, allocator, word size, build.
pub fn version_text() -> String {
    format!(
        "v={} sha={COMMIT}:{COMMIT_DIRTY} malloc=jemalloc bits={} build={BUILD_ID}",
        env!("CARGO_PKG_VERSION"),
        usize::BITS
    )
}

/// The parameters as a table for people: name, default, purpose, and what is not there yet.
pub fn parameters_text() -> String {
    let rows = table::rows().iter().filter(|row| !row.is_hidden()).map(|row| {
        let note = match row.disposition {
            Disposition::Works => String::new(),
            Disposition::Later(what) => format!(" [later: {what}]"),
            Disposition::Ignored => " [ignored]".into(),
        };
        format!("{:<42} {:<24} {}{note}\n", row.name, quoted(row.default), row.summary)
    });
    rows.collect()
}

fn quoted(default: &str) -> String {
    if default.is_empty() { "\"\"".into() } else { default.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse_words(words: &[&str]) -> Result<Command, clap::Error> {
        let program = std::iter::once("kvasir-server");
        parse(program.chain(words.iter().copied()).map(OsString::from))
    }

    fn check(words: &[&str], file: Option<&str>, stdin: bool, options: &str) {
        let source = Source { file: file.map(Into::into), stdin, options: options.into() };
        assert_eq!(parse_words(words).unwrap(), Command::Serve(source), "{words:?}");
    }

    #[test]
    fn files_standard_input_and_parameters() {
        check(&[], None, false, "");
        check(&["a.conf"], Some("a.conf"), false, "");
        check(&["-"], None, true, "");
        check(&["a.conf", "-"], Some("a.conf"), true, "");
        check(&["--port", "7000", "-"], None, true, "port \"7000\" ");
        check(&["--port", "7000"], None, false, "port \"7000\" ");
        check(&["--shards", "2", "--port", "1"], None, false, "shards \"2\" \nport \"1\" ");
        check(&["a.conf", "--save", ""], Some("a.conf"), false, "save \"\" ");
        check(
            &["--save", "--loglevel", "verbose"],
            None,
            false,
            "save \"\"\nloglevel \"verbose\" ",
        );
        check(&["a.conf", "loglevel", "debug"], Some("a.conf"), false, "\"loglevel\" \"debug\" ");
        check(&["--port", "--help"], None, false, "port \"--help\" ");
        check(&["--invalid"], None, false, "invalid ");
        check(&["--maxmemory 700mb"], None, false, "maxmemory 700mb ");
        check(&["--list-max-listpack-size", "-2"], None, false, "list-max-listpack-size \"-2\" ");
    }

    #[test]
    fn the_programs_own_options() {
        assert_eq!(parse_words(&["--check-system"]).unwrap(), Command::CheckSystem);
        assert_eq!(parse_words(&["--parameters"]).unwrap(), Command::Parameters);
        for option in ["--version", "-v"] {
            let text = parse_words(&[option]).unwrap_err().to_string();
            assert_eq!(text, format!("Kvasir server {}\n", version_text()));
        }
        for option in ["--help", "-h"] {
            let help = parse_words(&[option]).unwrap_err();
            assert_eq!(help.exit_code(), 0);
            let text = help.to_string();
            assert!(text.contains("--shards N") && text.contains("Examples:"), "{text}");
        }
    }

    #[test]
    fn the_name_of_the_program_tells_the_tool() {
        let parse = |words: &[&str]| parse(words.iter().copied().map(OsString::from));
        for name in ["kvasir-check-rdb", "/usr/bin/valkey-check-rdb", "./redis-check-rdb"] {
            let command = parse(&[name, "dump.rdb"]).unwrap();
            assert_eq!(command, Command::CheckRdb("dump.rdb".into()));
            assert_eq!(parse(&[name]).unwrap_err().exit_code(), 2);
            assert_eq!(parse(&[name, "--version"]).unwrap_err().exit_code(), 0);
        }
        let order =
            |fixes, until_s| Command::CheckAof(Order { file: "a.manifest".into(), fixes, until_s });
        let tool =
            |words: &[&str]| parse(&[&["x/valkey-check-aof"], words, &["a.manifest"]].concat());
        assert_eq!(tool(&[]).unwrap(), order(false, None));
        assert_eq!(tool(&["--fix"]).unwrap(), order(true, None));
        assert_eq!(tool(&["--truncate-to-timestamp", "7"]).unwrap(), order(false, Some(7)));
        assert_eq!(tool(&["--truncate-to-timestamp", "x"]).unwrap_err().exit_code(), 2);
        assert!(matches!(parse(&["my-server", "a.conf"]).unwrap(), Command::Serve(_)));
    }

    #[test]
    fn every_parameter_is_listed() {
        let text = parameters_text();
        for row in table::rows().iter().filter(|row| !row.is_hidden()) {
            assert!(text.lines().any(|line| line.starts_with(row.name)), "{}", row.name);
        }
    }
}
