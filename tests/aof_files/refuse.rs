//! Logs that cannot be loaded.

use std::path::Path;
use std::process::{Command, Stdio};

use kvasir_testing::Program;

use super::{DIRECTORY, MANIFEST, command, commands, log_of, log_of_commands};

/// Runs our server in this directory until it exits by itself: its code, and what it has logged.
fn run_to_exit(dir: &Path, args: &[&str]) -> (Option<i32>, String) {
    let output = Command::new(Program::Kvasir.path())
        .args(["--port", "0", "--unixsocket", "socket", "--shards", "2", "--dir"])
        .arg(dir)
        .args(["--appendonly", "yes"])
        .args(args)
        .stdin(Stdio::null())
        .output()
        .expect("run the server");
    (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
}

#[track_caller]
fn is_refused(dir: &Path, args: &[&str], expected: &str) {
    let (code, log) = run_to_exit(dir, args);
    assert_eq!(code, Some(1), "{log}");
    assert_eq!(log.matches(expected).count(), 1, "{expected:?} in {log}");
}

#[test]
fn what_is_no_log_is_refused() {
    let good = command("SET a 1");
    let bad_format =
        "Bad file format reading the append only file 2.aof: make a backup of your AOF";
    for bad in [&b"hello\r\n"[..], b"*1\r\nPING\r\n", b"*0\r\n", b"*1\r\n$-5\r\n", b"REDIS0011x"] {
        let dir = log_of_commands(&good, b"", &[&good[..], bad].concat());
        is_refused(dir.path(), &[], bad_format);
    }
    for (line, reason) in [
        ("NOPE a b", "unknown command 'NOPE', with args beginning with: 'a' 'b'"),
        ("GET", "wrong number of arguments for 'get' command"),
        ("SHUTDOWN", "'shutdown' is no command that a log has"),
    ] {
        let dir = log_of_commands(&good, b"", &commands(&["SET b 1", line]));
        let expected = format!("Error reading the append only file 2.aof, error: {reason}");
        is_refused(dir.path(), &[], &expected);
    }
}

#[test]
fn a_cut_file_is_refused_unless_it_is_the_last() {
    let (good, cut) = (command("SET a 1"), &command("SET a 1")[..9]);
    let dir = log_of_commands(&good, cut, &good);
    is_refused(dir.path(), &[], "Fatal error: the truncated file is not the last file");
    let left = std::fs::read(dir.path().join(DIRECTORY).join("1.aof")).unwrap();
    assert_eq!(left, cut, "nothing is cut off");
    let dir = log_of_commands(&good, b"", cut);
    let expected = "Unexpected end of file reading the append only file 2.aof. You can: 1) Make";
    is_refused(dir.path(), &["--aof-load-truncated", "no"], expected);
}

#[test]
fn what_does_not_hang_together_is_refused() {
    let good = command("SET a 1");
    let cases: [(&[u8], &str); 5] = [
        (b"", "Found an empty AOF manifest"),
        (b"file 2 seq 2 type i\nfile 1 seq 1 type i\n", "Found a non-monotonic sequence number"),
        (b"file 1 seq 1 type b\nfile 2 seq 2 type b\n", "Found duplicate base file information"),
        (b"file ../1 seq 1 type b\n", "File can't be a path, just a filename"),
        (b"file 3 seq 3 type i\n", "Unable to obtain the AOF file 3 length. stat: No such file"),
    ];
    for (manifest, expected) in cases {
        let dir = log_of(&[(MANIFEST, manifest), ("1", &good), ("2", &good)]);
        is_refused(dir.path(), &[], expected);
    }
}

#[test]
fn a_damaged_base_is_refused() {
    let manifest = b"file b.rdb seq 1 type b\n";
    let dir = log_of(&[(MANIFEST, manifest), ("b.rdb", b"REDIS0011\xfa\x05hello")]);
    let expected = "Error reading the RDB base file b.rdb, AOF loading aborted";
    is_refused(dir.path(), &[], expected);
}
