//! Deliveries to other servers: a thread for each of them, which keeps its connection for a while.
//!
//! Threads, and not the cores' rings, because names have to be resolved, which only blocks, and
//! because what is carried is as rare as it is large.

use std::collections::HashMap;
use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};
use std::thread;
use std::time::Duration;

use super::runtime::leave_core;
use crate::route::carrier::{Carrier, Delivery, Failure, Outcome, Receipt, Target};

/// The most servers to which there are connections, as in Valkey.
const TARGETS_MAX: usize = 64;
/// How long a connection is kept without a delivery, as in Valkey.
const KEPT: Duration = Duration::from_secs(10);
/// The longest line of a reply that is taken, in bytes; replies to what is sent are short.
const LINE_MAX: u64 = 64 * 1024;

/// A thread for each server that something is carried to.
#[derive(Debug, Default)]
pub struct CarrierThreads {
    inner: Arc<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    threads: Mutex<HashMap<Target, Sender<Job>>>,
    connections: AtomicUsize,
}

#[derive(Debug)]
struct Job {
    delivery: Delivery,
    receipt: Receipt,
}

impl Inner {
    fn threads(&self) -> MutexGuard<'_, HashMap<Target, Sender<Job>>> {
        self.threads.lock().expect("invariant: a panic ends the process")
    }
}

impl Carrier for CarrierThreads {
    fn carry(&self, delivery: Delivery) -> Result<Receipt, Delivery> {
        let mut threads = self.inner.threads();
        if !threads.contains_key(&delivery.target) {
            if threads.len() >= TARGETS_MAX {
                return Err(delivery);
            }
            let (sender, jobs) = channel();
            let (inner, target) = (Arc::clone(&self.inner), delivery.target.clone());
            let thread = thread::Builder::new().name("carrier".to_owned());
            let work = move || {
                leave_core();
                serve(&inner, &target, &jobs);
            };
            if thread.spawn(work).is_err() {
                return Err(delivery);
            }
            threads.insert(delivery.target.clone(), sender);
        }
        let receipt = Receipt::new(OnceLock::new());
        let job = Job { delivery, receipt: Arc::clone(&receipt) };
        // A thread leaves the map, which is locked, before it ends.
        threads[&job.delivery.target].send(job).expect("invariant: the thread listens");
        Ok(receipt)
    }

    fn connections(&self) -> usize {
        self.inner.connections.load(Ordering::Relaxed)
    }
}

/// Carries out the deliveries to one server, until there has been none for a while.
fn serve(inner: &Inner, target: &Target, jobs: &Receiver<Job>) {
    let mut connection = None;
    loop {
        match jobs.recv_timeout(KEPT) {
            Ok(job) => {
                let outcome = deliver(inner, &mut connection, &job.delivery);
                job.receipt.set(outcome).expect("invariant: a delivery has one outcome");
            }
            Err(RecvTimeoutError::Timeout) => {
                let mut threads = inner.threads();
                // Nobody can send any more while the map is locked.
                let Ok(job) = jobs.try_recv() else {
                    threads.remove(target);
                    return;
                };
                drop(threads);
                let outcome = deliver(inner, &mut connection, &job.delivery);
                job.receipt.set(outcome).expect("invariant: a delivery has one outcome");
            }
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

/// A connection to a server, counted while it is open.
struct Connection<'a> {
    stream: BufReader<TcpStream>,
    /// The database that is selected, if that is known.
    db: Option<i64>,
    counted: &'a AtomicUsize,
}

impl Drop for Connection<'_> {
    fn drop(&mut self) {
        self.counted.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Why a delivery came to an end.
struct Broken {
    failure: Failure,
    /// Nothing has been carried out, and on a new connection it may be.
    is_worth_another: bool,
}

impl Broken {
    fn new(failure: Failure, error: &io::Error, is_first: bool) -> Self {
        let timed_out = matches!(error.kind(), ErrorKind::TimedOut | ErrorKind::WouldBlock);
        Self { failure, is_worth_another: is_first && !timed_out }
    }
}

/// Carries out a delivery; a second time on a new connection if the one that was kept has been
/// closed by the server meanwhile.
fn deliver<'a>(
    inner: &'a Inner,
    kept: &mut Option<Connection<'a>>,
    delivery: &Delivery,
) -> Outcome {
    loop {
        let is_new = kept.is_none();
        let mut connection = match kept.take().map_or_else(|| connect(inner, delivery), Ok) {
            Ok(connection) => connection,
            Err(failure) => {
                let accepted = vec![false; delivery.requests.len()];
                return Outcome { accepted, failure: Some(failure) };
            }
        };
        let mut outcome = Outcome { accepted: Vec::new(), failure: None };
        let broken = exchange(&mut connection, delivery, &mut outcome).err();
        outcome.accepted.resize(delivery.requests.len(), false);
        match broken {
            None => {
                let all_went_well = outcome.failure.is_none();
                connection.db = all_went_well.then_some(delivery.db);
                *kept = Some(connection);
                return outcome;
            }
            Some(broken) if broken.is_worth_another && !is_new => {}
            Some(broken) => {
                outcome.failure.get_or_insert(broken.failure);
                return outcome;
            }
        }
    }
}

/// Connects. As in Valkey, whoever refuses the connection counts as not to be written to.
fn connect<'a>(inner: &'a Inner, delivery: &Delivery) -> Result<Connection<'a>, Failure> {
    let Target { host, port } = &delivery.target;
    let port: u16 = port.parse().map_err(|_| Failure::Write)?;
    let addresses = (host.as_str(), port).to_socket_addrs().map_err(|_| Failure::Connect)?;
    let mut failure = Failure::Connect;
    for address in addresses {
        let connected = TcpStream::connect_timeout(&address, delivery.patience)
            .and_then(|stream| stream.set_nodelay(true).map(|()| stream));
        match connected {
            Ok(stream) => {
                inner.connections.fetch_add(1, Ordering::Relaxed);
                let stream = BufReader::new(stream);
                return Ok(Connection { stream, db: None, counted: &inner.connections });
            }
            Err(error) if error.kind() == ErrorKind::ConnectionRefused => failure = Failure::Write,
            Err(_) => {}
        }
    }
    Err(failure)
}

/// Sends everything and reads the replies. The error is that the connection is of no use any more.
fn exchange(
    connection: &mut Connection<'_>,
    delivery: &Delivery,
    outcome: &mut Outcome,
) -> Result<(), Broken> {
    let select = (connection.db != Some(delivery.db)).then(|| select(delivery.db));
    send(connection, delivery, select.as_deref())
        .map_err(|error| Broken::new(Failure::Write, &error, true))?;
    let mut is_first = true;
    for _ in delivery.greeting.iter().chain(&select) {
        let refusal = read_reply(connection, is_first)?;
        outcome.note(refusal);
        is_first = false;
    }
    // What comes before the values is about all of them.
    let all_refused = outcome.failure.is_some();
    for _ in &delivery.requests {
        let refusal = read_reply(connection, is_first)?;
        outcome.accepted.push(!all_refused && refusal.is_none());
        outcome.note(refusal);
        is_first = false;
    }
    Ok(())
}

/// Reads `+OK` or an error. Whoever answers anything else does not understand what it is told, and
/// nothing may be given away to it.
fn read_reply(connection: &mut Connection<'_>, is_first: bool) -> Result<Option<Failure>, Broken> {
    let line =
        read_line(connection).map_err(|error| Broken::new(Failure::Read, &error, is_first))?;
    match line.strip_prefix(b"-") {
        Some(error) => Ok(Some(Failure::Refused(error.to_vec()))),
        None if line == b"+OK" => Ok(None),
        None => Err(Broken { failure: Failure::Read, is_worth_another: false }),
    }
}

fn select(db: i64) -> Vec<u8> {
    let mut request = Vec::new();
    kvasir_proto::append_request(&mut request, [&b"SELECT"[..], db.to_string().as_bytes()]);
    request
}

fn send(
    connection: &mut Connection<'_>,
    delivery: &Delivery,
    select: Option<&[u8]>,
) -> io::Result<()> {
    let stream = connection.stream.get_mut();
    stream.set_write_timeout(Some(delivery.patience))?;
    stream.set_read_timeout(Some(delivery.patience))?;
    let before = delivery.greeting.as_deref().into_iter().chain(select);
    for bytes in before.chain(delivery.requests.iter().map(Vec::as_slice)) {
        stream.write_all(bytes)?;
    }
    Ok(())
}

/// One line without its end.
fn read_line(connection: &mut Connection<'_>) -> io::Result<Vec<u8>> {
    let mut line = Vec::new();
    (&mut connection.stream).take(LINE_MAX).read_until(b'\n', &mut line)?;
    match line.strip_suffix(b"\r\n") {
        Some(text) => Ok(text.to_vec()),
        None => Err(ErrorKind::UnexpectedEof.into()),
    }
}
