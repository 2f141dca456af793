//! Releasing and claiming pending entries.

use kvasir_testing::{check, show};

use crate::at_one_and_two_shards;

#[test]
fn released_entries_belong_to_nobody_and_are_claimed_first() {
    at_one_and_two_shards(|server| {
        check(
            server,
            &[
                ("XADD s 1-0 f v", "\"1-0\""),
                ("XADD s 2-0 f v", "\"2-0\""),
                ("XADD s 3-0 f v", "\"3-0\""),
                ("XGROUP CREATE s g 0", "OK"),
                (
                    "XREADGROUP GROUP g a NOACK COUNT 1 STREAMS s >",
                    "[[\"s\" [[\"1-0\" [\"f\" \"v\"]]]]]",
                ),
                (
                    "XREADGROUP GROUP g a STREAMS s >",
                    "[[\"s\" [[\"2-0\" [\"f\" \"v\"]] [\"3-0\" [\"f\" \"v\"]]]]]",
                ),
                ("XNACK s g FAIL IDS 2 3-0 1-0", "1"),
                ("XNACK s g SILENT IDS 1 2-0", "1"),
                ("XNACK s g FATAL IDS 1 1-0 FORCE", "1"),
                (
                    "XPENDING s g - + 10",
                    "[[\"1-0\" \"\" -1 9223372036854775807] [\"2-0\" \"\" -1 0] [\"3-0\" \"\" -1 1]]",
                ),
                ("XPENDING s g", "[3 \"1-0\" \"3-0\" []]"),
                (
                    "XREADGROUP GROUP g b COUNT 2 CLAIM 100000 STREAMS s >",
                    "[[\"s\" [[\"3-0\" [\"f\" \"v\"] -1 1] [\"2-0\" [\"f\" \"v\"] -1 0]]]]",
                ),
                (
                    "XREADGROUP GROUP g b CLAIM 100000 STREAMS s 2-0",
                    "[[\"s\" [[\"3-0\" [\"f\" \"v\"]]]]]",
                ),
                ("XNACK s g FAIL IDS 1 2-0 RETRYCOUNT 7", "1"),
                ("XCLAIM s g c 100000 2-0 JUSTID", "[\"2-0\"]"),
                (
                    "XNACK s nogroup FAIL IDS 1 2-0",
                    "-NOGROUP No such key 's' or consumer group 'nogroup'",
                ),
                ("XNACK s g NOPE IDS 1 2-0", "-ERR syntax error"),
            ],
        );
    });
}

#[test]
fn claiming_while_reading_shares_the_count_and_tells_deliveries() {
    at_one_and_two_shards(|server| {
        let mut client = server.client();
        for id in 1..=3 {
            client.run(&format!("XADD s {id}-0 f v"));
        }
        client.run("XGROUP CREATE s g 0");
        client.run("XREADGROUP GROUP g a COUNT 2 STREAMS s >");
        let read = "XREADGROUP GROUP g b COUNT 3 CLAIM 0 STREAMS s >";
        let shown = show(&client.run(read));
        assert!(shown.starts_with("[[\"s\" [[\"1-0\" [\"f\" \"v\"] "), "{shown}");
        assert!(shown.ends_with(" 1] [\"3-0\" [\"f\" \"v\"] 0 0]]]]"), "{shown}");
        let pending = show(&client.run("XPENDING s g"));
        assert_eq!(pending, "[3 \"1-0\" \"3-0\" [[\"b\" \"3\"]]]");
        for (claim, error) in [
            ("x", "-ERR min-idle-time is not an integer"),
            ("-1", "-ERR min-idle-time must be a positive integer"),
        ] {
            let line = format!("XREADGROUP GROUP g b CLAIM {claim} STREAMS s >");
            assert_eq!(show(&client.run(&line)), error);
        }
    });
}
