//! The driver over real sockets, with the engine of `testing`.

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::testing::{LineEngine, OUTPUT_MAX, Seen};
use crate::route::engine::ShutdownSignal;
use crate::server::listener::{ListenError, ListenOptions};
use crate::server::runtime::{RunOptions, Running, StartError, start};

/// A test fails when it has waited this long for something that must come.
const PATIENCE: Duration = Duration::from_secs(30);

struct Server {
    running: Option<Running>,
    directory: tempfile::TempDir,
    port: u16,
    seen: Arc<Seen>,
}

impl Server {
    /// Starts shards that listen on a unix socket, and on TCP where a test needs it.
    fn start(shards: usize, bind: &[&str]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let port = if bind.is_empty() { 0 } else { free_port() };
        let listen = ListenOptions {
            bind: bind.iter().map(|&address| address.to_owned()).collect(),
            port,
            unix_socket: Some(directory.path().join("socket")),
            unix_socket_perm: Some(0o600),
            ..ListenOptions::default()
        };
        let seen = Arc::new(Seen::default());
        let engines = Arc::clone(&seen);
        let make = move |shard| LineEngine::new(shard, shards, Arc::clone(&engines));
        let running =
            Some(start(RunOptions { shards, listen, ..RunOptions::default() }, make).unwrap());
        Self { running, directory, port, seen }
    }

    fn unix(&self) -> Client<UnixStream> {
        let stream = UnixStream::connect(self.directory.path().join("socket")).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Client(BufReader::new(stream))
    }

    fn tcp(&self, host: &str) -> Client<TcpStream> {
        let stream = TcpStream::connect((host, self.port)).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Client(BufReader::new(stream))
    }

    /// Waits until the engines have seen the end of every connection.
    fn wait_until_all_closed(&self) {
        let deadline = Instant::now() + PATIENCE;
        while self.seen.closed.load(Ordering::Relaxed) < self.seen.opened.load(Ordering::Relaxed) {
            assert!(Instant::now() < deadline, "connections stay open");
            std::thread::yield_now();
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(running) = self.running.take() {
            running.signal(ShutdownSignal::Terminate);
            running.join().unwrap();
        }
    }
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

struct Client<S: Read + Write>(BufReader<S>);

impl<S: Read + Write> Client<S> {
    fn send(&mut self, text: &str) {
        self.0.get_mut().write_all(text.as_bytes()).unwrap();
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.0.read_line(&mut line).unwrap();
        assert_eq!(line.pop(), Some('\n'), "the connection ended");
        line
    }

    fn ask(&mut self, request: &str) -> String {
        self.send(&format!("{request}\n"));
        self.line()
    }

    fn assert_end(&mut self) {
        assert_eq!(self.0.read(&mut [0; 1]).unwrap(), 0, "the connection goes on");
    }
}

#[test]
fn pipelines_are_answered_in_order_on_every_transport() {
    for shards in [1, 2, 4] {
        let server = Server::start(shards, &["127.0.0.1", "-::1"]);
        let numbers: Vec<String> = (0..5_000).map(|number| number.to_string()).collect();
        let lines = format!("ECHO {}\n", numbers.join("\nECHO "));
        let check = |client: &mut Client<TcpStream>| {
            client.send(&lines);
            for number in &numbers {
                assert_eq!(client.line(), *number);
            }
        };
        check(&mut server.tcp("127.0.0.1"));
        if TcpListener::bind("[::1]:0").is_ok() {
            check(&mut server.tcp("::1"));
        }
        let mut unix = server.unix();
        unix.send(&lines);
        for number in &numbers {
            assert_eq!(unix.line(), *number);
        }
    }
}

#[test]
fn requests_may_arrive_in_any_pieces() {
    let server = Server::start(1, &["127.0.0.1"]);
    let mut client = server.tcp("127.0.0.1");
    client.0.get_ref().set_nodelay(true).unwrap();
    for byte in "ECHO in many pieces\n".bytes() {
        client.0.get_mut().write_all(&[byte]).unwrap();
    }
    assert_eq!(client.line(), "in many pieces");
    let long = "y".repeat(3_000_000);
    let mut writer = client.0.get_ref().try_clone().unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| writer.write_all(format!("ECHO {long}\n").as_bytes()).unwrap());
        assert_eq!(client.line(), long);
    });
}

#[test]
fn a_client_that_has_finished_sending_still_gets_its_replies() {
    let server = Server::start(2, &["127.0.0.1"]);
    let mut client = server.tcp("127.0.0.1");
    client.send("ECHO one\nBIG 3000000\nECHO two\n");
    client.0.get_ref().shutdown(Shutdown::Write).unwrap();
    let mut all = Vec::new();
    client.0.read_to_end(&mut all).unwrap();
    assert_eq!(all.len(), 4 + 3_000_001 + 4);
    assert!(all.starts_with(b"one\nxxx") && all.ends_with(b"xxx\ntwo\n"));
    server.wait_until_all_closed();
    assert_eq!(server.seen.failed.load(Ordering::Relaxed), 0);
}

#[test]
fn a_reset_is_reported_as_a_failure() {
    let server = Server::start(1, &["127.0.0.1"]);
    let mut client = server.tcp("127.0.0.1");
    assert_eq!(client.ask("ECHO here"), "here");
    socket2::SockRef::from(client.0.get_ref()).set_linger(Some(Duration::ZERO)).unwrap();
    drop(client);
    server.wait_until_all_closed();
    assert_eq!(server.seen.failed.load(Ordering::Relaxed), 1);
}

#[test]
fn closing_after_the_output_delivers_all_of_it() {
    let server = Server::start(2, &["127.0.0.1"]);
    for size in [0, 1, 100_000, 5_000_000] {
        let mut client = server.tcp("127.0.0.1");
        client.send(&format!("BIG {size}\nQUIT\n"));
        let mut all = Vec::new();
        client.0.read_to_end(&mut all).unwrap();
        assert_eq!(all.len(), size + 1 + 4);
        assert!(all.ends_with(b"\nbye\n"));
    }
    let mut client = server.unix();
    client.send("DROP 0\n");
    client.assert_end();
    server.wait_until_all_closed();
}

#[test]
fn closing_at_once_does_not_wait_for_a_client_that_does_not_read() {
    let server = Server::start(1, &[]);
    let mut client = server.unix();
    client.send("DROP 20\nBIG 50000000\n");
    server.wait_until_all_closed();
}

#[test]
fn large_outputs_arrive_whole() {
    let server = Server::start(1, &["127.0.0.1"]);
    let mut client = server.tcp("127.0.0.1");
    client.send("BIG 100000000\nECHO after\n");
    let mut left = 100_000_000;
    let mut chunk = vec![0; 1 << 20];
    while left > 0 {
        let wanted = chunk.len().min(left);
        let count = client.0.read(&mut chunk[..wanted]).unwrap();
        assert!(count > 0 && chunk[..count].iter().all(|&byte| byte == b'x'));
        left -= count;
    }
    assert_eq!(client.line(), "");
    assert_eq!(client.line(), "after");
}

#[test]
fn a_client_that_never_reads_costs_bounded_memory_and_nobody_elses_time() {
    let server = Server::start(1, &["127.0.0.1"]);
    let mut flood = server.tcp("127.0.0.1");
    let mut other = server.tcp("127.0.0.1");
    flood.0.get_ref().set_write_timeout(Some(Duration::from_millis(500))).unwrap();
    let request = format!("ECHO {}\n", "z".repeat(1_000)).repeat(100);
    let mut sent = 0;
    let stopped = loop {
        match flood.0.get_mut().write(&request.as_bytes()[sent % request.len()..]) {
            Ok(count) => sent += count,
            Err(error) => break error.kind(),
        }
        assert!(sent < 200_000_000, "the server goes on reading");
        assert_eq!(other.ask("ECHO served"), "served");
    };
    assert_eq!(stopped, ErrorKind::WouldBlock);
    // What was received before the receive had been cancelled is still answered: at most the lent
    // buffers, 4 MiB.
    let pending = server.seen.pending_max.load(Ordering::Relaxed);
    assert!(pending < OUTPUT_MAX + 6 * 1024 * 1024, "{pending} bytes were pending");
    // Once it reads, it gets every reply.
    let mut reader = flood.0.get_ref().try_clone().unwrap();
    flood.0.get_ref().shutdown(Shutdown::Write).unwrap();
    let mut received = 0;
    let mut chunk = vec![0; 1 << 20];
    loop {
        match reader.read(&mut chunk).unwrap() {
            0 => break,
            count => received += count,
        }
    }
    let requests = sent / 1_006;
    assert_eq!(received, requests * 1_001);
    assert_eq!(other.ask("ECHO still served"), "still served");
}

#[test]
fn thousands_of_short_connections_leave_no_descriptor_behind() {
    let server = Server::start(2, &["127.0.0.1"]);
    for number in 0..3_000 {
        let mut client = server.tcp("127.0.0.1");
        match number % 4 {
            0 => {}
            1 => assert_eq!(client.ask("ECHO once"), "once"),
            2 => {
                assert_eq!(client.ask("QUIT"), "bye");
                client.assert_end();
            }
            _ => {
                client.send("DROP 0\n");
                // The end may come as a reset, for the server may close before it has read.
                let _ = client.0.read(&mut [0; 1]);
            }
        }
    }
    server.wait_until_all_closed();
    // Descriptors are given out from the lowest free one: a leak would have shown in the numbers.
    assert!(server.seen.descriptor_max.load(Ordering::Relaxed) < 2_000);
}

#[test]
fn connections_are_spread_evenly_over_the_cores() {
    let server = Server::start(4, &["127.0.0.1"]);
    let mut counts = [0; 4];
    let mut clients: Vec<_> = (0..40).map(|_| server.tcp("127.0.0.1")).collect();
    for client in &mut clients {
        counts[client.ask("SHARD").parse::<usize>().unwrap()] += 1;
    }
    assert!(counts.iter().all(|&count| (8..=12).contains(&count)), "{counts:?}");
    let mut unix_counts = [0; 4];
    let mut clients: Vec<_> = (0..40).map(|_| server.unix()).collect();
    for client in &mut clients {
        unix_counts[client.ask("SHARD").parse::<usize>().unwrap()] += 1;
    }
    assert!(unix_counts.iter().all(|&count| (8..=12).contains(&count)), "{unix_counts:?}");
}

#[test]
fn mail_wakes_a_parked_core_every_time() {
    for shards in [2, 3] {
        let server = Server::start(shards, &[]);
        let mut client = server.unix();
        // With one message under way at a time, the other cores have nothing to do.
        assert_eq!(client.ask("TOKEN 20000"), "done");
        for _ in 0..200 {
            assert_eq!(client.ask("TOKEN 7"), "done");
        }
        // And after a silence in which they park.
        for _ in 0..20 {
            assert_eq!(client.ask("AT 15"), "late");
            assert_eq!(client.ask("TOKEN 1"), "done");
        }
    }
}

#[test]
fn the_engine_is_called_at_its_time_and_not_earlier() {
    let server = Server::start(1, &[]);
    let mut client = server.unix();
    for delay_ms in [1, 3, 40, 20, 60] {
        let start = Instant::now();
        assert_eq!(client.ask(&format!("AT {delay_ms}")), "late");
        assert!(start.elapsed() >= Duration::from_millis(delay_ms));
    }
    // Earlier moments after later ones, while the core is parked for the later.
    client.send("AT 300\n");
    assert_eq!(client.ask("AT 50"), "late");
    assert_eq!(client.ask("ECHO between"), "between");
    assert_eq!(client.line(), "late");
}

#[test]
fn a_busy_port_is_refused_with_the_peers_words() {
    let server = Server::start(2, &["127.0.0.1"]);
    let listen = ListenOptions {
        bind: vec!["127.0.0.1".into()],
        port: server.port,
        ..ListenOptions::default()
    };
    let make = |shard| LineEngine::new(shard, 2, Arc::default());
    let error = start(RunOptions { shards: 2, listen, ..RunOptions::default() }, make).unwrap_err();
    assert!(matches!(error, StartError::Listen(ListenError::Tcp { .. })));
    let port = server.port;
    let expected = format!(
        "Could not create server TCP listening socket 127.0.0.1:{port}: bind: \
         Address already in use"
    );
    assert_eq!(error.to_string(), expected);
}
