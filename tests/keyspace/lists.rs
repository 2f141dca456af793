//! Lists: the commands, their errors, their encodings, and moves between shards.

use kvasir_proto::Value;
use kvasir_testing::{Client, check, show};

use crate::{at_one_and_two_shards, check_changes};

#[test]
fn pushing_popping_and_looking() {
    at_one_and_two_shards(|server| {
        check(
            server,
            &[
                ("RPUSH l a b c", "3"),
                ("LPUSH l x y", "5"),
                ("LRANGE l 0 -1", r#"["y" "x" "a" "b" "c"]"#),
                ("LRANGE l -2 100", r#"["b" "c"]"#),
                ("LRANGE l 3 1", "[]"),
                ("LRANGE nokey 0 -1", "[]"),
                ("LLEN l", "5"),
                ("LINDEX l -1", "\"c\""),
                ("LINDEX l 5", "nil"),
                ("LINDEX nokey x", "nil"),
                ("LPUSHX nokey a", "0"),
                ("RPUSHX l d", "6"),
                ("LPOP l", "\"y\""),
                ("RPOP l 2", r#"["d" "c"]"#),
                ("LPOP l 0", "[]"),
                ("LPOP nokey", "nil"),
                ("LPOP nokey 2", "nil-array"),
                ("RPOP l 100", r#"["b" "a" "x"]"#),
                ("EXISTS l", "0"),
                ("LPOP l -1", "-ERR value is out of range, must be positive"),
                ("LPOP l 1 2", "-ERR wrong number of arguments for 'lpop' command"),
            ],
        );
    });
}

#[test]
fn changing_the_middle() {
    at_one_and_two_shards(|server| {
        check(
            server,
            &[
                ("RPUSH l a b c b a", "5"),
                ("LINSERT l BEFORE b 1", "6"),
                ("LINSERT l after b 2", "7"),
                ("LINSERT l after nothing 2", "-1"),
                ("LINSERT nokey after a 2", "0"),
                ("LINSERT l around a 2", "-ERR syntax error"),
                ("LRANGE l 0 -1", r#"["a" "1" "b" "2" "c" "b" "a"]"#),
                ("LSET l -1 z", "OK"),
                ("LSET l 7 z", "-ERR index out of range"),
                ("LSET nokey x z", "-ERR no such key"),
                ("LREM l -1 b", "1"),
                ("LREM l 0 nothing", "0"),
                ("LRANGE l 0 -1", r#"["a" "1" "b" "2" "c" "z"]"#),
                ("LPOS l c", "4"),
                ("LPOS l nothing", "nil"),
                ("LPOS l b COUNT 0", "[2]"),
                ("LTRIM l 1 -2", "OK"),
                ("LRANGE l 0 -1", r#"["1" "b" "2" "c"]"#),
                ("LTRIM l 9 10", "OK"),
                ("TYPE l", "none"),
                ("RPUSH l a b a b a", "5"),
                ("LPOS l a RANK 2 COUNT 2", "[2 4]"),
                ("LPOS l a RANK -1 COUNT 0 MAXLEN 3", "[4 2]"),
                ("LPOS l a MAXLEN -1", "-ERR MAXLEN can't be negative"),
                ("SET text x", "OK"),
                (
                    "RPUSH text x",
                    "-WRONGTYPE Operation against a key holding the wrong kind of value",
                ),
            ],
        );
    });
}

/// Two keys that lie on different shards of two.
const PAIR: [&str; 2] = ["{a}", "{b}"];

#[test]
fn moving_between_lists() {
    let [from, to] = PAIR;
    let table = [
        ("RPUSH F 1 2 3 4 5 6", "6"),
        ("LMOVE F T LEFT RIGHT", "\"1\""),
        ("RPOPLPUSH F T", "\"6\""),
        ("LRANGE T 0 -1", r#"["6" "1"]"#),
        ("LMOVE F F LEFT RIGHT", "\"2\""),
        ("LRANGE F 0 -1", r#"["3" "4" "5" "2"]"#),
        ("LMOVEM F T LEFT LEFT COUNT 2 OBO", r#"["4" "3"]"#),
        ("LMOVEM F T LEFT LEFT EXACTLY 3 BULK", "nil"),
        ("LMOVEM F T RIGHT RIGHT EXACTLY 2 BULK", r#"["5" "2"]"#),
        ("EXISTS F", "0"),
        ("LRANGE T 0 -1", r#"["4" "3" "6" "1" "5" "2"]"#),
        ("LMOVEM T T LEFT LEFT EXACTLY 2 OBO", r#"["3" "4"]"#),
        ("LMOVEM T T LEFT LEFT COUNT 100 BULK", r#"["3" "4" "6" "1" "5" "2"]"#),
        ("LMOVEM F T LEFT LEFT", "[]"),
        ("LMOVEM T F LEFT LEFT", r#"["3"]"#),
        ("LMOVEM T F LEFT LEFT COUNT 2", "-ERR syntax error"),
        ("LMOVEM T F LEFT LEFT COUNT 0 OBO", "-ERR count should be greater than 0"),
        ("LMOVE nokey T LEFT LEFT", "nil"),
        ("LMOVE F T LEFT UP", "-ERR syntax error"),
        ("SET T x", "OK"),
        (
            "LMOVE F T LEFT LEFT",
            "-WRONGTYPE Operation against a key holding the wrong kind of value",
        ),
        ("LRANGE F 0 -1", r#"["3"]"#),
        ("BLMOVE F G LEFT LEFT 0", "\"3\""),
        ("BLMOVE F G LEFT LEFT 0.001", "nil-array"),
        ("BLMOVE F G LEFT LEFT x", "-ERR timeout is not a float or out of range"),
    ];
    at_one_and_two_shards(|server| {
        let mut client = server.client();
        for (line, expected) in &table {
            let named = line.replace(" F", &format!(" {from}")).replace(" T", &format!(" {to}"));
            assert_eq!(&show(&client.run(&named)), expected, "{named}");
        }
    });
}

#[test]
fn popping_from_the_first_of_several() {
    at_one_and_two_shards(|server| {
        check(
            server,
            &[
                ("RPUSH {b} 1 2 3", "3"),
                ("RPUSH {c} 4", "1"),
                ("LMPOP 3 {a} {b} {c} LEFT", r#"["{b}" ["1"]]"#),
                ("LMPOP 3 {c} {a} {b} RIGHT COUNT 5", r#"["{c}" ["4"]]"#),
                ("BLMPOP 0 2 {a} {b} RIGHT COUNT 5", r#"["{b}" ["3" "2"]]"#),
                ("LMPOP 2 {a} {b} LEFT", "nil-array"),
                ("LMPOP 0 {a} LEFT", "-ERR numkeys should be greater than 0"),
                ("LMPOP 3 {a} {b} LEFT", "-ERR syntax error"),
                ("LMPOP 1 {a} LEFT COUNT 0", "-ERR count should be greater than 0"),
                ("RPUSH {b} x", "1"),
                ("BRPOP {a} {b} {c} 0", r#"["{b}" "x"]"#),
                ("BLPOP {a} {b} 0.001", "nil-array"),
                ("SET {a} text", "OK"),
                ("RPUSH {b} x", "1"),
                (
                    "LMPOP 2 {a} {b} LEFT",
                    "-WRONGTYPE Operation against a key holding the wrong kind of value",
                ),
            ],
        );
    });
}

#[test]
fn a_client_that_waits_gets_the_next_element() {
    at_one_and_two_shards(|server| {
        let (mut waiting, mut pushing) = (server.client(), server.client());
        for (wait, push, reply) in [
            ("BLPOP {a} {b} 0", "RPUSH {b} 1 2", r#"["{b}" "1"]"#),
            ("BRPOP {b} {c} 0", "LPUSH {c} 3", r#"["{b}" "2"]"#),
            ("BLMPOP 0 2 {a} {b} LEFT COUNT 2", "RPUSH {a} 4 5 6", r#"["{a}" ["4" "5"]]"#),
            ("BLMOVE {d} {b} LEFT LEFT 0", "RPUSH {d} 7", "\"7\""),
            ("BRPOPLPUSH {d} {c} 0", "RPUSH {d} 8", "\"8\""),
            ("BLMOVEM {d} {a} LEFT RIGHT 0 EXACTLY 2 BULK", "RPUSH {d} 9 10", r#"["9" "10"]"#),
        ] {
            waiting.send(&wait.split(' ').collect::<Vec<_>>());
            pushing.run(push);
            assert_eq!(show(&waiting.read()), reply, "{wait}");
        }
        let whole =
            |client: &mut Client, key: &str| show(&client.run(&format!("LRANGE {key} 0 -1")));
        assert_eq!(whole(&mut pushing, "{a}"), r#"["6" "9" "10"]"#);
        assert_eq!(whole(&mut pushing, "{b}"), r#"["7"]"#);
        assert_eq!(whole(&mut pushing, "{c}"), r#"["8" "3"]"#);
    });
}

#[test]
fn encodings_follow_the_limits() {
    at_one_and_two_shards(|server| {
        let long = "x".repeat(9000);
        check(
            server,
            &[
                ("RPUSH l a", "1"),
                ("OBJECT ENCODING l", "\"listpack\""),
                (&format!("RPUSH l {long}"), "2"),
                ("OBJECT ENCODING l", "\"quicklist\""),
                ("RPOP l 1", &format!("[\"{long}\"]")),
                ("OBJECT ENCODING l", "\"listpack\""),
                ("CONFIG SET list-max-listpack-size 2", "OK"),
                ("RPUSH l b c", "3"),
                ("OBJECT ENCODING l", "\"quicklist\""),
                ("LPOP l 2", r#"["a" "b"]"#),
                ("OBJECT ENCODING l", "\"listpack\""),
                ("COPY l m", "1"),
                ("RENAME m {other}", "OK"),
                ("LRANGE {other} 0 -1", r#"["c"]"#),
            ],
        );
    });
}

#[test]
fn what_counts_as_a_change() {
    at_one_and_two_shards(|server| {
        check_changes(
            server,
            &[
                ("RPUSH l a b c d e", 5),
                ("LPUSHX nokey a", 0),
                ("LPOP l 2", 2),
                ("LSET l 0 x", 1),
                ("LINSERT l BEFORE x y", 1),
                ("LINSERT l BEFORE nothing y", 0),
                ("LREM l 0 x", 1),
                ("LMOVE l {elsewhere} LEFT LEFT", 1),
                ("LTRIM l 1 -1", 1),
                ("LRANGE l 0 -1", 0),
            ],
        );
    });
}

/// Clients that pass elements round between lists of all shards lose none and double none.
#[test]
fn nothing_is_lost_between_shards() {
    const ELEMENTS: usize = 40;
    at_one_and_two_shards(|server| {
        let mut client = server.client();
        for element in 0..ELEMENTS {
            client.run(&format!("RPUSH {{0}} {element}"));
        }
        std::thread::scope(|scope| {
            for thread in 0..4_usize {
                scope.spawn(move || {
                    let mut client = server.client();
                    for step in 0..150 {
                        let (from, to) = ((step + thread) % 5, (step * 3 + thread + 1) % 5);
                        let line = match step % 3 {
                            0 => format!("LMOVE {{{from}}} {{{to}}} LEFT RIGHT"),
                            1 => format!("LMOVEM {{{from}}} {{{to}}} RIGHT LEFT COUNT 3 BULK"),
                            _ => format!("RPOPLPUSH {{{from}}} {{{to}}}"),
                        };
                        assert!(!matches!(client.run(&line), Value::Error(_)), "{line}");
                    }
                });
            }
        });
        let mut seen = Vec::new();
        for list in 0..5 {
            let Value::Array(elements) = client.run(&format!("LRANGE {{{list}}} 0 -1")) else {
                panic!("an array")
            };
            seen.extend(elements.iter().map(show));
        }
        seen.sort_unstable();
        let mut expected: Vec<_> = (0..ELEMENTS).map(|element| format!("\"{element}\"")).collect();
        expected.sort_unstable();
        assert_eq!(seen, expected);
    });
}
