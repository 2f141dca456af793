//! Hashes: their commands beyond what the differential test and Valkey's own suite cover, above all
//! deadlines of fields, and hashes on their way between keys, databases and shards.

use kvasir_testing::{check, show, wait_until};

use crate::at_one_and_two_shards;

#[test]
fn fields_get_deadlines_under_conditions() {
    at_one_and_two_shards(|server| {
        check(
            server,
            &[
                ("HSET h a 1 b 2 c 3", "3"),
                ("OBJECT ENCODING h", "\"listpack\""),
                ("HEXPIRE h 100 FIELDS 2 a nope", "[1 -2]"),
                ("OBJECT ENCODING h", "\"hashtable\""),
                ("HTTL h FIELDS 3 a b nope", "[100 -1 -2]"),
                ("HEXPIRE h 200 NX FIELDS 2 a b", "[0 1]"),
                ("HEXPIRE h 50 GT FIELDS 2 a c", "[0 0]"),
                ("HEXPIRE h 50 LT FIELDS 2 a c", "[1 1]"),
                ("HPEXPIREAT h 99999999999499 XX FIELDS 1 a", "[1]"),
                ("HEXPIRETIME h FIELDS 1 a", "[99999999999]"),
                ("HPEXPIRETIME h FIELDS 1 a", "[99999999999499]"),
                ("HEXPIREAT h 99999999999 FIELDS 1 b", "[1]"),
                ("HPEXPIRETIME h FIELDS 1 b", "[99999999999000]"),
                ("HPERSIST h FIELDS 3 a a nope", "[1 -1 -2]"),
                ("HPTTL h FIELDS 1 a", "[-1]"),
                ("HPEXPIRE h 0 FIELDS 2 a b", "[2 2]"),
                ("HLEN h", "1"),
                ("HEXPIREAT h 1 FIELDS 1 c", "[2]"),
                ("EXISTS h", "0"),
                ("HEXPIRE nokey 10 FIELDS 2 a b", "[-2 -2]"),
                ("HTTL nokey FIELDS 1 a", "[-2]"),
                ("HPERSIST nokey FIELDS 1 a", "[-2]"),
            ],
        );
        let stats = server.client().run("INFO stats");
        let stats = String::from_utf8_lossy(stats.as_bytes().expect("a text")).into_owned();
        assert!(stats.contains("\r\nexpired_fields:3\r\n"), "{stats}");
    });
}

#[test]
fn hashes_are_imported_by_the_names_that_a_connection_prepared() {
    at_one_and_two_shards(|server| {
        check(
            server,
            &[
                ("HIMPORT PREPARE user name email 7", "OK"),
                ("HIMPORT SET user:1 user alice a@example.com 30", "OK"),
                ("HGETALL user:1", r#"["name" "alice" "email" "a@example.com" "7" "30"]"#),
                ("HGET user:1 7", "\"30\""),
                ("SET user:2 text EX 100", "OK"),
                ("HIMPORT SET user:2 user bob b@example.com 1", "OK"),
                ("HVALS user:2", r#"["bob" "b@example.com" "1"]"#),
                ("TTL user:2", "-1"),
                (
                    "HIMPORT SET user:1 user only two",
                    "-ERR number of values does not match the \
                 number of fields in fieldset",
                ),
                ("HIMPORT SET user:1 other a b c", "-ERR no such fieldset"),
                ("HIMPORT PREPARE twice a b a", "-ERR duplicate field name in fieldset"),
                ("HIMPORT SET user:3 twice a b a", "-ERR no such fieldset"),
                ("HLEN user:1", "3"),
                ("HIMPORT PREPARE user name", "OK"),
                ("HIMPORT SET user:1 user carol", "OK"),
                ("HGETALL user:1", r#"["name" "carol"]"#),
                ("HIMPORT PREPARE more x", "OK"),
                ("HIMPORT DISCARD user", "1"),
                ("HIMPORT DISCARD user", "0"),
                ("HIMPORT SET user:1 user dave", "-ERR no such fieldset"),
                ("HIMPORT PREPARE user name", "OK"),
                ("HIMPORT DISCARDALL", "2"),
                ("HIMPORT DISCARDALL", "0"),
                ("HIMPORT PREPARE user name", "OK"),
                ("RESET", "RESET"),
                ("HIMPORT SET user:1 user dave", "-ERR no such fieldset"),
                ("COMMAND GETKEYS HIMPORT SET k user v", r#"["k"]"#),
            ],
        );
        let mut other = server.client();
        assert_eq!(show(&other.run("HIMPORT SET user:1 user x")), "-ERR no such fieldset");
        let names: Vec<String> = (0..600).map(|number| format!("field{number}")).collect();
        let request = |words: &[&str]| {
            let names = names.iter().map(String::as_str);
            words.iter().copied().chain(names).map(str::to_owned).collect::<Vec<_>>()
        };
        assert_eq!(show(&other.call(&request(&["HIMPORT", "PREPARE", "wide"]))), "OK");
        assert_eq!(show(&other.call(&request(&["HIMPORT", "SET", "w", "wide"]))), "OK");
        assert_eq!(show(&other.run("OBJECT ENCODING w")), "\"hashtable\"");
        assert_eq!(show(&other.run("HGET w field599")), "\"field599\"");
    });
}

#[test]
fn deadlines_of_fields_are_refused_with_the_peers_words() {
    const MISMATCH: &str =
        "-ERR numfields should be greater than 0 and match the provided number of fields";
    const NO_INTEGER: &str = "-ERR value is not an integer or out of range";
    at_one_and_two_shards(|server| {
        check(
            server,
            &[
                ("SET s x", "OK"),
                ("HSET h f v", "1"),
                ("HEXPIRE h 10 FIELDS 2 f", MISMATCH),
                ("HEXPIRE h 10 FIELDS 0 f", MISMATCH),
                ("HEXPIRE h 10 WHAT 1 f", MISMATCH),
                ("HEXPIRE h 10 WHAT FIELDS 1 f", "-ERR Unsupported option WHAT"),
                ("HEXPIRE h x FIELDS 1 f", NO_INTEGER),
                ("HEXPIRE h -1 FIELDS 1 f", "-ERR invalid expire time in 'hexpire' command"),
                (
                    "HPEXPIRE h 9223372036854775807 FIELDS 1 f",
                    "-ERR invalid expire time in 'hpexpire' command",
                ),
                (
                    "HEXPIRE h 10 NX GT FIELDS 1 f",
                    "-ERR NX and XX, GT or LT options at the same time are not compatible",
                ),
                ("HTTL h FIELDS 2 f", "-ERR syntax error"),
                ("HTTL h FIELDS x f", NO_INTEGER),
                ("HPERSIST h FIELDS 2 f", MISMATCH),
                ("HGETDEL h FIELDS 2 f", MISMATCH),
                ("HGETEX h EX 10 FIELDS 2 f", MISMATCH),
                ("HGETEX h EX -1 FIELDS 1 f", "-ERR invalid expire time in 'hgetex' command"),
                ("HGETEX h EX 1 PERSIST FIELDS 1 f", "-ERR syntax error"),
                ("HSETEX h EX 10 f v", MISMATCH),
                ("HSETEX h FIELDS 1 f v w", MISMATCH),
                ("HSETEX h FNX FXX FIELDS 1 f v", "-ERR syntax error"),
                ("HSETEX h PX -5 FIELDS 1 f v", "-ERR invalid expire time in 'hsetex' command"),
                (
                    "HEXPIRE s 10 FIELDS 1 f",
                    "-WRONGTYPE Operation against a key holding the wrong kind of value",
                ),
                (
                    "HTTL s FIELDS 1 f",
                    "-WRONGTYPE Operation against a key holding the wrong kind of value",
                ),
                (
                    "HSETEX s FIELDS 1 f v",
                    "-WRONGTYPE Operation against a key holding the wrong kind of value",
                ),
                ("HGETALL h", "[\"f\" \"v\"]"),
                ("HTTL h FIELDS 1 f", "[-1]"),
            ],
        );
    });
}

#[test]
fn fields_are_read_and_changed_in_one_step() {
    at_one_and_two_shards(|server| {
        check(
            server,
            &[
                ("HSET h a 1 b 2 c 3", "3"),
                ("HGETEX h FIELDS 2 a nope", "[\"1\" nil]"),
                ("HGETEX h EX 100 FIELDS 2 a b", "[\"1\" \"2\"]"),
                ("HTTL h FIELDS 3 a b c", "[100 100 -1]"),
                ("HGETEX h PERSIST FIELDS 2 a c", "[\"1\" \"3\"]"),
                ("HTTL h FIELDS 2 a b", "[-1 100]"),
                ("HGETEX h PXAT 1 FIELDS 1 a", "[\"1\"]"),
                ("HEXISTS h a", "0"),
                ("HGETDEL h FIELDS 3 b b nope", "[\"2\" nil nil]"),
                ("HGETDEL h FIELDS 1 c", "[\"3\"]"),
                ("EXISTS h", "0"),
                ("HGETDEL h FIELDS 2 c d", "[nil nil]"),
                ("HGETEX h EX 10 FIELDS 1 c", "[nil]"),
            ],
        );
    });
}

#[test]
fn fields_are_set_with_conditions_and_a_deadline() {
    at_one_and_two_shards(|server| {
        check(
            server,
            &[
                ("HSETEX h XX FIELDS 1 a 1", "0"),
                ("HSETEX h FXX FIELDS 1 a 1", "0"),
                ("EXISTS h", "0"),
                ("HSETEX h NX EX 100 FIELDS 2 a 1 b 2", "1"),
                ("HTTL h FIELDS 2 a b", "[100 100]"),
                ("HSETEX h NX FIELDS 1 c 3", "0"),
                ("HSETEX h FNX FIELDS 2 c 3 a 9", "0"),
                ("HSETEX h FXX FIELDS 2 a 7 c 3", "0"),
                ("HSETEX h XX KEEPTTL FIELDS 2 a 7 c 3", "1"),
                ("HTTL h FIELDS 2 a c", "[100 -1]"),
                ("HMGET h a b c", "[\"7\" \"2\" \"3\"]"),
                ("HSETEX h FIELDS 1 a 8", "1"),
                ("HTTL h FIELDS 1 a", "[-1]"),
                ("HINCRBY h b 5", "7"),
                ("HINCRBYFLOAT h b 0.5", "\"7.5\""),
                ("HTTL h FIELDS 1 b", "[100]"),
                ("HSET h b 1", "0"),
                ("HTTL h FIELDS 1 b", "[-1]"),
                ("HSETEX h EXAT 1 FIELDS 3 a 1 b 1 c 1", "1"),
                ("EXISTS h", "0"),
                ("HSETEX h PX 0 FIELDS 1 a 1", "0"),
                ("EXISTS h", "0"),
            ],
        );
    });
}

/// Dragonfly's form of HSETEX has no word FIELDS.
#[test]
fn fields_are_set_in_dragonflys_form() {
    at_one_and_two_shards(|server| {
        check(
            server,
            &[
                ("HSETEX h 100 a 1 b 2", "2"),
                ("HTTL h FIELDS 2 a b", "[100 100]"),
                ("HSETEX h NX 200 a 9 c 3", "1"),
                ("HMGET h a c", "[\"1\" \"3\"]"),
                ("HTTL h FIELDS 2 a c", "[100 200]"),
                ("HSETEX h KEEPTTL 300 a 5 d 4", "1"),
                ("HTTL h FIELDS 2 a d", "[100 300]"),
                ("HSETEX h FXX 400 a 5 e 4", "0"),
                ("HSETEX h 0 a 5", "-ERR invalid expire time in 'hsetex' command"),
                ("HSETEX h 10 a", "-ERR wrong number of arguments for 'hsetex' command"),
            ],
        );
    });
}

#[test]
fn replies_have_the_shapes_of_resp3() {
    at_one_and_two_shards(|server| {
        let mut client = server.client();
        client.run("HELLO 3");
        for (line, expected) in [
            ("HSET h f v", "1"),
            ("HGETALL h", "{\"f\": \"v\"}"),
            ("HGETALL nokey", "{}"),
            ("HKEYS h", "[\"f\"]"),
            ("HVALS nokey", "[]"),
            ("HRANDFIELD h", "\"f\""),
            ("HRANDFIELD h 5 WITHVALUES", "[[\"f\" \"v\"]]"),
            ("HRANDFIELD h -2 WITHVALUES", "[[\"f\" \"v\"] [\"f\" \"v\"]]"),
            ("HRANDFIELD nokey 5", "[]"),
            ("HRANDFIELD nokey", "nil"),
            ("HSCAN h 0", "[\"0\" [\"f\" \"v\"]]"),
            ("HSCAN h 0 NOVALUES", "[\"0\" [\"f\"]]"),
            ("HMGET h f nope", "[\"v\" nil]"),
        ] {
            assert_eq!(show(&client.run(line)), expected, "{line}");
        }
    });
}

/// Fields go when they are due although nobody looks at them, and the key with the last.
#[test]
fn fields_expire_unasked() {
    at_one_and_two_shards(|server| {
        let mut client = server.client();
        client.run("HSETEX stays PX 1 FIELDS 2 a 1 b 2");
        client.run("HSET stays kept 1");
        client.run("HSETEX goes PX 1 FIELDS 1 a 1");
        wait_until("the fields expire", || {
            show(&client.run("DBSIZE")) == "1"
                && show(&client.run("HGETALL stays")) == "[\"kept\" \"1\"]"
        });
        let stats = client.run("INFO stats");
        let stats = String::from_utf8_lossy(stats.as_bytes().expect("a text")).into_owned();
        assert!(stats.contains("\r\nexpired_fields:3\r\n"), "{stats}");
        assert!(stats.contains("\r\nexpired_keys:0\r\n"), "{stats}");
    });
}

/// The texts of many fields with their values.
fn many(count: usize, pair: impl Fn(usize) -> String) -> String {
    (0..count).map(pair).collect::<Vec<_>>().concat()
}

/// A small hash, a large one, and one whose fields have deadlines, between keys, databases and
/// shards: with two shards some of these keys lie apart and some together.
#[test]
fn hashes_go_where_keys_go() {
    let fill = ["HSET small a 1 b two", "HSETEX ttl EXAT 4000000000 FIELDS 2 a 1 b 2"];
    let large = many(2000, |n| format!(" field:{n} value:{n}"));
    at_one_and_two_shards(|server| {
        let mut client = server.client();
        client.run(&format!("HSET large{large}"));
        for line in fill {
            client.run(line);
        }
        let mut digest = |key: &str| show(&client.run(&format!("DEBUG DIGEST-VALUE {key}")));
        let digests = ["small", "ttl", "large"].map(&mut digest);
        let missing = digest("missing");
        let mut moves = 0;
        for (key, expected) in ["small", "ttl", "large"].into_iter().zip(&digests) {
            for target in ["a", "b", "c", "d", "{small}", "{large}", "{ttl}"] {
                let mut run = |line: String| show(&client.run(&line));
                assert_eq!(run(format!("COPY {key} {target}")), "1");
                assert_eq!(run(format!("TYPE {target}")), "hash");
                assert_eq!(run(format!("RENAME {target} {target}:renamed")), "OK");
                assert_eq!(run(format!("EXISTS {target} {target}:renamed")), "1");
                assert_eq!(run(format!("MOVE {target}:renamed 1")), "1");
                assert_eq!(run("SWAPDB 0 1".to_owned()), "OK");
                assert_eq!(&run(format!("DEBUG DIGEST-VALUE {target}:renamed")), expected);
                let remove = if moves % 2 == 0 { "DEL" } else { "UNLINK" };
                assert_eq!(run(format!("{remove} {target}:renamed {target}")), "1");
                assert_eq!(run(format!("DEBUG DIGEST-VALUE {target}:renamed")), missing);
                assert_eq!(run("SWAPDB 0 1".to_owned()), "OK");
                assert_eq!(&run(format!("DEBUG DIGEST-VALUE {key}")), expected);
                moves += 1;
            }
        }
        assert_eq!(show(&client.run("HEXPIRETIME ttl FIELDS 1 a")), "[4000000000]");
        assert_eq!(show(&client.run("DBSIZE")), "3");
    });
}

#[test]
fn hashes_are_described() {
    at_one_and_two_shards(|server| {
        let mut client = server.client();
        client.run("SET text x");
        client.run("HSET small a 1");
        let pairs = many(1000, |n| format!(" f{n} v"));
        client.run(&format!("HSET large{pairs}"));
        for (line, expected) in [
            ("OBJECT IDLETIME small", "0"),
            ("OBJECT REFCOUNT large", "1"),
            ("DEBUG LISTPACK small", "Listpack structure printed on stdout"),
            ("DEBUG LISTPACK large", "-ERR Not a listpack encoded object."),
            ("DEBUG LISTPACK nokey", "-ERR no such key"),
            (
                "DEBUG HTSTATS-KEY small",
                "-ERR The value stored at the specified key is not represented using an hash table",
            ),
        ] {
            assert_eq!(show(&client.run(line)), expected, "{line}");
        }
        assert!(show(&client.run("DEBUG HTSTATS-KEY large")).contains("number of entries: 1000"));
        assert!(show(&client.run("DEBUG OBJECT large")).contains("encoding:hashtable"));
        let mut usage = |key: &str| match client.run(&format!("MEMORY USAGE {key}")) {
            kvasir_proto::Value::Integer(bytes) => bytes,
            other => panic!("{}", show(&other)),
        };
        let (small, large) = (usage("small"), usage("large"));
        assert!((10..100).contains(&small), "{small} bytes");
        assert!((15_000..40_000).contains(&large), "{large} bytes of 1000 fields");
    });
}

/// A scan that is interleaved with writes returns every field that was there all the time.
#[test]
fn a_scan_of_a_large_hash_misses_nothing_that_stays() {
    at_one_and_two_shards(|server| {
        let mut client = server.client();
        let pairs = many(3000, |n| format!(" stays:{n} {n}"));
        client.run(&format!("HSET h{pairs}"));
        let mut seen = std::collections::BTreeSet::new();
        let mut cursor = "0".to_owned();
        for round in 0.. {
            let reply = client.run(&format!("HSCAN h {cursor} COUNT 50 NOVALUES MATCH stays:*"));
            let kvasir_proto::Value::Array(parts) = &reply else { panic!("{}", show(&reply)) };
            let [next, kvasir_proto::Value::Array(fields)] = &parts[..] else { panic!("HSCAN") };
            seen.extend(fields.iter().map(show));
            cursor =
                String::from_utf8(next.as_bytes().expect("a cursor").to_vec()).expect("digits");
            if cursor == "0" {
                break;
            }
            let more = many(40, |n| format!(" comes:{round}:{n} x"));
            client.run(&format!("HSET h{more}"));
            client.run(&format!("HDEL h comes:{}:1 comes:{}:2", round / 2, round / 2));
        }
        assert_eq!(seen.len(), 3000);
    });
}
