//! Handshake, session and its end.

use kvasir_testing::{check, show};

use crate::at_one_and_two_shards;

#[test]
fn greetings_and_refusals() {
    at_one_and_two_shards(|server| {
        check(
            server,
            &[
                ("PING", "PONG"),
                ("PING a", "\"a\""),
                ("PING a b", "-ERR wrong number of arguments for 'ping' command"),
                ("ECHO a", "\"a\""),
                ("HELLO 4", "-NOPROTO unsupported protocol version"),
                ("HELLO x", "-ERR Protocol version is not an integer or out of range"),
                ("HELLO 3 AUTH a", "-ERR Syntax error in HELLO option 'AUTH'"),
                ("HELLO 3 FOO", "-ERR Syntax error in HELLO option 'FOO'"),
                (
                    "HELLO 3 AUTH a b",
                    "-WRONGPASS invalid username-password pair or user is disabled.",
                ),
                (
                    "HELLO 3 SETNAME a\nb",
                    "-ERR Client names cannot contain spaces, newlines or special characters.",
                ),
                ("CLIENT GETNAME", "nil"),
                (
                    "AUTH x",
                    "-ERR AUTH <password> called without any password configured for the default \
                     user. Are you sure your configuration is correct?",
                ),
                ("AUTH default x", "OK"),
                ("AUTH a b c", "-ERR syntax error"),
                ("SELECT 16", "-ERR DB index is out of range"),
                ("SELECT -1", "-ERR DB index is out of range"),
                ("SELECT x", "-ERR value is not an integer or out of range"),
                ("RESET x", "-ERR wrong number of arguments for 'reset' command"),
            ],
        );
    });
}

#[test]
fn hello_describes_the_server_in_the_protocol_that_it_chooses() {
    at_one_and_two_shards(|server| {
        let mut client = server.client();
        let id = show(&client.run("CLIENT ID"));
        let expected = format!(
            "{{\"server\": \"valkey\", \"version\": \"8.1.1\", \"proto\": 3, \"id\": {id}, \
             \"mode\": \"standalone\", \"role\": \"master\", \"modules\": []}}"
        );
        assert_eq!(show(&client.run("HELLO 3 SETNAME x")), expected);
        assert_eq!(show(&client.run("CLIENT GETNAME")), "\"x\"");
        assert!(show(&client.run("HELLO 2")).starts_with("[\"server\" \"valkey\""));
        client.run("CONFIG SET availability-zone here extended-redis-compatibility yes");
        let described = show(&client.run("HELLO 3"));
        assert!(described.starts_with("{\"server\": \"redis\", \"version\": \"7.2.4\""));
        assert!(described.ends_with("\"availability_zone\": \"here\"}"));
    });
}

#[test]
fn a_password_is_asked_for_on_every_core() {
    at_one_and_two_shards(|server| {
        let mut first = server.client();
        assert_eq!(show(&first.run("CONFIG SET requirepass secret")), "OK");
        let mut others: Vec<_> = (0..8).map(|_| server.client()).collect();
        for client in &mut others {
            assert_eq!(show(&client.run("GET a")), "-NOAUTH Authentication required.");
            assert!(show(&client.run("HELLO 3")).starts_with("-NOAUTH HELLO must be called"));
            let wrong = "-WRONGPASS invalid username-password pair or user is disabled.";
            assert_eq!(show(&client.run("AUTH wrong")), wrong);
            assert_eq!(show(&client.run("AUTH nobody secret")), wrong);
        }
        assert_eq!(show(&first.run("PING")), "PONG");
        let (half, rest) = others.split_at_mut(4);
        for client in half {
            assert_eq!(show(&client.run("AUTH secret")), "OK");
            assert_eq!(show(&client.run("GET a")), "nil");
            assert_eq!(show(&client.run("RESET")), "RESET");
            assert_eq!(show(&client.run("GET a")), "-NOAUTH Authentication required.");
        }
        assert_eq!(show(&first.run("CONFIG SET requirepass ''")), "OK");
        for client in rest {
            assert_eq!(show(&client.run("GET a")), "nil");
        }
    });
}

#[test]
fn reset_forgets_the_session_but_not_the_library() {
    at_one_and_two_shards(|server| {
        let mut client = server.client();
        for line in [
            "HELLO 3 SETNAME x",
            "SELECT 3",
            "CLIENT NO-EVICT ON",
            "CLIENT NO-TOUCH ON",
            "CLIENT SETINFO LIB-NAME lib",
            "CLIENT CAPA redirect",
        ] {
            assert!(!show(&client.run(line)).starts_with('-'), "{line}");
        }
        assert_eq!(show(&client.run("RESET")), "RESET");
        let info = show(&client.run("CLIENT INFO"));
        for field in [" name= ", " flags=N ", " capa=r ", " db=0 ", " resp=2 ", " lib-name=lib "] {
            assert!(info.contains(field), "{field} in {info}");
        }
    });
}

/// Replies that come from another core are sent before the connection is closed, and what follows
/// `QUIT` is not executed.
#[test]
fn quit_answers_what_came_before_it_and_nothing_after() {
    at_one_and_two_shards(|server| {
        let mut client = server.client();
        for key in 0..100 {
            client.send(&["SET", &format!("key:{key}"), "1"]);
        }
        client.send_raw(b"QUIT\r\nSET after 1\r\n");
        for _ in 0..101 {
            assert_eq!(show(&client.read()), "OK");
        }
        assert!(client.is_closed());
        check(server, &[("EXISTS after", "0"), ("DBSIZE", "100")]);
    });
}
