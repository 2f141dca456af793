//! What the peers' files have no form for: our own restart keeps it, and the peers load the file
//! all the same.

use kvasir_testing::{Client, Program, Server, show};

use super::{PEERS, ok, save, start_with_file_of};

/// Enough for collections to be saved in parts, and their deadlines in several texts.
const MEMBERS: usize = 6000;

fn fill(client: &mut Client) {
    let lines = [
        "SADD set a b c",
        "SPEXPIREAT set 4000000000001 MEMBERS 2 a c",
        "ZADD zset 3 a 2 b 1 c",
        "ZPEXPIREAT zset 4000000000002 MEMBERS 1 b",
        "XADD stream 1-1 f v",
        "XADD stream 2-1 f v",
        "XADD stream 3-1 f v",
        "XGROUP CREATE stream g 0",
        "XREADGROUP GROUP g alice STREAMS stream >",
        "XNACK stream g FAIL IDS 2 3-1 1-1",
        "XCFGSET stream IDMP-DURATION 86400 IDMP-MAXSIZE 5",
    ];
    for line in lines {
        let reply = show(&client.run(line));
        assert!(!reply.starts_with('-'), "{line}: {reply}");
    }
    let mut requests = Vec::new();
    let words = |line: String| line.split(' ').map(str::to_owned).collect::<Vec<_>>();
    for index in 0..MEMBERS {
        requests.push(words(format!("SADD longset m{index}")));
        requests.push(words(format!("ZADD longzset {index} m{index}")));
        if index % 3 == 0 {
            let deadline = 4_000_000_000_000_u64 + index as u64;
            requests.push(words(format!("SPEXPIREAT longset {deadline} MEMBERS 1 m{index}")));
            requests.push(words(format!("ZPEXPIREAT longzset {deadline} MEMBERS 1 m{index}")));
        }
    }
    client.pipeline(&requests);
}

/// Fields with deadlines, which the peers of now do not load, and values that are too long to be
/// saved in one turn.
fn fill_with_long_fields(client: &mut Client) {
    for index in 0..40 {
        let (field, text) = (format!("f{index}"), format!("{index} ").repeat(10_000));
        client.call(&["HSET", "longhash", &field, &text]);
        if index % 2 == 0 {
            client.run(&format!("HPEXPIREAT longhash {} FIELDS 1 {field}", 4_000_000_000_000_u64));
        }
    }
}

/// Everything about the keys, most of which only our server knows to tell.
fn look(client: &mut Client) -> Vec<String> {
    let names: Vec<String> = (0..MEMBERS).map(|index| format!("m{index}")).collect();
    let names = names.join(" ");
    let lines = [
        "SPEXPIRETIME set MEMBERS 3 a b c".to_owned(),
        "ZPEXPIRETIME zset MEMBERS 3 a b c".to_owned(),
        "ZRANGE zset 0 -1 WITHSCORES".to_owned(),
        "SCARD longset".to_owned(),
        format!("SPEXPIRETIME longset MEMBERS {MEMBERS} {names}"),
        format!("ZPEXPIRETIME longzset MEMBERS {MEMBERS} {names}"),
        "HPEXPIRETIME longhash FIELDS 3 f0 f1 f38".to_owned(),
        "XINFO STREAM stream FULL COUNT 0".to_owned(),
        "XINFO STREAM stream".to_owned(),
        "XPENDING stream g".to_owned(),
        "DEBUG DIGEST".to_owned(),
    ];
    lines.iter().map(|line| show(&client.run(line))).collect()
}

/// The parts of a reply that tell how long ago something was.
fn without_ages(text: &str) -> String {
    text.split_whitespace()
        .map(|word| if word.len() > 9 && word.starts_with('1') { "moment" } else { word })
        .collect::<Vec<_>>()
        .join(" ")
}

#[test]
fn our_own_restart_keeps_what_the_peers_do_not_know() {
    for shards in [1, 2] {
        let ours = Server::kvasir(shards);
        let mut client = ours.client();
        fill(&mut client);
        fill_with_long_fields(&mut client);
        let added = show(&client.run("XADD stream IDMP producer one * f v"));
        let look = |client: &mut Client| -> Vec<String> {
            look(client).iter().map(|text| without_ages(text)).collect()
        };
        let expected = look(&mut client);
        assert_eq!(client.run("DEBUG RELOAD"), ok());
        for (seen, expected) in look(&mut client).iter().zip(&expected) {
            assert_eq!(seen, expected, "after a reload");
        }
        save(&mut client);
        let again = start_with_file_of(Program::Kvasir, 3 - shards, &ours, "noeviction");
        let mut client = again.client();
        for (seen, expected) in look(&mut client).iter().zip(&expected) {
            assert_eq!(seen, expected, "after a start with {} shards", 3 - shards);
        }
        // What was sent again is recognised.
        assert_eq!(show(&client.run("XADD stream IDMP producer one * f v")), added);
    }
}

#[test]
fn the_peers_load_the_file_all_the_same() {
    let ours = Server::kvasir(2);
    let mut client = ours.client();
    fill(&mut client);
    save(&mut client);
    for target in PEERS {
        let peer = start_with_file_of(target, 1, &ours, "noeviction");
        let mut peer = peer.client();
        for line in
            ["DBSIZE", "SMEMBERS set", "ZRANGE longzset 0 -1 WITHSCORES", "XRANGE stream - +"]
        {
            let sorted = |client: &mut Client| {
                let shown = show(&client.run(line));
                let mut words: Vec<String> =
                    shown.trim_matches(['[', ']']).split(' ').map(str::to_owned).collect();
                words.sort_unstable();
                words
            };
            assert_eq!(sorted(&mut peer), sorted(&mut client), "{line} in {target:?}");
        }
    }
}
