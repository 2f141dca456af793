//! `CONFIG` while the server runs.

use kvasir_testing::{Program, Server, check, show};

use crate::at_one_and_two_shards;

#[test]
fn get_and_set() {
    at_one_and_two_shards(|server| {
        check(
            server,
            &[
                ("CONFIG GET nosuch", "[]"),
                ("CONFIG SET maxmemory-samples 7 hash-max-listpack-entries 9", "OK"),
                (
                    "CONFIG GET maxmemory-samples hash-max-ziplist-entries",
                    r#"["maxmemory-samples" "7" "hash-max-ziplist-entries" "9"]"#,
                ),
                ("CONFIG SET a b c", "-ERR syntax error"),
                (
                    "CONFIG SET a b",
                    "-ERR Unknown option or number of arguments for CONFIG SET - 'a'",
                ),
                (
                    "CONFIG SET maxmemory-samples 8 port x",
                    "-ERR CONFIG SET failed (possibly related to argument 'port') - argument \
                     couldn't be parsed into an integer",
                ),
                ("CONFIG GET maxmemory-samples", r#"["maxmemory-samples" "7"]"#),
                ("CONFIG REWRITE", "-ERR The server is running without a config file"),
                ("CONFIG RESETSTAT", "OK"),
                (
                    "CONFIG RESETSTAT x",
                    "-ERR wrong number of arguments for 'config|resetstat' command",
                ),
            ],
        );
    });
}

/// A limit of the parser takes effect on connections of every core, those that are open too.
#[test]
fn every_core_follows() {
    at_one_and_two_shards(|server| {
        let mut clients: Vec<_> = (0..8).map(|_| server.client()).collect();
        let limit = "CONFIG SET proto-max-bulk-len 1mb";
        assert_eq!(show(&clients[0].run(limit)), "OK");
        for client in &mut clients {
            client.send_raw(b"*2\r\n$3\r\nGET\r\n$1048577\r\n");
            assert_eq!(show(&client.read()), "-ERR Protocol error: invalid bulk length");
            assert!(client.is_closed());
        }
    });
}

#[test]
fn protected_parameters_and_debug_need_permission() {
    let server = Server::builder(Program::Kvasir).args(&["--enable-debug-command", "no"]).start();
    let mut client = server.client();
    assert_eq!(
        show(&client.run("CONFIG SET dir /")),
        "-ERR CONFIG SET failed (possibly related to argument 'dir') - can't set protected config"
    );
    assert!(show(&client.run("DEBUG SLEEP 0")).starts_with("-ERR DEBUG command not allowed."));
}

#[test]
fn rewrite_keeps_comments() {
    let config = "# kept\nmaxmemory-samples 6\n";
    let server = Server::builder(Program::Kvasir).shards(2).config(config).start();
    let mut client = server.client();
    for line in ["CONFIG SET maxmemory-samples 8 hz 50", "CONFIG REWRITE"] {
        assert_eq!(show(&client.run(line)), "OK");
    }
    let rewritten = std::fs::read_to_string(server.dir().join("server.conf")).expect("it is there");
    assert!(rewritten.starts_with("# kept\nmaxmemory-samples 8\n"), "{rewritten}");
    assert!(rewritten.contains("\nhz 50\n"), "{rewritten}");
    assert!(!rewritten.contains("lfu-log-factor"), "{rewritten}");
    assert_eq!(show(&client.run("DEBUG CONFIG-REWRITE-FORCE-ALL")), "OK");
    let rewritten = std::fs::read_to_string(server.dir().join("server.conf")).expect("it is there");
    assert!(rewritten.contains("\nlfu-log-factor 10\n"), "{rewritten}");
}
