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
    ] {
        let reply = eval(&mut client, script, &[], &[]);
        assert!(reply.starts_with('-'), "{script}: {reply}");
        assert_eq!(eval(&mut client, "return redis.call('PING')", &[], &[]), "PONG");
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
