//! The dump files of old versions that Valkey's suite brings along.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use kvasir_testing::{Program, Server, peers};

use super::{assert_same, view};

/// Files that load, from Redis 2.6 on.
const WHOLE: &[&str] = &[
    "corrupt_empty_keys.rdb",
    "encodings.rdb",
    "hash-ziplist.rdb",
    "hash-zipmap.rdb",
    "list-quicklist.rdb",
    "scriptbackup.rdb",
    "zset-ziplist.rdb",
];

/// Files that do not: damaged, or of a version that nobody knows.
const REFUSED: &[&str] = &["corrupt_ziplist.rdb", "encodings-rdb987.rdb"];

fn assets() -> PathBuf {
    peers::prefix().join("suite/tests/assets")
}

fn start_with(program: Program, shards: usize, file: &str, more: &[&str]) -> Server {
    let dir = tempfile::tempdir().expect("a temporary directory");
    std::fs::copy(assets().join(file), dir.path().join(file)).expect("the file is copied");
    let at = dir.path().to_str().expect("a temporary directory has a plain name");
    let args = [&["--dir", at, "--dbfilename", file], more].concat();
    Server::builder(program).shards(shards).args(&args).start()
}

#[test]
fn old_files_load_as_they_do_in_valkey() {
    for file in WHOLE {
        let expected = view(&mut start_with(Program::Valkey, 1, file, &[]).client());
        for shards in [1, 2] {
            let ours = start_with(Program::Kvasir, shards, file, &[]);
            let what = format!("{file} at {shards} shards");
            assert_same(&view(&mut ours.client()), &expected, &what);
        }
    }
}

#[test]
fn a_file_of_the_future_loads_where_that_is_wanted() {
    let file = "encodings-rdb987.rdb";
    let relaxed = ["--rdb-version-check", "relaxed"];
    let expected = view(&mut start_with(Program::Valkey, 1, file, &relaxed).client());
    let ours = start_with(Program::Kvasir, 2, file, &relaxed);
    assert_same(&view(&mut ours.client()), &expected, file);
}

/// Runs a server on a file until it exits by itself; its exit code.
fn run_to_exit(program: Program, dir: &Path, file: &str) -> Option<i32> {
    let mut command = Command::new(program.path());
    command.args(["--port", "0", "--unixsocket", "socket", "--dbfilename", file, "--dir"]).arg(dir);
    command.args(["--sanitize-dump-payload", "yes"]);
    let output = command.stdin(Stdio::null()).output().expect("the server runs");
    output.status.code()
}

#[test]
fn what_valkey_refuses_is_refused() {
    for file in REFUSED {
        for program in [Program::Valkey, Program::Kvasir] {
            let dir = tempfile::tempdir().expect("a temporary directory");
            std::fs::copy(assets().join(file), dir.path().join(file)).expect("it is copied");
            assert_eq!(run_to_exit(program, dir.path(), file), Some(1), "{file}, {program:?}");
        }
    }
}
