//! Logs that we load.

use std::fs::{self, File};
use std::time::Duration;

use kvasir_proto::Value as Reply;
use kvasir_testing::{Client, Program, Rng, Server, poll_every, show};

use super::{
    DIRECTORY, MANIFEST, command, commands, copy_of_log, digest, last_file, log_of,
    log_of_commands, start_in, text_of,
};

const SEED: u64 = 20_261_124;

/// Changes of every type, transactions, deadlines, and all databases.
const CHANGES: &[&str] = &[
    "SET text hello",
    "SET soon x PX 4000000",
    "SETEX later 4000 x",
    "APPEND text more",
    "INCRBYFLOAT number 1.5",
    "SETBIT bits 77 1",
    "RPUSH list a b c d",
    "LMOVE list other LEFT RIGHT",
    "LINSERT list BEFORE c x",
    "SADD set a b c 1 2",
    "SADD set2 b 2 z",
    "SPOP set",
    "SINTERSTORE set3 set set2",
    "ZADD zset 1 a 2.5 b inf c",
    "ZINCRBY zset 0.1 a",
    "ZRANGESTORE zset2 zset 0 1",
    "HSET hash f v g 12",
    "HINCRBY hash g 3",
    "XADD stream * a 1",
    "XADD stream * b 2",
    "XGROUP CREATE stream group 0",
    "XREADGROUP GROUP group alice COUNT 1 STREAMS stream >",
    "PFADD hll a b c",
    "GEOADD geo 13.361389 38.115556 Palermo",
    "SELECT 9",
    "MSET a 1 b 2 c 3 d 4 e 5",
    "MULTI",
    "SET t1 1",
    "INCR a",
    "DEL b",
    "EXEC",
    "SELECT 3",
    "MULTI",
    "COPY nothing else",
    "SET db3 x",
    "SELECT 9",
    "SET c 4",
    "EXEC",
    "SWAPDB 3 4",
    "RENAME d f",
    "MOVE e 5",
    "SELECT 0",
    r#"EVAL "for i=1,300 do redis.call('set','k'..i,i);redis.call('rpush','long',i) end" 0"#,
];

pub(crate) fn change(client: &mut Client) {
    for line in CHANGES {
        let reply = client.run(line);
        assert!(!matches!(reply, Reply::Error(_)), "{line}: {reply:?}");
    }
    let library = "#!lua name=lib\nredis.register_function('f', function() return 7 end)";
    client.call(&["FUNCTION", "LOAD", "REPLACE", library]);
}

pub(crate) fn rewrite(client: &mut Client) {
    client.run("BGREWRITEAOF");
    let done = poll_every(Duration::from_millis(10), Duration::from_secs(30), || {
        let info = text_of(&client.run("INFO persistence"));
        let waits = ["aof_rewrite_in_progress:1", "aof_rewrite_scheduled:1"];
        (!waits.iter().any(|field| info.contains(field))).then_some(())
    });
    assert!(done.is_some(), "the log is rewritten");
}

fn loads_the_log_of(program: Program, settings: &[&str]) {
    let args = [&["--appendonly", "yes", "--auto-aof-rewrite-percentage", "0"], settings].concat();
    let peer = Server::builder(program).args(&args).start();
    let mut client = peer.client();
    for round in 0..2 {
        change(&mut client);
        if round == 0 {
            rewrite(&mut client);
            client.run("DEL set3 t1 stream");
        }
    }
    for shards in 1..=3 {
        let dir = copy_of_log(peer.dir());
        let ours = start_in(dir.path(), shards, &[]);
        let mut own = ours.client();
        let counted = text_of(&own.run("INFO commandstats"));
        assert!(!counted.contains("cmdstat_rpush"), "what is repeated is not counted: {counted}");
        assert_eq!(digest(&mut own), digest(&mut client), "{}", ours.log());
        assert_eq!(own.run("FCALL f 0"), Reply::Integer(7));
        for key in ["soon", "later"] {
            let moment = format!("PEXPIRETIME {key}");
            assert_eq!(own.run(&moment), client.run(&moment), "{key}");
        }
        let log = ours.log();
        assert!(!log.contains("failed"), "{log}");
        for line in ["DB loaded from base file", "DB loaded from incr file"] {
            assert!(log.contains(line), "{line} in {log}");
        }
        assert!(log.contains("DB loaded from append only file: "), "{log}");
    }
}

#[test]
fn the_log_of_valkey_loads() {
    loads_the_log_of(Program::Valkey, &["--aof-timestamp-enabled", "yes"]);
}

#[test]
fn a_log_of_valkey_that_is_all_commands_loads() {
    loads_the_log_of(Program::Valkey, &["--aof-use-rdb-preamble", "no"]);
}

#[test]
fn the_log_of_redis_loads() {
    loads_the_log_of(Program::Redis, &["--aof-timestamp-enabled", "yes"]);
}

/// A command with keys of a few names, so that orders matter.
fn random_command(rng: &mut Rng) -> String {
    let mut key = |kind: &str| format!("{kind}{}", rng.below(12));
    let (text, text2) = (key("s"), key("s"));
    let (list, list2) = (key("l"), key("l"));
    let (set, set2) = (key("u"), key("u"));
    let number = rng.below(1000);
    match rng.below(14) {
        0 => format!("SET {text} {number}"),
        1 => format!("MSET {text} {number} {text2} {number}"),
        2 => format!("RENAME {text} {text2}"),
        3 => format!("COPY {text} {text2} REPLACE"),
        4 => format!("APPEND {text} {number}"),
        5 => format!("RPUSH {list} {number} x"),
        6 => format!("LMOVE {list} {list2} LEFT RIGHT"),
        7 => format!("RPOPLPUSH {list} {list2}"),
        8 => format!("SADD {set} {number} {} {}", number % 7, number % 11),
        9 => format!("SMOVE {set} {set2} {}", number % 7),
        10 => format!("SUNIONSTORE {set} {set} {set2}"),
        11 => format!("SDIFFSTORE {set} {set2} {set}"),
        12 => format!("DEL {text} {list}"),
        _ => format!("SELECT {}", number % 3),
    }
}

#[test]
fn commands_of_all_shards_run_in_their_order() {
    let peer = Server::builder(Program::Valkey).args(&["--appendonly", "yes"]).start();
    let mut client = peer.client();
    let mut rng = Rng::new(SEED);
    let mut lines = Vec::new();
    for _ in 0..600 {
        let block = rng.below(8) + 1;
        let wrapped = rng.one_in(4);
        lines.extend(wrapped.then(|| "MULTI".to_owned()));
        lines.extend((0..block).map(|_| random_command(&mut rng)));
        lines.extend(wrapped.then(|| "EXEC".to_owned()));
    }
    let words = |line: &String| line.split(' ').map(str::to_owned).collect::<Vec<_>>();
    client.pipeline(&lines.iter().map(words).collect::<Vec<_>>());
    for shards in 1..=3 {
        let dir = copy_of_log(peer.dir());
        let ours = start_in(dir.path(), shards, &[]);
        assert_eq!(digest(&mut ours.client()), digest(&mut client), "seed {SEED}");
    }
}

#[test]
fn nothing_expires_before_all_is_loaded() {
    let past = 1_000_000_000_000_u64;
    let lines = [
        "SET kept 1".to_owned(),
        format!("PEXPIREAT kept {past}"),
        "INCR kept".to_owned(),
        "PERSIST kept".to_owned(),
        format!("SET gone 1 PXAT {past}"),
        format!("SET moved 1 PXAT {past}"),
        "PEXPIREAT moved 4000000000000".to_owned(),
        "HSET hash f 1 g 2".to_owned(),
        format!("HPEXPIREAT hash {past} FIELDS 2 f g"),
        "HPERSIST hash FIELDS 1 f".to_owned(),
        "SET relative 1 EX 1000".to_owned(),
    ];
    let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
    for shards in 1..=2 {
        let dir = log_of_commands(&commands(&lines), b"", b"");
        let ours = start_in(dir.path(), shards, &[]);
        let mut client = ours.client();
        assert_eq!(text_of(&client.run("GET kept")), "2", "{}", ours.log());
        assert_eq!(client.run("EXISTS gone"), Reply::Integer(0));
        assert_eq!(client.run("PEXPIRETIME moved"), Reply::Integer(4_000_000_000_000));
        assert_eq!(client.run("HEXISTS hash f"), Reply::Integer(1));
        assert_eq!(client.run("HEXISTS hash g"), Reply::Integer(0));
        let Reply::Integer(left) = client.run("TTL relative") else { panic!("TTL is a number") };
        assert!((1..=1000).contains(&left), "{left}");
    }
}

#[test]
fn each_file_begins_in_the_first_database_and_in_no_transaction() {
    let dir = log_of_commands(
        &commands(&["SELECT 5", "SET a 1"]),
        &commands(&["SET a 2", "SELECT 6", "MULTI", "SET b 1", "EXEC"]),
        &commands(&["SET c 3"]),
    );
    let ours = start_in(dir.path(), 2, &[]);
    let mut client = ours.client();
    for (db, key, value) in [(5, "a", "1"), (0, "a", "2"), (6, "b", "1"), (0, "c", "3")] {
        client.run(&format!("SELECT {db}"));
        assert_eq!(text_of(&client.run(&format!("GET {key}"))), value, "{key} in {db}");
    }
}

#[test]
fn what_is_not_whole_at_the_end_is_cut_off() {
    let whole = commands(&["SET a 1", "SET b 2"]);
    let tails = [
        commands(&["SET c 3"])[..20].to_vec(),
        commands(&["MULTI", "SET a 3", "SET c 3"]),
        commands(&["MULTI", "SET a 3", "SET c 3", "EXEC"])[..60].to_vec(),
        b"*".to_vec(),
        b"#TS:1".to_vec(),
    ];
    for tail in tails {
        let dir = log_of_commands(&command("SET a 0"), b"", &[&whole[..], &tail].concat());
        let ours = start_in(dir.path(), 2, &[]);
        let mut client = ours.client();
        assert_eq!(text_of(&client.run("GET a")), "1", "{}", ours.log());
        assert_eq!(client.run("DBSIZE"), Reply::Integer(2));
        assert_eq!(fs::read(last_file(&dir)).unwrap(), whole);
        assert!(ours.log().contains("short read while loading the AOF file 2.aof"));
    }
}

#[test]
fn a_single_file_of_old_is_moved_into_the_directory() {
    let peer = Server::valkey();
    peer.client().run("SET base 1");
    peer.client().run("SAVE");
    let dump = fs::read(peer.dir().join("dump.rdb")).expect("the peer's dump");
    let tail = commands(&["INCR base", "SET tail 2"]);
    for preamble in [&b""[..], &dump] {
        let dir = log_of(&[]);
        fs::remove_dir(dir.path().join(DIRECTORY)).unwrap();
        let old = dir.path().join("appendonly.aof");
        fs::write(&old, [preamble, &tail].concat()).unwrap();
        let expected = if preamble.is_empty() { "1" } else { "2" };
        let mut ours = start_in(dir.path(), 2, &[]);
        for _ in 0..2 {
            let mut client = ours.client();
            assert_eq!(text_of(&client.run("GET base")), expected, "{}", ours.log());
            assert_eq!(text_of(&client.run("GET tail")), "2");
            assert!(!old.exists() && dir.path().join(DIRECTORY).join(MANIFEST).exists());
            ours.restart();
        }
    }
}

#[test]
fn a_server_without_a_log_begins_empty() {
    let dir = log_of(&[]);
    fs::write(dir.path().join("dump.rdb"), b"is not looked at").unwrap();
    let ours = start_in(dir.path(), 2, &[]);
    assert_eq!(ours.client().run("DBSIZE"), Reply::Integer(0));
}

#[test]
fn what_we_log_is_loaded_by_us_and_by_valkey() {
    for shards in 1..=2 {
        let dir = log_of(&[]);
        let mut ours = start_in(dir.path(), shards, &["--appendfsync", "always"]);
        let mut client = ours.client();
        change(&mut client);
        let expected = digest(&mut client);
        let reply = client.run("DEBUG LOADAOF");
        assert!(!matches!(reply, Reply::Error(_)), "{reply:?}: {}", ours.log());
        assert_eq!(digest(&mut client), expected, "after DEBUG LOADAOF");
        client.run("INCR after");
        let expected = digest(&mut client);
        let copy = copy_of_log(dir.path());
        let path = copy.path().to_str().expect("a plain name");
        let args = ["--dir", path, "--appendonly", "yes"];
        let peer = Server::builder(Program::Valkey).args(&args).start();
        assert_eq!(digest(&mut peer.client()), expected, "by Valkey: {}", peer.log());
        ours.restart();
        assert_eq!(digest(&mut ours.client()), expected, "after a start: {}", ours.log());
    }
}

#[test]
fn what_is_written_after_a_cut_follows_what_was_kept() {
    let dir = log_of(&[]);
    let mut ours = start_in(dir.path(), 2, &["--appendfsync", "always"]);
    let mut client = ours.client();
    client.run("SET a 1");
    client.run("SET b 2");
    let file = dir.path().join(DIRECTORY).join("appendonly.aof.1.incr.aof");
    let len = fs::metadata(&file).unwrap().len();
    File::options().write(true).open(&file).and_then(|file| file.set_len(len - 3)).unwrap();
    assert_eq!(text_of(&client.run("DEBUG LOADAOF")), "OK", "{}", ours.log());
    client.run("SET c 3");
    for _ in 0..2 {
        assert_eq!(show(&client.run("MGET a b c")), r#"["1" nil "3"]"#, "{}", ours.log());
        ours.restart();
        client = ours.client();
    }
}

/// More elements fall due together than are removed at a time, and a command that changes something
/// sees none of them.
#[test]
fn what_has_fallen_due_is_gone_for_the_log_as_well() {
    const MANY: usize = 3000;
    let names: Vec<String> = (0..MANY).map(|number| format!("element:{number}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let many = MANY.to_string();
    for shards in 1..=2 {
        let dir = log_of(&[]);
        let mut ours = start_in(dir.path(), shards, &[]);
        let mut client = ours.client();
        client.run("DEBUG SET-ACTIVE-EXPIRE 0");
        client.call(&[&["SADD", "set", "stays"], &names[..]].concat());
        let fields = names.iter().flat_map(|name| [*name, "5"]).collect::<Vec<_>>();
        client.call(&[&["HSET", "hash", "stays", "1"], &fields[..]].concat());
        client.call(&[&["SPEXPIRE", "set", "20", "MEMBERS", &many], &names[..]].concat());
        client.call(&[&["HPEXPIRE", "hash", "20", "FIELDS", &many], &names[..]].concat());
        client.run("DEBUG SLEEP 0.05");
        let found = client.run(&format!("HINCRBY hash element:{} 1", MANY - 1));
        assert_eq!(found, Reply::Integer(1));
        assert_eq!(client.run("SUNIONSTORE union set other"), Reply::Integer(1));
        let questions = ["SCARD union", "SCARD set", "HVALS hash"];
        let ask = |client: &mut Client| questions.map(|line| show(&client.run(line)));
        let expected = ask(&mut client);
        ours.restart();
        assert_eq!(ask(&mut ours.client()), expected, "{shards} shards");
    }
}
