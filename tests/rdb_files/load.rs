//! Files that we load.

use std::path::Path;
use std::process::{Command, Output, Stdio};

use kvasir_proto::Value as Reply;
use kvasir_testing::{Client, Program, Server};

use super::{fill, start_with_file_of};

/// Small limits, so that large encodings turn up without large values.
const SMALL_LIMITS: &[&str] = &[
    "CONFIG SET hash-max-listpack-entries 2",
    "CONFIG SET zset-max-listpack-entries 2",
    "CONFIG SET set-max-listpack-entries 2",
    "CONFIG SET set-max-intset-entries 2",
    "CONFIG SET list-max-listpack-size 2",
    "CONFIG SET stream-node-max-entries 3",
];

/// The keys of a database in order.
fn keys(client: &mut Client) -> Vec<Vec<u8>> {
    let Reply::Array(keys) = client.run("KEYS *") else { panic!("KEYS replies with an array") };
    let mut keys: Vec<_> =
        keys.iter().map(|key| key.as_bytes().expect("a key is a string").to_vec()).collect();
    keys.sort_unstable();
    keys
}

fn persistence(client: &mut Client) -> String {
    let info = client.run("INFO persistence");
    String::from_utf8_lossy(info.as_bytes().expect("INFO replies with text")).into_owned()
}

/// Every key has the same value and deadline on both: what ours dumps, the peer restores beside its
/// own.
fn assert_same(ours: &mut Client, peer: &mut Client) {
    for db in ["0", "9"] {
        for client in [&mut *ours, &mut *peer] {
            client.run(&format!("SELECT {db}"));
        }
        let all = keys(peer);
        assert_eq!(keys(ours), all, "database {db}");
        for key in all {
            let name = key.escape_ascii();
            let deadline = peer.call(&[b"PEXPIRETIME", &key[..]]);
            assert_eq!(ours.call(&[b"PEXPIRETIME", &key[..]]), deadline, "{name}");
            let payload = ours.call(&[b"DUMP", &key[..]]);
            let payload = payload.as_bytes().expect("the key is there");
            peer.call(&[b"RESTORE", &b"copy"[..], b"0", payload, b"REPLACE"]);
            peer.call(&[b"PERSIST", &key[..]]);
            let digest =
                |peer: &mut Client, key: &[u8]| peer.call(&[b"DEBUG", &b"DIGEST-VALUE"[..], key]);
            assert_eq!(digest(peer, b"copy"), digest(peer, &key), "{name}");
            peer.run("DEL copy");
        }
    }
}

fn loads_the_file_of(program: Program, settings: &[&str]) {
    let peer = Server::builder(program).start();
    let mut client = peer.client();
    for setting in settings {
        client.run(setting);
    }
    fill(&mut client);
    client.run("SAVE");
    for shards in [1, 2] {
        let ours = start_with_file_of(Program::Kvasir, shards, &peer);
        assert_same(&mut ours.client(), &mut client);
        // The comparison has taken deadlines away.
        client.run("DEBUG RELOAD NOSAVE");
        let info = persistence(&mut ours.client());
        assert!(info.contains("loading:0"), "{info}");
        assert!(info.contains("rdb_last_load_keys_expired:0"), "{info}");
    }
}

#[test]
fn the_file_of_valkey_loads() {
    loads_the_file_of(Program::Valkey, &[]);
}

#[test]
fn the_file_of_valkey_in_large_encodings_loads() {
    loads_the_file_of(Program::Valkey, SMALL_LIMITS);
}

#[test]
fn the_file_of_redis_loads() {
    loads_the_file_of(Program::Redis, &["CONFIG SET rdbcompression no"]);
}

#[test]
fn what_has_expired_is_left_out() {
    let peer = Server::valkey();
    let mut client = peer.client();
    client.run("DEBUG SET-ACTIVE-EXPIRE 0");
    client.run("SET gone x PX 1");
    client.run("SET kept x");
    client.run("SAVE");
    let ours = start_with_file_of(Program::Kvasir, 2, &peer);
    assert_eq!(keys(&mut ours.client()), [b"kept"]);
    let info = persistence(&mut ours.client());
    assert!(info.contains("rdb_last_load_keys_expired:1\r\nrdb_last_load_keys_loaded:1"), "{info}");
}

#[test]
fn clients_are_told_to_wait_while_data_loads() {
    let peer = Server::valkey();
    peer.client().run("DEBUG POPULATE 100000 key 100");
    peer.client().run("SAVE");
    let dir = peer.dir().to_str().unwrap();
    let delay = ["--dir", dir, "--key-load-delay", "1000"];
    let ours = Server::builder(Program::Kvasir).shards(2).args(&delay).start_loading();
    let mut client = ours.client();
    let error = Reply::Error(b"LOADING Kvasir is loading the dataset in memory".to_vec());
    assert_eq!(client.run("GET key:1"), error);
    assert_eq!(client.run("PING"), error);
    let info = persistence(&mut client);
    for field in ["loading:1\r\n", "loading_start_time:", "loading_total_bytes:", "loading_eta"] {
        assert!(info.contains(field), "{field} in {info}");
    }
    client.run("CONFIG SET key-load-delay 0");
    let loaded = kvasir_testing::poll_every(
        std::time::Duration::from_millis(5),
        std::time::Duration::from_secs(60),
        || (client.run("DBSIZE") == Reply::Integer(100_000)).then_some(()),
    );
    assert!(loaded.is_some(), "the file is loaded in the end");
    assert_eq!(client.run("GET key:1").as_bytes().map(<[u8]>::len), Some(100));
}

/// Runs our server in this directory until it exits by itself.
fn run_to_exit(dir: &Path, shards: &str) -> Output {
    Command::new(Program::Kvasir.path())
        .args(["--port", "0", "--unixsocket", "socket", "--shards", shards, "--dir"])
        .arg(dir)
        .stdin(Stdio::null())
        .output()
        .expect("run the server")
}

#[test]
fn a_damaged_file_is_refused_with_one_line() {
    let peer = Server::valkey();
    fill(&mut peer.client());
    peer.client().run("SAVE");
    let file = peer.dir().join("dump.rdb");
    let intact = std::fs::read(&file).unwrap();
    let mut damaged = intact.clone();
    let middle = damaged.len() / 2;
    damaged[middle] ^= 0x40;
    let cut = intact[..intact.len() - 100].to_vec();
    let strange = b"hello there".to_vec();
    let mut sum = intact.clone();
    *sum.last_mut().unwrap() ^= 1;
    let cases =
        [(damaged, "at byte"), (cut, "ends too early"), (strange, "signature"), (sum, "CRC")];
    for (shards, (bytes, expected)) in ["1", "2", "1", "2"].into_iter().zip(cases) {
        std::fs::write(&file, bytes).unwrap();
        let output = run_to_exit(peer.dir(), shards);
        assert_eq!(output.status.code(), Some(1), "{expected}");
        let log = String::from_utf8_lossy(&output.stdout);
        let last = log.lines().last().unwrap_or_default();
        assert!(last.contains("Fatal error loading"), "{expected}: {log}");
        assert!(last.contains(expected), "{expected}: {log}");
    }
}

#[test]
fn a_key_twice_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let file = b"REDIS0003\xfe\x00\x00\x01k\x01v\x00\x01k\x01w\xff";
    std::fs::write(dir.path().join("dump.rdb"), file).unwrap();
    let output = run_to_exit(dir.path(), "2");
    let log = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{log}");
    assert!(log.contains("RDB has duplicated key 'k' in DB 0"), "{log}");
}

/// What lies behind a damaged value, and would be noticed as well, is not what is told.
#[test]
fn a_damaged_value_is_told_with_its_place() {
    let dir = tempfile::tempdir().unwrap();
    let file = b"REDIS0011\xfe\x00\x10\x01h\x04abcd\x00\x01k\x01v\x00\x01l\x09cut";
    std::fs::write(dir.path().join("dump.rdb"), file).unwrap();
    for shards in ["1", "2"] {
        let output = run_to_exit(dir.path(), shards);
        let log = String::from_utf8_lossy(&output.stdout);
        assert_eq!(output.status.code(), Some(1), "{log}");
        let last = log.lines().last().unwrap_or_default();
        assert!(last.contains("Listpack integrity check failed"), "{log}");
        assert!(last.contains("(at byte 19)"), "{log}");
    }
}
