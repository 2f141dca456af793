//! The data of the matrix: commands that make keys of every type and encoding, and questions about
//! what the digest does not cover.

use kvasir_proto::Value as Reply;
use kvasir_testing::Client;

/// The databases that hold something, and the last one.
pub(crate) const DATABASES: [u32; 4] = [0, 1, 9, 15];

/// Types with the encodings that turn up.
pub(crate) const ENCODINGS: &[(&str, &str)] = &[
    ("string", "int"),
    ("string", "embstr"),
    ("string", "raw"),
    ("list", "listpack"),
    ("list", "quicklist"),
    ("set", "intset"),
    ("set", "listpack"),
    ("set", "hashtable"),
    ("zset", "listpack"),
    ("zset", "skiplist"),
    ("hash", "listpack"),
    ("hash", "hashtable"),
    ("stream", "stream"),
];

/// Commands that all servers know.
const COMMANDS: &[&str] = &[
    "SET text hello",
    "SET empty \"\"",
    "SET zero 0",
    "SET int8 -128",
    "SET int16 -32768",
    "SET int32 2147483647",
    "SET int64 -9223372036854775808",
    "SET almost 9223372036854775808",
    "SET padded 007",
    "SET soon x PXAT 4000000000000",
    "SETRANGE long 5000 x",
    "SETBIT bits 100000 1",
    r#"EVAL "redis.call('set','huge',string.rep('abc',200000)) for i=1,200 do redis.call('append','noise',string.char(i*i%251)..i) end" 0"#,
    "PFADD sparse a b c d",
    r#"EVAL "for i=1,20000 do redis.call('pfadd','dense',i) end" 0"#,
    "RPUSH list a b c 1 2 300 -70000 5000000000 \"\"",
    r#"EVAL "for i=1,3000 do redis.call('rpush','longlist',i..string.rep('x',i%90)) end" 0"#,
    r#"EVAL "redis.call('rpush','plain','a',string.rep('b',300000),'c')" 0"#,
    "PEXPIREAT list 4000000001234",
    "SADD integers 1 2 3 -5",
    "SADD wide 1 70000 -5000000000",
    r#"EVAL "for i=1,600 do redis.call('sadd','manyintegers',i*1000003) end" 0"#,
    "SADD set a b 3 4",
    r#"EVAL "for i=1,5000 do redis.call('sadd','longset','m'..i) end" 0"#,
    "ZADD zset 1 a 2.5 b inf c -inf d 0 e 1e300 f 3 g 1e-300 h",
    r#"EVAL "for i=1,5000 do redis.call('zadd','longzset',i/7,'m'..i) end" 0"#,
    "GEOADD places 13.361389 38.115556 Palermo 15.087269 37.502669 Catania",
    "HSET hash f v g 12 h \"\"",
    r#"EVAL "for i=1,1500 do redis.call('hset','longhash','f'..i,string.rep('v',i%300)) end" 0"#,
    "PEXPIREAT longhash 4000000000777",
    "XADD stream 1-1 a 1 b 2",
    "XADD stream 1-2 a 3 b 4",
    "XADD stream 5-0 other x",
    "XDEL stream 1-2",
    "XGROUP CREATE stream g 0",
    "XREADGROUP GROUP g alice COUNT 1 STREAMS stream >",
    "XREADGROUP GROUP g bob STREAMS stream >",
    "XREADGROUP GROUP g bob STREAMS stream 0",
    "XGROUP CREATECONSUMER stream g idle",
    "XGROUP CREATE stream h $ ENTRIESREAD 2",
    "XGROUP CREATE fresh g 0 MKSTREAM",
    r#"EVAL "for i=1,1500 do redis.call('xadd','longstream',i..'-'..(i%3+1),'f',i,'g',string.rep('x',i%50)) end" 0"#,
    "XTRIM longstream MAXLEN 1200",
    "XDEL longstream 700-2 800-3",
    "XGROUP CREATE longstream readers 0",
    "XREADGROUP GROUP readers one COUNT 300 STREAMS longstream >",
    "SELECT 1",
    "SET text other PXAT 4000000005555",
    "SELECT 9",
    r#"EVAL "for i=1,500 do redis.call('set','key:'..i,'value:'..i) end" 0"#,
    "SELECT 15",
    "HSET hash only field",
    "SELECT 0",
    "FUNCTION LOAD \"#!lua name=one\\nredis.register_function('first', function() return 1 end)\"",
    "FUNCTION LOAD \"#!lua name=two\\nredis.register_function{function_name='second', callback=function() return 2 end, flags={'no-writes'}, description='more'}\"",
];

/// Questions that all servers answer alike.
pub(crate) const DETAILS: &[&str] = &[
    "PEXPIRETIME soon",
    "PEXPIRETIME list",
    "PEXPIRETIME longhash",
    "PEXPIRETIME text",
    "PFCOUNT sparse",
    "PFCOUNT dense",
    "LRANGE longlist 0 -1",
    "ZRANGE zset 0 -1 WITHSCORES",
    "ZRANGE longzset 0 -1 WITHSCORES",
    "GEOHASH places Palermo Catania",
    "XINFO STREAM stream FULL COUNT 0",
    "XINFO STREAM fresh FULL COUNT 0",
    "XINFO STREAM longstream",
    "XINFO GROUPS longstream",
    "XPENDING longstream readers",
    "XRANGE longstream - +",
    "GETBIT bits 100000",
    "STRLEN huge",
];

/// Puts the data into a server.
pub(crate) fn fill(client: &mut Client) {
    for line in COMMANDS {
        let reply = client.run(line);
        assert!(!matches!(reply, Reply::Error(_)), "{line}: {reply:?}");
    }
}
