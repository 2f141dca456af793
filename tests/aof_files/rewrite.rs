//! Rewrites: what their bases look like, who loads them, and which files they leave.

use std::fs;
use std::path::Path;
use std::time::Duration;

use kvasir_proto::Value as Reply;
use kvasir_testing::{Client, Program, Server, poll_every};

use super::load::{change, rewrite};
use super::{DIRECTORY, MANIFEST, copy_of_log, digest, log_of, start_in, text_of};

const COMMANDS: &[&str] = &["--aof-use-rdb-preamble", "no"];
/// So many that collections are saved in parts, and in more than one piece.
const MANY: usize = 20_000;

/// Collections that are large.
fn grow(client: &mut Client) {
    let script = "for i = 1, tonumber(ARGV[1]) do \
         redis.call('hset', KEYS[1], 'field:' .. i, 'value:' .. i) \
         redis.call('sadd', KEYS[2], 'member:' .. i) \
         redis.call('zadd', KEYS[3], i / 7, 'member:' .. i) \
         redis.call('rpush', KEYS[4], 'element:' .. i) end";
    let keys = ["{large}hash", "{large}set", "{large}zset", "{large}list"];
    let many = MANY.to_string();
    client.call(&[&["EVAL", script, "4"], &keys[..], &[&many]].concat());
    client.run("PEXPIREAT {large}hash 4000000000000");
    client.call(&["SET", "long", &"x".repeat(1 << 20)]);
    for index in 0..40_usize {
        let (name, text) = (index.to_string(), format!("{index} ").repeat(10_000 + index));
        client.call(&["HSET", "{long}hash", &name, &text]);
        client.call(&["SADD", "{long}set", &text]);
        client.call(&["RPUSH", "{long}list", &text]);
    }
    client.run("PEXPIREAT {long}hash 4000000000000");
}

/// Streams with everything that Valkey knows of them.
fn add_streams(client: &mut Client) {
    let lines = [
        "XADD deleted 1-1 a 1",
        "XADD deleted 2-1 a 2",
        "XADD deleted 3-1 a 3",
        "XADD deleted 4-1 a 4",
        "XGROUP CREATE deleted group 0",
        "XGROUP CREATECONSUMER deleted group idle",
        "XREADGROUP GROUP group alice COUNT 3 STREAMS deleted >",
        "XDEL deleted 3-1",
        "XTRIM deleted MINID = 2-1",
        "XGROUP CREATE empty group $ MKSTREAM",
        "XADD emptied 5-1 a 1",
        "XDEL emptied 5-1",
    ];
    for line in lines {
        let reply = client.run(line);
        assert!(!matches!(reply, Reply::Error(_)), "{line}: {reply:?}");
    }
}

fn base_of(dir: &Path) -> Vec<u8> {
    let directory = dir.join(DIRECTORY);
    let manifest = fs::read_to_string(directory.join(MANIFEST)).expect("a manifest");
    let name = manifest.split(' ').nth(1).expect("a base comes first");
    assert!(name.ends_with(".base.aof"), "{manifest}");
    fs::read(directory.join(name)).expect("the base")
}

fn pending(client: &mut Client) -> Reply {
    client.run("XPENDING deleted group - + 10 alice")
}

/// Which entries are pending and how often they were delivered.
fn deliveries(client: &mut Client) -> Vec<(String, i64)> {
    let Reply::Array(entries) = pending(client) else { panic!("pending entries") };
    let of = |entry: &Reply| {
        let Reply::Array(fields) = entry else { panic!("a pending entry") };
        let Reply::Integer(count) = fields[3] else { panic!("a count") };
        (text_of(&fields[0]), count)
    };
    entries.iter().map(of).collect()
}

#[test]
fn a_base_of_commands_is_loaded_by_us_and_by_valkey() {
    for shards in 1..=3 {
        let dir = log_of(&[]);
        let mut ours = start_in(dir.path(), shards, COMMANDS);
        let mut client = ours.client();
        change(&mut client);
        grow(&mut client);
        add_streams(&mut client);
        client.run("CONFIG SET aof-timestamp-enabled yes");
        rewrite(&mut client);
        let base = base_of(dir.path());
        assert!(base.starts_with(b"#TS:"), "{}", base[..20].escape_ascii());
        let (expected, pending) = (digest(&mut client), deliveries(&mut client));
        assert_eq!(pending.len(), 3);
        let copy = copy_of_log(dir.path());
        let path = copy.path().to_str().expect("a plain name");
        let args = ["--dir", path, "--appendonly", "yes"];
        let peer = Server::builder(Program::Valkey).args(&args).start();
        let mut reader = peer.client();
        assert_eq!(digest(&mut reader), expected, "by Valkey: {}", peer.log());
        assert_eq!(deliveries(&mut reader), pending, "by Valkey");
        assert_eq!(reader.run("FCALL f 0"), Reply::Integer(7));
        ours.restart();
        let mut client = ours.client();
        assert_eq!(digest(&mut client), expected, "after a start: {}", ours.log());
        assert_eq!(deliveries(&mut client), pending, "after a start");
        let moment = Reply::Integer(4_000_000_000_000);
        for key in ["{large}hash", "{long}hash"] {
            assert_eq!(client.run(&format!("PEXPIRETIME {key}")), moment);
        }
    }
}

#[test]
fn what_only_we_have_outlives_a_rewrite_as_commands() {
    let lines = [
        "SADD set a b c",
        "SPEXPIREAT set 4000000000000 MEMBERS 1 b",
        "ZADD zset 1 a 2 b",
        "ZPEXPIREAT zset 4000000000000 MEMBERS 1 a",
        "HSET hash f 1 g 2",
        "HPEXPIREAT hash 4000000000000 FIELDS 1 g",
        "XADD stream 1-1 a 1",
        "XADD stream IDMP producer one * a 1",
        "XCFGSET stream IDMP-DURATION 1000 IDMP-MAXSIZE 7",
        "XADD stream IDMP producer two * a 2",
        "XGROUP CREATE stream group 0",
        "XREADGROUP GROUP group alice STREAMS stream >",
        "XNACK stream group FAIL IDS 1 1-1",
    ];
    let questions = [
        "SPEXPIRETIME set MEMBERS 3 a b c",
        "ZPEXPIRETIME zset MEMBERS 2 a b",
        "HPEXPIRETIME hash FIELDS 2 f g",
        "XADD stream IDMP producer one * a 1",
        "XPENDING stream group",
    ];
    for shards in 1..=2 {
        let dir = log_of(&[]);
        let mut ours = start_in(dir.path(), shards, COMMANDS);
        let mut client = ours.client();
        for line in lines {
            let reply = client.run(line);
            assert!(!matches!(reply, Reply::Error(_)), "{line}: {reply:?}");
        }
        let ask = |client: &mut Client| questions.map(|line| client.run(line));
        let expected = ask(&mut client);
        rewrite(&mut client);
        base_of(dir.path());
        ours.restart();
        assert_eq!(ask(&mut ours.client()), expected, "{}", ours.log());
    }
}

fn manifest_of(server: &Server) -> String {
    manifest_in(server.dir())
}

/// The manifest in a server's directory; nothing if there is none.
fn manifest_in(dir: &Path) -> String {
    fs::read_to_string(dir.join(DIRECTORY).join(MANIFEST)).unwrap_or_default()
}

fn info(client: &mut Client) -> String {
    text_of(&client.run("INFO persistence"))
}

fn await_info(client: &mut Client, field: &str) {
    let there = poll_every(Duration::from_millis(5), Duration::from_secs(60), || {
        info(client).contains(field).then_some(())
    });
    assert!(there.is_some(), "{field} in {}", info(client));
}

/// A server without a log, on which a walk does not come to an end.
fn slow_server() -> Server {
    let args = ["--save", "", "--rdb-key-save-delay", "10000000"];
    let server = Server::builder(Program::Kvasir).shards(2).args(&args).start();
    let mut client = server.client();
    for number in 0..20 {
        client.run(&format!("SET key:{number} x"));
    }
    server
}

#[test]
fn a_log_that_begins_has_a_temporary_name_until_its_base_is_there() {
    let ours = slow_server();
    let mut client = ours.client();
    client.run("CONFIG SET appendonly yes");
    await_info(&mut client, "aof_rewrite_in_progress:1");
    let temporary = ours.dir().join(DIRECTORY).join("temp-appendonly.aof.incr");
    let there = poll_every(Duration::from_millis(5), Duration::from_secs(60), || {
        temporary.exists().then_some(())
    });
    assert!(there.is_some() && manifest_of(&ours).is_empty());
    // Without its base it would be lost.
    let refused = Reply::Error(b"ERR Errors trying to SHUTDOWN. Check logs.".to_vec());
    assert_eq!(client.run("SHUTDOWN NOSAVE"), refused);
    assert!(ours.log().contains("Writing initial AOF, can't exit."));
    client.run("SET after 1");
    client.run("CONFIG SET appendonly no");
    await_info(&mut client, "aof_rewrite_in_progress:0");
    assert!(!temporary.exists() && manifest_of(&ours).is_empty());
    assert!(ours.log().contains("Removing the temp incr aof file"), "{}", ours.log());
    client.run("CONFIG SET rdb-key-save-delay 0");
    client.run("CONFIG SET appendonly yes");
    await_info(&mut client, "aof_pending_rewrite:0");
    await_info(&mut client, "aof_rewrite_in_progress:0");
    let expected = "file appendonly.aof.1.base.rdb seq 1 type b\n\
                    file appendonly.aof.1.incr.aof seq 1 type i\n";
    assert_eq!(manifest_of(&ours), expected);
    assert!(!temporary.exists());
}

#[test]
fn a_save_waits_behind_a_rewrite_if_it_is_asked_to() {
    let ours = slow_server();
    let mut client = ours.client();
    let run = |client: &mut Client, line: &str| match client.run(line) {
        Reply::Simple(text) | Reply::Error(text) => String::from_utf8(text).expect("text"),
        other => panic!("{line}: {other:?}"),
    };
    assert!(run(&mut client, "BGREWRITEAOF").ends_with("rewriting started"));
    assert!(run(&mut client, "BGSAVE").starts_with("ERR Another child process is active"));
    let none = "ERR Background saving is currently not in progress or scheduled";
    assert_eq!(run(&mut client, "BGSAVE CANCEL"), none);
    for _ in 0..2 {
        assert_eq!(run(&mut client, "BGSAVE SCHEDULE"), "Background saving scheduled");
        let cancelled = "Scheduled background saving cancelled";
        assert_eq!(run(&mut client, "BGSAVE CANCEL"), cancelled);
        assert_eq!(run(&mut client, "BGSAVE CANCEL"), none);
    }
    assert_eq!(run(&mut client, "BGSAVE SCHEDULE"), "Background saving scheduled");
    await_info(&mut client, "aof_rewrite_in_progress:1");
    assert!(info(&mut client).contains("rdb_bgsave_in_progress:0"));
    client.run("CONFIG SET rdb-key-save-delay 0");
    await_info(&mut client, "rdb_saves:1");
    assert!(ours.dir().join("dump.rdb").exists());
}

#[test]
fn history_is_removed_when_it_is_not_to_be_kept_any_more() {
    let dir = log_of(&[]);
    let ours = start_in(dir.path(), 2, &["--aof-disable-auto-gc", "yes"]);
    let mut client = ours.client();
    rewrite(&mut client);
    rewrite(&mut client);
    let manifest = || manifest_in(dir.path());
    assert_eq!(manifest().lines().filter(|line| line.ends_with("type h")).count(), 4);
    client.run("CONFIG SET aof-disable-auto-gc no");
    let expected = "file appendonly.aof.3.base.rdb seq 3 type b\n\
                    file appendonly.aof.3.incr.aof seq 3 type i\n";
    assert_eq!(manifest(), expected);
    assert_eq!(fs::read_dir(dir.path().join(DIRECTORY)).unwrap().count(), 3);
}

#[test]
fn a_rewrite_without_a_log_leaves_a_base_alone() {
    let dir = log_of(&[]);
    let ours = start_in(dir.path(), 2, &[]);
    let mut client = ours.client();
    let manifest = || manifest_in(dir.path());
    client.run("SET a 1");
    client.run("CONFIG SET appendonly no");
    client.run("SET b 2");
    rewrite(&mut client);
    assert_eq!(manifest(), "file appendonly.aof.2.base.rdb seq 2 type b\n");
    let expected = digest(&mut client);
    client.run("DEBUG LOADAOF");
    assert_eq!(digest(&mut client), expected, "{}", ours.log());
    client.run("CONFIG SET appendonly yes");
    await_info(&mut client, "aof_pending_rewrite:0");
    await_info(&mut client, "aof_rewrite_in_progress:0");
    let expected = "file appendonly.aof.3.base.rdb seq 3 type b\n\
                    file appendonly.aof.1.incr.aof seq 1 type i\n";
    assert_eq!(manifest(), expected);
}

#[test]
fn a_log_that_is_turned_on_during_a_save_begins_behind_it() {
    let ours = slow_server();
    let mut client = ours.client();
    client.run("BGSAVE");
    await_info(&mut client, "rdb_bgsave_in_progress:1");
    client.run("CONFIG SET appendonly yes");
    client.run("SET during 1");
    let directory = ours.dir().join(DIRECTORY);
    let files = || fs::read_dir(&directory).map_or(0, Iterator::count);
    let told = info(&mut client);
    assert!(told.contains("aof_enabled:1") && told.contains("aof_rewrite_scheduled:1"), "{told}");
    assert!(told.contains("rdb_bgsave_in_progress:1") && files() == 0, "{} files", files());
    client.run("CONFIG SET rdb-key-save-delay 0");
    client.run("BGSAVE CANCEL");
    client.run("SET after 2");
    await_info(&mut client, "rdb_bgsave_in_progress:0");
    await_info(&mut client, "aof_rewrite_scheduled:0");
    await_info(&mut client, "aof_rewrite_in_progress:0");
    client.run("SET last 3");
    let copy = copy_of_log(ours.dir());
    let expected = digest(&mut client);
    assert_eq!(digest(&mut start_in(copy.path(), 2, &[]).client()), expected);
}

#[test]
fn numbers_of_files_go_on_after_a_log_was_loaded() {
    let dir = log_of(&[]);
    let ours = start_in(dir.path(), 2, &[]);
    let mut client = ours.client();
    let manifest = || manifest_in(dir.path());
    for number in 2..5 {
        client.run("INCR a");
        client.run("DEBUG LOADAOF");
        client.run("INCR a");
        rewrite(&mut client);
        let expected = format!(
            "file appendonly.aof.{number}.base.rdb seq {number} type b\n\
             file appendonly.aof.{number}.incr.aof seq {number} type i\n"
        );
        assert_eq!(manifest(), expected);
    }
    assert_eq!(text_of(&client.run("GET a")), "6");
}
