//! Tests of CONFIG REWRITE.

use std::fs;

use super::*;
use crate::config::load::Source;
use crate::config::set::SetContext;

fn set(config: &Config, name: &str, value: &str) -> Config {
    let context = SetContext { protected_permitted: true, ..SetContext::default() };
    config.set(&[(name.as_bytes(), value.as_bytes())], context).unwrap().config
}

/// Reads `old`, sets `pairs`, and rewrites `old`; without the `dir` line, which is always written.
fn rewritten(old: &str, pairs: &[(&str, &str)]) -> String {
    let old = format!("dir /\n{old}");
    let mut config = Config::from_text(&old).unwrap();
    for (name, value) in pairs {
        config = set(&config, name, value);
    }
    let text = config.rewritten(old.as_bytes(), RewriteOptions::default());
    let text = String::from_utf8(text).unwrap();
    text.split_inclusive('\n').filter(|line| !line.starts_with("dir ")).collect()
}

const ALWAYS: &str = "latency-tracking-info-percentiles 50 99 99.9\n";

#[test]
fn lines_are_replaced_where_they_stand() {
    let old = format!("# head\nport 6379 # odd\n\n\n\n# about hz\nhz 10\nsave 900 1\n{ALWAYS}");
    let old = old.replace(" # odd", "");
    assert_eq!(
        rewritten(&old, &[("hz", "20"), ("save", "60 1")]),
        format!("# head\nport 6379\n\n# about hz\nhz 20\nsave 60 1\n{ALWAYS}")
    );
}

#[test]
fn what_the_file_lacks_is_appended_under_a_heading() {
    let old = format!("port 6379\nsave \"\"\n{ALWAYS}");
    let once = rewritten(&old, &[("maxmemory", "104857600"), ("requirepass", "a \"b\"")]);
    let appended = format!(
        "port 6379\nsave \"\"\n{ALWAYS}{SIGNATURE}\nrequirepass \"a \\\"b\\\"\"\nmaxmemory 100mb\n"
    );
    assert_eq!(once, appended);
    assert_eq!(rewritten(&once, &[("hz", "11")]), {
        once.replace("requirepass", "HZ").replace("HZ", "requirepass") + "hz 11\n"
    });
}

#[test]
fn older_names_and_repeated_lines_become_one() {
    let old =
        format!("hash-max-listpack-entries 20\nhash-max-ziplist-entries 21\nsave \"\"\n{ALWAYS}");
    assert_eq!(
        rewritten(&old, &[("hash-max-listpack-entries", "100")]),
        format!("hash-max-listpack-entries 100\n\nsave \"\"\n{ALWAYS}")
    );
}

#[test]
fn what_only_the_start_understands_stays() {
    let old = format!(
        "include /etc/*.none\nrename-command FLUSHALL \"\"\nuser alice on\nlua-replicate-commands \
         yes\nsave \"\"\n{ALWAYS}"
    );
    assert_eq!(rewritten(&old, &[]), old);
    let config = Config::default();
    let odd = config.rewritten(b"nosuch 1\nport 'x", RewriteOptions::default());
    assert!(odd.starts_with(b"# ??? nosuch 1\n# ??? port 'x\n"));
}

#[test]
fn users_are_replaced_when_they_are_given() {
    let users = ["default on".to_owned(), "bob off".to_owned()];
    let options = RewriteOptions { users: Some(&users), ..RewriteOptions::default() };
    let text = Config::default().rewritten(b"user alice on\n# end\n", options);
    let text = String::from_utf8(text).unwrap();
    assert!(text.starts_with("user default on\n# end\n"), "{text}");
    assert!(text.contains("\nuser bob off\n") && !text.contains("alice"), "{text}");
}

#[test]
fn a_default_that_unsets_takes_its_line_away() {
    let old = format!("requirepass secret\nbind 127.0.0.1\nsave \"\"\n{ALWAYS}");
    assert_eq!(
        rewritten(&old, &[("requirepass", ""), ("bind", "* -::*")]),
        format!("\nsave \"\"\n{ALWAYS}")
    );
    assert!(rewritten(&old, &[("bind", "")]).contains("\nbind \"\"\n"));
}

#[test]
fn every_parameter_survives_a_forced_rewrite() {
    let config =
        Config::from_text("requirepass \"a\\x00\\xff\"\nsave 1 2 3 4\nbind 127.0.0.1 ::1").unwrap();
    let options = RewriteOptions { all: true, ..RewriteOptions::default() };
    let text = config.rewritten(b"", options);
    let again = Config::load(&Source { options: text.clone(), ..Source::default() }).unwrap();
    assert_eq!(again.values, config.values);
    assert_eq!(again.rewritten(&text, options), text);
}

#[test]
fn the_file_is_replaced_in_one_step() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("kvasir.conf");
    fs::write(&path, "# mine\nport 7000\n").unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    let link = dir.path().join("link.conf");
    std::os::unix::fs::symlink(&path, &link).unwrap();
    let config = Config::load(&Source { file: Some(link.clone()), ..Source::default() }).unwrap();
    set(&config, "port", "7001").rewrite(RewriteOptions::default()).unwrap();

    let text = fs::read_to_string(&path).unwrap();
    assert!(text.starts_with("# mine\nport 7001\n"), "{text}");
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2);
}

#[test]
fn without_a_file_there_is_an_error() {
    assert_eq!(
        Config::default().rewrite(RewriteOptions::default()).unwrap_err().to_string(),
        "ERR The server is running without a config file"
    );
}

#[test]
fn sizes_in_the_largest_unit() {
    for (bytes, shown) in
        [(0, "0"), (1023, "1023"), (2048, "2kb"), (3 << 20, "3mb"), (1 << 30, "1gb")]
    {
        assert_eq!(show_memory(bytes), shown);
    }
}
