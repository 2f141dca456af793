//! Files that we write.

use std::time::Duration;

use kvasir_proto::Value as Reply;
use kvasir_testing::{Client, Program, Server, poll_every, words};

use super::{fill, start_with_file_of};

fn ok() -> Reply {
    Reply::Simple(b"OK".to_vec())
}

fn number(client: &mut Client, field: &str) -> i64 {
    let info = client.run("INFO persistence");
    let info = String::from_utf8_lossy(info.as_bytes().expect("INFO replies with text"));
    let line = info.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
    line.and_then(|value| value.parse().ok()).expect("the field is a number")
}

fn digest(client: &mut Client) -> Reply {
    client.run("DEBUG DIGEST")
}

/// A peer's data set goes through us and comes back to both peers as it was.
fn passes_through(shards: usize) {
    let origin = Server::valkey();
    let mut client = origin.client();
    fill(&mut client);
    client.run("SAVE");
    let expected = digest(&mut client);
    let ours = start_with_file_of(Program::Kvasir, shards, &origin);
    assert_eq!(ours.client().run("SAVE"), ok());
    // Ours works in the directory of the first, where its file now is.
    let back = start_with_file_of(Program::Valkey, 1, &origin);
    assert_eq!(digest(&mut back.client()), expected);
    let redis = start_with_file_of(Program::Redis, 1, &origin);
    assert_eq!(redis.client().run("DBSIZE"), client.run("DBSIZE"));
}

#[test]
fn what_one_shard_saves_the_peers_load() {
    passes_through(1);
}

#[test]
fn what_two_shards_save_the_peers_load() {
    passes_through(2);
}

#[test]
fn a_reload_changes_nothing() {
    for shards in [1, 2] {
        let origin = Server::valkey();
        fill(&mut origin.client());
        origin.client().run("SAVE");
        let ours = start_with_file_of(Program::Kvasir, shards, &origin);
        let mut client = ours.client();
        client.run("HSET fields a 1 b 2");
        client.run("HPEXPIREAT fields 4000000000000 FIELDS 1 b");
        let before = dumps(&mut client);
        assert_eq!(client.run("DEBUG RELOAD"), ok());
        assert_eq!(dumps(&mut client), before);
        let deadline = Reply::Array(vec![Reply::Integer(4_000_000_000_000)]);
        assert_eq!(client.run("HPEXPIRETIME fields FIELDS 1 b"), deadline);
        client.run("SET text changed");
        client.run("SET added x");
        assert_eq!(client.run("DEBUG RELOAD NOSAVE NOFLUSH MERGE"), ok());
        assert_eq!(client.run("GET text").as_bytes(), Some(&b"hello"[..]));
        assert_eq!(client.run("GET added").as_bytes(), Some(&b"x"[..]));
        let refused = client.run("DEBUG RELOAD NOSAVE NOFLUSH");
        assert!(matches!(refused, Reply::Error(_)), "{refused:?}");
        assert_eq!(client.run("DEBUG RELOAD NOSAVE"), ok());
        assert_eq!(client.run("EXISTS added"), Reply::Integer(0));
        let wrong = client.run("DEBUG RELOAD WHATEVER");
        assert!(matches!(wrong, Reply::Error(_)), "{wrong:?}");
    }
}

/// Every key of database 0 with its payload and deadline.
fn dumps(client: &mut Client) -> Vec<(Vec<u8>, Reply, Reply)> {
    let Reply::Array(keys) = client.run("KEYS *") else { panic!("KEYS replies with an array") };
    let mut keys: Vec<_> =
        keys.iter().map(|key| key.as_bytes().expect("a key is a string").to_vec()).collect();
    keys.sort_unstable();
    let look = |key: Vec<u8>| {
        // Large tables are walked in an order of their own, which a reload changes.
        let is_ordered = client.call(&[b"OBJECT", &b"ENCODING"[..], &key]);
        let is_table = is_ordered.as_bytes() == Some(b"hashtable");
        let payload = if is_table {
            client.call(&[b"DEBUG", &b"DIGEST-VALUE"[..], &key])
        } else {
            client.call(&[b"DUMP", &key[..]])
        };
        let deadline = client.call(&[b"PEXPIRETIME", &key[..]]);
        (key, payload, deadline)
    };
    keys.into_iter().map(look).collect()
}

#[test]
fn figures_tell_of_saves() {
    let ours = Server::kvasir(2);
    let mut client = ours.client();
    client.run("DEBUG POPULATE 1000");
    client.run("SET a b");
    assert!(number(&mut client, "rdb_changes_since_last_save") > 0);
    assert_eq!(number(&mut client, "rdb_saves"), 0);
    assert_eq!(client.run("SAVE"), ok());
    assert_eq!(number(&mut client, "rdb_changes_since_last_save"), 0);
    assert_eq!(number(&mut client, "rdb_saves"), 1);
    let last = number(&mut client, "rdb_last_save_time");
    assert_eq!(client.run("LASTSAVE"), Reply::Integer(last));
    assert!(ours.dir().join("dump.rdb").exists());
}

#[test]
fn a_save_in_the_background_is_cancelled_or_ends() {
    for shards in [1, 2] {
        let ours = Server::kvasir(shards);
        let mut client = ours.client();
        client.run("DEBUG POPULATE 100");
        client.run("CONFIG SET rdb-key-save-delay 1000000");
        let started = Reply::Simple(b"Background saving started".to_vec());
        assert_eq!(client.run("BGSAVE"), started);
        assert_eq!(number(&mut client, "rdb_bgsave_in_progress"), 1);
        let busy = Reply::Error(b"ERR Background save already in progress".to_vec());
        assert_eq!(client.run("BGSAVE"), busy);
        assert_eq!(client.run("SAVE"), busy);
        let cancelled = Reply::Simple(b"Background saving cancelled".to_vec());
        assert_eq!(client.run("BGSAVE CANCEL"), cancelled);
        await_end(&mut client);
        assert!(!ours.dir().join("dump.rdb").exists());
        let none = b"ERR Background saving is currently not in progress or scheduled".to_vec();
        assert_eq!(client.run("BGSAVE CANCEL"), Reply::Error(none));
        client.run("CONFIG SET rdb-key-save-delay 0");
        assert_eq!(client.run("BGSAVE SCHEDULE"), started);
        await_end(&mut client);
        assert!(ours.dir().join("dump.rdb").exists());
        assert_eq!(number(&mut client, "rdb_saves"), 1);
    }
}

fn await_end(client: &mut Client) {
    let ended = poll_every(Duration::from_millis(5), Duration::from_secs(60), || {
        (number(client, "rdb_bgsave_in_progress") == 0).then_some(())
    });
    assert!(ended.is_some(), "the save ends");
}

#[test]
fn data_outlives_an_orderly_end() {
    for shards in [1, 2] {
        let mut ours =
            Server::builder(Program::Kvasir).shards(shards).args(&["--save", "3600", "1"]).start();
        let mut client = ours.client();
        client.run("SET kept 1");
        client.run("SADD set a b");
        ours.restart();
        let mut client = ours.client();
        assert_eq!(client.run("GET kept").as_bytes(), Some(&b"1"[..]));
        assert_eq!(client.run("SCARD set"), Reply::Integer(2));
        // An empty data set is saved as well.
        client.run("FLUSHALL");
        ours.signal("KILL");
        ours.wait_for_exit();
        ours.start_again();
        assert_eq!(ours.client().run("DBSIZE"), Reply::Integer(0));
        ours.client().run("SET lost 1");
        ours.client().send(&words("SHUTDOWN NOSAVE"));
        ours.wait_for_exit();
        ours.start_again();
        assert_eq!(ours.client().run("EXISTS lost"), Reply::Integer(0));
        ours.client().run("SET saved 1");
        ours.client().send(&words("SHUTDOWN SAVE"));
        ours.wait_for_exit();
        ours.start_again();
        assert_eq!(ours.client().run("EXISTS saved"), Reply::Integer(1));
    }
}

#[test]
fn what_cannot_be_saved_keeps_the_server_up() {
    let ours = Server::kvasir(1);
    let mut client = ours.client();
    client.run("SET a 1");
    std::fs::create_dir(ours.dir().join("dump.rdb")).unwrap();
    assert_eq!(client.run("SAVE"), Reply::Error(b"ERR".to_vec()));
    let refused = Reply::Error(b"ERR Errors trying to SHUTDOWN. Check logs.".to_vec());
    assert_eq!(client.run("SHUTDOWN SAVE"), refused);
    assert_eq!(client.run("GET a").as_bytes(), Some(&b"1"[..]));
    assert_eq!(number(&mut client, "rdb_changes_since_last_save"), 1);
    assert!(!ours.log().is_empty());
}

#[test]
fn writes_are_refused_while_snapshots_fail() {
    let ours = Server::builder(Program::Kvasir).shards(2).args(&["--save", "3600", "1"]).start();
    let mut client = ours.client();
    let file = ours.dir().join("dump.rdb");
    std::fs::create_dir(&file).unwrap();
    client.run("SET a 1");
    client.run("BGSAVE");
    await_end(&mut client);
    for line in ["SET a 2", "RPUSH list x", "MSET a 1 b 2"] {
        let reply = client.run(line);
        let Reply::Error(text) = &reply else { panic!("{line}: {reply:?}") };
        assert!(text.starts_with(b"MISCONF "), "{line}: {reply:?}");
    }
    assert_eq!(client.run("GET a").as_bytes(), Some(&b"1"[..]));
    std::fs::remove_dir(&file).unwrap();
    client.run("BGSAVE");
    await_end(&mut client);
    assert_eq!(client.run("SET a 2"), ok());
}

#[test]
fn an_end_does_not_wait_for_a_save_in_the_background() {
    for shards in [1, 2] {
        let points = ["--save", "3600", "1", "--rdb-key-save-delay", "10000000"];
        let ours = Server::builder(Program::Kvasir).shards(shards).args(&points).start();
        let mut client = ours.client();
        client.run("DEBUG POPULATE 100");
        client.run("BGSAVE");
        client.run("CONFIG SET rdb-key-save-delay 0");
        assert_eq!(number(&mut client, "rdb_bgsave_in_progress"), 1);
        // It would take a quarter of an hour, longer than this waits.
        assert!(ours.stop().success());
    }
}
