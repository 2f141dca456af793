//! `HyperLogLog` values are those of the real Valkey, byte for byte, whatever was added and merged.

use kvasir_testing::{Client, Program, Rng, Server, seed_from_environment, show};

/// Requests for each limit of the sparse form.
const REQUESTS: usize = 1_500;
const KEYS: [&str; 6] = ["a", "b", "c", "d{t}", "e{t}", "f"];

struct Pair {
    ours: Client,
    peer: Client,
}

impl Pair {
    /// Both must reply the same.
    #[track_caller]
    fn call<A: AsRef<[u8]> + std::fmt::Debug>(&mut self, request: &[A]) {
        let (ours, theirs) = (self.ours.call(request), self.peer.call(request));
        assert_eq!(show(&ours), show(&theirs), "{request:?}");
    }

    fn run(&mut self, line: &str) {
        self.call(&line.split(' ').collect::<Vec<_>>());
    }
}

fn compare(shards: usize) {
    let ours = Server::builder(Program::Kvasir).shards(shards).start();
    let peer = Server::builder(Program::Valkey).start();
    let mut pair = Pair { ours: ours.client(), peer: peer.client() };
    let seed = seed_from_environment();
    eprintln!("KVASIR_SEED={seed}");
    let mut rng = Rng::new(seed);
    for limit in [3000, 100, 0] {
        pair.run("FLUSHALL");
        pair.run(&format!("CONFIG SET hll-sparse-max-bytes {limit}"));
        for _ in 0..REQUESTS {
            random_request(&mut pair, &mut rng);
        }
        for key in KEYS {
            for view in ["ENCODING", "DECODE", "GETREG", "TODENSE", "NONE"] {
                pair.run(&format!("PFDEBUG {view} {key}"));
            }
            pair.run(&format!("GET {key}"));
            pair.run(&format!("OBJECT ENCODING {key}"));
        }
    }
}

fn random_request(pair: &mut Pair, rng: &mut Rng) {
    let key = *rng.pick(&KEYS);
    match rng.below(20) {
        0 => pair.run(&format!("PFCOUNT {key}")),
        1 => pair.run(&format!("PFCOUNT {key} {} {}", rng.pick(&KEYS), rng.pick(&KEYS))),
        2 => pair.run(&format!("PFMERGE {key} {} none", rng.pick(&KEYS))),
        3 => pair.run(&format!("PFMERGE {key}")),
        4 => pair.run(&format!("DEL {key}")),
        _ => {
            let elements = (0..rng.below(60)).map(|_| rng.below(4000).to_string());
            let words = ["PFADD".to_owned(), key.to_owned()].into_iter().chain(elements);
            pair.call(&words.collect::<Vec<_>>());
        }
    }
    pair.run(&format!("GET {key}"));
}

#[test]
fn one_shard() {
    compare(1);
}

#[test]
fn two_shards() {
    compare(2);
}

/// A value that any client can set, with runs that cover too few or too many registers.
#[test]
fn damage_is_refused() {
    let ours = Server::builder(Program::Kvasir).shards(2).start();
    let mut client = ours.client();
    let damaged: [&[u8]; 5] = [b"", b"\x7F", b"\x7F\xFE", b"\x7F\xFF\x00", b"\x80"];
    for runs in damaged {
        let value = [&b"HYLL\x01\0\0\0\0\0\0\0\0\0\0\x80"[..], runs].concat();
        for request in ["PFCOUNT k", "PFCOUNT k j", "PFMERGE d k", "PFDEBUG GETREG k"] {
            client.call(&[b"SET", &b"k"[..], &value]);
            let reply = show(&client.run(request));
            assert_eq!(reply, "-INVALIDOBJ Corrupted HLL object detected", "{request}");
            let kept = client.run("GET k");
            assert_eq!(kept.as_bytes(), Some(&value[..]), "{request} leaves it alone");
        }
    }
    client.run("SET k plain");
    for request in ["PFADD k a", "PFCOUNT k", "PFMERGE d k"] {
        let reply = show(&client.run(request));
        assert_eq!(reply, "-WRONGTYPE Key is not a valid HyperLogLog string value.");
    }
}
