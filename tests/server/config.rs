//! `CONFIG` while the server runs.

use std::net::{SocketAddr, TcpListener, TcpStream};

use kvasir_testing::{Client, Program, ReservedPort, Server, check, show, wait_until};

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

#[test]
fn the_port_can_be_changed_and_stays_when_the_new_one_is_busy() {
    at_one_and_two_shards(|server| {
        let mut client = server.client();
        let old = server.addr();
        let reserved = ReservedPort::reserve();
        let new = SocketAddr::new(old.ip(), reserved.number());
        assert_eq!(show(&client.run(&format!("CONFIG SET port {}", new.port()))), "OK");
        for _ in 0..8 {
            assert_eq!(show(&Client::connect(new).run("PING")), "PONG");
        }
        wait_until("the old port is closed", || TcpStream::connect(old).is_err());
        assert_eq!(show(&client.run("PING")), "PONG");

        let busy = TcpListener::bind("127.0.0.1:0").expect("bind a port");
        let busy = busy.local_addr().expect("a listener has an address").port();
        assert_eq!(
            show(&client.run(&format!("CONFIG SET maxmemory-samples 9 port {busy}"))),
            "-ERR CONFIG SET failed (possibly related to argument 'port') - Unable to listen on \
             this port. Check server logs."
        );
        assert_eq!(
            show(&client.run("CONFIG GET maxmemory-samples")),
            r#"["maxmemory-samples" "5"]"#
        );
        assert_eq!(show(&Client::connect(new).run("PING")), "PONG");
        assert_eq!(show(&client.run(&format!("CONFIG SET port {}", old.port()))), "OK");
        assert_eq!(show(&Client::connect(old).run("PING")), "PONG");
    });
}

#[test]
fn addresses_can_be_changed_while_the_port_stays() {
    at_one_and_two_shards(|server| {
        let mut client = server.client();
        let second = SocketAddr::from(([127, 0, 0, 2], server.port()));
        assert!(TcpStream::connect(second).is_err());
        assert_eq!(show(&client.run("CONFIG SET bind '127.0.0.1 127.0.0.2'")), "OK");
        assert_eq!(show(&Client::connect(second).run("PING")), "PONG");
        assert_eq!(show(&server.client().run("PING")), "PONG");
        assert_eq!(
            show(&client.run("CONFIG SET bind 999.999.999.999")),
            "-ERR CONFIG SET failed (possibly related to argument 'bind') - Failed to bind to \
             specified addresses."
        );
        assert_eq!(show(&Client::connect(second).run("PING")), "PONG");
        assert_eq!(show(&client.run("CONFIG SET bind ''")), "OK");
        wait_until("nobody listens", || TcpStream::connect(second).is_err());
        assert_eq!(show(&client.run("CONFIG SET bind 127.0.0.1")), "OK");
        assert_eq!(show(&server.client().run("PING")), "PONG");
    });
}

#[test]
fn the_score_for_the_kernel_is_written_and_taken_back() {
    let server = Server::kvasir(1);
    let file = format!("/proc/{}/oom_score_adj", server.pid());
    let score = || std::fs::read_to_string(&file).expect("read the score");
    let before = score();
    let mut client = server.client();
    let set = "CONFIG SET oom-score-adj absolute oom-score-adj-values '500 600 700'";
    assert_eq!(show(&client.run(set)), "OK");
    assert_eq!(score().trim(), "500");
    assert_eq!(show(&client.run("CONFIG SET oom-score-adj no")), "OK");
    assert_eq!(score(), before);
}
