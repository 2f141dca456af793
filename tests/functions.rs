//! Functions: what the peers answer, on every core, from file to file.

use std::thread;

use kvasir_proto::Value;
use kvasir_testing::{Client, Program, Server, wait_until};

fn show(value: &Value) -> String {
    kvasir_testing::show(value)
}

fn load(client: &mut Client, name: &str, code: &str) -> String {
    let code = format!("#!lua name={name}\n{code}");
    show(&client.call(&["FUNCTION", "LOAD", "REPLACE", &code]))
}

/// Code of libraries, most of which cannot be loaded.
const LIBRARIES: &[&str] = &[
    "",
    "return 1",
    "#!lua name=x",
    "#!lua\nreturn 1",
    "#!lua name=\n",
    "#!lua name=a-b\n",
    "#!lua name=\"a b\"\n",
    "#!lua name=\"unclosed\n",
    "#!lua name=x name=y\n",
    "#!lua name=x other=y\n",
    "#!js name=x\n",
    "#! name=x\n",
    "#!lua name=x\n",
    "#!lua name=x\nreturn 1",
    "#!lua name=x\nsyntax error",
    "#!lua name=x\n\n\nlocal x = \n",
    "#!lua name=x\nlocal x = 'a\nb'",
    "#!lua name=x\na = 1",
    "#!lua name=x\nreturn math.random()",
    "#!lua name=x\nreturn tostring(1)",
    "#!lua name=x\nredis.call('ping')",
    "#!lua name=x\nserver.pcall('ping')",
    "#!lua name=x\nredis.nothing()",
    "#!lua name=x\nredis.register_function = nil",
    "#!lua name=x\nredis.redis.call('ping')",
    "#!lua name=x\nserver[1] = 2",
    "#!lua name=x\nlocal t = nil; t.x = 1",
    "#!lua name=x\nKEYS[1] = 1",
    "#!lua name=x\nlocal mt = getmetatable(_G)",
    "#!lua name=x\nlocal s = ('x'):nothing()",
    "#!lua name=x\nredis.log('x')",
    "#!lua name=x\nredis.log(redis.LOG_WARNING)",
    "#!lua name=x\nredis.log(17, 'x')",
    "#!lua name=x\nserver.register_function()",
    "#!lua name=x\nserver.register_function('f')",
    "#!lua name=x\nserver.register_function('f', 1)",
    "#!lua name=x\nserver.register_function(nil, function() end)",
    "#!lua name=x\nserver.register_function({}, function() end)",
    "#!lua name=x\nserver.register_function('f', function() end, 1)",
    "#!lua name=x\nserver.register_function({}, nil)",
    "#!lua name=x\nserver.register_function('', function() end)",
    "#!lua name=x\nserver.register_function('a b', function() end)",
    "#!lua name=x\nserver.register_function('a\\0b', function() end)",
    "#!lua name=x\nserver.register_function('f', function() end) \
     server.register_function('f', function() end)",
    "#!lua name=x\nserver.register_function{}",
    "#!lua name=x\nserver.register_function{function_name='f'}",
    "#!lua name=x\nserver.register_function{callback=function() end}",
    "#!lua name=x\nserver.register_function{function_name={}, callback=function() end}",
    "#!lua name=x\nserver.register_function{function_name='f', callback=1}",
    "#!lua name=x\nserver.register_function{function_name='f', callback=function() end, \
     description={}}",
    "#!lua name=x\nserver.register_function{function_name='f', callback=function() end, flags=1}",
    "#!lua name=x\nserver.register_function{function_name='f', callback=function() end, \
     flags={'what'}}",
    "#!lua name=x\nserver.register_function{function_name='f', callback=function() end, \
     flags={{}}}",
    "#!lua name=x\nserver.register_function{function_name='f', callback=function() end, what=1}",
    "#!lua name=x\nserver.register_function{[true]=1}",
    "#!lua name=x\nserver.register_function{1}",
    "#!lua name=number\nserver.register_function(17, function() return 'seventeen' end)",
    "#!lua name=one\nredis.register_function{FUNCTION_NAME='one', Callback=function(keys, args) \
     return {#keys, #args} end, description='d', flags={'no-writes', 'ALLOW-OOM'}}",
    "#!LUA name=\"one\"\nredis.register_function('one', function() return 2 end)",
    "#!lua name=two\nredis.register_function('ONE', function() return 2 end)",
    "#!lua name=sub\nlocal n = 0 local function add(by) n = n + by return n end \
     server.register_function('add', function(keys, args) return add(args[1]) end)",
    "#!lua name=over\nlocal f = function() end for i = 1, 3 do \
     server.register_function('over' .. i, f) end",
];

/// What the loaded functions are asked.
const CALLS: &[&[&str]] = &[
    &["FCALL", "nothing", "0"],
    &["FCALL", "nothing", "x"],
    &["FCALL", "one", "x"],
    &["FCALL", "one", "-1"],
    &["FCALL", "one", "3", "a"],
    &["FCALL", "one", "1", "a", "b", "c"],
    &["FCALL", "oNe", "0"],
    &["FCALL", "one", "99999999999999999999"],
    &["FCALL_RO", "one", "1", "a", "b"],
    &["FCALL_RO", "add", "0", "1"],
    &["FCALL", "17", "0"],
    &["FCALL", "over3", "0"],
    &["FUNCTION", "LIST", "LIBRARYNAME", "o*e"],
    &["FUNCTION", "LIST", "LIBRARYNAME", "ON?", "WITHCODE"],
    &["FUNCTION", "LIST", "WITHCODE", "LIBRARYNAME", "none"],
    &["FUNCTION", "LIST", "LIBRARYNAME"],
    &["FUNCTION", "LIST", "WITHCODE", "WITHCODE"],
    &["FUNCTION", "LIST", "what"],
    &["FUNCTION", "LOAD", "what", "x"],
    &["FUNCTION", "LOAD", "REPLACE"],
    &["FUNCTION", "LOAD", "REPLACE", "REPLACE", "x"],
    &["FUNCTION", "STATS"],
    &["FUNCTION", "KILL"],
    &["FUNCTION", "DELETE", "nothing"],
    &["FUNCTION", "DELETE", "ONE"],
    &["FUNCTION", "DELETE", "number"],
    &["FCALL", "17", "0"],
    &["FUNCTION", "RESTORE", "bad"],
    &["FUNCTION", "RESTORE", "bad", "WHAT"],
    &["FUNCTION", "RESTORE", "bad", "FLUSH", "x"],
    &["FUNCTION", "FLUSH", "WHAT"],
    &["FUNCTION", "FLUSH", "SYNC", "x"],
    &["FUNCTION", "FLUSH", "SYNC"],
    &["FUNCTION", "STATS"],
    &["FUNCTION", "LIST"],
];

#[test]
fn libraries_are_loaded_and_refused_as_by_the_peers() {
    let peer = Server::valkey();
    for shards in [1, 2] {
        let server = Server::kvasir(shards);
        let (mut theirs, mut ours) = (peer.client(), server.client());
        for hello in ["HELLO 2", "HELLO 3"] {
            theirs.run(hello);
            ours.run(hello);
            let mut compare = |request: &[&str]| {
                let expected = show(&theirs.call(request));
                assert_eq!(show(&ours.call(request)), expected, "{request:?} at {shards} shards");
            };
            compare(&["FUNCTION", "FLUSH"]);
            for code in LIBRARIES {
                compare(&["FUNCTION", "LOAD", code]);
            }
            for code in LIBRARIES {
                compare(&["FUNCTION", "LOAD", "REPLACE", code]);
            }
            for call in CALLS {
                compare(call);
            }
        }
    }
}

/// Bodies of functions, and what they come to.
const BODIES: &[&str] = &[
    "return redis.call('set', KEYS[1], 'x')",
    "return redis.call('set', keys[1], args[1])",
    "return redis.call('get', keys[1])",
    "return redis.call('nothing')",
    "return redis.pcall('nothing')",
    "return redis.call('lpush', keys[1], 'x')",
    "return redis.register_function",
    "redis.register_function('g', function() end)",
    "library.register_function('g', function() end)",
    "library.call = 1",
    "return library.call('ping')",
    "library.redis = redis",
    "a = 1",
    "_G.a = 1",
    "return nothing",
    "setmetatable(_G, {})",
    "local mt = getmetatable(_G) mt.__index = 1",
    "getmetatable(library).__index = redis",
    "string.upper = nil",
    "redis.call = nil",
    "return redis.breakpoint",
    "return redis.debug",
    "return redis.replicate_commands",
    "return {redis.sha1hex(''), redis.REDIS_VERSION_NUM == library.REDIS_VERSION_NUM}",
    "return redis.error_reply('My error')",
    "return {ok = 'fine'}",
    "error('raised')",
    "error({err = 'OWN raised'})",
    "local t = nil return t.x",
    "return math.floor(1.5) .. string.rep('a', 3)",
    "return redis.call('fcall', 'f', 0)",
    "return redis.call('function', 'list')",
    "redis.setresp(3) return redis.call('config', 'get', 'maxmemory')",
    "return cjson.encode({keys, args})",
    "return {getfenv, setfenv, newproxy, dofile}",
    "return loadstring('return 5')()",
    "local co = coroutine.wrap(function() coroutine.yield(7) end) return co()",
];

#[test]
fn functions_answer_as_by_the_peers() {
    let peer = Server::valkey();
    for shards in [1, 2] {
        let server = Server::kvasir(shards);
        let (mut theirs, mut ours) = (peer.client(), server.client());
        theirs.run("FLUSHALL");
        for body in BODIES {
            let code = format!(
                "#!lua name=lib\nlocal library = redis\n\
                 redis.register_function('f', function(keys, args)\n{body}\nend)"
            );
            let requests: [&[&str]; 4] = [
                &["FUNCTION", "LOAD", "REPLACE", &code],
                &["FCALL", "f", "1", "foo", "one", "two"],
                &["FCALL", "F", "0"],
                &["FCALL_RO", "f", "1", "foo"],
            ];
            for request in requests {
                let expected = show(&theirs.call(request));
                assert_eq!(show(&ours.call(request)), expected, "{body} at {shards} shards");
            }
        }
    }
}

#[test]
fn a_library_is_known_on_every_core_as_soon_as_the_reply_is_there() {
    let server = Server::kvasir(3);
    let mut clients: Vec<Client> = (0..6).map(|_| server.client()).collect();
    for round in 0..20 {
        let (from, version) = (round % clients.len(), round.to_string());
        let code = format!("redis.register_function('f', function() return '{version}' end)");
        assert_eq!(load(&mut clients[from], "lib", &code), "\"lib\"");
        for (index, client) in clients.iter_mut().enumerate() {
            let key = format!("key{index}");
            let replies = [&["FCALL", "f", "0"][..], &["FCALL", "f", "1", &key]]
                .map(|request| show(&client.call(request)));
            assert_eq!(replies, [format!("\"{version}\""), format!("\"{version}\"")]);
        }
    }
    assert_eq!(show(&clients[1].run("FUNCTION DELETE lib")), "OK");
    for client in &mut clients {
        assert_eq!(show(&client.run("FCALL f 1 key")), "-ERR Function not found");
    }
}

/// What one connection sends is done in that order, also where a key lies elsewhere.
#[test]
fn a_pipeline_keeps_its_order() {
    let server = Server::kvasir(2);
    let mut client = server.client();
    let code = "#!lua name=lib\nredis.register_function('f', function(keys) \
        return redis.call('incr', keys[1]) end)";
    let request = |line: &str| line.split(' ').map(str::to_owned).collect::<Vec<String>>();
    let loading = vec!["FUNCTION".to_owned(), "LOAD".to_owned(), code.to_owned()];
    for round in 0..20 {
        let requests = [
            loading.clone(),
            request("FCALL f 1 foo"),
            request("FCALL f 1 bar"),
            request("FUNCTION FLUSH"),
            request("FCALL f 1 foo"),
            loading.clone(),
            request("FCALL f 1 bar"),
            request("FUNCTION DELETE lib"),
        ];
        let replies: Vec<String> = client.pipeline(&requests).iter().map(show).collect();
        let expected = [
            "\"lib\"".to_owned(),
            (round + 1).to_string(),
            (2 * round + 1).to_string(),
            "OK".to_owned(),
            "-ERR Function not found".to_owned(),
            "\"lib\"".to_owned(),
            (2 * round + 2).to_string(),
            "OK".to_owned(),
        ];
        assert_eq!(replies, expected);
    }
}

#[test]
fn a_transaction_sees_the_libraries_of_its_own_moment() {
    for shards in [1, 2] {
        let server = Server::kvasir(shards);
        let mut client = server.client();
        let code = "#!lua name=lib\nredis.register_function('f', function() return 'here' end)";
        client.run("MULTI");
        client.call(&["FUNCTION", "LOAD", code]);
        for line in ["FCALL f 1 foo", "FCALL f 1 bar", "FUNCTION DELETE lib", "FCALL f 0"] {
            assert_eq!(show(&client.run(line)), "QUEUED");
        }
        let expected = "[\"lib\" \"here\" \"here\" OK -ERR Function not found]";
        assert_eq!(show(&client.run("EXEC")), expected);
    }
}

/// A function that moves a unit between keys which it does not declare.
#[test]
fn functions_are_atomic_over_shards() {
    let server = Server::kvasir(2);
    let mut client = server.client();
    client.run("MSET foo 1000 bar 1000");
    let code = "redis.register_function('move', function(keys, args) \
            redis.call('DECRBY', args[1], 1) redis.call('INCRBY', args[2], 1) \
            return redis.call('GET', args[1]) + redis.call('GET', args[2]) end) \
        redis.register_function{function_name='sum', flags={'no-writes'}, callback=function() \
            return redis.call('GET', 'foo') + redis.call('GET', 'bar') end}";
    load(&mut client, "lib", code);
    thread::scope(|scope| {
        for [from, to] in [["foo", "bar"], ["bar", "foo"]] {
            let server = &server;
            scope.spawn(move || {
                let mut client = server.client();
                for _ in 0..100 {
                    let reply = client.call(&["FCALL", "move", "1", from, from, to]);
                    assert_eq!(show(&reply), "2000");
                    assert_eq!(show(&client.run("FCALL_RO sum 0")), "2000");
                }
            });
        }
    });
    assert_eq!(show(&client.run("MGET foo bar")), "[\"1000\" \"1000\"]");
}

#[test]
fn an_endless_function_is_told_about_and_killed_as_a_function() {
    for shards in [1, 2] {
        let server = Server::builder(Program::Kvasir)
            .shards(shards)
            .config("busy-reply-threshold 20\n")
            .start();
        let (mut endless, mut other) = (server.client(), server.client());
        load(&mut other, "lib", "redis.register_function('f', function() while true do end end)");
        for keys in [&["0"][..], &["1", "foo"], &["2", "foo", "bar"]] {
            endless.send(&[&["FCALL", "f"], keys].concat());
            wait_until("others are told of it", || {
                let stats = show(&other.run("FUNCTION STATS"));
                stats.contains("name") && stats.contains("FCALL")
            });
            wait_until("others have to wait", || {
                let busy = "-BUSY Valkey is busy running a script. You can only call FUNCTION KILL \
                    or SHUTDOWN NOSAVE.";
                show(&other.run("SCRIPT KILL")) == busy
            });
            wait_until("it is killed", || show(&other.run("FUNCTION KILL")) == "OK");
            let error = show(&endless.read());
            assert!(error.starts_with("-ERR Script killed by user with FUNCTION KILL."), "{error}");
            assert_eq!(show(&other.run("GET foo")), "nil");
        }
        endless.send(&["EVAL", "while true do end", "1", "foo"]);
        wait_until("it is no function", || {
            show(&other.run("FUNCTION KILL")).contains("You can only call SCRIPT KILL")
        });
        wait_until("it is killed", || show(&other.run("SCRIPT KILL")) == "OK");
        assert!(show(&endless.read()).starts_with("-ERR Script killed by user with SCRIPT KILL."));
    }
}

/// Each would hold a core for ever, or take all memory, if loading were not bounded.
#[test]
fn endless_libraries_are_given_up_and_the_others_served() {
    for body in [
        "while true do end",
        "local function f() return f() end f()",
        "local function f() return 1 + f() end f()",
        "local s = 'x' while true do s = s .. s end",
        "local t = {} for i = 1, 1e12 do t[i] = {i} end",
        "while true do redis.register_function('f', function() end) end",
        "('a'):rep(100000):find('.-.-.-.-b')",
        "('x'):rep(1e9)",
    ] {
        let server = Server::builder(Program::Kvasir).shards(2).config("maxmemory 256mb\n").start();
        let (mut client, mut other) = (server.client(), server.client());
        let good = "redis.register_function{function_name='f', flags={'no-writes'}, \
            callback=function() return 'good' end}";
        assert_eq!(load(&mut client, "lib", good), "\"lib\"");
        client.send(&["FUNCTION", "LOAD", "REPLACE", &format!("#!lua name=lib\n{body}")]);
        assert_eq!(show(&other.run("PING")), "PONG");
        let error = show(&client.read());
        assert!(error.starts_with("-ERR Error registering functions: "), "{body}: {error}");
        for key in ["foo", "bar"] {
            let reply = show(&other.call(&["FCALL", "f", "1", key]));
            assert_eq!(reply, "\"good\"", "after {body}");
        }
        assert!(show(&client.run("FUNCTION STATS")).contains("\"functions_count\" 1"));
    }
}

/// A library with so many functions that each cannot have a place of its own in the interface.
#[test]
fn a_library_may_have_very_many_functions() {
    let server = Server::kvasir(2);
    let mut client = server.client();
    let code = "local names = {} for a = 0, 19999 do \
        redis.register_function('f' .. a, function() return a end) end";
    assert_eq!(load(&mut client, "lib", code), "\"lib\"");
    for key in ["foo", "bar"] {
        assert_eq!(show(&client.call(&["FCALL", "f19999", "1", key])), "19999");
    }
}

#[test]
fn libraries_know_nothing_of_each_other() {
    let server = Server::kvasir(1);
    let mut client = server.client();
    let one = "local secret = {} local api = redis \
        redis.register_function('keep', function() secret.x = 'kept' return secret.x end) \
        redis.register_function('late', function() api.register_function('g', api.log) end) \
        redis.register_function('index', function() return getmetatable(api).__index({}, 'x') end)";
    let two = "redis.register_function('look', function() \
        local found = {} for name in pairs(_G) do found[#found + 1] = name end \
        table.sort(found) return table.concat(found, ' ') end) \
        redis.register_function('take', function() return secret end)";
    load(&mut client, "one", one);
    load(&mut client, "two", two);
    assert_eq!(show(&client.run("FCALL keep 0")), "\"kept\"");
    let globals = show(&client.run("FCALL look 0"));
    for name in ["secret", "api", "KEYS", "ARGV", "loadfile", "setfenv", "debug", "io"] {
        assert!(!globals.split(['"', ' ']).any(|global| global == name), "{name} in {globals}");
    }
    let error = show(&client.run("FCALL take 0"));
    assert!(error.contains("nonexistent global variable 'secret'"), "{error}");
    let error = show(&client.run("FCALL late 0"));
    assert!(error.contains("can only be called on FUNCTION LOAD command"), "{error}");
    let error = show(&client.run("FCALL index 0"));
    assert!(error.contains("nonexistent global variable 'x'"), "{error}");
}

#[test]
fn payloads_go_from_server_to_server() {
    let peer = Server::valkey();
    let mut theirs = peer.client();
    let long = format!("-- {}\n", "x".repeat(500));
    for name in ["one", "two"] {
        let code =
            format!("{long}redis.register_function('{name}', function() return '{name}' end)");
        load(&mut theirs, name, &code);
    }
    for shards in [1, 2] {
        let server = Server::kvasir(shards);
        let mut ours = server.client();
        let payload = theirs.run("FUNCTION DUMP");
        let payload = payload.as_bytes().expect("a payload is a string").to_vec();
        let restore = |client: &mut Client, payload: &[u8], policy: &str| {
            show(&client.call(&[b"FUNCTION", &b"RESTORE"[..], payload, policy.as_bytes()]))
        };
        assert_eq!(restore(&mut ours, &payload, "APPEND"), "OK");
        assert_eq!(show(&ours.run("FCALL two 1 foo")), "\"two\"");
        let own = ours.run("FUNCTION DUMP");
        let own = own.as_bytes().expect("a payload is a string").to_vec();
        assert_eq!(restore(&mut theirs, &own, "FLUSH"), "OK");
        assert_eq!(show(&theirs.run("FCALL one 0")), "\"one\"");
        for policy in ["APPEND", "REPLACE", "FLUSH"] {
            let expected = restore(&mut theirs, &payload, policy);
            let reply = restore(&mut ours, &payload, policy);
            // Which of several comes first is a matter of the table.
            assert_eq!(reply.replace("one", "two"), expected.replace("one", "two"), "{policy}");
        }
        // One function's name is taken by another library: nothing of the payload comes.
        ours.run("FUNCTION FLUSH");
        load(&mut ours, "other", "redis.register_function('TWO', function() return 2 end)");
        let refused = restore(&mut ours, &payload, "REPLACE");
        assert_eq!(refused, "-ERR Function two already exists");
        assert_eq!(show(&ours.run("FCALL one 0")), "-ERR Function not found");
        assert_eq!(restore(&mut ours, &payload, "FLUSH"), "OK");
        assert_eq!(show(&ours.run("FUNCTION DELETE other")), "-ERR Library not found");
        let mut damaged = payload.clone();
        damaged[3] ^= 1;
        let refused = restore(&mut ours, &damaged, "FLUSH");
        assert_eq!(refused, "-ERR DUMP payload version or checksum are wrong");
        assert_eq!(show(&ours.run("FCALL one 0")), "\"one\"");
    }
}

#[test]
fn files_carry_libraries_from_server_to_server() {
    for shards in [1, 2] {
        let peer = Server::valkey();
        let mut theirs = peer.client();
        load(&mut theirs, "lib", "redis.register_function('f', function() return 'f' end)");
        theirs.run("SET key x");
        assert_eq!(show(&theirs.run("SAVE")), "OK");
        let dir = peer.dir().to_str().expect("a path is text").to_owned();
        let ours = Server::builder(Program::Kvasir).shards(shards).args(&["--dir", &dir]).start();
        let mut client = ours.client();
        assert_eq!(show(&client.run("FCALL f 1 key")), "\"f\"");
        load(&mut client, "more", "redis.register_function('g', function() return 'g' end)");
        assert_eq!(show(&client.run("DEBUG RELOAD")), "OK");
        for function in ["f", "g"] {
            let reply = client.call(&["FCALL", function, "1", "bar"]);
            assert_eq!(show(&reply), format!("\"{function}\""));
        }
        let refused = show(&client.run("DEBUG RELOAD NOSAVE NOFLUSH"));
        assert!(refused.starts_with("-ERR Error trying to load"), "{refused}");
        assert_eq!(show(&client.run("SAVE")), "OK");
        let back = Server::builder(Program::Valkey).args(&["--dir", &dir]).start();
        assert_eq!(show(&back.client().run("FCALL g 0")), "\"g\"");
        assert_eq!(show(&back.client().run("GET key")), "\"x\"");
    }
}

#[test]
fn what_functions_take_is_told_and_given_back() {
    let server = Server::kvasir(2);
    let mut client = server.client();
    load(&mut client, "lib", "redis.register_function('f', function() end)");
    for key in ["foo", "bar"] {
        client.call(&["FCALL", "f", "1", key]);
    }
    let figures = |client: &mut Client| {
        let info = client.run("INFO memory");
        let info = String::from_utf8_lossy(info.as_bytes().expect("INFO replies with text"));
        let number = |name: &str| {
            let value = info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
            value.and_then(|value| value.parse::<u64>().ok()).expect("a number")
        };
        [
            "number_of_functions",
            "number_of_libraries",
            "used_memory_functions",
            "used_memory_vm_functions",
        ]
        .map(number)
    };
    let [functions, libraries, bytes, interpreters] = figures(&mut client);
    assert_eq!((functions, libraries), (1, 1));
    assert!(bytes > 0 && interpreters > 0);
    client.run("FUNCTION FLUSH");
    assert_eq!(figures(&mut client), [0; 4]);
}
