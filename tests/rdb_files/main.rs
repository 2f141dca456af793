//! Dump files between us and the real peers: ours load theirs, theirs load ours, and what cannot be
//! loaded is refused with a line that says why.

mod check;
mod cut;
mod load;
mod save;

use kvasir_testing::{Client, Program, Server};

/// Commands that make keys of every type, encoding and attribute.
const DATA: &[&str] = &[
    "SET text hello",
    "SET empty \"\"",
    "SET integer 12345",
    "SET soon x PXAT 4000000000000",
    "SETRANGE long 5000 x",
    "RPUSH list a b c 1 2 300 -70000 5000000000 \"\"",
    r#"EVAL "for i=1,3000 do redis.call('rpush','longlist',i..string.rep('x',i%90)) end" 0"#,
    r#"EVAL "redis.call('rpush','plain','a',string.rep('b',300000),'c')" 0"#,
    "SADD integers 1 2 3 -5",
    "SADD wide 1 70000 -5000000000",
    "SADD set a b 3 4",
    r#"EVAL "for i=1,1000 do redis.call('sadd','longset','m'..i) end" 0"#,
    "ZADD zset 1 a 2.5 b inf c -inf d 0 e 1e300 f 3 g",
    r#"EVAL "for i=1,1000 do redis.call('zadd','longzset',i/7,'m'..i) end" 0"#,
    "HSET hash f v g 12 h \"\"",
    r#"EVAL "for i=1,1000 do redis.call('hset','longhash','f'..i,string.rep('v',i)) end" 0"#,
    "PEXPIREAT longhash 4000000000777",
    "XADD stream 1-1 a 1 b 2",
    "XADD stream 1-2 a 3 b 4",
    "XADD stream 5-0 other x",
    "XDEL stream 1-2",
    "XGROUP CREATE stream g 0",
    "XREADGROUP GROUP g alice COUNT 1 STREAMS stream >",
    "XREADGROUP GROUP g bob STREAMS stream >",
    "XGROUP CREATE fresh g 0 MKSTREAM",
    "PFADD hll a b c d",
    "SELECT 9",
    r#"EVAL "for i=1,500 do redis.call('set','key:'..i,'value:'..i) end" 0"#,
    "SET text other",
    "SELECT 0",
];

fn fill(client: &mut Client) {
    for line in DATA {
        let reply = client.run(line);
        assert!(!matches!(reply, kvasir_proto::Value::Error(_)), "{line}: {reply:?}");
    }
    fill_with_long_elements(client);
}

/// Collections of few elements that are too long to be saved in one turn.
fn fill_with_long_elements(client: &mut Client) {
    for index in 0..40_usize {
        let (name, text) = (index.to_string(), format!("{index} ").repeat(10_000 + index));
        let long_name = &text[..1000 * (index % 5)];
        client.call(&["HSET", "long:hash", &name, &text]);
        client.call(&["HSET", "long:hash", &format!("{name} {long_name}"), &name]);
        client.call(&["SADD", "long:set", &text]);
        client.call(&["ZADD", "long:zset", &name, &text]);
        client.call(&["RPUSH", "long:list", &text]);
        client.call(&["XADD", "long:stream", &format!("{}-0", index + 1), &name, &text]);
    }
}

/// A server that starts with the dump file of another.
fn start_with_file_of(program: Program, shards: usize, other: &Server) -> Server {
    let dir = other.dir().to_str().expect("a temporary directory has a plain name");
    Server::builder(program).shards(shards).args(&["--dir", dir]).start()
}
