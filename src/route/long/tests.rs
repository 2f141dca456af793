//! How many turns long commands take, that others have theirs in between, and what comes out.

use crate::route::blocking::tests::{Client, World};
use crate::route::long::STEPS_MAX;

/// Keys of shards 0 and 1 of two.
const KEYS: [&str; 2] = ["b", "a"];

/// More than a turn's worth of elements, and how many of them a test removes.
const MANY: usize = 4 * STEPS_MAX + 100;
const SOME: usize = 3 * STEPS_MAX + 50;

/// `command`, the key, and what `element` makes of each number.
fn fill(world: &mut World, client: Client, command: &str, element: impl Fn(usize) -> String) {
    let elements: Vec<String> = (0..MANY).map(element).collect();
    let reply = world.request(client, &format!("{command} {}", elements.join(" ")));
    assert!(!reply.starts_with('-'), "{reply}");
}

/// Runs a command on a key of the client's shard and, between its parts, one on another key;
/// returns the reply and in how many parts it was done.
fn in_parts(world: &mut World, line: &str) -> (String, usize) {
    let (client, other) = (world.connect(0), world.connect(0));
    world.request(other, "SET f 0");
    world.send(client, line);
    // One part where it began, one at the end of that round.
    let mut parts = 2;
    loop {
        let reply = world.output(client);
        if !reply.is_empty() {
            world.settle();
            return (reply, parts);
        }
        assert!(parts < 1000, "{line}: it comes to an end");
        world.send(other, "INCR f");
        assert_eq!(world.output(other), format!(":{}", parts - 1), "{line}: others are served");
        parts += 1;
    }
}

/// The elements of a reply: bulk strings.
fn elements(reply: &str) -> Vec<&str> {
    reply.split(' ').filter(|word| !word.starts_with(['$', '*', '~'])).collect()
}

#[test]
fn ranges_of_sorted_sets_go_in_parts() {
    let commands = [
        format!("ZREMRANGEBYRANK b 10 {}", SOME + 9),
        format!("ZREMRANGEBYSCORE b 10 ({}", SOME + 10),
    ];
    for command in commands {
        let mut world = World::new(1);
        let client = world.connect(0);
        fill(&mut world, client, "ZADD b", |number| format!("{number} member:{number}"));
        assert_eq!(in_parts(&mut world, &command), (format!(":{SOME}"), 4), "{command}");
        assert_eq!(world.request(client, "ZCARD b"), format!(":{}", MANY - SOME));
        assert_eq!(elements(&world.request(client, "ZRANGE b 9 9")), ["member:9"]);
        let next = format!("member:{}", SOME + 10);
        assert_eq!(elements(&world.request(client, "ZRANGE b 10 10")), [next]);
        assert!(world.is_at_rest());
    }
    let mut world = World::new(1);
    let client = world.connect(0);
    fill(&mut world, client, "ZADD b", |number| format!("0 {number:06}"));
    let command = format!("ZREMRANGEBYLEX b [{:06} ({:06}", 5, 5 + SOME);
    assert_eq!(in_parts(&mut world, &command), (format!(":{SOME}"), 4));
    assert_eq!(elements(&world.request(client, "ZRANGE b 4 4")), ["000004"]);
    assert!(world.is_at_rest());
}

#[test]
fn members_are_popped_in_parts_and_in_order() {
    for side in ["MIN", "MAX"] {
        let mut world = World::new(1);
        let client = world.connect(0);
        fill(&mut world, client, "ZADD b", |number| format!("{number} m{number}"));
        let (reply, parts) = in_parts(&mut world, &format!("ZPOP{side} b {SOME}"));
        assert_eq!(parts, 4);
        let popped = |at: usize| if side == "MIN" { at } else { MANY - 1 - at };
        let expected: Vec<String> =
            (0..SOME).flat_map(|at| [format!("m{}", popped(at)), popped(at).to_string()]).collect();
        assert_eq!(elements(&reply), expected);
        assert!(reply.starts_with(&format!("*{} ", 2 * SOME)));
        let (all, _) = in_parts(&mut world, &format!("ZMPOP 1 b {side} COUNT {MANY}"));
        assert!(all.starts_with(&format!("*2 $1 b *{} *2", MANY - SOME)), "{}", &all[..40]);
        assert_eq!(world.request(client, "EXISTS b"), ":0");
        assert!(world.is_at_rest());
    }
}

#[test]
fn elements_of_sets_and_lists_are_popped_in_parts() {
    let mut world = World::new(1);
    let client = world.connect(0);
    fill(&mut world, client, "SADD b", |number| format!("m{number}"));
    let (reply, parts) = in_parts(&mut world, &format!("SPOP b {SOME}"));
    let mut popped = elements(&reply);
    popped.sort_unstable();
    popped.dedup();
    assert_eq!((popped.len(), parts), (SOME, 4));
    assert_eq!(world.request(client, "SCARD b"), format!(":{}", MANY - SOME));
    world.request(client, "DEL b");
    for command in ["LPOP", "RPOP"] {
        fill(&mut world, client, "RPUSH b", |number| number.to_string());
        let (reply, parts) = in_parts(&mut world, &format!("{command} b {SOME}"));
        let popped = |at: usize| if command == "LPOP" { at } else { MANY - 1 - at };
        let expected: Vec<String> = (0..SOME).map(|at| popped(at).to_string()).collect();
        assert_eq!((elements(&reply), parts), (expected.iter().map(String::as_str).collect(), 4));
        assert_eq!(world.request(client, "LLEN b"), format!(":{}", MANY - SOME));
        world.request(client, "DEL b");
    }
    assert!(world.is_at_rest());
}

/// Many elements that are equal, and many more that are not: both ways, with and without a limit.
#[test]
fn lists_are_searched_in_parts() {
    let element =
        |number: usize| if number.is_multiple_of(3) { "x" } else { "yyyyyyyyyyyyyyyyyyyy" };
    for (count, expected) in [(0i64, usize::MAX), (20_000, 20_000), (-20_000, 20_000)] {
        let mut world = World::new(1);
        let client = world.connect(0);
        let mut model: Vec<&str> = Vec::new();
        for _ in 0..20 {
            fill(&mut world, client, "RPUSH b", |number| element(number).to_owned());
            model.extend((0..MANY).map(element));
        }
        let equal = model.iter().filter(|element| **element == "x").count();
        let expected = expected.min(equal);
        let (reply, parts) = in_parts(&mut world, &format!("LREM b {count} x"));
        assert_eq!(reply, format!(":{expected}"));
        // With a limit it ends when that is reached.
        assert!(parts >= if count == 0 { 5 } else { 2 }, "{parts} parts");
        let mut left = expected;
        let mut goes = |element: &&str| {
            let goes = *element == "x" && left > 0;
            left -= usize::from(goes);
            goes
        };
        if count < 0 {
            model.reverse();
            model.retain(|element| !goes(element));
            model.reverse();
        } else {
            model.retain(|element| !goes(element));
        }
        assert_eq!(elements(&world.request(client, "LRANGE b 0 -1")), model);
        assert!(world.is_at_rest());
    }
}

#[test]
fn streams_are_trimmed_in_parts() {
    const ENTRIES: usize = 20 * STEPS_MAX;
    let ways = [
        ("XTRIM b MAXLEN 10", format!(":{}", ENTRIES - 10)),
        ("XTRIM b MINID 1000000", format!(":{ENTRIES}")),
        ("XTRIM b MAXLEN 10 ACKED", format!(":{}", ENTRIES - 10)),
        ("XTRIM b MAXLEN 10 DELREF", format!(":{}", ENTRIES - 10)),
        ("XADD b MAXLEN 10 900000-0 f v", "$8 900000-0".to_owned()),
    ];
    for (command, expected) in ways {
        let mut world = World::new(1);
        let client = world.connect(0);
        for number in 1..=ENTRIES {
            world.send(client, &format!("XADD b {number}-0 f v"));
            world.output(client);
        }
        world.request(client, "XGROUP CREATE b g $");
        let (reply, parts) = in_parts(&mut world, command);
        assert_eq!(reply, expected, "{command}");
        assert!(parts >= 3, "{command}: {parts} parts");
        assert!(world.is_at_rest());
    }
}

#[test]
fn what_is_pending_for_a_consumer_goes_in_parts() {
    let mut world = World::new(1);
    let client = world.connect(0);
    for number in 1..=MANY {
        world.send(client, &format!("XADD b {number}-0 f v"));
        world.output(client);
    }
    world.request(client, "XGROUP CREATE b g 0");
    world.request(client, &format!("XREADGROUP GROUP g one COUNT {SOME} STREAMS b >"));
    world.request(client, "XREADGROUP GROUP g two STREAMS b >");
    let done = in_parts(&mut world, "XGROUP DELCONSUMER b g one");
    assert_eq!(done, (format!(":{SOME}"), 4));
    let left = world.request(client, "XPENDING b g");
    assert!(left.starts_with(&format!("*4 :{} ", MANY - SOME)), "{left}");
    assert_eq!(world.request(client, "XGROUP DESTROY b g"), ":1");
    assert!(world.is_at_rest());
}

/// Whoever wants the key waits until it is done, in line, from wherever it comes; so do those who
/// want everything; and replies of one connection stay in order.
#[test]
fn nobody_sees_a_command_half_done() {
    for key in KEYS {
        let mut world = World::new(2);
        let clients = [0, 0, 1].map(|core| world.connect(core));
        let [writer, same, far] = clients;
        fill(&mut world, writer, &format!("ZADD {key}"), |number| format!("{number} m{number}"));
        world.send(writer, &format!("ZREMRANGEBYRANK {key} 0 {}", SOME - 1));
        world.send(writer, "PING");
        world.send(writer, &format!("ZCARD {key}"));
        world.send(same, &format!("ZCARD {key}"));
        world.send(far, "DBSIZE");
        world.send(far, &format!("ZPOPMIN {key} {MANY}"));
        world.settle();
        let left = MANY - SOME;
        assert_eq!(world.output(writer), format!(":{SOME} +PONG :{left}"));
        assert_eq!(world.output(same), format!(":{left}"));
        let popped = world.output(far);
        assert!(popped.starts_with(&format!(":1 *{} ", 2 * left)), "{}", &popped[..20]);
        assert_eq!(world.request(same, &format!("EXISTS {key}")), ":0");
        assert!(world.is_at_rest());
    }
}
