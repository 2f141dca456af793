//! Real clients of several cores that wait for elements: each element goes to one of them, and who
//! came first is served first.
//!
//! `KVASIR_SEED=N` repeats a run's commands (not its timing).

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};

use kvasir_proto::Value;
use kvasir_testing::{Client, Rng, Server, seed_from_environment, show, wait_until};

/// On two shards some of these are on each, and on four as well.
const KEYS: [&str; 4] = ["queue:a", "queue:b", "queue:c", "queue:d"];

#[test]
fn the_keys_lie_on_all_of_four_shards() {
    let shards: BTreeSet<usize> = KEYS
        .iter()
        .map(|key| (usize::from(kvasir_proto::key_slot(key.as_bytes())) * 4) >> 14)
        .collect();
    assert!(shards.len() >= 3, "{shards:?}");
}

/// How many clients the server says are waiting.
fn waiting(server: &Server) -> usize {
    let reply = server.client().run("INFO clients");
    let text = String::from_utf8_lossy(reply.as_bytes().expect("a text")).into_owned();
    let line = text.lines().find_map(|line| line.strip_prefix("blocked_clients:"));
    line.and_then(|count| count.trim().parse().ok()).expect("INFO tells how many wait")
}

/// Clients that have sent a command one after the other, each while all before it wait.
fn queue(server: &Server, count: usize, request: &str) -> Vec<Client> {
    let mut clients = Vec::new();
    for number in 1..=count {
        let mut client = server.client();
        client.send_raw(&Client::encode(&kvasir_testing::words(request)));
        clients.push(client);
        wait_until("it waits", || waiting(server) == number);
    }
    clients
}

fn at_several_shards(test: impl Fn(&Server)) {
    for shards in [1, 2, 4] {
        test(&Server::kvasir(shards));
    }
}

/// `KEY` and `VALUE` are put in.
const WAYS: [(&str, &str, &str); 7] = [
    ("BLPOP KEY 0", "RPUSH KEY VALUE", r#"["KEY" "VALUE"]"#),
    ("BRPOP KEY 0", "LPUSH KEY VALUE", r#"["KEY" "VALUE"]"#),
    ("BLMOVE KEY moved LEFT RIGHT 0", "RPUSH KEY VALUE", r#""VALUE""#),
    ("BLMPOP 0 1 KEY LEFT", "RPUSH KEY VALUE", r#"["KEY" ["VALUE"]]"#),
    ("BZPOPMIN KEY 0", "ZADD KEY 1 VALUE", r#"["KEY" "VALUE" "1"]"#),
    ("BZPOPMAX KEY 0", "ZADD KEY 1 VALUE", r#"["KEY" "VALUE" "1"]"#),
    ("BZMPOP 0 1 KEY MIN", "ZADD KEY 1 VALUE", r#"["KEY" [["VALUE" "1"]]]"#),
];

#[test]
fn first_come_first_served() {
    at_several_shards(|server| {
        let mut writers = [server.client(), server.client(), server.client()];
        for (at, (wait, write, got)) in WAYS.iter().enumerate() {
            let key = KEYS[at % KEYS.len()];
            let mut clients = queue(server, 6, &wait.replace("KEY", key));
            // All at once: what comes of them comes in their order.
            for number in 0..clients.len() {
                let line = write.replace("KEY", key).replace("VALUE", &format!("v{number}"));
                let reply = writers[number % writers.len()].run(&line);
                assert!(matches!(reply, Value::Integer(_)), "{line}: {}", show(&reply));
            }
            for (number, client) in clients.iter_mut().enumerate() {
                let expected = got.replace("KEY", key).replace("VALUE", &format!("v{number}"));
                assert_eq!(show(&client.read()), expected, "{wait} {number}");
            }
            assert_eq!(show(&writers[0].run(&format!("EXISTS {key}"))), "0");
        }
        let moved = r#"["v0" "v1" "v2" "v3" "v4" "v5"]"#;
        assert_eq!(show(&writers[0].run("LRANGE moved 0 -1")), moved);
    });
}

/// One command brings elements for several who wait, and one more.
#[test]
fn elements_of_one_command_go_to_several() {
    at_several_shards(|server| {
        let mut writer = server.client();
        for (wait, write) in [
            ("BLPOP KEY 0", "RPUSH KEY v0 v1 v2 v3"),
            ("BRPOP KEY 0", "RPUSH KEY v3 v2 v1 v0"),
            ("BZPOPMIN KEY 0", "ZADD KEY 3 v3 1 v1 0 v0 2 v2"),
        ] {
            for key in KEYS {
                let mut clients = queue(server, 3, &wait.replace("KEY", key));
                assert_eq!(show(&writer.run(&write.replace("KEY", key))), "4");
                for (number, client) in clients.iter_mut().enumerate() {
                    let reply = show(&client.read());
                    assert!(reply.contains(&format!("\"v{number}\"")), "{wait}: {reply}");
                }
                assert_eq!(show(&writer.run(&format!("DEL {key}"))), "1", "one is left");
            }
        }
    });
}

/// Who waits for several keys, of several shards, is first in the queue of each.
#[test]
fn first_come_first_served_for_several_keys() {
    at_several_shards(|server| {
        let mut writer = server.client();
        let all = KEYS.join(" ");
        for (wait, write) in [("BLPOP KEYS 0", "RPUSH KEY v"), ("BZPOPMAX KEYS 0", "ZADD KEY 1 v")]
        {
            let clients = queue(server, 8, &wait.replace("KEYS", &all));
            for (number, mut client) in clients.into_iter().enumerate() {
                let key = KEYS[(number * 3 + 1) % KEYS.len()];
                assert_eq!(show(&writer.run(&write.replace("KEY", key))), "1");
                let reply = show(&client.read());
                assert!(reply.starts_with(&format!("[\"{key}\" \"v\"")), "{number}: {reply}");
            }
        }
    });
}

/// Elements for each producer of the load, producers, and consumers.
const ELEMENTS: usize = 400;
const PRODUCERS: usize = 3;
const CONSUMERS: usize = 6;

/// Under load, from and to all cores: nothing is lost, nothing comes twice, and what one producer
/// has put into one list comes out in its order.
#[test]
fn each_element_goes_to_one_client_in_order() {
    let seed = seed_from_environment();
    at_several_shards(|server| {
        let received = AtomicUsize::new(0);
        let all: Vec<Vec<String>> = std::thread::scope(|scope| {
            for producer in 0..PRODUCERS {
                let rng = Rng::new(seed.wrapping_add(producer as u64));
                scope.spawn(move || produce(&mut server.client(), producer, rng));
            }
            let received = &received;
            let consumers: Vec<_> = (0..CONSUMERS)
                .map(|consumer| {
                    let rng = Rng::new(seed.wrapping_add(100 + consumer as u64));
                    scope.spawn(move || consume(&mut server.client(), received, rng))
                })
                .collect();
            consumers.into_iter().map(|one| one.join().expect("a consumer ends well")).collect()
        });
        let distinct: BTreeSet<&String> = all.iter().flatten().collect();
        assert_eq!(distinct.len(), ELEMENTS * PRODUCERS, "KVASIR_SEED={seed}");
        assert_eq!(all.iter().map(Vec::len).sum::<usize>(), distinct.len(), "KVASIR_SEED={seed}");
        for elements in &all {
            assert_in_order(elements, seed);
        }
        assert_eq!(show(&server.client().run("DBSIZE")), "0");
    });
}

/// `key producer:number`, some to lists and some to sorted sets.
fn produce(client: &mut Client, producer: usize, mut rng: Rng) {
    let mut number = 0;
    while number < ELEMENTS {
        let key = KEYS[rng.below(KEYS.len())];
        let count = (1 + rng.below(3)).min(ELEMENTS - number);
        let names = (number..number + count).map(|number| format!("{producer}:{number:04}"));
        let line = if rng.one_in(3) {
            let scored: Vec<String> = names.map(|name| format!("0 {name}")).collect();
            format!("ZADD sorted:{key} {}", scored.join(" "))
        } else {
            let names: Vec<String> = names.collect();
            format!("RPUSH {key} {}", names.join(" "))
        };
        assert!(matches!(client.run(&line), Value::Integer(_)), "{line}");
        number += count;
    }
}

/// Takes elements until all have been taken; those that it got, with their keys.
fn consume(client: &mut Client, received: &AtomicUsize, mut rng: Rng) -> Vec<String> {
    let mut elements = Vec::new();
    while received.load(Ordering::Relaxed) < ELEMENTS * PRODUCERS {
        let from = rng.below(KEYS.len());
        let keys: Vec<&str> = (from..=from + rng.below(3)).map(|at| KEYS[at % 4]).collect();
        let line = if rng.one_in(3) {
            let keys: Vec<String> = keys.iter().map(|key| format!("sorted:{key}")).collect();
            format!("BZPOPMIN {} 0.01", keys.join(" "))
        } else {
            format!("BLPOP {} 0.01", keys.join(" "))
        };
        match client.run(&line) {
            Value::NullArray | Value::Null => {}
            Value::Array(parts) => {
                let text = |at: usize| {
                    String::from_utf8_lossy(parts[at].as_bytes().unwrap_or_default()).into_owned()
                };
                elements.push(format!("{} {}", text(0), text(1)));
                received.fetch_add(1, Ordering::Relaxed);
            }
            other => panic!("{line} answered {}", show(&other)),
        }
    }
    elements
}

/// What came out of a list for one client and was put there by one producer is in its order.
fn assert_in_order(elements: &[String], seed: u64) {
    for key in KEYS {
        for producer in 0..PRODUCERS {
            let start = format!("{key} {producer}:");
            let of_list = elements.iter().filter(|element| element.starts_with(&start));
            assert!(of_list.is_sorted(), "KVASIR_SEED={seed}: {elements:?}");
        }
    }
}
