//! Disks that are full, and ones that fail.
//!
//! A full disk is the limit of file sizes of the running process (`RLIMIT_FSIZE`), which fails any
//! write beyond it until it is lifted: by `EFBIG` instead of `ENOSPC`, and at the server's own hand
//! (`DEBUG AOF-FAULT`) also by `ENOSPC` and after any number of bytes.

use std::process::Command;

use kvasir_proto::Value;
use kvasir_testing::{Client, Program, Rng, Server, seed_from_environment, show, wait_until};

use super::files::{self, LogFiles};
use super::kills::Trial;

const MISCONF: &str = "-MISCONF Errors writing to the AOF file: ";

/// Has writes of the server beyond this length of a file fail; `None` has none fail.
fn limit_files(server: &Server, bytes: Option<u64>) {
    let limit = bytes.map_or_else(|| "unlimited".to_owned(), |bytes| bytes.to_string());
    let pid = server.pid().to_string();
    // The soft limit alone: the hard one could not be lifted again by everybody.
    let arguments = ["--pid", &pid, &format!("--fsize={limit}:unlimited")];
    let status = Command::new("prlimit").args(arguments).status();
    assert!(status.is_ok_and(|status| status.success()), "prlimit {arguments:?}");
}

fn info(client: &mut Client, field: &str) -> String {
    let info = client.run("INFO persistence");
    let info = String::from_utf8_lossy(info.as_bytes().unwrap_or_default()).into_owned();
    let line = info.lines().find_map(|line| line.strip_prefix(&format!("{field}:")));
    line.unwrap_or_else(|| panic!("INFO has no {field}")).trim().to_owned()
}

fn log_bytes(server: &Server) -> u64 {
    LogFiles::of(server.dir()).expect("there is a log").last_bytes()
}

/// Writes numbers to keys of all shards until the server refuses; how many it took, and its words.
fn write_until_refused(client: &mut Client, from: usize) -> (usize, String) {
    let mut refusal = None;
    let mut written = from;
    wait_until("writes are refused", || {
        let reply = show(&client.run(&format!("SET full:{written} {written}")));
        if reply == "OK" {
            written += 1;
            return false;
        }
        refusal = Some(reply);
        true
    });
    (written, refusal.expect("it has been refused"))
}

fn assert_written(client: &mut Client, count: usize) {
    let reads: Vec<Vec<String>> =
        (0..count).map(|index| vec!["GET".to_owned(), format!("full:{index}")]).collect();
    for (index, reply) in client.pipeline(&reads).iter().enumerate() {
        assert_eq!(show(reply), format!("\"{index}\""), "full:{index}");
    }
}

/// Under `everysec` writes are refused while the disk is full, and nothing that was acknowledged
/// is lost once it has room again.
pub(crate) fn full_disk(shards: usize) {
    let rng = Rng::new(seed_from_environment() ^ 0xf111 ^ shards as u64);
    let mut trial = Trial::start(shards, "everysec", &[], rng);
    let mut written = 0;
    for round in 0..3 {
        trial.write(30, |_, _, _| {});
        let mut client = trial.server.client();
        // In the middle of a record, most likely.
        limit_files(&trial.server, Some(log_bytes(&trial.server) + 37 * round));
        let (count, refusal) = write_until_refused(&mut client, written);
        written = count;
        assert_eq!(refusal, format!("{MISCONF}File too large"));
        assert_eq!(info(&mut client, "aof_last_write_status"), "err");
        assert_eq!(show(&client.run(&format!("INCR full:{written}"))), refusal);
        assert_written(&mut client, written);
        assert_eq!(show(&client.run(&format!("EXISTS full:{written}"))), "0", "it was refused");
        limit_files(&trial.server, None);
        let status = || info(&mut client, "aof_last_write_status") == "ok";
        wait_until("the server finds that there is room", status);
        assert_eq!(show(&client.run(&format!("SET full:{written} {written}"))), "OK");
        written += 1;
        trial.write(30, |_, _, _| {});
        assert_eq!(show(&client.run("WAITAOF 1 0 0")), "[1 0]");
        let lower = trial.acknowledged();
        trial.server.kill();
        trial.server.start_again();
        assert_written(&mut trial.server.client(), written);
        trial.judge(&lower, &format!("full disk {round}"));
    }
}

/// The same with the errors that the server makes itself, one write each.
pub(crate) fn failing_writes(shards: usize) {
    let args = ["--appendonly", "yes", "--appendfsync", "everysec"];
    let mut server = Server::builder(Program::Kvasir).shards(shards).args(&args).start();
    let mut written = 0;
    let faults = [
        ("write 28 0", "No space left on device"),
        ("write 28 7", "No space left on device"),
        ("write 5 1", "Input/output error"),
        ("flush 5", "Input/output error"),
    ];
    for (fault, reason) in faults {
        let mut client = server.client();
        assert_eq!(show(&client.run(&format!("DEBUG AOF-FAULT {fault}"))), "OK");
        let (count, refusal) = write_until_refused(&mut client, written);
        written = count;
        assert_eq!(refusal, format!("{MISCONF}{reason}"), "{fault}");
        assert_written(&mut client, written);
        wait_until("the next write succeeds", || {
            show(&client.run(&format!("SET full:{written} {written}"))) == "OK"
        });
        written += 1;
        assert_eq!(info(&mut client, "aof_last_write_status"), "ok");
        assert_eq!(show(&client.run("WAITAOF 1 0 0")), "[1 0]");
        let files = LogFiles::of(server.dir()).expect("there is a log");
        files::assert_flushed(&[files.last()], fault);
        server.kill();
        server.start_again();
        assert_written(&mut server.client(), written);
    }
}

/// Under `always` a server that cannot write ends, and has told nobody that something was written.
pub(crate) fn fatal(shards: usize) {
    let rng = Rng::new(seed_from_environment() ^ 0xfa7a ^ shards as u64);
    let mut trial = Trial::start(shards, "always", &[], rng);
    for fault in ["limit", "write 28 0", "write 28 7", "flush 5"] {
        trial.write(usize::MAX, |server, rng, acknowledged| {
            super::kills::await_count(acknowledged, 30 + rng.below(30) as u64);
            if fault == "limit" {
                limit_files(server, Some(log_bytes(server) + rng.below(300) as u64));
            } else {
                // It has no answer when the fault hits before that is sent.
                server.client().send_raw(format!("DEBUG AOF-FAULT {fault}\r\n").as_bytes());
            }
            let status = server.wait_for_exit();
            assert_eq!(status.code(), Some(1), "{fault}");
        });
        let log = trial.server.log();
        let line = "Can't recover from AOF write error when the AOF fsync policy is 'always'.";
        assert!(log.lines().rev().take(12).any(|last| last.contains(line)), "{fault}: {log}");
        trial.server.start_again();
        let lower = trial.acknowledged();
        trial.judge(&lower, fault);
    }
}

/// A rewrite that fails leaves the log as it is, and so does a failed snapshot the dump file; the
/// next one succeeds.
pub(crate) fn failing_rewrites(shards: usize) {
    let rng = Rng::new(seed_from_environment() ^ 0x2e2e ^ shards as u64);
    let more = ["--rdbcompression", "no", "--rdbchecksum", "no"];
    let mut trial = Trial::start(shards, "always", &more, rng);
    let mut client = trial.server.client();
    assert_eq!(show(&client.run("BGREWRITEAOF")), "Background append only file rewriting started");
    await_rewrite(&mut client, "ok");
    client.run("SAVE");
    for way in ["limit", "directory", "limit"] {
        trial.write(10, |_, _, _| {});
        let before = LogFiles::of(trial.server.dir()).expect("there is a log");
        let base = before.base.clone().expect("the log has a base");
        let text = std::fs::read(&base).expect("read the base");
        let dump = std::fs::read(trial.server.dir().join("dump.rdb")).expect("read the dump file");
        let (there, gone) =
            (trial.server.dir().join("appendonlydir"), trial.server.dir().join("elsewhere"));
        if way == "limit" {
            // The ballast does not fit, what is appended does.
            limit_files(&trial.server, Some(files::bytes(&base) / 2));
            client.run("BGSAVE");
            wait_until("the snapshot ends", || info(&mut client, "rdb_bgsave_in_progress") == "0");
            assert_eq!(info(&mut client, "rdb_last_bgsave_status"), "err");
        } else {
            std::fs::rename(&there, &gone).expect("rename the directory");
        }
        client.run("BGREWRITEAOF");
        await_rewrite(&mut client, "err");
        limit_files(&trial.server, None);
        if way == "directory" {
            std::fs::rename(&gone, &there).expect("rename the directory");
        }
        let after = LogFiles::of(trial.server.dir()).expect("there is a log");
        assert_eq!(after.base.as_ref(), Some(&base), "{way}: the log has its old base");
        assert_eq!(std::fs::read(&base).expect("read the base"), text, "{way}");
        let dump_after = std::fs::read(trial.server.dir().join("dump.rdb")).expect("read the dump");
        assert!(dump_after == dump, "{way}: the dump file is what it was");
        trial.write(10, |_, _, _| {});
        let lower = trial.acknowledged();
        trial.server.kill();
        trial.server.start_again();
        trial.judge(&lower, way);
        client = trial.server.client();
        client.run("BGREWRITEAOF");
        await_rewrite(&mut client, "ok");
        client.run("BGSAVE");
        wait_until("the snapshot ends", || info(&mut client, "rdb_bgsave_in_progress") == "0");
        assert_eq!(info(&mut client, "rdb_last_bgsave_status"), "ok");
        let files = LogFiles::of(trial.server.dir()).expect("there is a log");
        assert_ne!(files.base, Some(base), "there is a new base");
        assert_eq!(files.incrs.len(), 1, "the files before it are gone");
    }
}

fn await_rewrite(client: &mut Client, status: &str) {
    wait_until("the rewrite ends", || {
        info(client, "aof_rewrite_in_progress") == "0"
            && info(client, "aof_rewrite_scheduled") == "0"
    });
    assert_eq!(info(client, "aof_last_bgrewrite_status"), status);
}

/// A log that cannot be begun for want of room is begun when there is some.
pub(crate) fn late_log(shards: usize) {
    let args = ["--appendfsync", "always"];
    let server = Server::builder(Program::Kvasir).shards(shards).args(&args).start();
    let rng = Rng::new(seed_from_environment() ^ 0x1a7e ^ shards as u64);
    let mut trial = Trial::with(server, "always", rng);
    limit_files(&trial.server, Some(1_000));
    let mut client = trial.server.client();
    client.run("CONFIG SET appendonly yes");
    wait_until("the rewrite fails", || info(&mut client, "aof_last_bgrewrite_status") == "err");
    // Nobody is refused: the log is not there yet.
    trial.write(10, |_, _, _| {});
    limit_files(&trial.server, None);
    wait_until("the log is begun", || {
        info(&mut client, "aof_last_bgrewrite_status") == "ok"
            && info(&mut client, "aof_rewrite_in_progress") == "0"
            && info(&mut client, "aof_pending_rewrite") == "0"
    });
    trial.write(10, |_, _, _| {});
    let lower = trial.acknowledged();
    trial.server.kill();
    trial.server.start_again_with(&["--appendonly", "yes"]);
    trial.judge(&lower, "a late log");
}

/// The value of a reply that has come already, without waiting for one.
pub(crate) fn has_reply(client: &Client) -> bool {
    client.stream().set_nonblocking(true).expect("change the socket");
    let peeked = client.stream().peek(&mut [0]);
    client.stream().set_nonblocking(false).expect("change the socket");
    matches!(peeked, Ok(length) if length > 0)
}

/// While a flush is under way, others are answered: a value that waits for the disk is read before
/// the one who has written it is told so.
pub(crate) fn reads_during_a_flush(shards: usize) {
    let args = ["--appendonly", "yes", "--appendfsync", "always"];
    let server = Server::builder(Program::Kvasir).shards(shards).args(&args).start();
    let (mut writer, mut reader) = (server.client(), server.client());
    assert_eq!(show(&reader.run("DEBUG AOF-FLUSH-SLEEP 1000000")), "OK");
    for key in ["a", "b", "c"] {
        writer.send(&["SET", key, "value"]);
        wait_until("the value is there", || reader.run(&format!("GET {key}")) != Value::Null);
        assert!(!has_reply(&writer), "the reply of SET {key} has not waited for the flush");
        assert_eq!(show(&writer.read()), "OK");
        let files = LogFiles::of(server.dir()).expect("there is a log");
        files::assert_flushed(&[files.last()], key);
    }
}

/// What is acknowledged is on the disk by then, by the system's word: under `always` each reply,
/// under `everysec` the one of `WAITAOF`, and everything sooner or later.
pub(crate) fn acknowledged_is_flushed(policy: &str, shards: usize) {
    let args = ["--appendonly", "yes", "--appendfsync", policy];
    let server = Server::builder(Program::Kvasir).shards(shards).args(&args).start();
    let mut client = server.client();
    let files = LogFiles::of(server.dir()).expect("there is a log");
    if files::unflushed_pages(&[files.last()]).is_none() {
        eprintln!("this system does not tell what is flushed: nothing is tested");
        return;
    }
    let lines = [
        "SET a{1} 1",
        "MSET a 1 b 2 c 3 d 4",
        "LPUSH list a b c",
        "RENAME a e",
        "EVAL return{redis.call('incr',KEYS[1]),redis.call('incr',KEYS[2])} 2 f g",
        "SPOP none",
        "DEL a b c d e",
    ];
    for line in lines.iter().cycle().take(40) {
        client.run(line);
        if policy != "always" {
            assert_eq!(show(&client.run("WAITAOF 1 0 0")), "[1 0]");
        }
        files::assert_flushed(&[files.last()], line);
    }
    let queued = client.pipeline(&[
        vec!["MULTI"],
        vec!["SET", "x", "1"],
        vec!["SET", "y", "1"],
        vec!["EXEC"],
    ]);
    assert_eq!(show(&queued[3]), "[OK OK]");
    if policy == "always" {
        files::assert_flushed(&[files.last()], "EXEC");
    }
    client.run("SET last 1");
    let is_flushed = || files::unflushed_pages(&[files.last()]) == Some(vec![0]);
    wait_until("what is written is flushed", is_flushed);
}
