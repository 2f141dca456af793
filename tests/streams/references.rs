//! Deleting and trimming with a policy about what groups refer to.

use kvasir_testing::check;

use crate::at_one_and_two_shards;

/// Five entries, two of which a group has been given and one of which it has acknowledged.
const PREPARED: [(&str, &str); 8] = [
    ("XADD s 1-0 f v", "\"1-0\""),
    ("XADD s 2-0 f v", "\"2-0\""),
    ("XADD s 3-0 f v", "\"3-0\""),
    ("XADD s 4-0 f v", "\"4-0\""),
    ("XADD s 5-0 f v", "\"5-0\""),
    ("XGROUP CREATE s g 0", "OK"),
    (
        "XREADGROUP GROUP g c COUNT 2 STREAMS s >",
        "[[\"s\" [[\"1-0\" [\"f\" \"v\"]] [\"2-0\" [\"f\" \"v\"]]]]]",
    ),
    ("XACK s g 1-0", "1"),
];

fn check_prepared(rows: &[(&str, &str)]) {
    at_one_and_two_shards(|server| check(server, &[&PREPARED, rows].concat()));
}

#[test]
fn deleting_tells_what_became_of_each_entry() {
    check_prepared(&[
        ("XDELEX s ACKED IDS 4 1-0 2-0 3-0 9-0", "[1 2 2 -1]"),
        ("XLEN s", "4"),
        ("XDELEX s IDS 1 2-0", "[1]"),
        ("XDELEX s DELREF IDS 1 2-0", "[-1]"),
        ("XPENDING s g", "[0 nil nil nil-array]"),
        ("XDELEX nokey IDS 2 1-0 2-0", "[-1 -1]"),
        ("XDELEX s IDS 2 1-0", "-ERR The `numids` parameter must match the number of arguments"),
        ("XDELEX s IDS 0 1-0", "-ERR Number of IDs must be a positive integer"),
        ("XDELEX s KEEPREF NOPE 1 1-0", "-ERR syntax error"),
    ]);
}

#[test]
fn acknowledging_and_deleting_go_together() {
    check_prepared(&[
        ("XGROUP CREATE s h 0", "OK"),
        ("XACKDEL s g ACKED IDS 2 2-0 3-0", "[2 -1]"),
        ("XLEN s", "5"),
        ("XPENDING s g", "[0 nil nil nil-array]"),
        ("XREADGROUP GROUP h c COUNT 1 STREAMS s >", "[[\"s\" [[\"1-0\" [\"f\" \"v\"]]]]]"),
        ("XACKDEL s h ACKED IDS 1 1-0", "[1]"),
        ("XLEN s", "4"),
        ("XACKDEL s nogroup IDS 1 2-0", "[-1]"),
    ]);
}

#[test]
fn trimming_spares_what_is_referenced_or_takes_the_references_too() {
    check_prepared(&[
        ("XTRIM s MAXLEN 0 ACKED", "1"),
        ("XADD s MAXLEN = 1 ACKED 6-0 f v", "\"6-0\""),
        ("XLEN s", "5"),
        ("XTRIM s MINID 4 DELREF", "2"),
        ("XPENDING s g", "[0 nil nil nil-array]"),
        ("XTRIM s MAXLEN 1 KEEPREF", "2"),
    ]);
}

#[test]
fn a_stream_stays_when_its_last_entry_goes() {
    at_one_and_two_shards(|server| {
        check(
            server,
            &[
                ("XADD s 5-0 f v", "\"5-0\""),
                ("XDEL s 5-0", "1"),
                ("EXISTS s", "1"),
                ("TYPE s", "stream"),
                ("OBJECT ENCODING s", "\"stream\""),
                (
                    "XADD s 5-0 f v",
                    "-ERR The ID specified in XADD is equal or smaller than the target stream top \
                    item",
                ),
                ("COPY s t", "1"),
                ("RENAME t u", "OK"),
                ("XADD u 5-* f v", "\"5-1\""),
                ("XLEN s", "0"),
                ("DEL s u", "2"),
            ],
        );
    });
}
