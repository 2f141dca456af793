//! The load generator: one thread, many connections, each with one batch of commands in flight.
//!
//! It does as little as it can for a command, because it shares caches and often the machine's last
//! core with the server: requests are encoded once, replies compared as memory, and there is one
//! clock reading, one read and one write a batch.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use hdrhistogram::Histogram;
use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::time::{ClockId, Timespec, clock_gettime};

use crate::replies::Progress;
use crate::workload::Batch;

/// A server that is silent for longer than this has failed.
const SILENCE: Timespec = Timespec { tv_sec: 20, tv_nsec: 0 };
/// Bytes read at once; holds the replies of the deepest usual pipeline.
const READ_SIZE: usize = 256 << 10;
/// Longest latency that the histogram holds, in nanoseconds.
const LATENCY_NS_MAX: u64 = 60_000_000_000;

/// When a run ends; batches in flight are completed and counted.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Until {
    /// After this time.
    Elapsed(Duration),
    /// After at least this many commands.
    Commands(u64),
}

/// What a run saw.
#[derive(Debug)]
pub(crate) struct Run {
    /// Commands answered.
    pub(crate) commands: u64,
    /// Wall-clock time.
    pub(crate) elapsed: Duration,
    /// CPU time of the load generator itself.
    pub(crate) load_cpu: Duration,
    /// Nanoseconds from sending a batch to its last reply.
    pub(crate) latency: Histogram<u64>,
}

/// A set of open connections.
#[derive(Debug)]
pub(crate) struct Load {
    epoll: OwnedFd,
    connections: Vec<Connection>,
    /// Connections that only read; their events follow those of the others.
    subscribers: Vec<TcpStream>,
    buffer: Box<[u8]>,
}

#[derive(Debug)]
struct Connection {
    stream: TcpStream,
    request: Vec<u8>,
    written: usize,
    received: Progress,
    sent_at: Instant,
    awaits_room: bool,
}

impl Load {
    /// Opens `count` connections to `address`.
    pub(crate) fn connect(address: SocketAddr, count: u32) -> Result<Self> {
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        let mut connections = Vec::with_capacity(count as usize);
        for index in 0..u64::from(count) {
            let stream = TcpStream::connect(address).context("connecting a client")?;
            stream.set_nodelay(true)?;
            stream.set_nonblocking(true)?;
            epoll::add(&epoll, &stream, EventData::new_u64(index), EventFlags::IN)?;
            connections.push(Connection {
                stream,
                request: Vec::new(),
                written: 0,
                received: Progress::NONE,
                sent_at: Instant::now(),
                awaits_room: false,
            });
        }
        let (subscribers, buffer) = (Vec::new(), vec![0; READ_SIZE].into());
        Ok(Self { epoll, connections, subscribers, buffer })
    }

    /// Opens `count` further connections, which subscribe to a channel and read what comes.
    pub(crate) fn subscribe(&mut self, address: SocketAddr, count: u32) -> Result<()> {
        const CONFIRMED: &[u8] = b"*3\r\n$9\r\nsubscribe\r\n$4\r\nnews\r\n:1\r\n";
        for _ in 0..count {
            let mut stream = TcpStream::connect(address).context("connecting a subscriber")?;
            stream.write_all(b"SUBSCRIBE news\r\n")?;
            let mut confirmed = [0; CONFIRMED.len()];
            stream.read_exact(&mut confirmed)?;
            if confirmed != CONFIRMED {
                bail!("unexpected reply to SUBSCRIBE: {:?}", String::from_utf8_lossy(&confirmed));
            }
            stream.set_nonblocking(true)?;
            let index = (self.connections.len() + self.subscribers.len()) as u64;
            epoll::add(&self.epoll, &stream, EventData::new_u64(index), EventFlags::IN)?;
            self.subscribers.push(stream);
        }
        Ok(())
    }

    /// Keeps one batch like `batch` in flight on every connection until `until`.
    pub(crate) fn run(&mut self, batch: &mut Batch, until: Until) -> Result<Run> {
        let mut latency = Histogram::new_with_max(LATENCY_NS_MAX, 3)?;
        let cpu_before = clock_gettime(ClockId::ThreadCPUTime);
        let started = Instant::now();
        let mut batches = 0_u64;
        let batches_max = match until {
            Until::Elapsed(_) => u64::MAX,
            Until::Commands(commands) => commands.div_ceil(u64::from(batch.pipeline)),
        };
        let deadline = match until {
            Until::Elapsed(duration) => Some(started + duration),
            Until::Commands(_) => None,
        };
        let mut started_batches = 0_u64;
        for (index, connection) in self.connections.iter_mut().enumerate() {
            connection.request = batch.encoded.bytes().to_vec();
            if started_batches < batches_max {
                connection.send(&self.epoll, index, batch, Instant::now())?;
                started_batches += 1;
            }
        }
        let mut events: Vec<Event> =
            Vec::with_capacity(self.connections.len() + self.subscribers.len());
        while batches < started_batches {
            if epoll::wait(&self.epoll, spare_capacity(&mut events), Some(&SILENCE))? == 0 {
                bail!(self.describe_silence(batch));
            }
            for event in events.drain(..) {
                let (index, flags) = (event.data.u64() as usize, event.flags);
                if let Some(subscriber) = index.checked_sub(self.connections.len()) {
                    drain(&self.subscribers[subscriber], &mut self.buffer)?;
                    continue;
                }
                let connection = &mut self.connections[index];
                if flags.contains(EventFlags::OUT) {
                    connection.flush(&self.epoll, index)?;
                }
                if !connection.receive(&mut self.buffer, batch)? {
                    continue;
                }
                let now = Instant::now();
                let waited = now.duration_since(connection.sent_at).as_nanos() as u64;
                latency.saturating_record(waited);
                batches += 1;
                if started_batches < batches_max && deadline.is_none_or(|at| now < at) {
                    connection.send(&self.epoll, index, batch, now)?;
                    started_batches += 1;
                }
            }
        }
        let cpu_after = clock_gettime(ClockId::ThreadCPUTime);
        Ok(Run {
            commands: batches * u64::from(batch.pipeline),
            elapsed: started.elapsed(),
            load_cpu: Duration::try_from(cpu_after - cpu_before).unwrap_or_default(),
            latency,
        })
    }

    fn describe_silence(&self, batch: &Batch) -> String {
        let unanswered = self.connections.iter().find(|c| !batch.replies.is_complete(&c.received));
        let seen = unanswered.map_or_else(String::new, |c| batch.replies.describe(&c.received));
        let seconds = SILENCE.tv_sec;
        format!("the server has not answered {} for {seconds} seconds, after {seen}", batch.request)
    }
}

/// Reads once, and forgets it.
fn drain(mut stream: &TcpStream, buffer: &mut [u8]) -> Result<()> {
    match stream.read(buffer) {
        Ok(0) => bail!("the server closed a subscriber"),
        Ok(_) => Ok(()),
        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {
            Ok(())
        }
        Err(error) => Err(error).context("receiving messages"),
    }
}

impl Connection {
    /// Sends the next batch, or as much of it as the socket takes.
    fn send(
        &mut self,
        epoll: &OwnedFd,
        index: usize,
        batch: &mut Batch,
        now: Instant,
    ) -> Result<()> {
        batch.encoded.write_numbers(&mut batch.numbers, &mut self.request);
        self.written = 0;
        self.received = Progress::NONE;
        self.sent_at = now;
        self.flush(epoll, index)
    }

    /// Sends what is left of the batch and asks for an event if the socket is full.
    fn flush(&mut self, epoll: &OwnedFd, index: usize) -> Result<()> {
        while self.written < self.request.len() {
            match (&self.stream).write(&self.request[self.written..]) {
                Ok(written) => self.written += written,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error).context("sending requests"),
            }
        }
        let awaits_room = self.written < self.request.len();
        if awaits_room != self.awaits_room {
            let room = if awaits_room { EventFlags::OUT } else { EventFlags::empty() };
            let data = EventData::new_u64(index as u64);
            epoll::modify(epoll, &self.stream, data, EventFlags::IN | room)?;
            self.awaits_room = awaits_room;
        }
        Ok(())
    }

    /// Reads once; says whether the batch is answered.
    fn receive(&mut self, buffer: &mut [u8], batch: &Batch) -> Result<bool> {
        let size = match (&self.stream).read(buffer) {
            Ok(0) => bail!("the server closed a connection"),
            Ok(size) => size,
            Err(error)
                if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) =>
            {
                return Ok(false);
            }
            Err(error) => return Err(error).context("receiving replies"),
        };
        let received = &buffer[..size];
        if !batch.replies.take(&mut self.received, received) {
            let shown = String::from_utf8_lossy(&received[..size.min(120)]);
            bail!("unexpected reply to {}: {shown:?}", batch.request);
        }
        Ok(batch.replies.is_complete(&self.received))
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::thread;

    use super::*;
    use crate::workload::Workload;

    /// Answers every complete batch of `request_size` bytes with `replies`, a few bytes at a time.
    fn serve(request_size: usize, replies: Vec<u8>, clients: usize) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        thread::spawn(move || {
            let streams: Vec<_> = (0..clients).map(|_| listener.accept().unwrap().0).collect();
            for mut stream in streams {
                let replies = replies.clone();
                thread::spawn(move || {
                    let mut request = vec![0; request_size];
                    while stream.read_exact(&mut request).is_ok() {
                        for part in replies.chunks(7) {
                            stream.write_all(part).unwrap();
                        }
                    }
                });
            }
        });
        address
    }

    #[test]
    fn counts_every_answered_command() {
        let mut batch = Workload::named("get").unwrap().batch(16, 64, 0..1000);
        let replies = format!("$64\r\n{}\r\n", "v".repeat(64)).repeat(16).into_bytes();
        let address = serve(batch.encoded.bytes().len(), replies, 3);
        let mut load = Load::connect(address, 3).unwrap();
        let run = load.run(&mut batch, Until::Commands(1000)).unwrap();
        assert_eq!(run.commands, 63 * 16);
        assert_eq!(run.latency.len(), 63);
        // A second run on the same connections starts from a clean state.
        let run = load.run(&mut batch, Until::Commands(1)).unwrap();
        assert_eq!(run.commands, 16);
    }

    #[test]
    fn reports_a_wrong_reply() {
        let mut batch = Workload::named("set").unwrap().batch(1, 8, 0..1);
        let address = serve(batch.encoded.bytes().len(), b"-OOM no\r\n".to_vec(), 1);
        let mut load = Load::connect(address, 1).unwrap();
        let error = load.run(&mut batch, Until::Commands(1)).unwrap_err();
        assert!(error.to_string().contains("-OOM"), "{error}");
    }
}
