//! Single commands whose records are, word by word, those of the real Valkey, and which count as as
//! many changes.
//!
//! Left out is where ours says the same with other words: `GEOADD` (which Valkey logs as `ZADD`),
//! conditions of a `SET` whose old value is asked for, several entries of a stream delivered at
//! once (which are one `XCLAIM` here), approximate trims with a limit, and what Valkey does not log
//! though it has done it: consumers that come into being in passing, and entries delivered again.

use std::path::Path;

use kvasir_testing::{Client, Program, words};

use crate::logging;

const SCRIPT: &[&str] = &[
    "SETEX a 100 v",
    "PSETEX a 100000 v",
    "SET a v EX 100",
    "SET a v PX 100000 XX",
    "SET a v EXAT 99999999999",
    "SET a v PXAT 9999999999999",
    "SET a v KEEPTTL",
    "SET a v NX",
    "SET a v NX GET",
    "SET a w GET EX 100",
    "SET a v EX 100 NX",
    "SET b v EX 100 NX",
    "SET a v PXAT 1",
    "SET nokey v PXAT 1",
    "SET a w",
    "SETNX a v",
    "SETNX c v",
    "GETSET a v",
    "GETEX a EX 100",
    "GETEX a EXAT 99999999999",
    "GETEX a PERSIST",
    "GETEX a PERSIST",
    "GETEX a",
    "GETEX a PXAT 1",
    "GETEX a EX 10",
    "SET a v",
    "GETDEL a",
    "GETDEL a",
    "SET a v",
    "SET a w IFEQ x",
    "SET a w IFEQ v",
    "SET a w IFEQ w EX 10",
    "INCR n",
    "INCRBY n 0",
    "INCRBYFLOAT n 1.5",
    "EXPIRE n 100",
    "INCRBYFLOAT n 1.5",
    "APPEND n x",
    "APPEND n ''",
    "APPEND newkey ''",
    "SETRANGE n 0 ''",
    "SETRANGE n 3 abc",
    "SETRANGE zz 0 ''",
    "MSET a 1 b 2",
    "MSETNX a 1 e 2",
    "MSETNX d 1 e 2",
    "SETBIT bits 3 1",
    "SETBIT bits 3 1",
    "SETBIT others 3 0",
    "BITFIELD bits GET u8 0",
    "BITFIELD bits SET u8 0 1",
    "BITFIELD bits SET u8 0 1",
    "BITFIELD bits OVERFLOW FAIL INCRBY u8 0 255",
    "BITFIELD bits OVERFLOW FAIL INCRBY u8 0 255 INCRBY u8 8 1",
    "BITOP NOT dest bits",
    "BITOP AND dest none neither",
    "BITOP AND dest none neither",
    "EXPIRE a 100",
    "EXPIRE a 100 NX",
    "EXPIRE a 200 XX",
    "PEXPIRE a 100000",
    "EXPIREAT a 99999999999",
    "PEXPIREAT a 9999999999999",
    "EXPIRE a -1",
    "EXPIRE a 100",
    "SET a v",
    "PEXPIREAT a 1",
    "SET a v EX 100",
    "PERSIST a",
    "PERSIST a",
    "DEL a b none",
    "UNLINK d none",
    "DEL none",
    "SET a v",
    "RENAME a b",
    "RENAMENX b a",
    "RENAMENX a n",
    "RENAME a a",
    "COPY a n",
    "COPY a n REPLACE",
    "COPY a o DB 3",
    "MOVE a 3",
    "MOVE a 3",
    "SWAPDB 0 3",
    "SWAPDB 0 0",
    "SWAPDB 3 0",
    "TOUCH n",
    "RPUSH l a b c a",
    "LPUSHX l d",
    "RPUSHX none d",
    "LPOP l",
    "LPOP l 2",
    "LPOP l 0",
    "RPOP l 100",
    "LPOP l",
    "RPUSH l a b c d e a b c d e",
    "LINSERT l BEFORE b x",
    "LINSERT l BEFORE zz x",
    "LSET l 0 q",
    "LREM l 0 zz",
    "LREM l 0 a",
    "LTRIM l 0 100",
    "LTRIM l 1 7",
    "RPOPLPUSH l m",
    "RPOPLPUSH none m",
    "LMOVE l m LEFT RIGHT",
    "LMPOP 2 none l LEFT COUNT 2",
    "BLPOP l 0",
    "BRPOP none l 0",
    "BLMOVE l m LEFT LEFT 0",
    "BRPOPLPUSH m l 0",
    "BLMPOP 0 2 none l RIGHT COUNT 1",
    "LMPOP 2 none l RIGHT COUNT 200",
    "LMPOP 1 none RIGHT",
    "SADD s a b c",
    "SADD s a",
    "SREM s a zz",
    "SREM s zz",
    "SREM s b c",
    "SPOP s",
    "SPOP s",
    "SADD s a b c",
    "SPOP s 0",
    "SPOP s 100",
    "SADD s a b c",
    "SADD t b c d",
    "SMOVE s t a",
    "SMOVE s t zz",
    "SMOVE s t b",
    "SMOVE s s c",
    "SINTERSTORE u s t",
    "SINTERSTORE u none t",
    "SINTERSTORE u none t",
    "SUNIONSTORE u s t",
    "SDIFFSTORE u t s",
    "RPUSH numbers 3 1 2",
    "SORT numbers STORE so",
    "SORT none STORE so",
    "SORT none STORE so",
    "HSET h a 1 b 2",
    "HSET h a 1",
    "HMSET h a 1",
    "HSETNX h a 1",
    "HSETNX h c 1",
    "HINCRBY h a 5",
    "HINCRBYFLOAT h a 1.5",
    "HINCRBYFLOAT h a 0",
    "HDEL h a zz",
    "HDEL h zz",
    "HDEL h b c",
    "ZADD z 1 a 2 b 3 c 4 d 5 e",
    "ZADD z 1 a",
    "ZADD z INCR 1 a",
    "ZADD z XX 5 zz",
    "ZADD z GT CH 9 a",
    "ZINCRBY z 1.5 a",
    "ZREM z a zz",
    "ZREM z zz",
    "ZPOPMIN z",
    "ZPOPMAX z 1",
    "ZPOPMIN z 0",
    "ZADD z 1 a 2 b 3 c 4 d 5 e 6 f 7 g 8 h 9 i",
    "ZMPOP 2 none z MIN",
    "ZMPOP 2 none z MAX COUNT 2",
    "BZPOPMIN none z 0",
    "BZPOPMAX none z 0",
    "BZMPOP 0 2 none z MIN COUNT 2",
    "ZREMRANGEBYRANK z 0 0",
    "ZREMRANGEBYSCORE z 0 0",
    "ZRANGESTORE zd z 0 -1",
    "ZRANGESTORE zd none 0 -1",
    "ZRANGESTORE zd none 0 -1",
    "ZUNIONSTORE zd 2 z none",
    "ZINTERSTORE zd 2 z none",
    "ZINTERSTORE zd 2 z none",
    "ZDIFFSTORE zd 2 z none",
    "ZMPOP 1 z MAX COUNT 200",
    "GEORADIUS zd 15 37 1 km STORE gs",
    "GEORADIUSBYMEMBER zd f 200 km STOREDIST gs",
    "GEOSEARCHSTORE gs none FROMLONLAT 15 37 BYRADIUS 200 km",
    "GEOSEARCHSTORE gs none FROMLONLAT 15 37 BYRADIUS 200 km",
    "PFADD p a b c",
    "PFADD p a",
    "PFADD p",
    "PFADD q",
    "PFCOUNT p",
    "PFCOUNT p",
    "PFCOUNT p q",
    "PFMERGE r p q",
    "PFMERGE r",
    "PFDEBUG TODENSE p",
    "XADD x 1-1 a 1",
    "XADD x 1-* a 1",
    "XADD x NOMKSTREAM 1-5 a 1",
    "XADD nox NOMKSTREAM * a 1",
    "XADD x MAXLEN 3 1-6 a 1",
    "XADD x MAXLEN = 3 1-7 a 1",
    "XADD x MAXLEN ~ 2 1-8 a 1",
    "XADD x MINID ~ 1-6 1-9 a 1",
    "XADD x MINID = 1-7 1-10 a 1",
    "XTRIM x MAXLEN 100",
    "XTRIM x MAXLEN ~ 100",
    "XTRIM x MAXLEN 3",
    "XTRIM x MINID 1-9",
    "XDEL x 1-9 1-99",
    "XDEL x 1-99",
    "XSETID x 5-5",
    "XSETID x 5-5 ENTRIESADDED 100 MAXDELETEDID 2-2",
    "XGROUP CREATE x g $",
    "XGROUP CREATE x h 0 ENTRIESREAD 5",
    "XGROUP CREATE newx g $ MKSTREAM",
    "XGROUP CREATECONSUMER x g alice",
    "XGROUP CREATECONSUMER x g alice",
    "XGROUP SETID x g 0",
    "XGROUP SETID x g $",
    "XGROUP SETID x g 0 ENTRIESREAD 3",
    "XADD x 6-1 a 1",
    "XADD x 6-2 a 1",
    "XREADGROUP GROUP g alice COUNT 1 STREAMS x >",
    "XREADGROUP GROUP g bob COUNT 1 STREAMS x >",
    "XREADGROUP GROUP h dave NOACK STREAMS x >",
    "XREADGROUP GROUP h dave NOACK STREAMS x >",
    "XCLAIM x g eve 0 1-10",
    "XCLAIM x g eve 0 1-10 JUSTID",
    "XCLAIM x g eve 0 1-10 TIME 1000 RETRYCOUNT 7",
    "XCLAIM x g eve 0 1-10 LASTID 99-1",
    "XCLAIM x g eve 1000000 1-10 LASTID 100-1",
    "XCLAIM x g eve 0 1-9 FORCE",
    "XAUTOCLAIM x g alice 0 0",
    "XACK x g 1-10 99-1",
    "XACK x g 99-1",
    "XGROUP DELCONSUMER x g alice",
    "XGROUP DELCONSUMER x g nobody",
    "XGROUP DESTROY x g",
    "XGROUP DESTROY x g",
    "MULTI",
    "LPUSH w 1",
    "BLPOP w 0",
    "SET w 1",
    "EXPIRE w 100",
    "EXEC",
    "MULTI",
    "GET w",
    "INCR w",
    "EXEC",
    r#"EVAL "redis.call('set', KEYS[1], '1')" 1 a"#,
    r#"EVAL "redis.call('set', KEYS[1], '1'); redis.call('expire', KEYS[1], 100)" 1 a"#,
    r#"EVAL "local v = redis.call('dump', KEYS[1]); redis.call('restore', KEYS[2], 0, v)" 2 a b"#,
    r#"EVAL "local v = redis.call('dump', KEYS[1]); redis.call('restore', KEYS[2], 100000, v, 'REPLACE')" 2 a b"#,
    r#"EVAL "local v = redis.call('dump', KEYS[1]); redis.call('restore', KEYS[2], 1, v, 'REPLACE', 'ABSTTL')" 2 a b"#,
    r#"EVAL "redis.call('set', KEYS[1], 'x') redis.call('swapdb', 0, 1) redis.call('set', KEYS[1], 'y') redis.call('swapdb', 0, 1)" 1 a"#,
    r#"EVAL "redis.call('select', 3) redis.call('set', KEYS[1], 'x') redis.call('flushdb') redis.call('set', KEYS[1], 'y')" 1 a"#,
    r#"EVAL "redis.call('select', 3) redis.call('swapdb', 3, 4) redis.call('flushdb') redis.call('copy', KEYS[1], KEYS[1], 'DB', 5)" 1 a"#,
    r#"EVAL "redis.call('set', KEYS[1], 'x') redis.call('rename', KEYS[1], KEYS[2])" 2 a b"#,
    r#"EVAL "redis.call('set', KEYS[1], 'x') redis.call('move', KEYS[1], 6) redis.call('keys', '*')" 1 b"#,
    r#"EVAL "redis.call('set', KEYS[1], 'x') redis.call('expire', KEYS[1], 0) redis.call('append', KEYS[1], 'y')" 1 a"#,
    r#"EVAL "redis.call('rename', KEYS[1], KEYS[2]) redis.call('set', KEYS[1], 'x') redis.call('pexpireat', KEYS[1], 1)" 2 a b"#,
    r#"EVAL "redis.call('set', KEYS[1], 'x') redis.call('set', KEYS[1], 'y', 'PXAT', 1) redis.call('set', KEYS[1], 'z')" 1 a"#,
    r#"EVAL "redis.call('getex', KEYS[1], 'PXAT', 1) redis.call('set', KEYS[1], 'x')" 1 a"#,
    "MULTI",
    "SET a v",
    "SET b{a} v",
    "EXPIRE a -1",
    "SET a w",
    "GETEX b{a} PXAT 1",
    "SET c{a} v",
    "EXEC",
    "SCRIPT FLUSH",
    "FUNCTION LOAD \"#!lua name=one\\nserver.register_function('f', function(keys) return server.call('incr', keys[1]) end)\"",
    "FCALL f 1 a",
    "FUNCTION DELETE one",
    "FUNCTION FLUSH",
    "PUBLISH ch hi",
    "SELECT 2",
    "SET a v",
    "FLUSHDB",
    "SELECT 0",
    "FLUSHALL ASYNC",
    "SET a v",
    r#"EVAL "redis.call('set', KEYS[1], 'x') redis.call('flushall') redis.call('set', KEYS[1], 'y') redis.call('flushall')" 1 a"#,
    "MULTI",
    "SET a v",
    "SWAPDB 0 2",
    "FLUSHDB",
    "SET a v",
    "FLUSHALL",
    "EXEC",
];

#[test]
fn records_are_valkeys_word_by_word() {
    let peer = run(Program::Valkey, 1);
    for shards in [1, 2] {
        let ours = run(Program::Kvasir, shards);
        let mut seen = ours.iter();
        for (theirs, line) in peer.iter().zip(SCRIPT) {
            let mine = seen.next().expect("as many lines");
            assert_eq!(mine, theirs, "{line} at {shards} shards");
        }
    }
}

/// What a line of the script has come to.
#[derive(PartialEq, Eq, Debug)]
struct Effect {
    records: Vec<String>,
    changes: i64,
}

/// What each line comes to on a server.
fn run(program: Program, shards: usize) -> Vec<Effect> {
    // What has been answered is in the file.
    let server = logging(program, shards).args(&["--appendfsync", "always"]).start();
    let (mut client, mut observer) = (server.client(), server.client());
    // Databases are selected where records need them: all begin in the first one.
    client.run("SET begin x");
    let mut changes = changes_of(&mut observer);
    let mut offsets = vec![read_log(server.dir()).len()];
    let mut counts = Vec::new();
    for line in SCRIPT {
        client.call(&words(line));
        offsets.push(read_log(server.dir()).len());
        let now = changes_of(&mut observer);
        counts.push(now - changes);
        changes = now;
    }
    let log = read_log(server.dir());
    let parts = offsets.windows(2).map(|pair| records(&log[pair[0]..pair[1]]));
    parts.zip(counts).map(|(records, changes)| Effect { records, changes }).collect()
}

fn info(client: &mut Client, field: &str) -> i64 {
    let info = client.run("INFO persistence");
    let text = String::from_utf8_lossy(info.as_bytes().expect("text")).into_owned();
    let value = text.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
    let value = value.unwrap_or_else(|| panic!("no {field} in {text}"));
    value.parse().expect("a number")
}

fn changes_of(client: &mut Client) -> i64 {
    info(client, "rdb_changes_since_last_save")
}

fn read_log(dir: &Path) -> Vec<u8> {
    let dir = dir.join("appendonlydir");
    let files = std::fs::read_dir(&dir).expect("the directory of the log");
    let names = files.map(|file| file.expect("a file").path());
    let log = names.into_iter().find(|name| name.to_string_lossy().ends_with(".1.incr.aof"));
    std::fs::read(log.expect("a file of changes")).expect("read the log")
}

/// The records as lines; moments of these days are not told apart.
fn records(mut bytes: &[u8]) -> Vec<String> {
    fn number(bytes: &mut &[u8]) -> usize {
        let end = bytes.windows(2).position(|pair| pair == b"\r\n").expect("a line");
        let text = std::str::from_utf8(&bytes[1..end]).expect("digits");
        *bytes = &bytes[end + 2..];
        text.parse().expect("a number")
    }
    let mut records = Vec::new();
    while !bytes.is_empty() {
        let mut line = Vec::new();
        for _ in 0..number(&mut bytes) {
            let length = number(&mut bytes);
            let word = bytes[..length].escape_ascii().to_string();
            let is_moment =
                word.len() == 13 && word.starts_with('1') && word.parse::<u64>().is_ok();
            line.push(if is_moment { "<moment>".to_owned() } else { word });
            bytes = &bytes[length + 2..];
        }
        records.push(line.join(" "));
    }
    records
}
