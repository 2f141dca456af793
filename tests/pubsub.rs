//! Messages between clients of several cores: order, counts, who hears what.

use kvasir_proto::Value;
use kvasir_testing::{Client, Server};

/// Connections are spread over the cores, so that some of these have another core than the rest.
const CLIENTS: usize = 6;

fn number(value: &Value) -> i64 {
    let Value::Integer(number) = value else { panic!("{} is no number", show(value)) };
    *number
}

/// A reply as text, without quotes.
fn show(value: &Value) -> String {
    kvasir_testing::show(value).replace('"', "")
}

/// A client for as many connections as are wanted, all subscribed.
fn subscribers(server: &Server, request: &str) -> Vec<Client> {
    let mut clients: Vec<Client> = (0..CLIENTS).map(|_| server.client()).collect();
    for client in &mut clients {
        client.run(request);
    }
    clients
}

#[test]
fn every_subscriber_hears_each_publisher_in_its_order() {
    let server = Server::kvasir(3);
    let mut listeners = subscribers(&server, "SUBSCRIBE news");
    let mut publishers: Vec<Client> = (0..4).map(|_| server.client()).collect();
    for message in 0..200 {
        for (name, publisher) in publishers.iter_mut().enumerate() {
            publisher.send(&["PUBLISH", "news", &format!("{name}:{message}")]);
        }
    }
    for publisher in &mut publishers {
        for _ in 0..200 {
            assert_eq!(number(&publisher.read()), CLIENTS as i64);
        }
    }
    for listener in &mut listeners {
        let mut next = [0; 4];
        for _ in 0..800 {
            let Value::Array(parts) = listener.read() else { panic!("a message is an array") };
            let text = String::from_utf8_lossy(parts[2].as_bytes().unwrap()).into_owned();
            let (name, message) = text.split_once(':').unwrap();
            let name: usize = name.parse().unwrap();
            assert_eq!(message.parse(), Ok(next[name]), "publisher {name}");
            next[name] += 1;
        }
    }
}

/// Messages to many wait for each other for a moment, but not in front of a reply.
#[test]
fn messages_to_a_crowd_come_in_order_and_before_later_replies() {
    let server = Server::kvasir(1);
    let mut crowd: Vec<Client> = (0..40).map(|_| server.client()).collect();
    for listener in &mut crowd {
        listener.run("HELLO 3");
        listener.run("SUBSCRIBE news");
    }
    let mut publisher = server.client();
    let mut heard = vec![0; crowd.len()];
    for message in 0..400 {
        publisher.run(&format!("PUBLISH news {message}"));
        let asker = message * 7 % crowd.len();
        let (listener, heard) = (&mut crowd[asker], &mut heard[asker]);
        listener.send(&["ECHO", "asked"]);
        while *heard <= message {
            assert_eq!(show(&listener.read()), format!("push[message news {heard}]"));
            *heard += 1;
        }
        assert_eq!(show(&listener.read()), "asked");
    }
    for (listener, heard) in crowd.iter_mut().zip(heard) {
        for message in heard..400 {
            assert_eq!(show(&listener.read()), format!("push[message news {message}]"));
        }
    }
}

#[test]
fn what_is_published_after_the_confirmation_is_heard() {
    let server = Server::kvasir(2);
    for round in 0..100 {
        let (mut listener, mut publisher) = (server.client(), server.client());
        let name = format!("channel{round}");
        listener.run(&format!("SUBSCRIBE {name}"));
        assert_eq!(number(&publisher.run(&format!("PUBLISH {name} hello"))), 1);
        assert_eq!(show(&listener.read()), format!("[message {name} hello]"));
        listener.run(&format!("UNSUBSCRIBE {name}"));
        assert_eq!(number(&publisher.run(&format!("PUBLISH {name} hello"))), 0);
    }
}

#[test]
fn what_a_transaction_publishes_is_heard_by_who_was_subscribed_then() {
    let queued =
        ["SET a 1", "SUBSCRIBE c", "PUBLISH c x", "SET b 1", "UNSUBSCRIBE c", "PUBLISH c y"];
    for shards in [1, 2] {
        let server = Server::kvasir(shards);
        // With keys of two cores and with none, which take different ways.
        for queued in [&queued[..], &queued[1..3], &queued[4..]] {
            let mut client = server.client();
            client.run("MULTI");
            for line in queued {
                assert_eq!(show(&client.run(line)), "QUEUED");
            }
            client.run("EXEC");
            client.send(&["PING"]);
            let heard = show(&client.read());
            if queued.contains(&"SUBSCRIBE c") {
                assert_eq!(heard, "[message c x]", "{shards} shards: {queued:?}");
            } else {
                assert_eq!(heard, "PONG", "{shards} shards: {queued:?}");
            }
        }
    }
}

#[test]
fn subscriptions_of_all_cores_are_counted_together() {
    let server = Server::kvasir(3);
    let mut clients = subscribers(&server, "SUBSCRIBE one");
    for (index, client) in clients.iter_mut().enumerate() {
        client.run(&format!("PSUBSCRIBE p{}", index % 2));
        client.run("SSUBSCRIBE shard");
    }
    let mut asking = server.client();
    let shown = |asking: &mut Client, request: &str| show(&asking.run(request));
    assert_eq!(shown(&mut asking, "PUBSUB CHANNELS"), "[one]");
    assert_eq!(shown(&mut asking, "PUBSUB CHANNELS x*"), "[]");
    assert_eq!(shown(&mut asking, "PUBSUB NUMSUB one two"), format!("[one {CLIENTS} two 0]"));
    assert_eq!(shown(&mut asking, "PUBSUB NUMPAT"), "2");
    assert_eq!(shown(&mut asking, "PUBSUB SHARDNUMSUB shard"), format!("[shard {CLIENTS}]"));
    assert_eq!(number(&asking.run("SPUBLISH shard x")), CLIENTS as i64);
    let info = shown(&mut asking, "INFO stats");
    for line in ["pubsub_channels:1", "pubsub_patterns:2", "pubsubshard_channels:1"] {
        assert!(info.contains(line), "{line} in {info}");
    }
    assert!(shown(&mut asking, "INFO clients").contains(&format!("pubsub_clients:{CLIENTS}")));
    let list = shown(&mut asking, "CLIENT LIST TYPE pubsub");
    assert_eq!(list.matches("sub=1 psub=1 ssub=1").count(), CLIENTS, "{list}");
    assert_eq!(list.matches("flags=P").count(), CLIENTS, "{list}");
}

/// A subscriber that does not read is closed at the hard limit, and nobody else is.
#[test]
fn a_slow_subscriber_is_closed() {
    let server = Server::kvasir(2);
    let mut slow = server.client();
    let mut quick = server.client();
    let mut publisher = server.client();
    publisher.run("CONFIG SET client-output-buffer-limit \"pubsub 1mb 0 0\"");
    slow.run("SUBSCRIBE news");
    quick.run("SUBSCRIBE news");
    let payload = "x".repeat(64 << 10);
    loop {
        let heard = number(&publisher.call(&["PUBLISH", "news", &payload]));
        quick.read();
        if heard == 1 {
            break;
        }
        assert_eq!(heard, 2);
    }
    let info = show(&publisher.run("INFO stats"));
    assert!(info.contains("client_output_buffer_limit_disconnections:1"), "{info}");
    assert_eq!(number(&publisher.run("PUBLISH news end")), 1);
}

#[test]
fn notifications_reach_subscribers_of_every_core() {
    let server = Server::kvasir(2);
    let mut writer = server.client();
    writer.run("CONFIG SET notify-keyspace-events KEA");
    let mut listeners = subscribers(&server, "PSUBSCRIBE __key*__:*");
    for key in ["a", "b", "c", "d"] {
        writer.run(&format!("SET {key} v"));
        writer.run(&format!("EXPIRE {key} -1"));
    }
    for listener in &mut listeners {
        let mut heard: Vec<String> = (0..16).map(|_| show(&listener.read())).collect();
        for key in ["a", "b", "c", "d"] {
            let of_key = |text: &&String| {
                text.contains(&format!(":{key} ")) || text.ends_with(&format!(" {key}]"))
            };
            let found: Vec<_> = heard.iter().filter(of_key).cloned().collect();
            assert_eq!(
                found,
                [
                    format!("[pmessage __key*__:* __keyspace@0__:{key} set]"),
                    format!("[pmessage __key*__:* __keyevent@0__:set {key}]"),
                    format!("[pmessage __key*__:* __keyspace@0__:{key} expired]"),
                    format!("[pmessage __key*__:* __keyevent@0__:expired {key}]"),
                ]
            );
            heard.retain(|text| !found.contains(text));
        }
        assert!(heard.is_empty(), "{heard:?}");
    }
}
