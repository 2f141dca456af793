//! The append-only log in a run: what is written to it must lead to what the clients have seen.
//!
//! Cores write when they say so, and flushes end some rounds later, as by a disk. A reply waits for
//! that (`appendfsync always`), or for the write, so at rest everything is in the file.

use kvasir_proto::Value;
use kvasir_server::config::Config;
use kvasir_server::persist::log::LogFile;
use kvasir_server::route::engine::{ConnectionKey, Engine, Now, SocketInfo};
use kvasir_server::route::shared::Shared;
use kvasir_testing::Rng;

use crate::load;
use crate::node::EPOCH_US;
use crate::world::cores;

/// The configuration of a server with a log.
pub(crate) fn config(rng: &mut Rng) -> Config {
    let policy = if rng.one_in(3) { "everysec" } else { "always" };
    let text = format!("appendonly yes\nappendfsync {policy}\nsave \"\"");
    Config::from_text(&text).expect("it is well-formed")
}

/// The file of a log.
pub(crate) struct Disk(tempfile::NamedTempFile);

impl Disk {
    /// Begins the log of a server.
    pub(crate) fn begin(shared: &Shared) -> Self {
        let file = tempfile::NamedTempFile::new().expect("there is room for a file");
        let (log_file, bytes) = LogFile::open(file.path()).expect("it can be opened again");
        shared.persistence.log.open(log_file, bytes);
        shared.persistence.log.set_on(true);
        Self(file)
    }

    /// The replies that a server with one core gives to these requests when it has repeated the
    /// log.
    pub(crate) fn answer(&self, rng: &mut Rng, requests: &[Vec<String>]) -> Vec<Value> {
        let mut core = cores(1, rng, Config::default()).next().expect("there is a core");
        core.tick(Now { unix_us: EPOCH_US, monotonic_us: 0 });
        let key = core.opened(SocketInfo::none());
        let text = std::fs::read(self.0.path()).expect("it can be read");
        if std::env::var_os("KVASIR_SIM_LOG").is_some() {
            eprintln!("{}", String::from_utf8_lossy(&text).replace("\r\n", " "));
        }
        let output = feed(&mut core, key, &text);
        let replies_to_log = replies(&output);
        let error = replies_to_log.iter().position(|reply| matches!(reply, Value::Error(_)));
        let shown = || String::from_utf8_lossy(&text).replace("\r\n", " ");
        assert_eq!(error, None, "what is logged can be repeated: {}", shown());
        let asked: Vec<u8> = requests.iter().flat_map(|args| load::encode(args, false)).collect();
        let select = b"SELECT 0\r\n";
        let output = feed(&mut core, key, &[select.as_slice(), &asked].concat());
        replies(&output).split_off(1)
    }
}

fn feed(core: &mut impl Engine, key: ConnectionKey, bytes: &[u8]) -> Vec<u8> {
    let mut output = Vec::new();
    for part in bytes.chunks(64 << 10) {
        core.received(key, part);
        for _ in 0..4 {
            core.work();
            while let Some(dirty) = core.next_dirty() {
                let part = core.take_output(dirty, Vec::new());
                core.sent(dirty, part.len(), 0);
                output.extend(part);
            }
        }
    }
    output
}

fn replies(mut bytes: &[u8]) -> Vec<Value> {
    let mut replies = Vec::new();
    while let Some((value, len)) = Value::parse(bytes).expect("what comes is a reply") {
        replies.push(value);
        bytes = &bytes[len..];
    }
    replies
}
