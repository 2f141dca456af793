//! Clients that people use, doing real work against our server at one shard and at two: redis-py,
//! ioredis, `BullMQ`, redis-cli and redis-benchmark.
//!
//! The libraries are installed under `target/` on first use, by pip and npm.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use kvasir_testing::{Client, Server, cache_dir, check, peers, source_root};

#[test]
fn redis_py_works_at_one_and_two_shards() {
    for shards in [1, 2] {
        let server = Server::kvasir(shards);
        let script = source_root().join("tests/clients/redis_py_work.py");
        let mut python = Command::new(virtual_environment().join("bin/python"));
        let output = run(python.arg(script).arg(server.port().to_string()));
        assert!(output.contains("redis-py: done"), "{output}");
    }
}

#[test]
fn ioredis_works_at_one_and_two_shards() {
    for shards in [1, 2] {
        run_node("ioredis_work.js", "ioredis: done", shards);
    }
}

/// Its scripts use keys that they do not declare, on any shard.
#[test]
fn bullmq_does_a_thousand_jobs_without_special_configuration() {
    for shards in [1, 2, 4] {
        run_node("bullmq_work.js", "bullmq: done", shards);
    }
}

/// Runs a script of `tests/clients`, which prints `last` when it has come to its end.
fn run_node(script: &str, last: &str, shards: usize) {
    let server = Server::kvasir(shards);
    let dir = node_packages();
    std::fs::copy(source_root().join("tests/clients").join(script), dir.join(script))
        .expect("copy the script");
    let mut node = Command::new("node");
    let output = run(node.current_dir(dir).arg(script).arg(server.port().to_string()));
    assert!(output.contains(last), "{output}");
}

#[test]
fn redis_cli_talks_to_it_in_every_way() {
    for cli in ["redis-cli", "valkey-cli"] {
        let server = Server::kvasir(2);
        let port = server.port().to_string();
        let socket = server.dir().join("socket").display().to_string();
        let ask = |args: &[&str]| run(Command::new(peers::program(cli)).args(args));
        let tcp = ["-p", &port];
        assert_eq!(ask(&[&tcp[..], &["SET", "a", "1"]].concat()), "OK\n");
        assert_eq!(ask(&[&tcp[..], &["INCRBY", "a", "41"]].concat()), "42\n");
        assert_eq!(ask(&["-s", &socket, "GET", "a"]), "42\n");
        assert_eq!(
            ask(&[&tcp[..], &["-3", "CONFIG", "GET", "port"]].concat()).trim(),
            format!("port {port}")
        );
        assert_eq!(ask(&[&tcp[..], &["-n", "5", "DBSIZE"]].concat()), "0\n");
        assert_eq!(ask(&[&tcp[..], &["--scan"]].concat()), "a\n");
        assert!(ask(&[&tcp[..], &["INFO", "server"]].concat()).contains("tcp_port:"));
        assert_eq!(
            ask(&[&tcp[..], &["GET"]].concat()).trim(),
            "ERR wrong number of arguments for 'get' command"
        );
    }
}

#[test]
fn redis_cli_loads_a_pipe_of_requests() {
    let server = Server::kvasir(2);
    let requests: Vec<u8> =
        (0..20_000).flat_map(|n| Client::encode(&["SET", &format!("key:{n}"), "value"])).collect();
    let mut cli = Command::new(peers::program("redis-cli"));
    let mut cli = cli
        .args(["-p", &server.port().to_string(), "--pipe"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("start redis-cli");
    cli.stdin.take().expect("invariant: piped").write_all(&requests).expect("feed redis-cli");
    let output = cli.wait_with_output().expect("await redis-cli");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains("errors: 0, replies: 20000"), "{text}");
    check(&server, &[("DBSIZE", "20000"), ("GET key:19999", "\"value\"")]);
}

#[test]
fn the_benchmark_programs_run_to_their_end() {
    for shards in [1, 2] {
        let server = Server::kvasir(shards);
        for program in ["redis-benchmark", "valkey-benchmark"] {
            for pipeline in ["1", "16"] {
                let mut benchmark = Command::new(peers::program(program));
                benchmark.args(["-p", &server.port().to_string(), "-q", "-n", "10000", "-c", "20"]);
                benchmark.args(["-P", pipeline, "-r", "1000"]);
                benchmark.args(["-t", "ping_inline,ping_mbulk,set,get,incr,mset"]);
                let output = run(&mut benchmark);
                let measured = output.matches("requests per second").count();
                assert!(measured >= 6, "{program}: {output}");
            }
        }
        let mut client = server.client();
        assert_ne!(kvasir_testing::show(&client.run("DBSIZE")), "0");
    }
}

/// Runs a program to its end; yields what it printed, and fails with it when the program does.
#[track_caller]
fn run(command: &mut Command) -> String {
    let output = command.stdin(Stdio::null()).output();
    let output = output.unwrap_or_else(|error| panic!("run {command:?}: {error}"));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {}\n{text}\n{errors}", output.status);
    text
}

/// A Python environment with the packages of `tests/clients/requirements.txt`.
fn virtual_environment() -> PathBuf {
    static READY: OnceLock<PathBuf> = OnceLock::new();
    let wanted = source_root().join("tests/clients/requirements.txt");
    let install = |dir: &Path| {
        run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(dir));
        run(Command::new(dir.join("bin/pip")).args(["install", "-q", "-r"]).arg(&wanted));
    };
    READY.get_or_init(|| installed("python", &wanted, install)).clone()
}

/// A directory with the packages of `tests/clients/package.json`.
fn node_packages() -> PathBuf {
    static READY: OnceLock<PathBuf> = OnceLock::new();
    let sources = source_root().join("tests/clients");
    let wanted = sources.join("package.json");
    let install = |dir: &Path| {
        std::fs::copy(&wanted, dir.join("package.json")).expect("copy package.json");
        run(Command::new("npm").args(["install", "--no-audit", "--no-fund"]).current_dir(dir));
    };
    READY.get_or_init(|| installed("node", &wanted, install)).clone()
}

/// Fills a directory under `target/` unless it was filled for the same list of packages.
fn installed(name: &str, wanted: &Path, install: impl FnOnce(&Path)) -> PathBuf {
    let list = std::fs::read(wanted).expect("read the list of packages");
    let dir = cache_dir(name);
    let stamp = dir.join("installed");
    if std::fs::read(&stamp).ok().as_ref() != Some(&list) {
        install(&dir);
        std::fs::write(&stamp, &list).expect("note what is installed");
    }
    dir
}
