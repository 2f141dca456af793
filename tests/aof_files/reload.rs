//! Clients that go on while the log is loaded again: what they ask for is done or refused as a
//! whole, and never done to a data set that is not there yet.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use kvasir_proto::Value as Reply;
use kvasir_testing::{Client, Server, poll_every};

use super::{log_of, start_in, text_of};

const WRITERS: usize = 4;
const RELOADS: u64 = 10;
/// So much is counted between two of them, by all writers.
const BETWEEN: u64 = 40;
const PATIENCE: Duration = Duration::from_secs(10);

/// What the writers share.
struct World<'a> {
    server: &'a Server,
    /// How often something was counted.
    done: AtomicU64,
    stop: AtomicBool,
}

/// Whether it was told to wait until everything has been loaded.
fn is_refused(reply: &Reply) -> bool {
    let Reply::Error(error) = reply else { return false };
    let error = String::from_utf8_lossy(error);
    let is_told = error.starts_with("LOADING") || error.starts_with("EXECABORT");
    assert!(is_told, "{error}");
    true
}

/// The ways to count two keys up, which lie on one shard or on two.
fn count_up(client: &mut Client, way: usize, keys: [&str; 2]) -> Reply {
    let script = "return {redis.call('incr', KEYS[1]), redis.call('incr', KEYS[2])}";
    let undeclared = "return {redis.call('incr', ARGV[1]), redis.call('incr', ARGV[2])}";
    match way {
        0 => {
            for words in [&["MULTI"][..], &["INCR", keys[0]], &["INCR", keys[1]]] {
                let reply = client.call(words);
                if is_refused(&reply) {
                    client.run("DISCARD");
                    return reply;
                }
            }
            client.run("EXEC")
        }
        1 => client.call(&["EVAL", script, "2", keys[0], keys[1]]),
        _ => client.call(&["EVAL", undeclared, "0", keys[0], keys[1]]),
    }
}

/// Counts in several ways until it is told to stop, and fails when a count is not the next.
fn count(world: &World<'_>, number: usize) {
    let mut client = world.server.client();
    let single = format!("single:{number}");
    let mut counts = [0; 4];
    let mut round = 0;
    while !world.stop.load(Ordering::Relaxed) {
        round += 1;
        let way = round % 4;
        if way == 3 {
            let reply = client.call(&["INCR", &single]);
            if !is_refused(&reply) {
                counts[way] += 1;
                assert_eq!(reply, Reply::Integer(counts[way]), "{}", world.server.log());
                world.done.fetch_add(1, Ordering::Relaxed);
            }
            continue;
        }
        let (one, other) = (format!("one:{number}:{way}"), format!("other:{way}:{number}"));
        let reply = count_up(&mut client, way, [&one, &other]);
        if !is_refused(&reply) {
            counts[way] += 1;
            let next = Reply::Integer(counts[way]);
            assert_eq!(reply, Reply::Array(vec![next.clone(), next]), "way {way}");
            world.done.fetch_add(1, Ordering::Relaxed);
        }
    }
}

#[test]
fn nothing_is_done_to_a_data_set_that_is_being_loaded() {
    for shards in 1..=3 {
        let dir = log_of(&[]);
        let ours = start_in(dir.path(), shards, &["--appendfsync", "no"]);
        let mut client = ours.client();
        let world = World { server: &ours, done: AtomicU64::new(0), stop: AtomicBool::new(false) };
        thread::scope(|scope| {
            for number in 0..WRITERS {
                let world = &world;
                scope.spawn(move || count(world, number));
            }
            for round in 1..=RELOADS {
                let counted = poll_every(Duration::from_micros(100), PATIENCE, || {
                    (world.done.load(Ordering::Relaxed) > round * BETWEEN).then_some(())
                });
                assert!(counted.is_some(), "they go on: {}", ours.log());
                let reply = client.run("DEBUG LOADAOF");
                assert_eq!(text_of(&reply), "OK", "{}", ours.log());
            }
            world.stop.store(true, Ordering::Relaxed);
        });
    }
}
