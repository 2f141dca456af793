//! What happens on a connection: bytes in, bytes out, its end.
//!
//! The life of a socket is driven by two facts that the engine states ([`Disposition`]) and by the
//! completions of at most one receive and one send. It is closed only when both are over, and only
//! then does the engine get its key back.

use std::io;
use std::os::fd::OwnedFd;

use super::Driver;
use super::sockets::{Receive, Socket};
use crate::route::engine::{Close, ConnectionKey, Disposition, Engine, SocketInfo};
use crate::server::ring::{Completion, Kind, Progress};

/// The most capacity an output buffer keeps for its next use.
const SPARE_CAPACITY_MAX: usize = 64 * 1024;
/// The most output buffers that are kept for their next use.
const SPARES_MAX: usize = 128;

/// Lists that are empty between rounds (but for `spares`) and only kept for their capacity.
#[derive(Default, Debug)]
pub(super) struct Scratch {
    /// Connections whose receive has ended and may have to be started again.
    resume: Vec<ConnectionKey>,
    /// Whether a receive has ended for want of a buffer.
    starved: bool,
    /// Connections whose send has ended and which the engine had reported meanwhile.
    unsettled: Vec<ConnectionKey>,
    /// Sockets that other cores have handed over.
    pub(super) incoming: Vec<(OwnedFd, bool)>,
    /// Output buffers for reuse, the one used last on top: its memory is in the cache.
    spares: Vec<Vec<u8>>,
}

impl Scratch {
    fn keep(&mut self, buffer: Vec<u8>) {
        debug_assert!(buffer.is_empty(), "a buffer is used up before it is kept");
        if buffer.capacity() <= SPARE_CAPACITY_MAX && self.spares.len() < SPARES_MAX {
            self.spares.push(buffer);
        }
    }
}

impl<E: Engine> Driver<E> {
    pub(super) fn open_connection(
        &mut self,
        info: SocketInfo,
        descriptor: OwnedFd,
    ) -> io::Result<()> {
        let key = self.engine.opened(info);
        self.sockets.insert(key, Socket::new(descriptor));
        self.start_receive(key)
    }

    fn start_receive(&mut self, key: ConnectionKey) -> io::Result<()> {
        let token = self.sockets.token(Kind::Receive, key);
        let socket = self.sockets.of(token);
        socket.receive = Receive::On;
        self.ring.receive(socket.descriptor(), token)
    }

    fn stop_receive(&mut self, key: ConnectionKey) -> io::Result<()> {
        let target = self.sockets.token(Kind::Receive, key);
        self.sockets.of(target).receive = Receive::Stopping;
        self.ring.cancel(target, self.sockets.token(Kind::CancelReceive, key))
    }

    pub(super) fn complete_receive(&mut self, completion: &Completion) -> io::Result<()> {
        let key = ConnectionKey(completion.token.index());
        let socket = self.sockets.of(completion.token);
        if !completion.more() {
            socket.receive = Receive::Off;
            self.connection.resume.push(key);
        }
        let deaf = socket.closing || socket.ended;
        if let Some(buffer) = completion.buffer() {
            if completion.result > 0 && !deaf {
                let bytes = self.ring.received(buffer, completion.result as usize);
                self.engine.received(key, bytes);
            }
            self.ring.recycle(buffer);
        }
        match -completion.result {
            0 if !deaf => {
                socket.ended = true;
                self.engine.hangup(key, false);
            }
            libc::ENOBUFS => self.connection.starved = true,
            libc::ECANCELED | libc::EINTR | libc::EAGAIN => {}
            error if error > 0 => self.fail(key)?,
            _ => {}
        }
        Ok(())
    }

    /// Notes which peers have shut down their side and sent nothing before that in this round.
    /// Whoever has left is to be gone when mail is handled that was sent later: a publisher counts
    /// who is there.
    pub(super) fn note_ended(&mut self, completions: &[Completion]) {
        let receives = || completions.iter().filter(|done| done.token.kind() == Kind::Receive);
        if !receives().any(|done| done.result == 0) {
            return;
        }
        for done in receives() {
            let socket = self.sockets.of(done.token);
            if done.result > 0 {
                socket.has_news = true;
            } else if done.result == 0 && !(socket.has_news || socket.closing || socket.ended) {
                socket.ended = true;
                self.engine.hangup(ConnectionKey(done.token.index()), false);
            }
        }
        for done in receives() {
            self.sockets.of(done.token).has_news = false;
        }
    }

    /// A cancellation that came while the receive was at work has to be tried again.
    pub(super) fn complete_cancel(&mut self, completion: &Completion) -> io::Result<()> {
        let key = ConnectionKey(completion.token.index());
        let stopping = |socket: &mut Socket| socket.receive == Receive::Stopping;
        if completion.result == -libc::EALREADY
            && self.sockets.of_late(completion.token).is_some_and(stopping)
        {
            return self.stop_receive(key);
        }
        Ok(())
    }

    /// Starts the receives again that have ended during this round, now that their buffers are
    /// back.
    pub(super) fn resume_receives(&mut self) -> io::Result<()> {
        if std::mem::take(&mut self.connection.starved) {
            tracing::debug!("All receive buffers are in use");
            self.ring.lend_more();
        }
        while let Some(key) = self.connection.resume.pop() {
            match self.sockets.get_mut(key) {
                Some(socket) if socket.wants_receive() => self.start_receive(key)?,
                Some(socket) if socket.is_finished() => self.finish(key),
                _ => {}
            }
        }
        Ok(())
    }

    pub(super) fn complete_send(&mut self, completion: &Completion) -> io::Result<()> {
        let key = ConnectionKey(completion.token.index());
        let socket = self.sockets.of(completion.token);
        let progress = self.ring.sent(socket.descriptor(), completion, socket.closing)?;
        let (buffer, left, failed) = match progress {
            Progress::Done(buffer) => (buffer, 0, false),
            Progress::Failed(buffer) => (buffer, 0, true),
            Progress::Continues(left) => (Vec::new(), left, false),
        };
        self.connection.keep(buffer);
        if left == 0 {
            socket.sending = false;
        }
        if socket.closing {
            if socket.is_finished() {
                self.finish(key);
            }
            return Ok(());
        }
        if failed {
            return self.fail(key);
        }
        if left == 0 && std::mem::take(&mut socket.unsettled) {
            self.connection.unsettled.push(key);
        }
        self.engine.sent(key, completion.result.max(0) as usize, left);
        Ok(())
    }

    /// Does what the engine wants with the connections that it reports.
    pub(super) fn settle_all(&mut self) -> io::Result<()> {
        while let Some(key) = self.connection.unsettled.pop() {
            self.settle(key)?;
        }
        while let Some(key) = self.engine.next_dirty() {
            self.settle(key)?;
        }
        Ok(())
    }

    fn settle(&mut self, key: ConnectionKey) -> io::Result<()> {
        let Some(socket) = self.sockets.get_mut(key) else {
            return Ok(());
        };
        if socket.closing {
            return Ok(());
        }
        let Disposition { read, close } = self.engine.disposition(key);
        if close == Close::Now {
            return self.close(key);
        }
        socket.reading = read;
        match socket.receive {
            Receive::On if !read => self.stop_receive(key)?,
            Receive::Off if socket.wants_receive() => self.start_receive(key)?,
            _ => {}
        }
        self.settle_output(key, close)
    }

    fn settle_output(&mut self, key: ConnectionKey, close: Close) -> io::Result<()> {
        let token = self.sockets.token(Kind::Send, key);
        let socket = self.sockets.of(token);
        if socket.sending {
            socket.unsettled = true;
            return Ok(());
        }
        let spare = self.connection.spares.pop().unwrap_or_default();
        let output = self.engine.take_output(key, spare);
        if !output.is_empty() {
            socket.sending = true;
            // Closing after the output is decided again when the output is through.
            socket.unsettled = close == Close::AfterOutput;
            return self.ring.send(socket.descriptor(), token, output);
        }
        self.connection.keep(output);
        if close == Close::AfterOutput { self.close(key) } else { Ok(()) }
    }

    /// The connection is broken: nothing more can be read or written.
    fn fail(&mut self, key: ConnectionKey) -> io::Result<()> {
        let Some(socket) = self.sockets.get_mut(key) else {
            return Ok(());
        };
        if socket.closing {
            return Ok(());
        }
        socket.ended = true;
        self.engine.hangup(key, true);
        self.close(key)
    }

    /// Ends what is in flight, and closes as soon as it has ended.
    fn close(&mut self, key: ConnectionKey) -> io::Result<()> {
        let token = self.sockets.token(Kind::Send, key);
        let socket = self.sockets.of(token);
        socket.closing = true;
        socket.unsettled = false;
        if socket.sending {
            self.ring.cancel(token, self.sockets.token(Kind::Ignored, key))?;
        }
        let socket = self.sockets.of(token);
        if socket.receive == Receive::On {
            return self.stop_receive(key);
        }
        if socket.is_finished() {
            self.finish(key);
        }
        Ok(())
    }

    fn finish(&mut self, key: ConnectionKey) {
        drop(self.sockets.remove(key));
        self.mailbox.cores().connection_closed(self.mailbox.own());
        self.engine.closed(key);
    }
}
