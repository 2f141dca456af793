//! `kvasir-check-aof` beside `valkey-check-aof`.

use std::fs;
use std::io::Write;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use kvasir_testing::{Program, Server, peers};
use tempfile::TempDir;

use super::{DIRECTORY, MANIFEST, commands, copy_of_log, log_of, log_of_commands};

/// Whether it succeeded, and what it printed, but for what the dump file in a log is told to hold
/// and for where in a file a mistake was noticed.
type Said = (bool, Vec<String>);

fn run(program: &Path, args: &[&str], file: &Path, answer: &str) -> Said {
    let child = Command::new(program)
        .args(args)
        .arg(file)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn();
    let mut child = child.expect("the program runs");
    let mut input = child.stdin.take().expect("it has been asked for");
    // It may have no question.
    let _ = input.write_all(answer.as_bytes());
    drop(input);
    let output = child.wait_with_output().expect("the program ends");
    let text = String::from_utf8(output.stdout).expect("what is printed is text");
    let of_dump = |line: &&str| !line.starts_with('[') && !line.starts_with("0x");
    (output.status.success(), text.lines().filter(of_dump).map(str::to_owned).collect())
}

/// Both tools on copies of the same log: what they say and leave is the same.
fn assert_same(make: impl Fn() -> TempDir, file: &str, args: &[&str], answer: &str) -> Said {
    let (ours, theirs) = (make(), make());
    let tool = tool(ours.path());
    let (own, other) =
        (ours.path().join(DIRECTORY).join(file), theirs.path().join(DIRECTORY).join(file));
    let shown = |said: Said, dir: &TempDir| {
        let dir = dir.path().to_str().expect("a plain name").to_owned();
        let said_lines = said
            .1
            .iter()
            .map(|line| line.replace(&dir, "DIR").replace("valkey-check-aof", "kvasir-check-aof"));
        (said.0, said_lines.collect::<Vec<_>>())
    };
    let said = shown(run(&tool, args, &own, answer), &ours);
    let expected = run(&peers::program("valkey-check-aof"), args, &other, answer);
    assert_eq!(said, shown(expected, &theirs), "{file} {args:?}");
    for entry in fs::read_dir(theirs.path().join(DIRECTORY)).expect("the log") {
        let entry = entry.expect("a file");
        let own = fs::read(ours.path().join(DIRECTORY).join(entry.file_name()));
        assert_eq!(own.expect("the same file"), fs::read(entry.path()).expect("a file"));
    }
    said
}

fn tool(dir: &Path) -> PathBuf {
    let link = dir.join("kvasir-check-aof");
    symlink(Program::Kvasir.path(), &link).expect("a link to the program");
    link
}

#[test]
fn whole_logs_are_told_as_valkey_tells_them() {
    let args = ["--appendonly", "yes", "--aof-timestamp-enabled", "yes"];
    let peer = Server::builder(Program::Valkey).args(&args).start();
    let mut client = peer.client();
    client.run("SET a 1");
    client.run("MULTI");
    client.run("INCR a");
    client.run("EXEC");
    let said = assert_same(|| copy_of_log(peer.dir()), MANIFEST, &[], "");
    assert!(said.0, "{said:?}");
    let incr = "appendonly.aof.1.incr.aof";
    assert!(assert_same(|| copy_of_log(peer.dir()), incr, &[], "").0);
    let base = "appendonly.aof.1.base.rdb";
    assert!(assert_same(|| copy_of_log(peer.dir()), base, &[], "").0);
}

#[test]
fn damage_is_told_and_mended_as_valkey_does_it() {
    let good = commands(&["SET a 1", "SELECT 1"]);
    let bad = [
        good[..15].to_vec(),
        [&good[..], b"hello"].concat(),
        [&good[..], b"*1\r\n$4\r\nPINGxx"].concat(),
        [&good[..], &commands(&["MULTI", "SET a 1"])].concat(),
        [&good[..], &commands(&["EXEC"])].concat(),
        [&good[..], b"*1\r\n$9\r\nPING\r\n"].concat(),
        [&good[..], &commands(&["MULTI", "MULTI", "EXEC"])].concat(),
    ];
    for text in bad {
        let last = || log_of_commands(&good, b"", &text);
        assert!(!assert_same(last, MANIFEST, &[], "").0);
        assert!(!assert_same(last, MANIFEST, &["--fix"], "n\n").0);
        assert!(assert_same(last, MANIFEST, &["--fix"], "y\n").0);
        assert!(assert_same(last, "2.aof", &["--fix"], "y\n").0);
        let first = || log_of_commands(&good, &text, &good);
        assert!(!assert_same(first, MANIFEST, &["--fix"], "y\n").0);
    }
}

#[test]
fn logs_are_cut_at_a_moment_as_valkey_does_it() {
    let set = commands(&["SET a 1"]);
    let stamped = [b"#TS:100\r\n", &set[..], b"#TS:200\r\n", &set].concat();
    for moment in ["50", "100", "150", "200"] {
        let args = ["--truncate-to-timestamp", moment];
        assert_same(|| log_of_commands(&set, b"", &stamped), MANIFEST, &args, "");
        assert_same(|| log_of_commands(&set, &stamped, &set), MANIFEST, &args, "");
        assert_same(|| log_of(&[("one.aof", &stamped)]), "one.aof", &args, "");
    }
}
