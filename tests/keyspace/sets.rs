//! Sets, whose keys may lie on several shards.

use kvasir_proto::Value;
use kvasir_testing::{Rng, check};

use crate::at_one_and_two_shards;

/// With two shards, `a` and `b` lie on different ones, and so do `b` and `c`.
#[test]
fn sets_are_put_together_wherever_they_are() {
    at_one_and_two_shards(|server| {
        check(
            server,
            &[
                ("SADD a 1 2 3", "3"),
                ("SADD b 2 3 4", "3"),
                ("SADD c 3", "1"),
                ("SINTER a b c", "[\"3\"]"),
                ("SINTER a b nokey", "[]"),
                ("SDIFF c a b", "[]"),
                ("SDIFF b a nokey", "[\"4\"]"),
                ("SINTERCARD 2 a b", "2"),
                ("SINTERCARD 2 a b LIMIT 1", "1"),
                ("SUNIONCARD 3 a b c", "4"),
                ("SUNIONCARD 3 a b c LIMIT 2", "2"),
                ("SDIFFCARD 2 a b", "1"),
                ("SUNIONSTORE d a b c", "4"),
                ("SCARD d", "4"),
                ("SINTERSTORE d a nokey", "0"),
                ("EXISTS d", "0"),
                ("SDIFFSTORE a a b", "1"),
                ("SMEMBERS a", "[\"1\"]"),
                ("SET e x", "OK"),
                ("SUNION a b e", WRONG_TYPE),
                ("SINTERSTORE a b e", WRONG_TYPE),
                ("SMEMBERS a", "[\"1\"]"),
            ],
        );
    });
}

const WRONG_TYPE: &str = "-WRONGTYPE Operation against a key holding the wrong kind of value";

#[test]
fn a_member_moves_to_another_set_or_not_at_all() {
    at_one_and_two_shards(|server| {
        check(
            server,
            &[
                ("SADD a x y", "2"),
                ("SADD b y", "1"),
                ("SET c string", "OK"),
                ("SMOVE a b nomember", "0"),
                ("SMOVE nokey c x", "0"),
                ("SMOVE a c x", WRONG_TYPE),
                ("SMOVE a b y", "1"),
                ("SMEMBERS a", "[\"x\"]"),
                ("SCARD b", "1"),
                ("SMOVE a b x", "1"),
                ("EXISTS a", "0"),
                ("SMOVE b b x", "1"),
                ("SMISMEMBER b x y z", "[1 1 0]"),
            ],
        );
    });
}

#[test]
fn members_expire_one_by_one() {
    at_one_and_two_shards(|server| {
        check(
            server,
            &[
                ("SADD a x y z", "3"),
                ("SPEXPIREAT a 99999999999999 MEMBERS 2 x nomember", "[1 -2]"),
                ("SPEXPIRETIME a MEMBERS 3 x y nomember", "[99999999999999 -1 -2]"),
                ("SEXPIRE a 100 NX MEMBERS 2 x y", "[0 1]"),
                ("SPERSIST a MEMBERS 2 y z", "[1 -1]"),
                ("SEXPIRE a 0 MEMBERS 1 x", "[2]"),
                ("SISMEMBER a x", "0"),
                ("SEXPIREAT a 1 MEMBERS 2 y z", "[2 2]"),
                ("EXISTS a", "0"),
                ("STTL a MEMBERS 1 x", "[-2]"),
                (
                    "SEXPIRE a 100 MEMBERS 2 x",
                    "-ERR nummembers should be greater than 0 and match the provided number of \
                     members",
                ),
            ],
        );
    });
}

fn elements(reply: &Value) -> usize {
    match reply {
        Value::Array(elements) | Value::Set(elements) => elements.len(),
        other => panic!("{other:?} is no collection"),
    }
}

/// What is drawn at random is a member each time, and popping takes every member once.
#[test]
fn random_members_are_members() {
    at_one_and_two_shards(|server| {
        let mut client = server.client();
        let mut rng = Rng::new(1);
        for size in [3, 100, 2000] {
            for member in 0..size {
                client.call(&["SADD", "a", &format!("member:{member}")]);
            }
            let drawn = client.call(&["SRANDMEMBER", "a", "-50"]);
            assert_eq!(elements(&drawn), 50);
            let distinct = client.call(&["SRANDMEMBER", "a", "3000"]);
            assert_eq!(elements(&distinct), size);
            let mut popped = 0;
            while popped < size {
                let count = 1 + rng.below(size);
                popped += elements(&client.call(&["SPOP", "a", &count.to_string()]));
            }
            assert_eq!(popped, size);
            assert_eq!(client.run("EXISTS a"), Value::Integer(0));
        }
    });
}
