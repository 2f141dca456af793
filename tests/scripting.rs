//! Scripts on one shard and over several: their keys, their atomicity, their end.

use std::thread;

use kvasir_proto::Value;
use kvasir_testing::{Client, Program, Server, wait_until};

/// Two keys that live on different shards of two.
const APART: [&str; 2] = ["foo", "bar"];

fn show(value: &Value) -> String {
    kvasir_testing::show(value).replace('"', "")
}

fn eval(client: &mut Client, script: &str, keys: &[&str], args: &[&str]) -> String {
    let count = keys.len().to_string();
    let mut request = vec!["EVAL", script, &count];
    request.extend(keys);
    request.extend(args);
    show(&client.call(&request))
}

#[test]
fn keys_of_any_shard_can_be_used_whether_they_are_declared_or_not() {
    for shards in [1, 2] {
        let server = Server::kvasir(shards);
        let mut client = server.client();
        let script = "redis.call('SET', 'foo', ARGV[1]) redis.call('SET', 'bar', ARGV[1]) \
            return redis.call('GET', 'foo') .. redis.call('GET', 'bar')";
        for declared in [&APART[..], &APART[..1], &APART[1..], &[]] {
            for round in ["1", "2", "3"] {
                let twice = [round, round].concat();
                assert_eq!(eval(&mut client, script, declared, &[round]), twice);
            }
        }
        assert_eq!(eval(&mut client, "return redis.call('DBSIZE')", &[], &[]), "2");
        assert_eq!(eval(&mut client, "return redis.call('MGET', 'foo', 'bar')", &[], &[]), "[3 3]");
    }
}

/// Requests of one connection are executed in their order, wherever scripts among them run: those
/// whose text shows that they keep to their keys, and those that only turn out not to.
#[test]
fn a_pipeline_of_scripts_keeps_its_order() {
    let plain = "return redis.call('APPEND', KEYS[1], ARGV[1])";
    let local = "local key = KEYS[1]\nredis.call('APPEND', key, ARGV[1])\n\
        return redis.call('STRLEN', key)";
    let hidden = "local k = {KEYS[1]} return redis.call('APPEND', k[1], ARGV[1])";
    let straying = "return redis.call('APPEND', ARGV[2], ARGV[1])";
    for shards in [1, 2] {
        let server = Server::kvasir(shards);
        let mut client = server.client();
        let (mut requests, mut expected) = (Vec::new(), Vec::new());
        let mut lengths = [0; 2];
        for n in 0..600_usize {
            let at = n * 7 / 3 % 2;
            let (key, other) = (APART[at], APART[1 - at]);
            let request = match n * 11 % 13 {
                0..4 => ["EVAL", plain, "1", key, "x", ""],
                4..7 => ["EVAL", local, "1", key, "x", ""],
                7..9 => ["EVAL", hidden, "1", key, "x", ""],
                9 => ["EVAL", straying, "1", other, "x", key],
                10 => ["EVAL", straying, "0", "x", key, ""],
                _ => ["APPEND", key, "x", "", "", ""],
            };
            let words: Vec<String> = request.iter().map(|word| (*word).to_owned()).collect();
            let used = words.iter().rposition(|word| !word.is_empty()).unwrap();
            requests.push(words[..=used].to_vec());
            lengths[at] += 1;
            expected.push(lengths[at].to_string());
        }
        let replies: Vec<String> = client.pipeline(&requests).iter().map(show).collect();
        assert_eq!(replies, expected);
    }
}

/// As on the peers: one that declares what it does is refused before it begins, any other at its
/// first write, and one that has written is not stopped half way.
#[test]
fn scripts_that_write_are_refused_while_snapshots_fail() {
    for shards in [1, 2] {
        let points = ["--save", "3600", "1"];
        let server = Server::builder(Program::Kvasir).shards(shards).args(&points).start();
        let mut client = server.client();
        let code = "#!lua name=lib\nredis.register_function('w', function(keys) \
            return redis.call('INCR', keys[1]) end) redis.register_function{function_name='r', \
            flags={'no-writes'}, callback=function(keys) return redis.call('GET', keys[1]) end}";
        client.call(&["FUNCTION", "LOAD", code]);
        client.run("SET foo 1");
        let slow = "#!lua\nredis.call('INCR', KEYS[1]) return redis.call('INCR', KEYS[1])";
        client.run("MULTI");
        assert_eq!(eval(&mut client, slow, &["foo"], &[]), "QUEUED");
        let mut other = server.client();
        std::fs::create_dir(server.dir().join("dump.rdb")).unwrap();
        other.run("BGSAVE");
        let mut says = |text: &str| show(&other.run("INFO persistence")).contains(text);
        wait_until("a snapshot fails", || says("bgsave_status:err"));
        let aborted = show(&client.run("EXEC"));
        let reason = "-EXECABORT Transaction discarded because of: MISCONF ";
        assert!(aborted.starts_with(reason), "{aborted}");
        let is_refused = |reply: String| {
            assert!(reply.starts_with("-MISCONF Kvasir is configured to save"), "{reply}");
        };
        let call = |verb: &str, key: &str| format!("return redis.{verb}('INCR', {key})");
        for body in [call("call", "KEYS[1]"), call("pcall", "'foo'"), call("call", "'bar'")] {
            is_refused(eval(&mut client, &body, &["foo"], &[]));
            is_refused(eval(&mut client, &body, &APART, &[]));
            is_refused(eval(&mut client, &format!("#!lua\n{body}"), &["foo"], &[]));
        }
        is_refused(eval(&mut client, "#!lua\nreturn 1", &[], &[]));
        is_refused(show(&client.run("FCALL w 1 foo")));
        is_refused(show(&client.run("FCALL_RO w 1 foo")));
        is_refused(show(&client.run("PING")));
        assert_eq!(show(&client.run("FCALL r 1 foo")), "1");
        assert_eq!(eval(&mut client, "return redis.call('GET', 'foo')", &[], &[]), "1");
        let reading = "#!lua flags=no-writes\nreturn redis.call('GET', KEYS[1])";
        assert_eq!(eval(&mut client, reading, &["foo"], &[]), "1");
        std::fs::remove_dir(server.dir().join("dump.rdb")).unwrap();
        server.client().run("BGSAVE");
        wait_until("a snapshot succeeds", || says("bgsave_status:ok"));
        assert_eq!(show(&client.run("FCALL w 1 foo")), "2");
    }
}

/// Each script moves one from one key to the other; half of them declare what the others do not.
#[test]
fn scripts_that_meet_from_both_sides_lose_nothing() {
    let server = Server::kvasir(2);
    let mut client = server.client();
    client.run("MSET foo 1000 bar 1000");
    thread::scope(|scope| {
        for number in 0..4 {
            let server = &server;
            scope.spawn(move || {
                let mut client = server.client();
                let script = "redis.call('DECRBY', ARGV[1], 1) redis.call('INCRBY', ARGV[2], 1) \
                    return redis.call('GET', ARGV[1]) + redis.call('GET', ARGV[2])";
                let [from, to] = if number % 2 == 0 { APART } else { [APART[1], APART[0]] };
                for _ in 0..100 {
                    assert_eq!(eval(&mut client, script, &[from], &[from, to]), "2000");
                }
            });
        }
        let server = &server;
        scope.spawn(move || {
            let mut client = server.client();
            for _ in 0..200 {
                let sum = eval(
                    &mut client,
                    "return redis.call('GET', 'foo') + redis.call('GET', 'bar')",
                    &[],
                    &[],
                );
                assert_eq!(sum, "2000");
            }
        });
    });
    assert_eq!(show(&client.run("MGET foo bar")), "[1000 1000]");
}

/// Writes to its declared keys, whatever they hold, and then perhaps uses a key of another shard
/// for the first time.
const STRAYING: &str = "redis.call('INCR', KEYS[1]) redis.call('RPUSH', KEYS[2], ARGV[1]) \
    redis.call('HSET', KEYS[3], ARGV[1], '1', 'x', ARGV[1]) redis.call('DEL', KEYS[4]) \
    redis.call('ZADD', KEYS[5], ARGV[1], ARGV[1]) redis.call('PEXPIRE', KEYS[6], 1000000) \
    if ARGV[2] == 'stray' then \
        redis.call('INCR', ARGV[3]) redis.call('RPUSH', KEYS[2], 'again') \
    end return redis.call('GET', KEYS[1])";

#[test]
fn what_a_script_has_written_before_it_strays_is_written_once() {
    for shards in [2, 4] {
        let server = Server::kvasir(shards);
        let mut client = server.client();
        let keys = ["{a}n", "{a}l", "{a}h", "{a}d", "{a}z", "{a}e"];
        for elsewhere in ["{b}1", "{c}2", "{d}3", "{e}4"] {
            client.run("FLUSHALL");
            client.run("MSET {a}n 10 {a}d gone {a}e stays");
            client.run("SCRIPT FLUSH");
            assert_eq!(eval(&mut client, STRAYING, &keys, &["1", "", ""]), "11");
            client.run("SET {a}d gone");
            assert_eq!(eval(&mut client, STRAYING, &keys, &["2", "stray", elsewhere]), "12");
            assert_eq!(eval(&mut client, STRAYING, &keys, &["3", "stray", elsewhere]), "13");
            assert_eq!(show(&client.run("LRANGE {a}l 0 -1")), "[1 2 again 3 again]");
            assert_eq!(show(&client.run("HLEN {a}h")), "4");
            assert_eq!(show(&client.run("EXISTS {a}d")), "0");
            assert_eq!(show(&client.run("ZCARD {a}z")), "3");
            assert_eq!(show(&client.run(&format!("GET {elsewhere}"))), "2");
        }
    }
}

/// Many scripts stray for their first time at once, from all sides.
#[test]
fn scripts_that_stray_after_writing_lose_nothing() {
    for shards in [2, 4] {
        let server = Server::kvasir(shards);
        let mut client = server.client();
        let names = ["{a}", "{b}", "{c}", "{d}", "{e}", "{f}"];
        for name in &names {
            client.run(&format!("SET {name} 1000"));
        }
        thread::scope(|scope| {
            for number in 0..6 {
                let server = &server;
                scope.spawn(move || {
                    let mut client = server.client();
                    for round in 0..60_usize {
                        // A new script each time, so that nothing has been learnt of it.
                        let script = format!(
                            "redis.call('DECR', KEYS[1]) redis.call('INCR', ARGV[1]) \
                             return '{number}:{round}'"
                        );
                        let [from, to] = [number, number + 1 + round % 5].map(|n| names[n % 6]);
                        let reply = eval(&mut client, &script, &[from], &[to]);
                        assert_eq!(reply, format!("{number}:{round}"));
                    }
                });
            }
            let server = &server;
            scope.spawn(move || {
                let mut client = server.client();
                watch_the_sum(&mut client, names);
            });
        });
    }
}

/// Scripts that change values too large to be taken back, are known to keep to their shard, and
/// then stray after all, many at once from all sides. Each keeps what it moves in lists, which tell
/// what it saw: nothing is lost, and no call fails.
#[test]
fn scripts_that_stray_when_nothing_can_be_taken_back_lose_nothing() {
    for shards in [2, 4] {
        let server = Server::kvasir(shards);
        let mut client = server.client();
        let names = ["{a}", "{b}", "{c}", "{d}", "{e}", "{f}"];
        let large = "x".repeat(8000);
        for name in &names {
            client.run(&format!("SET {name} 1000"));
            client.run(&format!("SET {name}large {large}"));
        }
        thread::scope(|scope| {
            for number in 0..6 {
                let server = &server;
                scope.spawn(move || take_from_one_and_give_to_another(server, names, number));
            }
            let server = &server;
            scope.spawn(move || {
                let mut client = server.client();
                watch_the_sum(&mut client, names);
            });
        });
        let lengths: i64 = names
            .iter()
            .map(|name| show(&client.run(&format!("STRLEN {name}large"))))
            .map(|length| length.parse::<i64>().expect("a number") - 8000)
            .sum();
        assert_eq!(lengths, 6 * 25 * 4, "each run has written once");
    }
}

/// A script that begins again, whatever keys it declares, has each of its calls counted once.
#[test]
fn calls_of_a_script_that_begins_again_are_counted_once() {
    let server = Server::kvasir(4);
    let mut client = server.client();
    for (number, keys) in [vec!["{a}"], vec!["{a}", "{b}", "{c}"], vec![]].iter().enumerate() {
        client.run("CONFIG RESETSTAT");
        let script = format!(
            "redis.call('INCR', '{{a}}') redis.pcall('LPUSH', '{{a}}', 'wrong') \
             for _, key in ipairs(ARGV) do redis.call('SET', key, 'x') end return {number}"
        );
        let elsewhere: Vec<String> = (0..20).map(|n| format!("elsewhere:{n}")).collect();
        let elsewhere: Vec<&str> = elsewhere.iter().map(String::as_str).collect();
        assert_eq!(eval(&mut client, &script, keys, &elsewhere), number.to_string());
        let figures = client.run("INFO commandstats");
        let figures = String::from_utf8_lossy(figures.as_bytes().expect("a text"));
        for (command, calls, failed) in [("incr", 1, 0), ("lpush", 1, 1), ("set", 20, 0)] {
            let line =
                figures.lines().find(|line| line.starts_with(&format!("cmdstat_{command}:")));
            let line = line.expect("figures of the command");
            assert!(line.contains(&format!(":calls={calls},")), "{keys:?}: {line}");
            assert!(line.ends_with(&format!(",failed_calls={failed}")), "{keys:?}: {line}");
        }
    }
}

/// What is taken from one key and given to another is never between the two.
fn watch_the_sum(client: &mut Client, names: [&str; 6]) {
    for _ in 0..200 {
        let values = show(&client.run(&format!("MGET {}", names.join(" "))));
        let numbers = values.trim_matches(['[', ']']).split(' ');
        let sum: i64 = numbers.map(|n| n.parse::<i64>().expect("a number")).sum();
        assert_eq!(sum, 6000, "{values}");
    }
}

/// Runs scripts that take from a key, change a large value beside it, and give to another key. The
/// first runs of each give to their own, which is what is learnt of the script.
fn take_from_one_and_give_to_another(server: &Server, names: [&str; 6], number: usize) {
    let mut client = server.client();
    for round in 0..25_usize {
        // With keys of one shard, or of two.
        let apart = round % 2 == 1;
        let script = format!(
            "redis.call('DECR', KEYS[1]) redis.call('APPEND', KEYS[2], 'y') \
             redis.call('INCR', ARGV[1]) return '{number}:{round}'"
        );
        let own = names[number];
        let next = names[(number + 1) % 6];
        let large = format!("{}large", if apart { next } else { own });
        let others = names[(number + 1 + round % 5) % 6];
        for to in [own, own, others, others] {
            let reply = eval(&mut client, &script, &[own, &large], &[to]);
            assert_eq!(reply, format!("{number}:{round}"));
        }
    }
}

#[test]
fn watchers_and_subscribers_are_told_once_of_what_a_script_has_written() {
    let server =
        Server::builder(Program::Kvasir).shards(2).config("notify-keyspace-events K$\n").start();
    let (mut client, mut subscriber) = (server.client(), server.client());
    subscriber.run("SUBSCRIBE __keyspace@0__:foo");
    let script = "redis.call('SET', KEYS[1], ARGV[1]) redis.call('SET', 'bar', ARGV[1])";
    assert_eq!(eval(&mut client, script, &["foo"], &["1"]), "nil");
    assert_eq!(show(&subscriber.read()), "[message __keyspace@0__:foo set]");
    assert_eq!(eval(&mut client, script, &["foo"], &["2"]), "nil");
    assert_eq!(show(&subscriber.read()), "[message __keyspace@0__:foo set]");
    client.run("PUBLISH __keyspace@0__:foo end");
    assert_eq!(show(&subscriber.read()), "[message __keyspace@0__:foo end]");
}

#[test]
fn a_script_counts_the_subscribers_of_all_cores() {
    for shards in [1, 2, 3] {
        let server = Server::kvasir(shards);
        let mut subscribers: Vec<Client> = (0..9).map(|_| server.client()).collect();
        for subscriber in &mut subscribers {
            subscriber.run("SUBSCRIBE news");
        }
        let mut client = server.client();
        let script =
            "redis.call('SET', KEYS[1], 'x') return redis.call('PUBLISH', 'news', ARGV[1])";
        for key in APART {
            assert_eq!(eval(&mut client, script, &[key], &[key]), "9");
        }
        for subscriber in &mut subscribers {
            for key in APART {
                assert_eq!(show(&subscriber.read()), format!("[message news {key}]"));
            }
        }
        assert_eq!(eval(&mut client, "return redis.call('PUBLISH', 'none', 'x')", &[], &[]), "0");
    }
}

#[test]
fn no_time_passes_for_a_script() {
    for shards in [1, 2] {
        let server = Server::kvasir(shards);
        let mut client = server.client();
        // With a key of one shard, and with another that is not declared.
        for keys in [&APART[..1], &[]] {
            let script = "redis.call('SET', 'foo', 'v', 'PX', 1) redis.call('GET', ARGV[1]) \
                local time = redis.call('TIME') local began = os.clock() \
                while os.clock() - began < 0.03 do redis.call('GET', ARGV[1]) end \
                local now = redis.call('TIME') \
                return {redis.call('GET', 'foo'), time[1] == now[1] and time[2] == now[2]}";
            let other = APART[usize::from(keys.is_empty())];
            assert_eq!(eval(&mut client, script, keys, &[other]), "[v 1]");
            assert_eq!(show(&client.run("GET foo")), "nil");
        }
    }
}

/// Whoever waits when it has run for too long, and whoever comes later.
#[test]
fn whoever_needs_what_a_slow_script_holds_is_told_that_the_server_is_busy() {
    for shards in [1, 2] {
        let mut server = Server::builder(Program::Kvasir)
            .shards(shards)
            .config("busy-reply-threshold 100\n")
            .start();
        let (mut endless, mut control) = (server.client(), server.client());
        endless.send(&["EVAL", "while true do end", "1", "foo"]);
        let busy = "BUSY Valkey is busy running a script. You can only call SCRIPT KILL or \
            SHUTDOWN NOSAVE.";
        thread::scope(|scope| {
            for line in ["GET foo", "MGET foo bar", "EVAL 'return 1' 1 foo", "EXEC"] {
                let mut client = server.client();
                scope.spawn(move || {
                    // What comes before the script is executed; what comes while it runs waits.
                    wait_until("the server is busy", || {
                        if line == "EXEC" {
                            assert_eq!(show(&client.run("MULTI")), "OK");
                            client.run("GET foo");
                            let reply = show(&client.run(line));
                            return reply
                                == format!("-EXECABORT Transaction discarded because of: {busy}");
                        }
                        show(&client.run(line)) == format!("-{busy}")
                    });
                });
            }
        });
        assert_eq!(show(&control.run("PING")), "PONG");
        assert_eq!(show(&control.run("SCRIPT KILL")), "OK");
        assert!(show(&endless.read()).starts_with("-ERR Script killed"));
        assert_eq!(show(&control.run("EXISTS foo bar")), "0");
        let script = "redis.call('SET', KEYS[1], '1') while true do end";
        endless.send(&["EVAL", script, "1", "foo"]);
        wait_until("the script has written", || {
            show(&control.run("SCRIPT KILL")).starts_with("-UNKILLABLE")
        });
        control.send(&["SHUTDOWN", "NOSAVE"]);
        assert!(server.wait_for_exit().success());
    }
}

#[test]
fn an_endless_script_leaves_fifty_clients_their_service_on_other_shards() {
    let server =
        Server::builder(Program::Kvasir).shards(2).config("busy-reply-threshold 50\n").start();
    let (mut endless, mut control) = (server.client(), server.client());
    endless.send(&["EVAL", "while true do end", "1", "foo"]);
    wait_until("foo's shard is busy", || show(&control.run("GET foo")).starts_with("-BUSY"));
    thread::scope(|scope| {
        for number in 0..50 {
            let server = &server;
            scope.spawn(move || {
                let mut client = server.client();
                for round in 0..20 {
                    // The tag of `bar`, which is on the other shard.
                    let key = format!("{{bar}}{number}");
                    assert_eq!(show(&client.run(&format!("SET {key} {round}"))), "OK");
                    assert_eq!(show(&client.run(&format!("GET {key}"))), round.to_string());
                    let script = "return redis.call('INCR', KEYS[1])";
                    assert_eq!(eval(&mut client, script, &[&key], &[]), (round + 1).to_string());
                }
            });
        }
    });
    assert_eq!(show(&control.run("SCRIPT KILL")), "OK");
    assert!(show(&endless.read()).starts_with("-ERR Script killed"));
}

#[test]
fn an_endless_script_leaves_the_others_their_service_and_can_be_killed() {
    for shards in [1, 2] {
        let server = Server::builder(Program::Kvasir)
            .shards(shards)
            .config("busy-reply-threshold 20\n")
            .start();
        let (mut endless, mut other) = (server.client(), server.client());
        assert_eq!(show(&other.run("SCRIPT KILL")), "-NOTBUSY No scripts in execution right now.");
        endless.send(&[
            "EVAL",
            "while true do pcall(function() while true do end end) end",
            "1",
            "foo",
        ]);
        assert_eq!(show(&other.run("PING")), "PONG");
        wait_until("the script is killed", || show(&other.run("SCRIPT KILL")) == "OK");
        let error = show(&endless.read());
        assert!(error.starts_with("-ERR Script killed by user with SCRIPT KILL."), "{error}");
        assert_eq!(show(&other.run("GET foo")), "nil");
        assert_eq!(show(&other.run("SET foo x")), "OK");
    }
}

#[test]
fn patterns_that_backtrack_can_be_killed() {
    let server =
        Server::builder(Program::Kvasir).shards(2).config("busy-reply-threshold 20\n").start();
    let (mut endless, mut other) = (server.client(), server.client());
    let script = "return string.find(string.rep('a', 100000), '.-.-.-.-b')";
    endless.send(&["EVAL", script, "1", "foo"]);
    wait_until("the script is killed", || show(&other.run("SCRIPT KILL")) == "OK");
    assert!(show(&endless.read()).starts_with("-ERR Script killed"));
}

/// Each line would give a script what it must not have, if the sandbox had the hole.
#[test]
fn nothing_gets_out_of_the_sandbox() {
    let server = Server::builder(Program::Kvasir).shards(1).start();
    let mut client = server.client();
    for script in [
        "redis.call = 1",
        "string.upper = 1",
        "_G.x = 1",
        "x = 1",
        "rawset(_G, 'x', 1)",
        "rawset(redis, 'call', 1)",
        "setmetatable(_G, {})",
        "getmetatable(_G).__index = nil",
        "getmetatable('').__index = nil",
        "return getfenv",
        "return setfenv",
        "return newproxy",
        "table.insert(string, 1)",
        "return print",
        "return dofile",
        "return loadfile",
        "return require",
        "return io",
        "return debug",
        "return package",
        "os.execute('true')",
        "loadstring(string.dump(function() end))()",
        "return string.find('', string.rep('(', 40))",
        "return unpack({}, 0, 2147483647)",
        "return unpack({}, -2147483648, 2147483647)",
        "return struct.unpack('I2147483647', 'x')",
        "return struct.pack('!3i', 1)",
        "return struct.unpack('c99999999999999999999', 'x')",
        "return cmsgpack.unpack(string.char(0xdd, 0xff, 0xff, 0xff, 0xff))",
        "return cmsgpack.unpack(string.char(0xc6, 0xff, 0xff, 0xff, 0xff))",
        "return cmsgpack.unpack(string.rep(string.char(0x91), 100000))",
        "return cjson.decode(string.rep('[', 100000))",
        "cjson.decode_max_depth(2147483647) return cjson.decode(string.rep('[', 1000000))",
        "local t = {} t[1] = t return cjson.encode(t)",
        "return string.find(string.rep('a', 20000), string.rep('a?', 20000))",
        "local function f() return 1 + f() end return f()",
        "return loadstring(string.rep('(', 1000))()",
        "return loadstring('return [' .. string.rep('=', 100000) .. 'x')()",
        "return coroutine.wrap(function() return print end)()",
        "getmetatable(_G).__index = function() return 1 end",
        "setmetatable(redis, {__index = 1})",
        "string.gsub = nil",
        "cjson.new().decode = 1 cjson.decode = 1",
        "return struct.pack('s' .. string.rep('i', 100000), 'x')",
        "return struct.unpack('>I4', 'abcd', 2147483648)",
        "return struct.unpack('c0', 'x', 4294967297)",
        "return cmsgpack.unpack_limit('x', 2147483648, 1)",
        "return cmsgpack.unpack(string.char(0xdf, 0xff, 0xff, 0xff, 0xff))",
        "return string.rep('x', 2147483647) .. string.rep('x', 2147483647)",
    ] {
        let reply = eval(&mut client, script, &[], &[]);
        assert!(reply.starts_with('-'), "{script}: {reply}");
        assert_eq!(eval(&mut client, "return redis.call('PING')", &[], &[]), "PONG");
    }
}

/// What once overran a buffer or a stack in one of the peers, and has an answer.
#[test]
fn what_broke_others_has_an_answer() {
    let server = Server::kvasir(1);
    let mut client = server.client();
    for (script, expected) in [
        ("return bit.tohex(65535, -2147483648)", "0000FFFF"),
        ("return #cmsgpack.pack(unpack({}, 1, 7000))", "7000"),
        ("return select('#', cmsgpack.unpack(cmsgpack.pack(unpack({}, 1, 7000))))", "7000"),
        ("return struct.size('i8i8')", "16"),
        ("return loadstring(string.dump(function() end)) == nil and 'none'", "none"),
        ("return tostring(pcall(getmetatable, nil))", "true"),
        (
            "local t = {} for i = 1, 7000 do t[i] = i end return #redis.call('ECHO', table.concat(t))",
            "26893",
        ),
        ("local t = {} for i = 1, 100 do t = {t} end return #cjson.encode(t)", "202"),
        ("return tostring(pcall(string.rep, 'x', -1))", "true"),
        ("collectgarbage('collect') collectgarbage('step', 1e9) return 'whole'", "whole"),
    ] {
        assert_eq!(eval(&mut client, script, &[], &[]), expected, "{script}");
    }
}

#[test]
fn a_script_that_allocates_without_end_fails_and_leaves_the_server_whole() {
    let server = Server::builder(Program::Kvasir).shards(2).config("maxmemory 64mb\n").start();
    let mut client = server.client();
    assert_eq!(show(&client.run("SET foo kept")), "OK");
    for script in [
        "local t = {} while true do t[#t + 1] = string.rep('x', 100000) .. #t end",
        "local s = 'x' while true do s = s .. s end",
        "local t = {} while true do t[#t + 1] = {} end",
        "local function f() local t = {} for i = 1, 100 do t[i] = f end return f() + 1 end return f()",
    ] {
        let reply = eval(&mut client, script, &[], &[]);
        assert!(reply.starts_with("-ERR"), "{script}: {reply}");
        assert_eq!(eval(&mut client, "return redis.call('GET', 'foo')", &["foo"], &[]), "kept");
    }
}

/// The collector runs in the middle of what builds values.
#[test]
fn the_collector_takes_nothing_that_is_in_use() {
    let server = Server::kvasir(1);
    let mut client = server.client();
    let script = "collectgarbage('setpause', 1) collectgarbage('setstepmul', 100000) \
        local list = {} for i = 1, 200 do list[i] = {name = 'n' .. i, {i, 'x' .. i}} end \
        local packed = cmsgpack.pack(list) local text = cjson.encode(list) \
        for _ = 1, 20 do \
            if cmsgpack.pack(cmsgpack.unpack(packed)) ~= packed then return 'msgpack' end \
            local again = cjson.decode(text) \
            for i = 1, 200 do if again[i].name ~= 'n' .. i then return 'json' end end \
            loadstring('local ' .. string.rep('a', 100) .. ' = \\'' .. text .. '\\'')() \
        end return struct.unpack('>I4', struct.pack('>I4', 77))";
    assert_eq!(eval(&mut client, script, &[], &[]), "77");
}

#[test]
fn the_server_knows_scripts_on_every_core() {
    let server = Server::kvasir(3);
    let mut clients: Vec<Client> = (0..6).map(|_| server.client()).collect();
    let digest = show(&clients[0].call(&["SCRIPT", "LOAD", "return ARGV[1]"]));
    for client in &mut clients {
        assert_eq!(show(&client.call(&["EVALSHA", &digest, "0", "hello"])), "hello");
    }
    let shown = show(&clients[1].run(&format!("SCRIPT SHOW {digest}")));
    assert_eq!(shown, "return ARGV[1]");
    assert_eq!(show(&clients[1].run("SCRIPT FLUSH")), "OK");
    for client in &mut clients {
        let reply = show(&client.call(&["EVALSHA", &digest, "0", "hello"]));
        assert_eq!(reply, "-NOSCRIPT No matching script.");
    }
}

/// As Valkey's own tests of this, in a block that is left out there for what else it wants.
#[test]
fn scripts_of_eval_are_evicted_and_loaded_ones_are_not() {
    let server = Server::kvasir(2);
    let mut client = server.client();
    let cached = |client: &mut Client| {
        let info = show(&client.run("INFO memory"));
        let line = info.split("number_of_cached_scripts:").nth(1).expect("the field");
        line.split(|c: char| !c.is_ascii_digit()).next().expect("a number").to_owned()
    };
    let loaded = show(&client.call(&["SCRIPT", "LOAD", "return 'loaded'"]));
    let first = show(&client.call(&["SCRIPT", "LOAD", "return 1"]));
    client.run("SCRIPT FLUSH");
    assert_eq!(show(&client.call(&["SCRIPT", "LOAD", "return 'loaded'"])), loaded);
    for number in 1..=500 {
        eval(&mut client, &format!("return {number}"), &[], &[]);
    }
    assert_eq!(cached(&mut client), "501");
    eval(&mut client, "return 501", &[], &[]);
    assert_eq!(cached(&mut client), "501");
    assert!(show(&client.call(&["EVALSHA", &first, "0"])).starts_with("-NOSCRIPT"));
    assert_eq!(show(&client.call(&["EVALSHA", &loaded, "0"])), "loaded");
}
