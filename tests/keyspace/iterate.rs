//! Going through the keys.

use std::collections::BTreeSet;

use kvasir_proto::Value;
use kvasir_testing::{Client, check};

use crate::at_one_and_two_shards;

const KEYS: usize = 10_000;

/// Fills the selected database with `key:0` and so on.
fn fill(client: &mut Client, count: usize) {
    let requests: Vec<Vec<String>> =
        (0..count).map(|i| vec!["SET".into(), format!("key:{i}"), i.to_string()]).collect();
    client.pipeline(&requests);
}

fn texts(value: &Value) -> Vec<String> {
    let Value::Array(values) = value else { panic!("no array: {value:?}") };
    values.iter().map(text).collect()
}

fn text(value: &Value) -> String {
    String::from_utf8_lossy(value.as_bytes().expect("a string")).into_owned()
}

/// Every key that a whole scan with these options returns; `between` runs after each call.
fn scan(client: &mut Client, options: &str, mut between: impl FnMut(&mut Client)) -> Vec<String> {
    let mut keys = Vec::new();
    let mut cursor = String::from("0");
    loop {
        let Value::Array(reply) = client.run(&format!("SCAN {cursor} {options}")) else {
            panic!("no array")
        };
        keys.extend(texts(&reply[1]));
        cursor = text(&reply[0]);
        assert!(cursor.parse::<i64>().is_ok(), "a signed integer holds {cursor}");
        if cursor == "0" {
            return keys;
        }
        between(client);
    }
}

#[test]
fn a_scan_returns_every_key() {
    at_one_and_two_shards(|server| {
        let mut client = server.client();
        assert!(scan(&mut client, "", |_| {}).is_empty());
        fill(&mut client, KEYS);
        let expected: BTreeSet<String> = (0..KEYS).map(|i| format!("key:{i}")).collect();
        for options in ["COUNT 1000", "COUNT 7 TYPE string", "MATCH * COUNT 100000"] {
            let keys = scan(&mut client, options, |_| {});
            assert_eq!(keys.len(), KEYS, "each key once: {options}");
            assert_eq!(BTreeSet::from_iter(keys), expected, "{options}");
        }
        assert!(scan(&mut client, "COUNT 1000 TYPE list", |_| {}).is_empty());
        let some = scan(&mut client, "COUNT 1000 MATCH key:[12]??", |_| {});
        assert_eq!(some.len(), 200);
    });
}

#[test]
fn a_scan_returns_what_stays_while_other_keys_come_and_go() {
    at_one_and_two_shards(|server| {
        let mut client = server.client();
        fill(&mut client, 1000);
        let mut round = 0;
        let keys = scan(&mut client, "COUNT 20", |client| {
            round += 1;
            let names = |from: usize| (from..from + 200).map(|i| format!("other:{i}"));
            let set = names(round * 200).map(|name| vec!["SET".into(), name, "x".into()]);
            let requests: Vec<Vec<String>> = match round % 4 {
                3 => names((round - 3) * 200).map(|name| vec!["DEL".into(), name]).collect(),
                _ => set.collect(),
            };
            client.pipeline(&requests);
        });
        let stayed: BTreeSet<String> =
            keys.into_iter().filter(|key| key.starts_with("key:")).collect();
        assert_eq!(stayed.len(), 1000);
    });
}

#[test]
fn keys_lists_what_matches() {
    at_one_and_two_shards(|server| {
        let mut client = server.client();
        fill(&mut client, KEYS);
        client.run("MSET foo{t}1 1 foo{t}2 2 bar{t} 3");
        let sorted = |value: &Value| BTreeSet::from_iter(texts(value));
        assert_eq!(texts(&client.run("KEYS *")).len(), KEYS + 3);
        assert_eq!(sorted(&client.run("KEYS foo{t}*")).len(), 2);
        assert_eq!(texts(&client.run("KEYS bar?t?")), ["bar{t}"]);
        assert_eq!(texts(&client.run("KEYS key:99[0-4]?")).len(), 50);
        assert!(texts(&client.run("KEYS nope*")).is_empty());
        assert!(texts(&client.run(&format!("KEYS {}b", "a*".repeat(1000)))).is_empty());
    });
}

#[test]
fn random_keys_come_from_every_shard() {
    at_one_and_two_shards(|server| {
        let mut client = server.client();
        assert_eq!(client.run("RANDOMKEY"), Value::Null);
        client.run("MSET a 1 b 2 c 3 d 4");
        let mut seen = BTreeSet::new();
        // Were one of four missed for so long, it would not be random.
        for _ in 0..500 {
            seen.insert(text(&client.run("RANDOMKEY")));
        }
        assert_eq!(Vec::from_iter(seen), ["a", "b", "c", "d"]);
    });
}

#[test]
fn scans_that_cannot_be() {
    at_one_and_two_shards(|server| {
        check(
            server,
            &[
                ("SCAN x", "-ERR invalid cursor"),
                ("SCAN -1", "-ERR invalid cursor"),
                ("SCAN 0 COUNT 0", "-ERR syntax error"),
                ("SCAN 0 COUNT x", "-ERR value is not an integer or out of range"),
                ("SCAN 0 COUNT", "-ERR syntax error"),
                ("SCAN 0 MATCH", "-ERR syntax error"),
                ("SCAN 0 TYPE foo", "-ERR unknown type name 'foo'"),
                ("SCAN 0 NOVALUES", "-ERR NOVALUES option can only be used in HSCAN"),
                ("SCAN 0 NOSCORES", "-ERR NOSCORES option can only be used in ZSCAN"),
            ],
        );
    });
}
