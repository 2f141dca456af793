//! What is logged of commands, word by word: as Valkey logs them, where it has them.

use std::fmt::Write as _;

use crate::persist::log::{Log, LogFile};
use crate::route::blocking::tests::World;

/// A server whose log can be read.
struct Logged {
    world: World,
    now_us: u64,
    _dir: tempfile::TempDir,
}

impl Logged {
    fn new(shards: u16) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let world = World::new(shards);
        let (file, bytes) = LogFile::open(&dir.path().join("log")).unwrap();
        let mut logged = Self { world, now_us: 0, _dir: dir };
        logged.log().open(file, bytes);
        logged.log().set_on(true);
        for core in &mut logged.world.cores {
            core.state.follow_log();
        }
        logged
    }

    fn log(&self) -> &Log {
        &self.world.cores[0].state.shared.persistence.log
    }

    /// What has been logged since the last look: a line of words for each record.
    fn read(&mut self) -> Vec<String> {
        self.now_us += 10_000_000;
        let mut bytes = Vec::new();
        while let Some(mut append) = self.log().begin(self.now_us) {
            bytes.extend_from_slice(&append.bytes);
            append.written = append.bytes.len();
            self.log().finish(append, Ok(()), self.now_us);
        }
        lines(&bytes)
    }
}

/// Requests as lines.
fn lines(mut bytes: &[u8]) -> Vec<String> {
    fn number(bytes: &mut &[u8]) -> usize {
        let end = bytes.windows(2).position(|pair| pair == b"\r\n").unwrap();
        let number = std::str::from_utf8(&bytes[1..end]).unwrap().parse().unwrap();
        *bytes = &bytes[end + 2..];
        number
    }
    let mut lines = Vec::new();
    while !bytes.is_empty() {
        let mut line = String::new();
        for at in 0..number(&mut bytes) {
            let length = number(&mut bytes);
            let space = if at == 0 { "" } else { " " };
            write!(line, "{space}{}", bytes[..length].escape_ascii()).unwrap();
            bytes = &bytes[length + 2..];
        }
        lines.push(line);
    }
    lines
}

/// The time in the table, of which a hundred seconds later is `{100s}`.
const NOW_MS: u64 = 1_700_000_001_000;

/// Runs a script: lines that are sent, and below each, after `|`, what is logged of it. A line
/// after `later:` is sent by a client that waits.
fn check(shards: u16, script: &str) {
    let mut logged = Logged::new(shards);
    let client = logged.world.connect(0);
    logged.world.request(client, "SET first x");
    logged.read();
    let mut expected: Vec<String> = Vec::new();
    let mut seen: Vec<String> = Vec::new();
    let mut last = "";
    for line in script.lines().map(str::trim).filter(|line| !line.is_empty()) {
        if let Some(record) = line.strip_prefix("| ") {
            expected.push(record.replace("{100s}", &(NOW_MS + 100_000).to_string()));
            continue;
        }
        assert_eq!(seen, expected, "{last} at {shards} shards");
        expected.clear();
        last = line;
        if let Some(waits) = line.strip_prefix("later: ") {
            let other = logged.world.connect(0);
            logged.world.send(other, waits);
            logged.world.settle();
        } else {
            let reply = logged.world.request(client, line);
            assert!(!reply.starts_with('-'), "{line}: {reply}");
        }
        seen = logged.read();
    }
    assert_eq!(seen, expected, "{last} at {shards} shards");
}

#[test]
fn strings() {
    for shards in [1, 2] {
        check(
            shards,
            "
            SET a v
            | SET a v
            SET a v EX 100
            | SET a v PXAT {100s}
            SET a v PX 100000 NX
            SETEX a 100 v
            | SET a v PXAT {100s}
            PSETEX a 100000 v
            | SET a v PXAT {100s}
            SET a v KEEPTTL
            | SET a v KEEPTTL
            SET a w KEEPTTL GET
            | SET a w KEEPTTL
            SET a v GET
            | SET a v
            SET a v PXAT 1
            | UNLINK a
            SET a v PXAT 1
            SETNX a v
            | SETNX a v
            SETNX a v
            SET a w IFEQ v
            | SET a w IFEQ v
            SET a v IFNE v
            | SET a v
            GETSET a w
            | SET a w
            GETEX a EX 100
            | PEXPIREAT a {100s}
            GETEX a PERSIST
            | PERSIST a
            GETEX a PERSIST
            GETEX a
            GETEX a PXAT 1
            | UNLINK a
            SET a v
            | SET a v
            GETDEL a
            | DEL a
            GETDEL a
            INCRBYFLOAT a 1.5
            | SET a 1.5 KEEPTTL
            INCREX b EX 100
            | SET b 1 PXAT {100s}
            INCREX b
            | SET b 2 KEEPTTL
            DELEX b
            | DEL b
            MSETEX 2 a 1 b 2 EX 100 XX
            MSET a 1 b 2
            | MSET a 1 b 2
            DEL b c
            | DEL b c
            MSETNX b 1 c 2
            | MSETNX b 1 c 2
            SETNX b 2
            ",
        );
    }
}

#[test]
fn several_keys_whose_command_the_peers_do_not_know() {
    check(
        1,
        "
        MSETEX 2 a 1 b 2 EX 100
        | MULTI
        | SET a 1 PXAT {100s}
        | SET b 2 PXAT {100s}
        | EXEC
        MSETEX 2 a 1 b 2 PXAT 1
        | MULTI
        | UNLINK a
        | UNLINK b
        | EXEC
        MSETEX 1 a 1
        | SET a 1
        BITOP ONE d a b
        | SET d 1
        BITOP OR d a b
        | BITOP OR d a b
        BITOP DIFF d b a
        | SET d \\x00
        ",
    );
}

#[test]
fn keys() {
    for shards in [1, 2] {
        check(
            shards,
            "
            SET a v
            | SET a v
            EXPIRE a 100
            | PEXPIREAT a {100s}
            EXPIRE a 100 NX
            PEXPIRE a 100000 XX
            | PEXPIREAT a {100s} XX
            EXPIREAT a 99999999999 GT
            | PEXPIREAT a 99999999999000 GT
            PERSIST a
            | PERSIST a
            EXPIRE a -1
            | UNLINK a
            EXPIRE a 100
            SET a v
            | SET a v
            RENAME a b
            | RENAME a b
            COPY b a
            | COPY b a
            COPY b a
            COPY b c DB 3
            | COPY b c DB 3
            MOVE a 5
            | MOVE a 5
            SWAPDB 0 5
            | SWAPDB 0 5
            UNLINK a b
            | UNLINK a b
            SELECT 5
            RENAMENX b a
            | SELECT 5
            | RENAMENX b a
            FLUSHDB
            | FLUSHDB
            SELECT 3
            FLUSHALL ASYNC
            | SELECT 3
            | FLUSHALL ASYNC
            ",
        );
    }
}

#[test]
fn lists() {
    for shards in [1, 2] {
        check(
            shards,
            "
            RPUSH a 1 2 3 4 5 6 7 8 9
            | RPUSH a 1 2 3 4 5 6 7 8 9
            LPOP a 2
            | LPOP a 2
            LMPOP 2 b a LEFT COUNT 2
            | LPOP a 2
            BLPOP b a 0
            | LPOP a
            BRPOP b a 0
            | RPOP a
            BLMPOP 0 2 b a RIGHT COUNT 1
            | RPOP a 1
            LMOVE a b LEFT RIGHT
            | LMOVE a b LEFT RIGHT
            BLMOVE a b LEFT RIGHT 0
            | LMOVE a b LEFT RIGHT
            BRPOPLPUSH b a 0
            | RPOPLPUSH b a
            RPOPLPUSH b a
            | RPOPLPUSH b a
            later: BLMPOP 0 1 c LEFT COUNT 5
            LPUSH c 1 2 3
            | LPUSH c 1 2 3
            | LPOP c 3
            later: BLMOVE c a LEFT LEFT 0
            RPUSH c 1 2
            | RPUSH c 1 2
            | LMOVE c a LEFT LEFT
            later: BRPOPLPUSH d b 0
            LPUSH d 1
            | LPUSH d 1
            | RPOPLPUSH d b
            LREM a 0 nothing
            LTRIM a 0 -1
            ",
        );
    }
    check(
        1,
        "
        RPUSH a 1 2 3 4
        | RPUSH a 1 2 3 4
        LMOVEM a b LEFT RIGHT COUNT 2 BULK
        | MULTI
        | LPOP a 2
        | RPUSH b 1 2
        | EXEC
        LMOVEM a b RIGHT LEFT COUNT 2 OBO
        | MULTI
        | RPOP a 2
        | LPUSH b 4 3
        | EXEC
        ",
    );
}

#[test]
fn elements() {
    for shards in [1, 2] {
        check(
            shards,
            "
            SADD a 1 2 3
            | SADD a 1 2 3
            SREM a 1 2
            | SREM a 1 2
            SPOP a
            | SREM a 3
            SADD a 1
            | SADD a 1
            SPOP a 1
            | UNLINK a
            SADD a 1
            | SADD a 1
            SMOVE a b 1
            | SMOVE a b 1
            SEXPIRE b 100 MEMBERS 2 1 2
            | SPEXPIREAT b {100s} MEMBERS 1 1
            SEXPIRE b 0 MEMBERS 2 1 2
            | SREM b 1
            HSET a f 1 g 2
            | HSET a f 1 g 2
            HINCRBYFLOAT a f 1.5
            | HSET a f 2.5
            HEXPIRE a 100 FIELDS 2 f h
            | HPEXPIREAT a {100s} FIELDS 1 f
            HINCRBYFLOAT a f 1
            | MULTI
            | HSET a f 3.5
            | HPEXPIREAT a {100s} FIELDS 1 f
            | EXEC
            HGETEX a PERSIST FIELDS 2 f g
            | HPERSIST a FIELDS 1 f
            HGETEX a EX 100 FIELDS 1 g
            | HPEXPIREAT a {100s} FIELDS 1 g
            HSETEX a FXX EX 100 FIELDS 1 g 3
            | HSETEX a PXAT {100s} FIELDS 1 g 3
            HSETEX a KEEPTTL FIELDS 1 g 4
            | HSETEX a KEEPTTL FIELDS 1 g 4
            HSETEX a FIELDS 1 g 4
            | HSET a g 4
            HGETDEL a FIELDS 2 g h
            | HDEL a g
            HEXPIRE a 0 FIELDS 1 f
            | HDEL a f
            ZADD a 1 x 2 y 3 z
            | ZADD a 1 x 2 y 3 z
            ZEXPIRE a 100 MEMBERS 1 y
            | ZPEXPIREAT a {100s} MEMBERS 1 y
            ZMPOP 2 b a MIN COUNT 1
            | ZPOPMIN a 1
            BZMPOP 0 2 b a MAX COUNT 1
            | ZPOPMAX a 1
            BZPOPMIN b a 0
            | ZPOPMIN a
            later: BZPOPMAX a b 0
            ZADD b 1 x
            | ZADD b 1 x
            | ZPOPMAX b
            PFADD a x
            | PFADD a x
            PFCOUNT a
            | PFCOUNT a
            PFCOUNT a
            ",
        );
    }
}

#[test]
fn elements_that_expire_are_removed_by_name() {
    let mut logged = Logged::new(1);
    let client = logged.world.connect(0);
    for line in
        ["HSET h f 1 g 2", "HPEXPIRE h 5 FIELDS 1 f", "SADD s a", "SPEXPIRE s 5 MEMBERS 1 a"]
    {
        logged.world.request(client, line);
    }
    logged.read();
    logged.world.now_us += 10_000;
    logged.world.request(client, "HINCRBY h f 7");
    let expected = ["MULTI", "HDEL h f", "HINCRBY h f 7", "EXEC", "SREM s a"];
    assert_eq!(logged.read(), expected, "the other one is found by itself");
}

#[test]
fn streams() {
    for shards in [1, 2] {
        check(
            shards,
            "
            XADD a 1-1 f v
            | XADD a 1-1 f v
            XADD a 1-* f v
            | XADD a 1-2 f v
            XADD a NOMKSTREAM MAXLEN ~ 1 LIMIT 5 * f v
            | XADD a NOMKSTREAM MAXLEN = 3 1700000001000-0 f v
            XADD a MINID ~ 1-2 * f v
            | XADD a MINID = 1-1 1700000001000-1 f v
            XADD a MAXLEN 3 1700000001000-2 f v
            | XADD a MAXLEN 3 1700000001000-2 f v
            XTRIM a MAXLEN = 1
            | XTRIM a MAXLEN = 1
            XTRIM a MAXLEN 1
            XADD a IDMP p i * f v
            | MULTI
            | XADD a 1700000001000-3 f v
            | XIDMPRECORD a p i 1700000001000-3
            | EXEC
            XADD a IDMP p i * f v
            ",
        );
    }
}

#[test]
fn groups() {
    for shards in [1, 2] {
        check(
            shards,
            "
            XADD a 1-1 f v
            | XADD a 1-1 f v
            XADD a 1-2 f v
            | XADD a 1-2 f v
            XGROUP CREATE a g 0
            | XGROUP CREATE a g 0
            XREADGROUP GROUP g one STREAMS a >
            | MULTI
            | XCLAIM a g one 0 1-1 1-2 TIME 1700000001000 RETRYCOUNT 1 FORCE JUSTID LASTID 1-2
            | XGROUP SETID a g 1-2 ENTRIESREAD 2
            | EXEC
            XREADGROUP GROUP g one COUNT 1 STREAMS a 0
            | XCLAIM a g one 0 1-1 TIME 1700000001000 RETRYCOUNT 2 FORCE JUSTID LASTID 1-2
            XREADGROUP GROUP g two STREAMS a 0
            | XGROUP CREATECONSUMER a g two
            XREADGROUP GROUP g two STREAMS a >
            XCLAIM a g two 0 1-1 1-2
            | MULTI
            | XCLAIM a g two 0 1-1 TIME 1700000001000 RETRYCOUNT 3 FORCE JUSTID LASTID 1-2
            | XCLAIM a g two 0 1-2 TIME 1700000001000 RETRYCOUNT 2 FORCE JUSTID LASTID 1-2
            | EXEC
            XCLAIM a g two 99999 1-1 LASTID 7-7
            | XGROUP SETID a g 7-7 ENTRIESREAD 2
            XDEL a 1-1
            | XDEL a 1-1
            XAUTOCLAIM a g one 0 0
            | MULTI
            | XCLAIM a g one 0 1-2 TIME 1700000001000 RETRYCOUNT 3 FORCE JUSTID LASTID 7-7
            | XACK a g 1-1
            | EXEC
            ",
        );
    }
    check(
        1,
        "
        XGROUP CREATE a g $ MKSTREAM
        | XGROUP CREATE a g $ MKSTREAM
        later: XREADGROUP GROUP g one BLOCK 0 STREAMS a >
        | XGROUP CREATECONSUMER a g one
        XADD a 1-1 f v
        | XADD a 1-1 f v
        | MULTI
        | XCLAIM a g one 0 1-1 TIME 1700000001000 RETRYCOUNT 1 FORCE JUSTID LASTID 1-1
        | XGROUP SETID a g 1-1 ENTRIESREAD 1
        | EXEC
        ",
    );
}

#[test]
fn what_one_client_does_at_once_is_one_transaction() {
    check(
        1,
        "
        MULTI
        SET a 1 EX 100
        BLPOP b 0
        LPUSH b 1 2
        BLPOP b 0
        EXEC
        | MULTI
        | SET a 1 PXAT {100s}
        | LPUSH b 1 2
        | LPOP b
        | EXEC
        ",
    );
    for shards in [1, 2] {
        check(
            shards,
            "
            MULTI
            INCR a
            GET b
            EXEC
            | INCR a
            MULTI
            MSET a 1 b 2
            GETDEL a
            EXEC
            | MULTI
            | MSET a 1 b 2
            | DEL a
            | EXEC
            ",
        );
    }
}
