//! Tests of reading configurations; the texts are those that Valkey 8.1 writes.

use std::fs;

use super::*;

fn arguments(words: &[&str]) -> String {
    let words: Vec<Vec<u8>> = words.iter().map(|word| word.as_bytes().to_vec()).collect();
    String::from_utf8(options_from_arguments(&words)).unwrap()
}

fn from_arguments(words: &[&str]) -> Result<Config, LoadError> {
    Config::from_text(&arguments(words))
}

fn shown(config: &Config, name: &str) -> String {
    String::from_utf8(config.get(&[name.as_bytes()])[0].1.clone()).unwrap()
}

/// Checks the line that is shown and the reason.
fn refused(words: &[&str], line: &str, reason: &str) {
    let text = from_arguments(words).unwrap_err().to_string();
    let version = env!("CARGO_PKG_VERSION");
    let expected = format!(
        "\n*** FATAL CONFIG FILE ERROR (Version {version}) ***\n\
         Reading the configuration file, at line "
    );
    assert!(text.starts_with(&expected), "{text}");
    assert!(text.contains(&format!("\n>>> '{line}'\n{reason}")), "{text}");
}

#[test]
fn arguments_become_lines() {
    for (words, lines) in [
        (&["--port", "7000"][..], "port \"7000\" "),
        (&["--save", "60", "1", "--port", "7000"], "save \"60\" \"1\" \nport \"7000\" "),
        (&["--save", "--port", "7000"], "save \"\"\nport \"7000\" "),
        (&["--port", "7000", "--save"], "port \"7000\" \nsave \"\""),
        (&["--port 7000", "--maxmemory '1mb'"], "port 7000 \nmaxmemory '1mb' "),
        (&["--proc-title-template", "--save", "--save", ""], {
            "proc-title-template \"--save\" \nsave \"\" "
        }),
        (&["loglevel", "verbose"], "\"loglevel\" \"verbose\" "),
        (&["--port=7000", "--hz", "20"], "port \"7000\"\nhz \"20\" "),
        (&["--nosuch=1"], "nosuch=1 "),
    ] {
        assert_eq!(arguments(words), lines);
    }
}

#[test]
fn wrong_arguments_have_the_peers_texts() {
    refused(&["--invalid"], "invalid", "Bad directive or wrong number of arguments");
    refused(&["--port"], "port", "wrong number of arguments");
    refused(&["--port", "6380", "--loglevel"], "loglevel", "wrong number of arguments");
    refused(&["--port", "6379", "6380"], r#"port "6379" "6380""#, "wrong number of arguments");
    refused(
        &["--port", "--loglevel", "verbose"],
        r#"port "--loglevel" "verbose""#,
        "wrong number of arguments",
    );
    refused(
        &["--port", "--bla", "--loglevel", "verbose"],
        r#"port "--bla""#,
        "argument couldn't be parsed into an integer",
    );
    refused(
        &["--logfile", "--my--log--file", "--loglevel", "--bla"],
        r#"loglevel "--bla""#,
        "argument(s) must be one of the following: debug, verbose, notice, warning, nothing",
    );
    refused(
        &["--shutdown-on-sigint"],
        "shutdown-on-sigint",
        "argument(s) must be one of the following: default, save, nosave, now, force",
    );
    refused(
        &["--replicaof", "127.0.0.1", "abc"],
        r#"replicaof "127.0.0.1" "abc""#,
        "Invalid primary port",
    );
    refused(
        &["--replicaof", "--127.0.0.1", "--abc"],
        r#"replicaof "--127.0.0.1""#,
        "wrong number of arguments",
    );
    refused(&["--logfile", "a\"b", "--port 'x"], "port 'x", {
        "Unbalanced quotes in configuration line"
    });
}

#[test]
fn a_misspelt_name_is_met_with_the_nearest() {
    refused(
        &["--maxmemry", "1gb"],
        r#"maxmemry "1gb""#,
        "Bad directive or wrong number of arguments (did you mean 'maxmemory'?)",
    );
    refused(
        &["--tcp_backlog", "1"],
        r#"tcp_backlog "1""#,
        "Bad directive or wrong number of arguments (did you mean 'tcp-backlog'?)",
    );
}

#[test]
fn several_words_may_be_one_argument() {
    let words =
        ["--shutdown-on-sigint", "nosave", "force", "now", "--shutdown-on-sigterm", "nosave force"];
    let config = from_arguments(&words).unwrap();
    assert_eq!(shown(&config, "shutdown-on-sigint"), "nosave now force");
    assert_eq!(shown(&config, "shutdown-on-sigterm"), "nosave force");
}

#[test]
fn save_lines_add_up_after_the_first() {
    let check = |text, expected| {
        assert_eq!(shown(&Config::from_text(text).unwrap(), "save"), expected);
    };
    check("", "3600 1 300 100 60 10000");
    check("save 100 100", "100 100");
    check("save 900 1\nsave 100 100", "900 1 100 100");
    check("save 900 1\nsave \"\"", "");
    check("save \"\"\nsave \"100 100\"", "100 100");
}

#[test]
fn comments_blank_lines_and_case() {
    let config = Config::from_text("# port 1\n\n  \t\n PORT 7000 \r\nLogLevel WARNING").unwrap();
    assert_eq!(config.network.port, 7000);
    assert_eq!(shown(&config, "loglevel"), "warning");
}

#[test]
fn directives_are_kept_for_their_readers() {
    let text = "rename-command FLUSHALL \"\"\nuser alice on +@all\nloadmodule x.so a b\n\
                list-max-ziplist-entries 3";
    let config = Config::from_text(text).unwrap();
    let [rename, user, module] = config.directives() else { panic!("three directives") };
    assert_eq!(rename.kind, DirectiveKind::RenameCommand);
    assert_eq!(rename.words, [b"FLUSHALL".to_vec(), Vec::new()]);
    assert_eq!(user.kind, DirectiveKind::User);
    assert_eq!(user.words.len(), 3);
    assert_eq!(module.kind, DirectiveKind::LoadModule);
    let error = rename.error("No such command in rename-command").to_string();
    assert!(error.ends_with(
        "at line 2\n>>> 'rename-command FLUSHALL \"\"'\nNo such command in rename-command"
    ));
}

#[test]
fn conditions_between_parameters() {
    let error = Config::from_text("cluster-enabled yes\nreplicaof a 1").unwrap_err();
    assert!(error.to_string().ends_with("\nreplicaof directive not allowed in cluster mode"));
    let error = Config::from_text("logfile /nonexistent/directory/log").unwrap_err();
    assert!(error.to_string().ends_with("\nCan't open the log file: No such file or directory"));
}

#[test]
fn a_missing_file_is_one_line() {
    let source = Source { file: Some("/nonexistent/file".into()), ..Source::default() };
    assert_eq!(
        Config::load(&source).unwrap_err().to_string(),
        "Fatal error, can't open config file '/nonexistent/file': No such file or directory"
    );
}

#[test]
fn includes_nest_and_match_patterns() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    fs::create_dir(at("conf.d")).unwrap();
    fs::write(at("conf.d/1.conf"), "port 7001\nhz 11").unwrap();
    fs::write(at("conf.d/2.conf"), "hz 12\ninclude ../inner").unwrap();
    fs::write(at("inner"), "timeout 5").unwrap();
    let main = format!(
        "dir {}\nport 1\ninclude conf.d/*.conf\ninclude none.d/*\ntcp-keepalive 9",
        dir.path().display()
    );
    fs::write(at("conf.d/main.conf"), main).unwrap();
    // The inner file's relative path starts from `dir` too, so it is named from there.
    fs::write(at("conf.d/2.conf"), "hz 12\ninclude inner").unwrap();
    let source = Source { file: Some(at("conf.d/main.conf")), ..Source::default() };
    let config = Config::load(&source).unwrap();
    assert_eq!((config.network.port, config.process.hz), (7001, 12));
    assert_eq!((config.network.idle_timeout_s, config.network.tcp_keepalive_s), (5, 9));
    assert_eq!(config.file(), Some(at("conf.d/main.conf").as_path()));
}

#[test]
fn an_include_of_itself_ends() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    fs::write(at("a"), format!("hz 20\ninclude {}", at("b").display())).unwrap();
    fs::write(at("b"), format!("port 7000\ninclude {}", at("a").display())).unwrap();
    let source = Source { file: Some(at("a")), ..Source::default() };
    let text = Config::load(&source).unwrap_err().to_string();
    assert!(text.contains(&format!("Reading the included file {}", at("b").display())), "{text}");
    assert!(text.ends_with("includes itself"), "{text}");

    fs::write(at("b"), format!("port 7000\ninclude {}/*", dir.path().display())).unwrap();
    assert_eq!(Config::load(&source).unwrap().network.port, 7000);
}

#[test]
fn an_error_in_an_included_file_names_it() {
    let dir = tempfile::tempdir().unwrap();
    let inner = dir.path().join("inner");
    fs::write(&inner, "# comment\nport x").unwrap();
    let text = Config::from_text(&format!("include {}", inner.display())).unwrap_err().to_string();
    assert!(text.contains(&format!("Reading the included file {}, at line 2", inner.display())));
}

#[test]
fn options_override_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    fs::write(&file, "port 7000\nhz 20").unwrap();
    let source = Source { file: Some(file), options: b"port 8000".to_vec(), stdin: false };
    let config = Config::load(&source).unwrap();
    assert_eq!((config.network.port, config.process.hz), (8000, 20));
}

#[test]
fn directories_are_absolute_and_relative_to_the_last() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("inner")).unwrap();
    let text = format!("dir {}\ndir ./inner\ndir ./", dir.path().display());
    let config = Config::from_text(&text).unwrap();
    assert_eq!(config.process.directory, dir.path().join("inner").canonicalize().unwrap());
    let error = Config::from_text("dir /nonexistent/directory").unwrap_err().to_string();
    assert!(error.ends_with("\nNo such file or directory"), "{error}");
}
