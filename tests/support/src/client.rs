//! A small blocking RESP client, and a table-driven check on top of it.

use std::fmt::Write as _;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use kvasir_proto::value::Value;

use crate::{Server, words};

/// How long a reply may take: a server that never answers fails its test instead of hanging it.
const REPLY_PATIENCE: Duration = Duration::from_secs(60);

/// Why there is no reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoReply {
    /// The server has closed the connection.
    Closed,
    /// None came within the client's patience.
    Late,
}

/// One connection to a server.
#[derive(Debug)]
pub struct Client {
    stream: TcpStream,
    /// Bytes received and not yet taken as replies.
    received: Vec<u8>,
}

impl Client {
    /// Connects to a server.
    #[track_caller]
    pub fn connect(addr: SocketAddr) -> Self {
        Self::try_connect(addr).expect("connect to the server")
    }

    /// Connects to a server that may not be there.
    pub fn try_connect(addr: SocketAddr) -> Option<Self> {
        let stream = TcpStream::connect(addr).ok()?;
        stream.set_nodelay(true).expect("set TCP_NODELAY");
        stream.set_read_timeout(Some(REPLY_PATIENCE)).expect("set the time limit of reads");
        stream.set_write_timeout(Some(REPLY_PATIENCE)).expect("set the time limit of writes");
        Some(Self { stream, received: Vec::new() })
    }

    /// A request as an array of bulk strings.
    pub fn encode<A: AsRef<[u8]>>(args: &[A]) -> Vec<u8> {
        let mut bytes = format!("*{}\r\n", args.len()).into_bytes();
        for arg in args {
            let arg = arg.as_ref();
            bytes.extend_from_slice(format!("${}\r\n", arg.len()).as_bytes());
            bytes.extend_from_slice(arg);
            bytes.extend_from_slice(b"\r\n");
        }
        bytes
    }

    /// Sets how long a reply may take; a minute unless set.
    pub fn set_patience(&mut self, patience: Duration) {
        self.stream.set_read_timeout(Some(patience)).expect("set the time limit of reads");
    }

    /// Sends a request without waiting for its reply.
    #[track_caller]
    pub fn send<A: AsRef<[u8]>>(&mut self, args: &[A]) {
        self.send_raw(&Self::encode(args));
    }

    /// Sends bytes as they are: several requests at once, or what is none.
    #[track_caller]
    pub fn send_raw(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).expect("send to the server");
    }

    /// Sends bytes to a server that may be gone; false when it is.
    pub fn try_send_raw(&mut self, bytes: &[u8]) -> bool {
        self.stream.write_all(bytes).is_ok()
    }

    /// Sends a request and waits for its reply.
    #[track_caller]
    pub fn call<A: AsRef<[u8]>>(&mut self, args: &[A]) -> Value {
        self.send(args);
        self.read()
    }

    /// Sends a command line, see [`words`], and waits for its reply.
    #[track_caller]
    pub fn run(&mut self, line: &str) -> Value {
        self.call(&words(line))
    }

    /// Sends several requests in one write and waits for all their replies.
    #[track_caller]
    pub fn pipeline<A: AsRef<[u8]>>(&mut self, requests: &[Vec<A>]) -> Vec<Value> {
        let bytes: Vec<u8> = requests.iter().flat_map(|args| Self::encode(args)).collect();
        self.send_raw(&bytes);
        requests.iter().map(|_| self.read()).collect()
    }

    /// Waits for the next reply.
    #[track_caller]
    pub fn read(&mut self) -> Value {
        self.read_with_bytes().0
    }

    /// Waits for the next reply; also yields the bytes it came as.
    #[track_caller]
    pub fn read_with_bytes(&mut self) -> (Value, Vec<u8>) {
        self.try_read().unwrap_or_else(|why| panic!("no reply from the server: {why:?}"))
    }

    /// Waits for the next reply; also yields the bytes it came as. Panics on what is no reply.
    #[track_caller]
    pub fn try_read(&mut self) -> Result<(Value, Vec<u8>), NoReply> {
        loop {
            let parsed = Value::parse(&self.received);
            let parsed = parsed.unwrap_or_else(|error| {
                let start = &self.received[..self.received.len().min(200)];
                panic!("not a reply ({error}): {}", start.escape_ascii())
            });
            if let Some((value, length)) = parsed {
                let rest = self.received.split_off(length);
                return Ok((value, std::mem::replace(&mut self.received, rest)));
            }
            let mut chunk = vec![0; 64 * 1024];
            let length = match self.stream.read(&mut chunk) {
                Ok(0) => return Err(NoReply::Closed),
                Ok(length) => length,
                Err(error) => match error.kind() {
                    ErrorKind::Interrupted => continue,
                    ErrorKind::WouldBlock | ErrorKind::TimedOut => return Err(NoReply::Late),
                    ErrorKind::ConnectionReset => return Err(NoReply::Closed),
                    _ => panic!("read from the server: {error}"),
                },
            };
            self.received.extend_from_slice(&chunk[..length]);
        }
    }

    /// Whether the server has closed the connection once all its replies are read.
    #[track_caller]
    pub fn is_closed(&mut self) -> bool {
        loop {
            match self.try_read() {
                Ok(_) => {}
                Err(why) => return why == NoReply::Closed,
            }
        }
    }

    /// The socket, for what this client has no method for.
    pub fn stream(&self) -> &TcpStream {
        &self.stream
    }
}

impl Server {
    /// A new connection to the server.
    #[track_caller]
    pub fn client(&self) -> Client {
        Client::connect(self.addr())
    }
}

/// Runs commands on one new connection and compares each reply with what [`show`] makes of it.
///
/// ```ignore
/// check(&server, &[("SET a 1", "OK"), ("GET a", "\"1\""), ("GET b", "nil"), ("INCR a", "2")]);
/// ```
#[track_caller]
pub fn check(server: &Server, table: &[(&str, &str)]) {
    let mut client = server.client();
    for (index, (line, expected)) in table.iter().enumerate() {
        let shown = show(&client.run(line));
        assert_eq!(&shown, expected, "row {index}: {line}");
    }
}

/// A reply as text: `OK`, `-ERR why`, `7`, `"bulk"`, `nil`, `nil-array`, `[1 2]`, `{"k": 1}`,
/// `set[1 2]`, `push["a" 1]`, `1.5d`, `true`, `123big`, `txt:"text"`, `attribute{...} value`.
pub fn show(value: &Value) -> String {
    let list = |values: &[Value]| values.iter().map(show).collect::<Vec<_>>().join(" ");
    match value {
        Value::Simple(text) => text.escape_ascii().to_string(),
        // Errors quote with apostrophes, which tables of them shall show as they are.
        Value::Error(text) => format!("-{}", text.escape_ascii()).replace("\\'", "'"),
        Value::Integer(number) => number.to_string(),
        Value::Bulk(bytes) => format!("\"{}\"", bytes.escape_ascii()),
        Value::Null => "nil".to_owned(),
        Value::NullArray => "nil-array".to_owned(),
        Value::Array(values) => format!("[{}]", list(values)),
        Value::Set(values) => format!("set[{}]", list(values)),
        Value::Push(values) => format!("push[{}]", list(values)),
        Value::Map(pairs) => show_pairs(pairs),
        Value::Double(number) => format!("{number}d"),
        Value::Boolean(truth) => truth.to_string(),
        Value::BigNumber(digits) => format!("{}big", digits.escape_ascii()),
        Value::Verbatim(format, text) => {
            format!("{}:\"{}\"", format.escape_ascii(), text.escape_ascii())
        }
        Value::Attribute(pairs, value) => format!("attribute{} {}", show_pairs(pairs), show(value)),
    }
}

fn show_pairs(pairs: &[(Value, Value)]) -> String {
    let mut text = "{".to_owned();
    for (index, (key, value)) in pairs.iter().enumerate() {
        let comma = if index == 0 { "" } else { ", " };
        // Writing to a string cannot fail.
        let _ = write!(text, "{comma}{}: {}", show(key), show(value));
    }
    text.push('}');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_arrays_of_bulk_strings() {
        let args: [&[u8]; 2] = [b"GET", b"a\r\n"];
        assert_eq!(Client::encode(&args), b"*2\r\n$3\r\nGET\r\n$3\r\na\r\n\r\n");
    }

    #[test]
    fn replies_are_shown_so_that_types_differ() {
        let reply = |bytes: &[u8]| show(&Value::parse(bytes).unwrap().unwrap().0);
        assert_eq!(reply(b"*3\r\n:1\r\n$1\r\n1\r\n_\r\n"), "[1 \"1\" nil]");
        assert_eq!(reply(b"%1\r\n+k\r\n,1.5\r\n"), "{k: 1.5d}");
        assert_eq!(reply(b"-ERR no\r\n"), "-ERR no");
        assert_eq!(reply(b"=5\r\ntxt:a\r\n"), "txt:\"a\"");
        assert_eq!(reply(b"|1\r\n+k\r\n:1\r\n#t\r\n"), "attribute{k: 1} true");
    }
}
