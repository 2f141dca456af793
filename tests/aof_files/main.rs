//! Append-only logs between us and the real peers: ours loads theirs, and what cannot be loaded is
//! refused with a line that says why.

mod check;
mod load;
mod refuse;
mod reload;
mod rewrite;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use kvasir_proto::Value as Reply;
use kvasir_testing::{Client, Program, Server, poll_every};
use tempfile::TempDir;

/// Where a log lies in the working directory of its server.
const DIRECTORY: &str = "appendonlydir";
const MANIFEST: &str = "appendonly.aof.manifest";

/// A command as it stands in a log.
fn command(line: &str) -> Vec<u8> {
    Client::encode(&line.split(' ').collect::<Vec<_>>())
}

/// Commands as they stand in a log.
fn commands(lines: &[&str]) -> Vec<u8> {
    lines.iter().flat_map(|line| command(line)).collect()
}

/// A directory with a log of these files.
fn log_of(files: &[(&str, &[u8])]) -> TempDir {
    let dir = TempDir::with_prefix("kvasir-log-").expect("a temporary directory");
    let log = dir.path().join(DIRECTORY);
    fs::create_dir(&log).expect("a directory for the log");
    for (name, text) in files {
        fs::write(log.join(name), text).expect("a file of the log");
    }
    dir
}

/// A directory with a log of a base and two incremental files, all of commands.
fn log_of_commands(base: &[u8], first: &[u8], second: &[u8]) -> TempDir {
    let manifest = b"file b.aof seq 1 type b\nfile 1.aof seq 1 type i\nfile 2.aof seq 2 type i\n";
    log_of(&[(MANIFEST, manifest), ("b.aof", base), ("1.aof", first), ("2.aof", second)])
}

/// The path of the last file of [`log_of_commands`].
fn last_file(dir: &TempDir) -> PathBuf {
    dir.path().join(DIRECTORY).join("2.aof")
}

/// A copy of a server's log, in a directory for another one.
fn copy_of_log(from: &Path) -> TempDir {
    let entries = fs::read_dir(from.join(DIRECTORY)).expect("the log's directory");
    let files: Vec<(String, Vec<u8>)> = entries
        .map(|entry| {
            let entry = entry.expect("a file of the log");
            let name = entry.file_name().into_string().expect("a plain name");
            (name, fs::read(entry.path()).expect("a file of the log"))
        })
        .collect();
    let files: Vec<(&str, &[u8])> =
        files.iter().map(|(name, text)| (name.as_str(), text.as_slice())).collect();
    log_of(&files)
}

/// Our server in a directory with a log, once it has loaded that.
fn start_in(dir: &Path, shards: usize, args: &[&str]) -> Server {
    let dir = dir.to_str().expect("a temporary directory has a plain name");
    let common = ["--dir", dir, "--appendonly", "yes"];
    let server = Server::builder(Program::Kvasir).shards(shards).args(&common).args(args).start();
    let mut client = server.client();
    let loaded = poll_every(Duration::from_millis(2), Duration::from_secs(60), || {
        let is_loading = matches!(client.run("DBSIZE"), Reply::Error(_));
        (!is_loading).then_some(())
    });
    assert!(loaded.is_some(), "{}", server.log());
    server
}

fn text_of(reply: &Reply) -> String {
    String::from_utf8_lossy(reply.as_bytes().unwrap_or_default()).into_owned()
}

fn digest(client: &mut Client) -> String {
    match client.run("DEBUG DIGEST") {
        Reply::Simple(text) => String::from_utf8_lossy(&text).into_owned(),
        other => text_of(&other),
    }
}
