//! `CLIENT`: the connections of every core.

use kvasir_testing::{Client, Server, check, show, wait_until};

use crate::at_one_and_two_shards;

/// So many connections that every core has some, sorted by id: cores accept at the same time.
fn several(server: &Server) -> Vec<Client> {
    let mut clients: Vec<_> = (0..16).map(|_| server.client()).collect();
    let ids: Vec<u64> = clients.iter_mut().map(id).collect();
    let mut clients: Vec<_> = ids.into_iter().zip(clients).collect();
    clients.sort_unstable_by_key(|(id, _)| *id);
    clients.into_iter().map(|(_, client)| client).collect()
}

fn id(client: &mut Client) -> u64 {
    show(&client.run("CLIENT ID")).parse().expect("an id is a number")
}

/// The ids in a `CLIENT LIST`, in its order.
fn listed(client: &mut Client, filters: &str) -> Vec<u64> {
    let text = client.run(&format!("CLIENT LIST {filters}"));
    let kvasir_proto::Value::Bulk(text) = text else { panic!("no list but {}", show(&text)) };
    let text = String::from_utf8(text).expect("a list is text");
    let id = |line: &str| line.strip_prefix("id=")?.split(' ').next()?.parse().ok();
    text.lines().map(|line| id(line).expect("a line begins with an id")).collect()
}

#[test]
fn every_core_lists_all_clients_in_their_order() {
    at_one_and_two_shards(|server| {
        let mut clients = several(server);
        let ids: Vec<u64> = clients.iter_mut().map(id).collect();
        for client in &mut clients {
            assert_eq!(listed(client, ""), ids);
        }
        let cores = show(&clients[0].run("CLIENT LIST"));
        let on_core = |core: usize| cores.contains(&format!(" io-thread={core} "));
        assert!(on_core(0));
    });
}

#[test]
fn filters_choose_clients() {
    at_one_and_two_shards(|server| {
        let mut clients = several(server);
        let ids: Vec<u64> = clients.iter_mut().map(id).collect();
        for (number, client) in clients.iter_mut().enumerate() {
            client.run(&format!("CLIENT SETNAME name{}", number % 2));
            client.run(&format!("SELECT {}", number % 4));
        }
        clients[2].run("CLIENT NO-TOUCH ON");
        clients[3].run("CLIENT CAPA redirect");
        let mut check = |filters: &str, expected: &[u64]| {
            assert_eq!(listed(&mut clients[0], filters), expected, "{filters}");
        };
        let of = |numbers: &[usize]| numbers.iter().map(|n| ids[*n]).collect::<Vec<_>>();
        let without = |number: usize| {
            ids.iter()
                .enumerate()
                .filter(|(at, _)| *at != number)
                .map(|(_, id)| *id)
                .collect::<Vec<_>>()
        };
        check("NAME name1 DB 1", &of(&[1, 5, 9, 13]));
        check("NOT-NAME name1 NOT-DB 0", &of(&[2, 6, 10, 14]));
        check(&format!("ID {} {} NOT-DB 0", ids[4], ids[5]), &of(&[5]));
        check("FLAGS T", &of(&[2]));
        check("NOT-FLAGS T", &without(2));
        check("CAPA r", &of(&[3]));
        check("SKIPME YES", &without(0));
        check("TYPE normal USER default IP 127.0.0.1", &ids);
        check("TYPE pubsub", &[]);
        check("NOT-TYPE normal", &[]);
        check("LADDR 127.0.0.1:1", &[]);
        check("MAXAGE 100000", &[]);
    });
}

#[test]
fn refusals_have_the_peers_texts() {
    at_one_and_two_shards(|server| {
        let table = [
            ("CLIENT LIST ID 10 wrong", "-ERR syntax error"),
            ("CLIENT LIST ID 0", "-ERR client-id should be greater than 0"),
            ("CLIENT KILL TYPE wrong", "-ERR Unknown client type 'wrong'"),
            ("CLIENT KILL USER nobody", "-ERR No such user 'nobody'"),
            ("CLIENT KILL 1:1", "-ERR No such client"),
            ("CLIENT KILL ID 123 124", "0"),
            ("CLIENT KILL ID 123 ID 124", "0"),
            ("CLIENT SETINFO lib-x a", "-ERR Unrecognized option 'lib-x'"),
            ("CLIENT REPLY maybe", "-ERR syntax error"),
            ("CLIENT NO-EVICT maybe", "-ERR syntax error"),
            ("CLIENT NO-TOUCH maybe", "-ERR syntax error"),
            ("CLIENT IMPORT-SOURCE ON", "-ERR Server is not in import mode"),
            ("CLIENT IMPORT-SOURCE OFF", "OK"),
            ("CLIENT PAUSE x", "-ERR timeout is not an integer or out of range"),
            ("CLIENT PAUSE -1", "-ERR timeout is negative"),
            ("CLIENT PAUSE 1 SOME", "-ERR CLIENT PAUSE mode must be WRITE or ALL"),
            ("CLIENT UNBLOCK 1 SOMEHOW", "-ERR CLIENT UNBLOCK reason should be TIMEOUT or ERROR"),
            ("CLIENT UNBLOCK 1 TIMEOUT", "0"),
            ("CLIENT GETREDIR", "-1"),
            ("CLIENT TRACKINGINFO", r#"["flags" ["off"] "redirect" -1 "prefixes" []]"#),
            ("CLIENT TRACKING OFF", "OK"),
            (
                "CLIENT TRACKING ON BCAST OPTIN",
                "-ERR OPTIN and OPTOUT are not compatible with BCAST",
            ),
        ];
        check(server, &table);
    });
}

#[test]
fn kill_closes_others_on_every_core_and_itself_after_its_reply() {
    at_one_and_two_shards(|server| {
        let mut clients = several(server);
        let victim = id(&mut clients[5]);
        let mut killer = server.client();
        assert_eq!(show(&killer.run(&format!("CLIENT KILL ID {victim}"))), "1");
        assert!(clients[5].is_closed());
        wait_until("one client less", || listed(&mut killer, "").len() == 16);
        assert_eq!(show(&killer.run("CLIENT KILL TYPE normal")), "15");
        for (number, client) in clients.iter_mut().enumerate().filter(|(n, _)| *n != 5) {
            assert!(client.is_closed(), "client {number}");
        }
        let own = id(&mut killer);
        assert_eq!(show(&killer.run(&format!("CLIENT KILL ID {own} SKIPME NO"))), "1");
        assert!(killer.is_closed());
    });
}

#[test]
fn kill_by_address_is_the_old_form() {
    at_one_and_two_shards(|server| {
        let mut client = server.client();
        let address = client.stream().local_addr().expect("a connection has an address");
        assert_eq!(show(&client.run(&format!("CLIENT KILL {address}"))), "OK");
        assert!(client.is_closed());
    });
}

#[test]
fn a_pause_holds_writes_back_until_it_ends() {
    at_one_and_two_shards(|server| {
        let mut control = server.client();
        let mut writers = several(server);
        assert_eq!(show(&control.run("CLIENT PAUSE 1000000 WRITE")), "OK");
        // A shorter one does not shorten it.
        assert_eq!(show(&control.run("CLIENT PAUSE 1 WRITE")), "OK");
        for (number, writer) in writers.iter_mut().enumerate() {
            assert_eq!(show(&writer.run("GET none")), "nil");
            writer.send(&["SET", &format!("key:{number}"), "1"]);
        }
        wait_until("every writer is blocked", || listed(&mut control, "FLAGS b").len() == 16);
        assert_eq!(show(&control.run("DBSIZE")), "0");
        assert_eq!(show(&control.run("CLIENT UNPAUSE")), "OK");
        for writer in &mut writers {
            assert_eq!(show(&writer.read()), "OK");
        }
        assert_eq!(show(&control.run("DBSIZE")), "16");
    });
}

#[test]
fn nothing_expires_during_a_pause() {
    at_one_and_two_shards(|server| {
        let mut client = server.client();
        assert_eq!(show(&client.run("DEBUG SET-ACTIVE-EXPIRE 0")), "OK");
        for key in 0..20 {
            assert_eq!(show(&client.run(&format!("SET key:{key} 1 PX 1"))), "OK");
        }
        for line in ["CLIENT PAUSE 1000000 WRITE", "DEBUG SET-ACTIVE-EXPIRE 1", "DEBUG SLEEP 0.02"]
        {
            assert_eq!(show(&client.run(line)), "OK");
        }
        assert_eq!(show(&client.run("DBSIZE")), "20");
        assert_eq!(show(&client.run("CLIENT UNPAUSE")), "OK");
        wait_until("all keys are gone", || show(&client.run("DBSIZE")) == "0");
    });
}

#[test]
fn a_pause_ends_by_itself() {
    at_one_and_two_shards(|server| {
        let mut client = server.client();
        assert_eq!(show(&client.run("CLIENT PAUSE 50 ALL")), "OK");
        assert_eq!(show(&client.run("SET a 1")), "OK");
    });
}

#[test]
fn replies_can_be_switched_off_and_skipped() {
    at_one_and_two_shards(|server| {
        let mut client = server.client();
        for line in [
            "CLIENT REPLY SKIP",
            "PING skipped",
            "PING one",
            "CLIENT REPLY OFF",
            "SET a 1",
            "CLIENT REPLY SKIP",
            "MGET a b c",
            "NOSUCHCOMMAND",
            "CLIENT REPLY ON",
            "GET a",
        ] {
            client.send(&line.split(' ').collect::<Vec<_>>());
        }
        assert_eq!(show(&client.read()), "\"one\"");
        assert_eq!(show(&client.read()), "OK");
        assert_eq!(show(&client.read()), "\"1\"");
    });
}
