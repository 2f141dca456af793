//! A snapshot is one moment of all shards: whatever the clients write meanwhile, what their
//! transactions keep true is true in the file.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use kvasir_proto::Value as Reply;
use kvasir_testing::{Client, Program, Rng, Server, poll_every};

use super::start_with_file_of;

const ACCOUNTS: usize = 400;
/// Enough for the collections to be saved in parts.
const ELEMENTS: usize = 3000;
const FILLERS: usize = 3000;
const WRITERS: u64 = 3;
const SEED: u64 = 20_261_123;

fn integer(client: &mut Client, line: &str) -> i64 {
    match client.run(line) {
        Reply::Integer(value) => value,
        other => panic!("{line}: {other:?}"),
    }
}

fn texts(client: &mut Client, line: &str) -> Vec<String> {
    let Reply::Array(values) = client.run(line) else { panic!("{line} replies with an array") };
    let text = |value: &Reply| String::from_utf8(value.as_bytes().unwrap_or(b"0").to_vec());
    values.iter().map(|value| text(value).expect("it is text")).collect()
}

fn requests(lines: &[String]) -> Vec<Vec<String>> {
    let words = |line: &String| line.split(' ').map(str::to_owned).collect();
    lines.iter().map(words).collect()
}

fn fill(client: &mut Client) {
    let mut lines = Vec::new();
    for index in 0..ELEMENTS {
        lines.push(format!("HSET hash f{index} 10"));
        lines.push(format!("ZADD zset 10 m{index}"));
        lines.push(format!("SADD {} e{index}", if index % 2 == 0 { "left" } else { "right" }));
        lines.push(format!("RPUSH {} e{index}", if index % 2 == 0 { "here" } else { "there" }));
    }
    lines.extend((0..ACCOUNTS).map(|index| format!("SET account:{index} 10")));
    lines.extend((0..FILLERS).map(|index| format!("SET filler:{index} {index}")));
    for reply in client.pipeline(&requests(&lines)) {
        assert!(!matches!(reply, Reply::Error(_)), "{reply:?}");
    }
}

/// Transactions that move something from one place to another, or do two things together.
fn transaction(rng: &mut Rng, number: u64) -> Vec<String> {
    let amount = rng.below(9) + 1;
    let mut two = |most| (rng.below(most), rng.below(most));
    let (from, to) = two(ACCOUNTS);
    let (one, other) = two(ELEMENTS);
    let body = match number % 8 {
        0 => {
            vec![format!("DECRBY account:{from} {amount}"), format!("INCRBY account:{to} {amount}")]
        }
        1 => vec![
            format!("HINCRBY hash f{one} -{amount}"),
            format!("HINCRBY hash f{other} {amount}"),
        ],
        2 => vec![
            format!("ZINCRBY zset -{amount} m{one}"),
            format!("ZINCRBY zset {amount} m{other}"),
        ],
        3 => vec![format!("SMOVE left right e{one}"), format!("SMOVE right left e{other}")],
        4 => {
            vec!["LMOVE here there LEFT RIGHT".to_owned(), "LMOVE there here LEFT RIGHT".to_owned()]
        }
        5 => vec!["INCR count".to_owned(), format!("XADD stream * number {number}")],
        6 => {
            vec![format!("DECRBY account:{from} {amount}"), format!("HINCRBY hash f{one} {amount}")]
        }
        _ => vec![format!("RENAME filler:{one} moved"), format!("RENAME moved filler:{one}")],
    };
    let mut lines = vec!["MULTI".to_owned()];
    lines.extend(body);
    lines.push("EXEC".to_owned());
    lines
}

fn write_until(server: &Server, seed: u64, stop: &AtomicBool) {
    let mut client = server.client();
    let mut rng = Rng::new(seed);
    let mut number = seed;
    while !stop.load(Ordering::Relaxed) {
        number += 1;
        let lines = transaction(&mut rng, number);
        let replies = client.pipeline(&requests(&lines));
        let last = replies.last().expect("EXEC is answered");
        assert!(matches!(last, Reply::Array(_)), "{lines:?}: {replies:?}");
    }
}

/// What every transaction leaves as it is.
fn check(server: &Server) {
    let mut client = server.client();
    let sum = |values: Vec<String>| {
        values.iter().map(|value| value.parse::<i64>().expect("a number")).sum::<i64>()
    };
    let names: Vec<String> = (0..ACCOUNTS).map(|index| format!("account:{index}")).collect();
    let accounts = sum(texts(&mut client, &format!("MGET {}", names.join(" "))));
    let fields = sum(texts(&mut client, "HVALS hash"));
    let all = (ACCOUNTS + ELEMENTS) as i64 * 10;
    assert_eq!(accounts + fields, all, "{accounts} in accounts, {fields} in fields");
    let scored = texts(&mut client, "ZRANGE zset 0 -1 WITHSCORES");
    assert_eq!(scored.len(), 2 * ELEMENTS);
    let scores = scored.into_iter().skip(1).step_by(2).collect();
    assert_eq!(sum(scores), ELEMENTS as i64 * 10);
    let members = texts(&mut client, "SUNION left right");
    assert_eq!(members.len(), ELEMENTS);
    let counted = integer(&mut client, "SCARD left") + integer(&mut client, "SCARD right");
    assert_eq!(counted, ELEMENTS as i64, "a member is in one of the sets");
    let lists = [texts(&mut client, "LRANGE here 0 -1"), texts(&mut client, "LRANGE there 0 -1")];
    let mut elements = lists.concat();
    elements.sort_unstable();
    elements.dedup();
    assert_eq!(elements.len(), ELEMENTS, "an element is in one of the lists");
    let count = client.run("GET count");
    let count = count.as_bytes().map(|text| String::from_utf8_lossy(text).into_owned());
    assert_eq!(count, Some(integer(&mut client, "XLEN stream").to_string()));
    let keys = integer(&mut client, "DBSIZE");
    assert_eq!(keys, (ACCOUNTS + FILLERS + 8) as i64, "nothing has come or gone");
}

fn await_end(client: &mut Client) {
    let ended = poll_every(Duration::from_millis(5), Duration::from_secs(60), || {
        let info = client.run("INFO persistence");
        let info = String::from_utf8_lossy(info.as_bytes().expect("INFO replies with text"));
        info.contains("rdb_bgsave_in_progress:0").then_some(())
    });
    assert!(ended.is_some(), "the save ends");
}

fn saves_one_moment(shards: usize) {
    let ours = Server::kvasir(shards);
    let mut client = ours.client();
    fill(&mut client);
    client.run("INCR count");
    client.run("XADD stream * number 0");
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        for writer in 0..WRITERS {
            let (ours, stop) = (&ours, &stop);
            scope.spawn(move || write_until(ours, SEED + writer, stop));
        }
        for round in 0..2 {
            // Slow enough for most keys to be written before the walk comes to them.
            client.run(&format!("CONFIG SET rdb-key-save-delay {}", 100 - 100 * round));
            let started = client.run("BGSAVE");
            assert_eq!(started, Reply::Simple(b"Background saving started".to_vec()));
            await_end(&mut client);
            let info = client.run("INFO persistence");
            let info = String::from_utf8_lossy(info.as_bytes().expect("INFO replies with text"));
            assert!(info.contains("rdb_last_bgsave_status:ok"), "{info}");
            check(&start_with_file_of(Program::Valkey, 1, &ours));
            check(&start_with_file_of(Program::Kvasir, 2, &ours));
        }
        stop.store(true, Ordering::Relaxed);
    });
    check(&ours);
}

#[test]
fn one_shard_saves_one_moment() {
    saves_one_moment(1);
}

#[test]
fn two_shards_save_one_moment() {
    saves_one_moment(2);
}

#[test]
fn four_shards_save_one_moment() {
    saves_one_moment(4);
}

#[test]
fn what_is_emptied_or_exchanged_meanwhile_is_in_the_file() {
    for shards in [1, 2] {
        let ours = Server::kvasir(shards);
        let mut client = ours.client();
        fill(&mut client);
        client.run("SELECT 1");
        client.run("SET one 1");
        client.run("CONFIG SET rdb-key-save-delay 1000");
        client.run("BGSAVE");
        // The reply came before the cut, which no later command of this client is part of.
        let walked = poll_every(Duration::from_millis(1), Duration::from_secs(10), || {
            let info = client.run("INFO persistence");
            let info = String::from_utf8_lossy(info.as_bytes().expect("text")).into_owned();
            (!info.contains("current_save_keys_processed:0\r")).then_some(())
        });
        assert!(walked.is_some(), "the walk begins");
        client.run("SWAPDB 0 1");
        assert_eq!(client.run("GET one"), Reply::Null);
        client.run("FLUSHDB");
        client.run("SET new 1");
        client.run("CONFIG SET rdb-key-save-delay 0");
        await_end(&mut client);
        for program in [Program::Valkey, Program::Kvasir] {
            let loaded = start_with_file_of(program, 2, &ours);
            let mut client = loaded.client();
            let keys = (ACCOUNTS + FILLERS + 6) as i64;
            assert_eq!(integer(&mut client, "DBSIZE"), keys);
            assert_eq!(integer(&mut client, "HLEN hash"), ELEMENTS as i64);
            client.run("SELECT 1");
            assert_eq!(integer(&mut client, "DBSIZE"), 1);
        }
    }
}

#[test]
fn emptying_everything_ends_a_snapshot() {
    let points: &[&str] = &["--save", "3600", "100000"];
    for (shards, points) in [(1, &[][..]), (2, &[]), (1, points), (2, points)] {
        let ours = Server::builder(Program::Kvasir).shards(shards).args(points).start();
        let mut client = ours.client();
        client.run("CONFIG SET rdb-key-save-delay 1000000");
        client.run("DEBUG POPULATE 100");
        client.run("BGSAVE");
        assert_eq!(client.run("FLUSHALL"), Reply::Simple(b"OK".to_vec()));
        client.run("CONFIG SET rdb-key-save-delay 0");
        await_end(&mut client);
        // With save points what is left is saved: nothing.
        assert_eq!(ours.dir().join("dump.rdb").exists(), !points.is_empty());
        client.run("SET a 1");
        client.run("BGSAVE");
        await_end(&mut client);
        let loaded = start_with_file_of(Program::Valkey, 1, &ours);
        assert_eq!(integer(&mut loaded.client(), "DBSIZE"), 1);
    }
}

#[test]
fn save_points_are_kept() {
    for shards in [1, 2] {
        let ours =
            Server::builder(Program::Kvasir).shards(shards).args(&["--save", "1", "10"]).start();
        let mut client = ours.client();
        for index in 0..20 {
            client.run(&format!("SET key:{index} 1"));
        }
        let file = ours.dir().join("dump.rdb");
        let saved = poll_every(Duration::from_millis(10), Duration::from_secs(60), || {
            file.exists().then_some(())
        });
        assert!(saved.is_some(), "a point is reached");
        await_end(&mut client);
        let info = client.run("INFO persistence");
        let info = String::from_utf8_lossy(info.as_bytes().expect("text")).into_owned();
        assert!(info.contains("rdb_changes_since_last_save:0\r"), "{info}");
    }
}
