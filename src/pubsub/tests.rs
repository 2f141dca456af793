//! Subscriptions and the directory of the cores that have them.

use kvasir_testing::Rng;

use super::*;

/// The subscriptions of a core against a plain set.
#[test]
fn subscriptions_are_like_a_set() {
    for seed in 0..50 {
        let mut rng = Rng::new(seed);
        let mut pubsub = PubSub::default();
        let mut model: BTreeSet<(Topic, u32, &str)> = BTreeSet::new();
        for _ in 0..300 {
            let topic = *rng.pick(&[Topic::Channel, Topic::Pattern, Topic::ShardChannel]);
            let client = rng.below(4) as u32;
            let name = *rng.pick(&["a", "b", "c"]);
            let key = ConnectionKey(client);
            let shared: Arc<[u8]> = name.as_bytes().into();
            let subscribed = model.iter().filter(|(t, _, n)| (*t, *n) == (topic, name)).count();
            if model.contains(&(topic, client, name)) {
                let last = subscribed == 1;
                assert_eq!(pubsub.remove(topic, &shared, key), last);
                model.remove(&(topic, client, name));
            } else {
                let first = subscribed == 0;
                assert_eq!(pubsub.insert(topic, &shared, key), first);
                model.insert((topic, client, name));
            }
            let count = model.iter().filter(|(t, _, n)| (*t, *n) == (topic, name)).count();
            assert_eq!(pubsub.subscribers(topic, name.as_bytes()), count);
        }
    }
}

#[test]
fn messages_have_the_peers_form() {
    let message = |topic| Publication {
        topic,
        channel: b"ch".as_slice().into(),
        payload: b"hello".as_slice().into(),
    };
    let encoded = |topic, pattern: Option<&[u8]>| {
        let mut out = Vec::new();
        message(topic).encode(pattern, &mut out);
        String::from_utf8(out).unwrap()
    };
    let channel = "*3\r\n$7\r\nmessage\r\n$2\r\nch\r\n$5\r\nhello\r\n";
    assert_eq!(encoded(Topic::Channel, None), channel);
    assert_eq!(encoded(Topic::ShardChannel, None), channel.replace("$7\r\nm", "$8\r\nsm"));
    let pattern = "*4\r\n$8\r\npmessage\r\n$2\r\nc*\r\n$2\r\nch\r\n$5\r\nhello\r\n";
    assert_eq!(encoded(Topic::Channel, Some(b"c*")), pattern);
}
