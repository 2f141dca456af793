//! A server of GET, SET and PING over the driver alone: what a core's loop costs without a
//! database.
//!
//! `cargo run --release --example bare_loop -- PORT [SHARDS]`. Every shard has a map of its own, so
//! this is for measuring, not for use.

use std::collections::VecDeque;

use ahash::HashMap;
use kvasir_server::route::engine::{
    Close, ConnectionKey, Disposition, Engine, Now, ShardId, ShutdownSignal, SocketInfo, Wake,
};
use kvasir_server::route::message::Batch;
use kvasir_server::server::listener::ListenOptions;
use kvasir_server::server::runtime::{RunOptions, Signals, prepare, run};

#[derive(Default)]
struct Connection {
    input: Vec<u8>,
    output: Vec<u8>,
    dirty: bool,
    ended: bool,
}

#[derive(Default)]
struct BareEngine {
    map: HashMap<Vec<u8>, Vec<u8>>,
    connections: Vec<Connection>,
    free: Vec<u32>,
    dirty: VecDeque<ConnectionKey>,
    stopping: bool,
}

impl BareEngine {
    fn touch(&mut self, key: ConnectionKey) {
        if !std::mem::replace(&mut self.connections[key.0 as usize].dirty, true) {
            self.dirty.push_back(key);
        }
    }

    /// Answers the complete requests; returns how many bytes they were.
    fn execute_all(&mut self, key: ConnectionKey, bytes: &[u8]) -> usize {
        let mut arguments = Vec::with_capacity(4);
        let mut position = 0;
        let output = &mut self.connections[key.0 as usize].output;
        while let Some(length) = parse(&bytes[position..], &mut arguments) {
            position += length;
            execute(&mut self.map, &arguments, output);
        }
        position
    }
}

impl Engine for BareEngine {
    fn tick(&mut self, _now: Now) {}

    fn opened(&mut self, _info: SocketInfo) -> ConnectionKey {
        let index = self.free.pop().unwrap_or(self.connections.len() as u32);
        if index as usize == self.connections.len() {
            self.connections.push(Connection::default());
        }
        ConnectionKey(index)
    }

    fn received(&mut self, key: ConnectionKey, bytes: &[u8]) {
        let mut input = std::mem::take(&mut self.connections[key.0 as usize].input);
        if input.is_empty() {
            let used = self.execute_all(key, bytes);
            input.extend_from_slice(&bytes[used..]);
        } else {
            input.extend_from_slice(bytes);
            let used = self.execute_all(key, &input);
            input.drain(..used);
        }
        self.connections[key.0 as usize].input = input;
        self.touch(key);
    }

    fn closed(&mut self, key: ConnectionKey) {
        self.connections[key.0 as usize] = Connection::default();
        self.free.push(key.0);
    }

    fn hangup(&mut self, key: ConnectionKey, _failed: bool) {
        self.connections[key.0 as usize].ended = true;
        self.touch(key);
    }

    fn sent(&mut self, _key: ConnectionKey, _bytes: usize, _in_flight: usize) {}

    fn deliver(&mut self, _batch: Box<Batch>) {}

    fn signal(&mut self, _signal: ShutdownSignal) {
        self.stopping = true;
    }

    fn work(&mut self) -> Wake {
        Wake::Never
    }

    fn next_dirty(&mut self) -> Option<ConnectionKey> {
        let key = self.dirty.pop_front()?;
        self.connections[key.0 as usize].dirty = false;
        Some(key)
    }

    fn take_output(&mut self, key: ConnectionKey, spare: Vec<u8>) -> Vec<u8> {
        std::mem::replace(&mut self.connections[key.0 as usize].output, spare)
    }

    fn disposition(&self, key: ConnectionKey) -> Disposition {
        let ended = self.connections[key.0 as usize].ended;
        Disposition { read: true, close: if ended { Close::AfterOutput } else { Close::No } }
    }

    fn next_outgoing(&mut self) -> Option<(ShardId, Box<Batch>)> {
        None
    }

    fn serves_script(&self) -> bool {
        false
    }

    fn stopping(&self) -> bool {
        self.stopping
    }
}

fn execute(map: &mut HashMap<Vec<u8>, Vec<u8>>, arguments: &[&[u8]], output: &mut Vec<u8>) {
    match arguments {
        [name, key] if name.eq_ignore_ascii_case(b"GET") => match map.get(*key) {
            Some(value) => {
                output.push(b'$');
                output.extend_from_slice(itoa::Buffer::new().format(value.len()).as_bytes());
                output.extend_from_slice(b"\r\n");
                output.extend_from_slice(value);
                output.extend_from_slice(b"\r\n");
            }
            None => output.extend_from_slice(b"$-1\r\n"),
        },
        [name, key, value] if name.eq_ignore_ascii_case(b"SET") => {
            map.insert(key.to_vec(), value.to_vec());
            output.extend_from_slice(b"+OK\r\n");
        }
        [name, ..] if name.eq_ignore_ascii_case(b"CONFIG") => output.extend_from_slice(b"*0\r\n"),
        _ => output.extend_from_slice(b"+PONG\r\n"),
    }
}

fn number(bytes: &[u8], position: &mut usize) -> Option<usize> {
    let mut value = 0;
    loop {
        match *bytes.get(*position)? {
            b'\r' => break,
            digit => value = value * 10 + usize::from(digit.wrapping_sub(b'0')),
        }
        *position += 1;
    }
    *position += 2;
    (*position <= bytes.len()).then_some(value)
}

/// The arguments of the first request and its length, if it is complete.
fn parse<'a>(bytes: &'a [u8], arguments: &mut Vec<&'a [u8]>) -> Option<usize> {
    arguments.clear();
    if *bytes.first()? != b'*' {
        let end = bytes.iter().position(|&byte| byte == b'\n')?;
        arguments
            .extend(bytes[..end].split(u8::is_ascii_whitespace).filter(|word| !word.is_empty()));
        return Some(end + 1);
    }
    let mut position = 1;
    for _ in 0..number(bytes, &mut position)? {
        position += 1;
        let length = number(bytes, &mut position)?;
        arguments.push(bytes.get(position..position + length)?);
        position += length + 2;
    }
    (position <= bytes.len()).then_some(position)
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let port = arguments.next().ok_or("usage: bare_loop PORT [SHARDS]")?.parse()?;
    let shards = arguments.next().map_or(Ok(1), |text| text.parse())?;
    let listen = ListenOptions { bind: vec!["127.0.0.1".into()], port, ..ListenOptions::default() };
    let prepared = prepare(RunOptions { shards, listen, ..RunOptions::default() })?;
    Ok(run(prepared, &Signals::take_over()?, None, || {}, |_| BareEngine::default())?)
}
