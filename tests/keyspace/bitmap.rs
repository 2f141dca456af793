//! Strings as bits.

use kvasir_testing::check;

use crate::{at_one_and_two_shards, check_changes};

#[test]
fn single_bits() {
    at_one_and_two_shards(|server| {
        check(
            server,
            &[
                ("SETBIT b 7 1", "0"),
                ("SETBIT b 7 1", "1"),
                ("GET b", "\"\\x01\""),
                ("SETBIT b 100 0", "0"),
                ("STRLEN b", "13"),
                ("GETBIT b 7", "1"),
                ("GETBIT b 100000", "0"),
                ("GETBIT nokey 0", "0"),
                ("SET int 1", "OK"),
                ("GETBIT int 2", "1"),
                ("SETBIT int 7 0", "1"),
                ("GET int", "\"0\""),
                ("SETBIT b -1 1", "-ERR bit offset is not an integer or out of range"),
                ("SETBIT b 4294967296 1", "-ERR bit offset is not an integer or out of range"),
                ("SETBIT b 1 2", "-ERR bit is not an integer or out of range"),
                ("BITCOUNT b", "1"),
            ],
        );
    });
}

#[test]
fn counting_and_finding() {
    at_one_and_two_shards(|server| {
        check(
            server,
            &[
                (r#"MSET x "\xff\xf0\x00" y foobar"#, "OK"),
                ("BITCOUNT y", "26"),
                ("BITCOUNT y 0 0", "4"),
                ("BITCOUNT y 1", "22"),
                ("BITCOUNT y 5 30 BIT", "17"),
                ("BITCOUNT y 5 30 byte", "4"),
                ("BITCOUNT y -3 -1", "10"),
                ("BITCOUNT y -7 -8", "0"),
                ("BITCOUNT nokey 0 1", "0"),
                ("BITCOUNT y 1 2 nope", "-ERR syntax error"),
                ("BITCOUNT y 1 2 BIT x", "-ERR syntax error"),
                ("BITPOS x 0", "12"),
                ("BITPOS x 1 2", "-1"),
                ("BITPOS x 0 0 0", "-1"),
                ("BITPOS x 0 7 15 BIT", "12"),
                ("BITPOS nokey 0", "0"),
                ("BITPOS nokey 1", "-1"),
                ("BITPOS x 2", "-ERR The bit argument must be 1 or 0."),
            ],
        );
    });
}

#[test]
fn operations_between_strings() {
    at_one_and_two_shards(|server| {
        check(
            server,
            &[
                (r#"MSET a "\x0f\xff" b "\x33" c "\x55\x01""#, "OK"),
                ("BITOP AND d a b c", "2"),
                ("GET d", r#""\x01\x00""#),
                ("BITOP or d a b c", "2"),
                ("GET d", r#""\x7f\xff""#),
                ("BITOP XOR d a b c nokey", "2"),
                ("GET d", r#""i\xfe""#),
                ("BITOP NOT d a", "2"),
                ("GET d", r#""\xf0\x00""#),
                ("BITOP DIFF d a b c", "2"),
                ("GET d", r#""\x08\xfe""#),
                ("BITOP DIFF1 d a b c", "2"),
                ("GET d", r#""p\x00""#),
                ("BITOP ANDOR d a b c", "2"),
                ("GET d", r#""\x07\x01""#),
                ("BITOP ONE d a b c", "2"),
                ("GET d", r#""h\xfe""#),
                ("EXPIRE d 100", "1"),
                ("BITOP OR d d a", "2"),
                ("TTL d", "-1"),
                ("BITOP AND d nokey other", "0"),
                ("EXISTS d", "0"),
                ("BITOP nope d a", "-ERR syntax error"),
                ("BITOP NOT d a b", "-ERR BITOP NOT must be called with a single source key."),
                (
                    "BITOP andor d a",
                    "-ERR BITOP ANDOR must be called with at least two source keys.",
                ),
            ],
        );
    });
}

#[test]
fn integers_within_strings() {
    at_one_and_two_shards(|server| {
        check(
            server,
            &[
                (
                    "BITFIELD f SET u8 0 255 GET u8 0 INCRBY u8 0 1 OVERFLOW SAT INCRBY u8 0 300 \
                     OVERFLOW FAIL INCRBY u8 0 1",
                    "[0 255 0 255 nil]",
                ),
                ("BITFIELD f SET i64 #2 -5 GET i64 128 GET u4 190", "[0 -5 12]"),
                ("BITFIELD_RO f GET u8 0 GET i5 3", "[255 -1]"),
                ("BITFIELD_RO nokey GET u63 1000", "[0]"),
                ("BITFIELD f", "[]"),
                ("BITFIELD_RO f SET u8 0 1", "-ERR BITFIELD_RO only supports the GET subcommand"),
                (
                    "BITFIELD f GET u64 0",
                    "-ERR Invalid bitfield type. Use something like i16 u8. Note that u64 is not \
                     supported but i64 is.",
                ),
                ("BITFIELD f GET i8", "-ERR syntax error"),
                ("BITFIELD f GET i8 -1", "-ERR bit offset is not an integer or out of range"),
                ("BITFIELD f OVERFLOW nope", "-ERR Invalid OVERFLOW type specified"),
            ],
        );
    });
}

#[test]
fn only_bits_that_change_count_as_changes() {
    at_one_and_two_shards(|server| {
        check_changes(
            server,
            &[
                ("SETBIT b 0 0", 1),
                ("SETBIT b 0 0", 0),
                ("SETBIT b 0 1", 1),
                ("SETBIT b 0 1", 0),
                ("SETBIT b 90 0", 1),
                ("BITFIELD b SET u8 0 128", 0),
                ("BITFIELD b SET u8 0 5 SET u8 0 5 SET u8 0 6", 2),
                ("BITFIELD b SET u8 200 0 GET u8 0 SET u8 0 6", 2),
                ("BITFIELD b OVERFLOW FAIL SET u8 0 999", 0),
                ("BITFIELD b GET u8 0", 0),
                ("BITOP NOT n b", 1),
                ("BITOP AND n nokey", 1),
                ("BITOP AND n nokey", 0),
            ],
        );
    });
}
