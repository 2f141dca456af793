//! Producers that name their additions.

use kvasir_testing::{Client, check, show};

use crate::at_one_and_two_shards;

/// Adds, and returns the identifier as shown.
fn add(client: &mut Client, line: &str) -> String {
    show(&client.run(line))
}

#[test]
fn a_repeated_addition_gets_the_identifier_of_the_first() {
    at_one_and_two_shards(|server| {
        let mut client = server.client();
        let first = add(&mut client, "XADD s IDMP p one * f 1");
        assert_eq!(add(&mut client, "XADD s IDMP p one * f 2"), first);
        assert_ne!(add(&mut client, "XADD s IDMP q one * f 1"), first);
        let auto = add(&mut client, "XADD s IDMPAUTO p * a 1 b 2");
        assert_eq!(add(&mut client, "XADD s IDMPAUTO p MAXLEN ~ 100 * b 2 a 1"), auto);
        assert_ne!(add(&mut client, "XADD s IDMPAUTO p * a 2 b 1"), auto);
        assert_eq!(show(&client.run("XLEN s")), "4");
        let info = show(&client.run("XINFO STREAM s"));
        let expected = "\"idmp-duration\" 100 \"idmp-maxsize\" 100 \"pids-tracked\" 2 \
            \"iids-tracked\" 4 \"iids-added\" 4 \"iids-duplicates\" 2";
        assert!(info.contains(expected), "{info}");
    });
}

#[test]
fn the_oldest_additions_of_a_producer_are_forgotten() {
    at_one_and_two_shards(|server| {
        let mut client = server.client();
        client.run("XADD s 1-0 f v");
        assert_eq!(show(&client.run("XCFGSET s IDMP-MAXSIZE 2")), "OK");
        let ids: Vec<_> =
            (0..3).map(|n| add(&mut client, &format!("XADD s IDMP p {n} * f v"))).collect();
        assert_eq!(add(&mut client, "XADD s IDMP p 2 * f v"), ids[2]);
        assert_eq!(add(&mut client, "XADD s IDMP p 1 * f v"), ids[1]);
        assert_ne!(add(&mut client, "XADD s IDMP p 0 * f v"), ids[0]);
        // The same limits forget nothing, others everything.
        client.run("XCFGSET s IDMP-MAXSIZE 2");
        assert_eq!(add(&mut client, "XADD s IDMP p 2 * f v"), ids[2]);
        client.run("XCFGSET s IDMP-DURATION 7");
        assert_ne!(add(&mut client, "XADD s IDMP p 2 * f v"), ids[2]);
    });
}

#[test]
fn bad_producers_and_limits_are_refused() {
    at_one_and_two_shards(|server| {
        check(
            server,
            &[
                ("XADD s NOMKSTREAM IDMP p i * f v", "nil"),
                (
                    "XADD s IDMP p i 1-1 f v",
                    "-ERR IDMP/IDMPAUTO can be used only with auto-generated IDs",
                ),
                ("XADD s IDMP p i IDMPAUTO p * f v", "-ERR IDMP/IDMPAUTO specified multiple times"),
                (
                    "XADD s IDMP p * f v",
                    "-ERR Invalid stream ID specified as stream command argument",
                ),
                ("XCFGSET s IDMP-DURATION 5", "-ERR no such key"),
                ("XADD s 1-1 f v", "\"1-1\""),
                ("XCFGSET s", "-ERR At least one parameter must be specified"),
                ("XCFGSET s IDMP-DURATION", "-ERR syntax error"),
                (
                    "XCFGSET s IDMP-DURATION 86401",
                    "-ERR IDMP-DURATION must be between 1 and 86400 seconds",
                ),
                (
                    "XCFGSET s IDMP-MAXSIZE 0",
                    "-ERR IDMP-MAXSIZE must be between 1 and 10000 entries",
                ),
                ("XIDMPRECORD s p i 1-1", "OK"),
                ("XADD s IDMP p i * f v", "\"1-1\""),
                ("XLEN s", "1"),
            ],
        );
    });
}
