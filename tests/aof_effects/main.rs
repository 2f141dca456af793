//! What the append-only log says is what was done: random streams of commands go to our server with
//! a log, and what that holds then is compared with what a server holds that has read the log. That
//! is our own, which knows all of its commands, and the real Valkey, whose commands alone are sent
//! where it is to read them. The same with a log that has been rewritten as commands, so that all
//! of what there is comes from its base.
//!
//! Other streams: `KVASIR_SEED=N`, or `random`. More of them: `KVASIR_STREAMS=N`. One alone, as a
//! failure names it, with its requests and replies: `KVASIR_STREAM=N`.

mod contents;
#[path = "../differential/generate.rs"]
mod generate;
#[path = "../differential/grammar.rs"]
mod grammar;
mod literal;
mod streams;

use std::time::Duration;

use contents::{Contents, Depth, contents, differences};
use grammar::Syntax;
use kvasir_proto::Value;
use kvasir_testing::{
    Client, Program, Rng, Server, ServerBuilder, poll_every, seed_from_environment,
};
use streams::{Streams, is_sent};

/// How many streams a test runs, and of how many requests or transactions.
const STREAMS: u64 = 100;
const REQUESTS: usize = 600;
/// Values beyond this are refused, so that SETBIT at a far offset costs little.
const LIMITS: &[&str] = &["--proto-max-bulk-len", "1048576", "--stream-node-max-entries", "4"];
/// Milliseconds after which no deadline of a stream that is not far away is left.
const SOON_MS: &str = "150";

#[test]
fn our_server_reads_its_log_at_one_shard() {
    run(1, Program::Kvasir, Form::AsLogged);
}

#[test]
fn our_server_reads_its_log_at_two_shards() {
    run(2, Program::Kvasir, Form::AsLogged);
}

#[test]
fn valkey_reads_our_log_at_one_shard() {
    run(1, Program::Valkey, Form::AsLogged);
}

#[test]
fn valkey_reads_our_log_at_two_shards() {
    run(2, Program::Valkey, Form::AsLogged);
}

#[test]
fn our_server_reads_its_base_of_commands() {
    run(2, Program::Kvasir, Form::Rewritten);
}

#[test]
fn valkey_reads_our_base_of_commands() {
    run(2, Program::Valkey, Form::Rewritten);
}

/// What the log consists of when it is read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Form {
    /// All that was done.
    AsLogged,
    /// A base of commands, and nothing behind it.
    Rewritten,
}

/// A server with a log that is not rewritten.
fn logging(program: Program, shards: usize) -> ServerBuilder {
    let builder = Server::builder(program).shards(shards).args(LIMITS);
    let args = ["--appendonly", "yes", "--auto-aof-rewrite-percentage", "0"];
    builder.args(&args).args(&["--aof-use-rdb-preamble", "no"])
}

fn run(shards: usize, reader: Program, form: Form) {
    let seed = seed_from_environment();
    let mut seeds = Rng::new(seed);
    let (known, depth) = match reader {
        Program::Kvasir => (Program::Kvasir, Depth::Ours),
        _ => (Program::Valkey, Depth::Common),
    };
    let commands = {
        let (ours, other) = (Server::kvasir(shards), Server::builder(known).start());
        let mut commands = grammar::shared(&mut ours.client(), &mut other.client());
        commands.retain(|command| is_sent(&command.name));
        commands
    };
    let mut failures = Vec::new();
    let alone = number_from_environment("KVASIR_STREAM");
    let count = number_from_environment("KVASIR_STREAMS").unwrap_or(STREAMS);
    for _ in 0..if alone.is_some() { 1 } else { count } {
        let stream_seed = alone.unwrap_or_else(|| seeds.bits());
        let mut server = logging(Program::Kvasir, shards).start();
        let expected = fill(&server, &commands, depth, stream_seed);
        assert!(expected.len() > 3, "the stream leaves something behind");
        if form == Form::Rewritten {
            rewrite(&server);
        }
        server.signal("TERM");
        server.wait_for_exit();
        let dir = server.dir().to_str().expect("a plain name");
        let reading = logging(reader, shards).args(&["--dir", dir]).start();
        let found = contents(&mut reading.client(), depth);
        let lines = differences(&expected, &found);
        if !lines.is_empty() {
            failures.push(format!("stream {stream_seed}:\n{}", lines.join("\n")));
        }
    }
    assert!(failures.is_empty(), "KVASIR_SEED={seed} {shards} shards\n{}", failures.join("\n"));
}

/// Sends a stream, and tells what the server holds in the end.
fn fill(server: &Server, commands: &[Syntax], depth: Depth, seed: u64) -> Contents {
    let mut streams = Streams::new(commands, depth == Depth::Ours, seed);
    let mut rng = Rng::new(seed.rotate_left(32));
    // Two connections take turns, so that requests meet from both cores.
    let mut clients = [server.client(), server.client()];
    let mut transcript = Vec::new();
    for number in 0..REQUESTS {
        if number % 100 == 0 {
            for client in &mut clients {
                client.run("SELECT 0");
            }
        }
        let requests = streams.requests();
        let client = rng.pick(&[0, 1]);
        for request in &requests {
            let reply = clients[*client].call(request);
            transcript.push((request.clone(), reply));
        }
    }
    if std::env::var_os("KVASIR_STREAM").is_some() {
        print_transcript(&transcript);
    }
    await_deadlines(&mut clients[0]);
    contents(&mut clients[0], depth)
}

/// Replaces the log by a base, and sees that this consists of commands.
fn rewrite(server: &Server) {
    let mut client = server.client();
    client.run("BGREWRITEAOF");
    let done = poll_every(Duration::from_millis(5), Duration::from_secs(60), || {
        let info = client.run("INFO persistence");
        let info = String::from_utf8_lossy(info.as_bytes().unwrap_or_default()).into_owned();
        info.contains("aof_rewrite_in_progress:0").then_some(())
    });
    assert!(done.is_some(), "the log is rewritten: {}", server.log());
    let directory = server.dir().join("appendonlydir");
    let base = std::fs::read(directory.join("appendonly.aof.2.base.aof")).expect("the base");
    assert!(base.starts_with(b"*"), "the base consists of commands");
    let incr = std::fs::metadata(directory.join("appendonly.aof.2.incr.aof")).expect("the rest");
    assert_eq!(incr.len(), 0, "nothing has been changed since");
}

/// Waits until all deadlines that are near have passed, and those keys are gone.
fn await_deadlines(client: &mut Client) {
    client.call(&[&b"SELECT"[..], b"9"]);
    client.call(&[&b"SET"[..], b"soon", b"x", b"PX", SOON_MS.as_bytes()]);
    let gone = || (client.run("EXISTS soon") == Value::Integer(0)).then_some(());
    let gone = poll_every(Duration::from_millis(5), Duration::from_secs(60), gone);
    assert!(gone.is_some(), "a deadline passes");
}

fn print_transcript(transcript: &[(Vec<Vec<u8>>, Value)]) {
    for (request, reply) in transcript {
        let words: Vec<String> =
            request.iter().map(|word| word.escape_ascii().to_string()).collect();
        eprintln!("{} -> {}", words.join(" "), kvasir_testing::show(reply));
    }
}

fn number_from_environment(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} must be a number")))
}
