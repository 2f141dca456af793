//! Sorted sets and places on the globe, whose keys may lie on several shards.

use kvasir_testing::check;

use crate::at_one_and_two_shards;

const WRONG_TYPE: &str = "-WRONGTYPE Operation against a key holding the wrong kind of value";

/// With two shards, `a` and `b` lie on different ones, and so do `b` and `c`.
#[test]
fn sorted_sets_are_joined_wherever_they_are() {
    at_one_and_two_shards(|server| {
        check(
            server,
            &[
                ("ZADD a 1 x 2 y 3 z", "3"),
                ("ZADD b 10 y 20 z 30 w", "3"),
                ("SADD c z w", "2"),
                (
                    "ZUNION 3 a b c WITHSCORES",
                    "[\"x\" \"1\" \"y\" \"12\" \"z\" \"24\" \"w\" \"31\"]",
                ),
                (
                    "ZUNION 2 a b WEIGHTS 2 3 AGGREGATE MAX WITHSCORES",
                    "[\"x\" \"2\" \"y\" \"30\" \"z\" \"60\" \"w\" \"90\"]",
                ),
                (
                    "ZUNION 3 a b c AGGREGATE COUNT WITHSCORES",
                    "[\"x\" \"1\" \"w\" \"2\" \"y\" \"2\" \"z\" \"3\"]",
                ),
                ("ZINTER 3 a b c AGGREGATE MIN WITHSCORES", "[\"z\" \"1\"]"),
                ("ZINTER 2 a nokey", "[]"),
                ("ZDIFF 2 a b WITHSCORES", "[\"x\" \"1\"]"),
                ("ZINTERCARD 2 a b", "2"),
                ("ZINTERCARD 2 a b LIMIT 1", "1"),
                ("ZUNIONSTORE d 2 a b", "4"),
                ("ZRANGE d 0 -1", "[\"x\" \"y\" \"z\" \"w\"]"),
                ("ZINTERSTORE d 2 a nokey", "0"),
                ("EXISTS d", "0"),
                ("ZDIFFSTORE a 2 a b", "1"),
                ("ZRANGE a 0 -1", "[\"x\"]"),
                ("SET e string", "OK"),
                ("ZUNION 2 a e", WRONG_TYPE),
                ("ZUNIONSTORE a 2 b e", WRONG_TYPE),
                ("ZRANGE a 0 -1", "[\"x\"]"),
                ("ZRANGESTORE e b (10 +inf BYSCORE LIMIT 0 1", "1"),
                ("ZRANGE e 0 -1 WITHSCORES", "[\"z\" \"20\"]"),
                ("ZMPOP 3 nokey a b MAX COUNT 2", "[\"a\" [[\"x\" \"1\"]]]"),
                ("ZMPOP 3 nokey a b MAX COUNT 2", "[\"b\" [[\"w\" \"30\"] [\"z\" \"20\"]]]"),
            ],
        );
    });
}

#[test]
fn members_expire() {
    at_one_and_two_shards(|server| {
        check(
            server,
            &[
                ("ZADD a 1 x 2 y 3 z", "3"),
                ("ZEXPIRE a 1000 MEMBERS 2 x q", "[1 -2]"),
                ("ZEXPIRE a 2000 NX MEMBERS 1 x", "[0]"),
                ("ZTTL a MEMBERS 3 x y q", "[1000 -1 -2]"),
                ("ZPERSIST a MEMBERS 2 x y", "[1 -1]"),
                ("ZPEXPIREAT a 33177117420000 MEMBERS 1 y", "[1]"),
                ("ZPEXPIRETIME a MEMBERS 1 y", "[33177117420000]"),
                // A member keeps its deadline when its score changes.
                ("ZINCRBY a 10 y", "\"12\""),
                ("ZEXPIRETIME a MEMBERS 1 y", "[33177117420]"),
                ("ZRANGE a 0 -1", "[\"x\" \"z\" \"y\"]"),
                ("ZEXPIREAT a 1 MEMBERS 1 x", "[2]"),
                ("ZRANGE a 0 -1", "[\"z\" \"y\"]"),
                ("ZPEXPIRE a 0 MEMBERS 2 y z", "[2 2]"),
                ("EXISTS a", "0"),
            ],
        );
    });
}

#[test]
fn places_are_searched_and_stored_wherever_the_keys_are() {
    at_one_and_two_shards(|server| {
        check(
            server,
            &[
                ("GEOADD a 13.361389 38.115556 Palermo 15.087269 37.502669 Catania", "2"),
                ("GEODIST a Palermo Catania km", "\"166.2742\""),
                ("GEOSEARCHSTORE b a FROMLONLAT 15 37 BYRADIUS 100 km STOREDIST", "1"),
                ("ZRANGE b 0 -1 WITHSCORES", "[\"Catania\" \"56.4412578701582\"]"),
                ("GEORADIUS a 15 37 200 km STORE b", "2"),
                ("ZRANGE b 0 -1", "[\"Palermo\" \"Catania\"]"),
                ("GEORADIUS a 15 37 200 km ASC", "[\"Catania\" \"Palermo\"]"),
                ("GEOSEARCH a BYPOLYGON 3 12 37 14 37 13 39", "[\"Palermo\"]"),
                (
                    "GEOSEARCH a BYPOLYGON 2 12 37 14 37",
                    "-ERR GEOSEARCH BYPOLYGON must have at least 3 vertices",
                ),
                ("GEOSEARCH a FROMLONLAT 15 37 BYPOLYGON 3 12 37 14 37 13 39", "-ERR syntax error"),
                ("GEOSEARCHSTORE b nokey FROMLONLAT 15 37 BYRADIUS 1 km", "0"),
                ("EXISTS b", "0"),
            ],
        );
    });
}
