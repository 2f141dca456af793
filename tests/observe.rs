//! What the server tells of itself, at one shard and at two: INFO, the command log, latencies,
//! memory, MONITOR.

use kvasir_proto::Value;
use kvasir_testing::{Client, Program, Server, check, show, wait_until};

/// At one shard and at two: with two, half of the keys live on the other core.
fn at_each_size(test: impl Fn(&Server)) {
    for shards in [1, 2] {
        test(&Server::kvasir(shards));
    }
}

fn info(client: &mut Client, sections: &str) -> String {
    let reply = client.run(&format!("INFO {sections}"));
    let text = reply.as_bytes().unwrap_or_else(|| panic!("no text: {}", show(&reply)));
    String::from_utf8(text.to_vec()).expect("INFO is text")
}

/// The value of a field in what INFO answered.
fn field<'a>(info: &'a str, name: &str) -> Option<&'a str> {
    info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
}

/// The next line that a monitor gets.
fn line(monitor: &mut Client) -> String {
    let reply = monitor.read();
    let text = reply.as_bytes().unwrap_or_else(|| panic!("no text: {}", show(&reply)));
    String::from_utf8_lossy(text).into_owned()
}

fn number(client: &mut Client, section: &str, name: &str) -> u64 {
    let info = info(client, section);
    let value = field(&info, name).unwrap_or_else(|| panic!("{name} in {info}"));
    value.parse().unwrap_or_else(|_| panic!("{name}:{value}"))
}

/// Enough keys that each shard owns some.
fn set_keys(client: &mut Client, count: usize) {
    for key in 0..count {
        assert_eq!(show(&client.run(&format!("SET key:{key} value"))), "OK");
    }
}

#[test]
fn info_has_the_fields_of_the_real_valkey_in_its_order() {
    let names = |server: &Server| -> Vec<String> {
        let mut client = server.client();
        let info = info(&mut client, "");
        let names = info.lines().map(|line| line.split(':').next().unwrap_or(line).to_owned());
        names.filter(|name| !name.starts_with("listener")).collect()
    };
    let valkey = names(&Server::valkey());
    at_each_size(|server| {
        let mut ours = names(server);
        // Of the newer peers, and ours.
        let more = ["expired_fields", "kvasir_version", "shards"];
        ours.retain(|name| !more.contains(&name.as_str()));
        assert_eq!(ours, valkey);
    });
}

#[test]
fn info_shows_the_sections_that_are_asked_for() {
    at_each_size(|server| {
        let mut client = server.client();
        let titles = |client: &mut Client, sections: &str| -> Vec<String> {
            let info = info(client, sections);
            info.lines().filter_map(|line| line.strip_prefix("# ")).map(str::to_owned).collect()
        };
        assert_eq!(titles(&mut client, "keyspace CPU cpu nonsense"), ["CPU", "Keyspace"]);
        assert_eq!(info(&mut client, "nonsense"), "");
        assert_eq!(titles(&mut client, "").len(), 11);
        assert_eq!(titles(&mut client, "everything").len(), 14);
        assert_eq!(titles(&mut client, "all debug").len(), 15);
        client.run("HELLO 3");
        assert!(matches!(client.run("INFO cpu"), Value::Verbatim(format, _) if &format == b"txt"));
    });
}

#[test]
fn figures_of_all_cores_are_added_up() {
    at_each_size(|server| {
        let mut client = server.client();
        set_keys(&mut client, 100);
        client.run("EXPIRE key:1 1000");
        client.run("GET key:1");
        client.run("GET missing");
        let keyspace = info(&mut client, "keyspace");
        let db0 = field(&keyspace, "db0").expect("db0 holds keys");
        assert!(db0.starts_with("keys=100,expires=1,avg_ttl="), "{db0}");
        let avg_ttl: u64 = db0.rsplit('=').next().unwrap().parse().unwrap();
        assert!((900_000..=1_000_000).contains(&avg_ttl), "{avg_ttl}");
        assert_eq!(number(&mut client, "stats", "keyspace_hits"), 1);
        assert_eq!(number(&mut client, "stats", "keyspace_misses"), 1);
        assert_eq!(number(&mut client, "persistence", "rdb_changes_since_last_save"), 101);
        assert_eq!(number(&mut client, "clients", "connected_clients"), 1);
        let shards = info(&mut client, "shards");
        let keys = |line: &str| -> u64 {
            let value = line.split("keys=").nth(1).and_then(|rest| rest.split(',').next());
            value.and_then(|text| text.parse().ok()).unwrap_or_else(|| panic!("{line}"))
        };
        let counts: Vec<u64> = shards.lines().skip(1).map(keys).collect();
        assert_eq!(counts.iter().sum::<u64>(), 100);
        assert!(counts.iter().all(|count| *count > 0), "{counts:?}");
    });
}

#[test]
fn commands_and_errors_are_counted_once_wherever_they_ran() {
    at_each_size(|server| {
        let mut client = server.client();
        client.run("CONFIG RESETSTAT");
        set_keys(&mut client, 50);
        for key in 0..50 {
            assert!(show(&client.run(&format!("INCR key:{key}"))).starts_with("-ERR value"));
        }
        client.run("GET");
        client.run("nonsense");
        client.run("AUTH someone");
        let stats = info(&mut client, "commandstats");
        let calls = |name: &str| field(&stats, &format!("cmdstat_{name}")).unwrap_or_default();
        assert!(calls("set").starts_with("calls=50,"), "{stats}");
        assert!(calls("set").ends_with(",rejected_calls=0,failed_calls=0"), "{stats}");
        assert!(calls("incr").ends_with(",rejected_calls=0,failed_calls=50"), "{stats}");
        assert_eq!(
            calls("get"),
            "calls=0,usec=0,usec_per_call=0.00,rejected_calls=1,failed_calls=0"
        );
        assert!(calls("config|resetstat").starts_with("calls=1,"), "{stats}");
        assert!(!stats.contains("nonsense"));
        let errors = info(&mut client, "errorstats");
        assert_eq!(field(&errors, "errorstat_ERR"), Some("count=53"), "{errors}");
        assert_eq!(number(&mut client, "stats", "total_error_replies"), 53);
        client.run("CONFIG RESETSTAT");
        assert_eq!(info(&mut client, "errorstats"), "# Errorstats\r\n");
        assert_eq!(number(&mut client, "stats", "total_error_replies"), 0);
    });
}

#[test]
fn unheard_of_error_codes_and_bad_requests_are_counted() {
    at_each_size(|server| {
        let mut client = server.client();
        let mut garbage = server.client();
        garbage.send_raw(b"*1\r\n$nonsense\r\n");
        assert!(show(&garbage.read()).starts_with("-ERR Protocol error"));
        assert!(garbage.is_closed());
        let errors = info(&mut client, "errorstats");
        assert_eq!(field(&errors, "errorstat_ERR"), Some("count=1"));
    });
}

#[test]
fn latencies_are_tracked_a_command() {
    at_each_size(|server| {
        let mut client = server.client();
        client.run("CONFIG RESETSTAT");
        set_keys(&mut client, 40);
        client.run("CLIENT ID");
        client.run("CLIENT GETNAME");
        let stats = info(&mut client, "latencystats");
        let line = field(&stats, "latency_percentiles_usec_set").expect("SET is tracked");
        let names: Vec<&str> =
            line.split(',').map(|part| part.split('=').next().unwrap()).collect();
        assert_eq!(names, ["p50", "p99", "p99.9"]);
        client.run("CONFIG SET latency-tracking-info-percentiles \"0 50 100\"");
        let stats = info(&mut client, "latencystats");
        let line = field(&stats, "latency_percentiles_usec_set").expect("SET is tracked");
        assert!(line.starts_with("p0=") && line.contains(",p100="), "{line}");

        let shown = show(&client.run("LATENCY HISTOGRAM set nonsense"));
        let (head, last) = (shown.split('[').next().unwrap(), shown.rsplit(' ').next().unwrap());
        assert!(shown.starts_with("[\"set\" [\"calls\" 40 \"histogram_usec\" ["), "{head}");
        assert_eq!(last, "40]]]", "{shown}");
        let Value::Array(pairs) = client.run("LATENCY HISTOGRAM client") else {
            panic!("LATENCY HISTOGRAM is a map");
        };
        let names: Vec<String> = pairs.iter().step_by(2).map(show).collect();
        assert_eq!(names, ["\"client|getname\"", "\"client|id\""]);
        client.run("CONFIG SET latency-tracking no");
        assert_eq!(info(&mut client, "latencystats"), "# Latencystats\r\n");
        client.run("CONFIG RESETSTAT");
        assert_eq!(show(&client.run("LATENCY HISTOGRAM")), "[]");
    });
}

#[test]
fn the_command_log_merges_the_cores_and_stays_within_its_bound() {
    at_each_size(|server| {
        let mut clients: Vec<Client> = (0..4).map(|_| server.client()).collect();
        let client = &mut clients[0];
        client.run("CONFIG SET commandlog-slow-execution-max-len 10");
        client.run("CONFIG SET commandlog-execution-slower-than 0");
        client.run("COMMANDLOG RESET slow");
        for round in 0..10 {
            for (number, client) in clients.iter_mut().enumerate() {
                client.run(&format!("CLIENT SETNAME client:{number}"));
                client.run(&format!("SET key:{round}:{number} value"));
            }
        }
        let client = &mut clients[0];
        assert_eq!(show(&client.run("COMMANDLOG LEN slow")), "10");
        assert_eq!(show(&client.run("SLOWLOG LEN")), "10");
        let Value::Array(entries) = client.run("COMMANDLOG GET -1 slow") else {
            panic!("COMMANDLOG GET is an array");
        };
        assert_eq!(entries.len(), 10);
        let mut numbers = Vec::new();
        for entry in &entries {
            let Value::Array(parts) = entry else { panic!("an entry is an array") };
            let [Value::Integer(number), Value::Integer(_), Value::Integer(us), ..] = &parts[..]
            else {
                panic!("{}", show(entry));
            };
            assert!(*us >= 0 && parts.len() == 6, "{}", show(entry));
            numbers.push(*number);
        }
        assert!(numbers.is_sorted_by(|newer, older| newer == &(older + 1)), "{numbers:?}");
        let newest = show(&entries[2]);
        assert!(newest.contains("[\"SET\" \"key:9:3\" \"value\"] \"127.0.0.1:"), "{newest}");
        assert!(newest.ends_with("\"client:3\"]"), "{newest}");
        assert_eq!(show(&client.run("SLOWLOG GET")).matches("client:").count(), 10 + 3);
    });
}

#[test]
fn large_requests_and_replies_are_logged() {
    at_each_size(|server| {
        let mut client = server.client();
        client.run("CONFIG SET commandlog-request-larger-than 1024");
        client.run("CONFIG SET commandlog-reply-larger-than 1024");
        for key in 0..8 {
            let (key, value) = (format!("key:{key}"), "A".repeat(1024));
            client.call(&["SET", &key, &value]);
            client.call(&["GET", &key]);
        }
        client.run("MGET key:0 key:1 key:2 key:3 key:4");
        assert_eq!(show(&client.run("COMMANDLOG LEN large-request")), "8");
        assert_eq!(show(&client.run("COMMANDLOG LEN large-reply")), "9");
        let shown = show(&client.run("COMMANDLOG GET 1 LARGE-REQUEST"));
        assert!(shown.contains(&format!("\"{}... (896 more bytes)\"", "A".repeat(128))), "{shown}");
        let shown = show(&client.run("COMMANDLOG GET 1 large-reply"));
        assert!(shown.contains("[\"MGET\" \"key:0\""), "{shown}");
        client.run("COMMANDLOG RESET large-reply");
        assert_eq!(show(&client.run("COMMANDLOG LEN large-reply")), "0");
        assert_eq!(show(&client.run("COMMANDLOG LEN large-request")), "8");
    });
}

#[test]
fn secrets_are_in_no_log_and_on_no_monitor() {
    at_each_size(|server| {
        let mut monitor = server.client();
        assert_eq!(show(&monitor.run("MONITOR")), "OK");
        let mut client = server.client();
        client.run("CONFIG SET commandlog-execution-slower-than 0");
        client.run("AUTH me topsecret");
        client.run("HELLO 2 AUTH me topsecret");
        client.run("CONFIG SET requirepass \"\" maxmemory 0 primaryauth topsecret");
        client.run("CONFIG SET primaryauth \"\"");
        let log = show(&client.run("COMMANDLOG GET -1 slow"));
        assert!(!log.contains("topsecret"), "{log}");
        assert!(log.contains("[\"AUTH\" \"(redacted)\" \"(redacted)\"]"), "{log}");
        let redacted = "[\"CONFIG\" \"SET\" \"requirepass\" \"(redacted)\" \"maxmemory\" \"0\" \
            \"primaryauth\" \"(redacted)\"]";
        assert!(log.contains(redacted), "{log}");
        client.run("PING done");
        let mut lines = String::new();
        while !lines.contains("done") {
            lines += &line(&mut monitor);
        }
        assert!(!lines.contains("topsecret"), "{lines}");
        assert!(
            lines.contains("\"HELLO\" \"2\" \"AUTH\" \"(redacted)\" \"(redacted)\""),
            "{lines}"
        );
    });
}

#[test]
fn monitors_on_every_core_see_every_command() {
    at_each_size(|server| {
        let mut monitors: Vec<Client> = (0..4).map(|_| server.client()).collect();
        for monitor in &mut monitors {
            assert_eq!(show(&monitor.run("MONITOR")), "OK");
            assert_eq!(show(&monitor.run("MONITOR")), "OK");
            let refused = show(&monitor.run("GET a"));
            assert_eq!(refused, "-ERR Replica can't interact with the keyspace");
        }
        let mut client = server.client();
        client.call(&[&b"set"[..], b"key\n\x01\"", b"value"]);
        client.run("CONFIG GET maxmemory");
        client.run("mget a b c d");
        for monitor in &mut monitors {
            let first = line(monitor);
            let (_, rest) = first.split_once(" [0 127.0.0.1:").unwrap_or_else(|| panic!("{first}"));
            assert!(rest.ends_with("] \"set\" \"key\\n\\x01\\\"\" \"value\""), "{first}");
            let second = line(monitor);
            assert!(second.ends_with("] \"mget\" \"a\" \"b\" \"c\" \"d\""), "{second}");
        }
        for monitor in &mut monitors {
            // Those that have been reset before are still on its screen.
            monitor.send(&["RESET"]);
            while line(monitor) != "RESET" {}
        }
        client.run("PING");
        for monitor in &mut monitors {
            assert_eq!(show(&monitor.run("PING")), "PONG");
        }
    });
}

#[test]
fn what_takes_long_becomes_a_latency_event() {
    for shards in [1, 2] {
        let args = ["--enable-debug-command", "yes", "--latency-monitor-threshold", "50"];
        let server = Server::builder(Program::Kvasir).shards(shards).args(&args).start();
        let mut client = server.client();
        assert_eq!(show(&client.run("LATENCY LATEST")), "[]");
        client.run("DEBUG SLEEP 0.08");
        let Value::Array(events) = client.run("LATENCY LATEST") else { panic!("an array") };
        let [Value::Array(event)] = &events[..] else { panic!("{events:?}") };
        let [_, _, Value::Integer(last), Value::Integer(worst), ..] = event[..] else {
            panic!("{event:?}");
        };
        assert_eq!(show(&event[0]), "\"command\"");
        assert!(last >= 80 && worst == last && event.len() == 6, "{event:?}");
        assert!(show(&client.run("LATENCY HISTORY command")).starts_with("[["));
        assert_eq!(show(&client.run("LATENCY HISTORY nonsense")), "[]");
        let graph = show(&client.run("LATENCY GRAPH command"));
        assert!(graph.contains("command - high ") && graph.contains(" (all time high "), "{graph}");
        let doctor = show(&client.run("LATENCY DOCTOR"));
        assert!(doctor.contains("1. command: 1 latency spikes (average "), "{doctor}");
        check(
            &server,
            &[
                ("LATENCY GRAPH nonsense", "-ERR No samples available for event 'nonsense'"),
                ("LATENCY RESET nonsense", "0"),
                ("LATENCY RESET nonsense command", "1"),
                ("LATENCY RESET", "0"),
                ("LATENCY LATEST", "[]"),
            ],
        );
    }
}

#[test]
fn memory_is_accounted_for() {
    at_each_size(|server| {
        let mut client = server.client();
        let before = number(&mut client, "memory", "used_memory");
        let value = "v".repeat(1000);
        let requests: Vec<Vec<String>> = (0..10_000)
            .map(|key| vec!["SET".to_owned(), format!("key:{key}"), value.clone()])
            .collect();
        client.pipeline(&requests);
        let used = number(&mut client, "memory", "used_memory");
        assert!((9_500_000..20_000_000).contains(&(used - before)), "{before} to {used}");
        assert!(number(&mut client, "memory", "used_memory_dataset") > 9_000_000);
        assert!(number(&mut client, "memory", "used_memory_rss") > 10_000_000);
        assert!(number(&mut client, "memory", "used_memory_peak") >= used);
        client.run("FLUSHALL SYNC");
        wait_until("the values to be freed", || {
            number(&mut client, "memory", "used_memory") < before + 5_000_000
        });
        assert!(number(&mut client, "memory", "used_memory_peak") >= used);
        client.run("CONFIG RESETSTAT");
        assert!(number(&mut client, "memory", "used_memory_peak") < used);
    });
}

#[test]
fn memory_commands_answer_as_the_peers_do() {
    let valkey = Server::valkey();
    let names = |server: &Server| -> Vec<String> {
        let mut client = server.client();
        client.run("SET key value");
        let Value::Array(pairs) = client.run("MEMORY STATS") else { panic!("pairs") };
        pairs.iter().step_by(2).map(show).collect()
    };
    let expected = names(&valkey);
    let table = [
        ("MEMORY USAGE missing", "nil"),
        ("MEMORY USAGE key SAMPLES -1", "-ERR syntax error"),
        ("MEMORY USAGE key SAMPLES", "-ERR syntax error"),
        ("MEMORY USAGE key SAMPLES x", "-ERR value is not an integer or out of range"),
        ("MEMORY USAGE key NONSENSE 1", "-ERR syntax error"),
        ("MEMORY PURGE", "OK"),
        ("MEMORY PURGE x", "-ERR wrong number of arguments for 'memory|purge' command"),
        ("SLOWLOG GET 1 2", SLOWLOG_ARITY),
        ("SLOWLOG GET -2", "-ERR count should be greater than or equal to -1"),
        ("COMMANDLOG GET x nonsense", "-ERR count should be greater than or equal to -1"),
        ("COMMANDLOG LEN nonsense", KINDS),
    ];
    check(&valkey, &table);
    at_each_size(|server| {
        assert_eq!(names(server), expected);
        check(server, &table);
        let mut client = server.client();
        let usage = client.run("MEMORY USAGE key SAMPLES 0");
        assert!(matches!(usage, Value::Integer(8..64)), "{usage:?}");
        assert!(show(&client.run("MEMORY MALLOC-STATS")).contains("jemalloc"));
        assert!(show(&client.run("MEMORY DOCTOR")).contains("Sam"));
        for container in ["MEMORY", "LATENCY", "SLOWLOG", "COMMANDLOG"] {
            let help = format!("{container} HELP");
            assert_eq!(show(&client.run(&help)), show(&valkey.client().run(&help)));
        }
    });
}

const SLOWLOG_ARITY: &str =
    "-ERR unknown subcommand or wrong number of arguments for 'GET'. Try SLOWLOG HELP.";
const KINDS: &str = "-ERR type should be one of the following: slow, large-request, large-reply";

#[test]
fn rates_and_rounds_are_measured() {
    at_each_size(|server| {
        let mut client = server.client();
        wait_until("a rate of commands", || {
            set_keys(&mut client, 100);
            number(&mut client, "stats", "instantaneous_ops_per_sec") > 0
        });
        let stats = info(&mut client, "stats debug");
        for name in [
            "eventloop_cycles",
            "eventloop_duration_sum",
            "eventloop_duration_cmd_sum",
            "instantaneous_eventloop_cycles_per_sec",
            "instantaneous_eventloop_duration_usec",
            "eventloop_duration_cron_sum",
            "eventloop_duration_max",
            "eventloop_cmd_per_cycle_max",
            "total_net_input_bytes",
            "total_reads_processed",
        ] {
            let value = field(&stats, name).unwrap_or_else(|| panic!("{name}: {stats}"));
            assert!(value.parse::<u64>().unwrap() > 0, "{name}:{value}");
        }
    });
}
