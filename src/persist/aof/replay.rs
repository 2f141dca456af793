//! The way of a log's commands from the thread that reads them to the core that runs them.
//!
//! Commands of one log have one order, and only a connection keeps it while its requests run on
//! several shards. So they all go to the first core, which has a connection without a socket for
//! them (`route/replay.rs`): as text, in parcels, through a bounded channel.

use std::sync::mpsc::{self, Receiver, Sender, SyncSender, TryRecvError};

/// Text of a parcel, unless one command takes more. Bytes.
pub const PARCEL_BYTES: usize = 64 * 1024;
/// Parcels on their way.
const PARCELS_AHEAD: usize = 32;

#[derive(Debug)]
enum Parcel {
    File,
    Commands(Vec<u8>),
    /// There is no more. To be dropped when everything before has been done.
    End(Sender<()>),
}

/// What the core found in its channel.
#[derive(Debug)]
pub enum Replayed {
    /// Another file begins: its commands know nothing of the connection's state before.
    File,
    /// Whole commands.
    Commands(Vec<u8>),
    /// Nothing yet.
    Nothing,
    /// There is no more. To be dropped when everything before has been done.
    End(ReplayEnd),
}

/// Tells the reading thread, when it is dropped, that all commands have been done.
#[derive(Debug)]
pub struct ReplayEnd {
    _end: Option<Sender<()>>,
}

/// The core's end of the channel.
#[derive(Debug)]
pub struct ReplayPort(Receiver<Parcel>);

impl ReplayPort {
    /// The next parcel, without waiting.
    pub fn take(&self) -> Replayed {
        match self.0.try_recv() {
            Ok(Parcel::File) => Replayed::File,
            Ok(Parcel::Commands(text)) => Replayed::Commands(text),
            Ok(Parcel::End(end)) => Replayed::End(ReplayEnd { _end: Some(end) }),
            Err(TryRecvError::Empty) => Replayed::Nothing,
            Err(TryRecvError::Disconnected) => Replayed::End(ReplayEnd { _end: None }),
        }
    }
}

/// The core takes no more: the process ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Interrupted;

/// The thread's end of the channel.
#[derive(Debug)]
pub struct ReplaySender {
    parcels: SyncSender<Parcel>,
    /// What is collected for the next parcel.
    text: Vec<u8>,
}

impl ReplaySender {
    /// Both ends.
    pub fn new() -> (Self, ReplayPort) {
        let (parcels, port) = mpsc::sync_channel(PARCELS_AHEAD);
        (Self { parcels, text: Vec::new() }, ReplayPort(port))
    }

    /// Another file begins. Blocks while the core is behind.
    pub fn begin_file(&mut self) -> Result<(), Interrupted> {
        self.flush()?;
        self.send(Parcel::File)
    }

    /// Adds a whole command; true when that has filled a parcel, which blocks while the core is
    /// behind.
    pub fn command(&mut self, text: &[u8]) -> Result<bool, Interrupted> {
        self.text.extend_from_slice(text);
        let is_full = self.text.len() >= PARCEL_BYTES;
        if is_full {
            self.flush()?;
        }
        Ok(is_full)
    }

    /// Sends what has been collected.
    fn flush(&mut self) -> Result<(), Interrupted> {
        if self.text.is_empty() {
            return Ok(());
        }
        let text = std::mem::take(&mut self.text);
        self.send(Parcel::Commands(text))
    }

    /// Sends what is left, and waits until the core has done everything.
    pub fn finish(mut self) -> Result<(), Interrupted> {
        self.flush()?;
        let (end, done) = mpsc::channel();
        self.send(Parcel::End(end))?;
        // Nothing is ever sent: it fails when the other end is gone.
        let _ = done.recv();
        Ok(())
    }

    fn send(&self, parcel: Parcel) -> Result<(), Interrupted> {
        self.parcels.send(parcel).map_err(|_| Interrupted)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_come_in_order_and_the_end_is_seen() {
        let (mut sender, port) = ReplaySender::new();
        assert!(matches!(port.take(), Replayed::Nothing));
        sender.begin_file().unwrap();
        assert!(!sender.command(b"one").unwrap());
        assert!(sender.command(&vec![b'x'; PARCEL_BYTES]).unwrap());
        sender.command(b"two").unwrap();
        let thread = std::thread::spawn(move || sender.finish());
        assert!(matches!(port.take(), Replayed::File));
        let Replayed::Commands(text) = port.take() else { panic!("commands are there") };
        assert!(text.starts_with(b"onexxx"));
        let last = loop {
            match port.take() {
                Replayed::Nothing => std::thread::yield_now(),
                other => break other,
            }
        };
        assert!(matches!(last, Replayed::Commands(text) if text == b"two"));
        let end = loop {
            if let Replayed::End(end) = port.take() {
                break end;
            }
            std::thread::yield_now();
        };
        assert!(!thread.is_finished(), "not all has been done");
        drop(end);
        thread.join().unwrap().unwrap();
    }

    #[test]
    fn who_is_gone_is_noticed() {
        let (mut sender, port) = ReplaySender::new();
        drop(port);
        sender.command(b"one").unwrap();
        assert_eq!(sender.finish(), Err(Interrupted));
        let (sender, port) = ReplaySender::new();
        drop(sender);
        assert!(matches!(port.take(), Replayed::End(_)));
    }
}
