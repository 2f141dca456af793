//! One core's `io_uring`: what the driver asks of the kernel, and what the kernel answers.
//!
//! Operations are queued without a system call; [`Ring::enter`] submits all of them, runs the
//! kernel's deferred work and collects every completion, in one system call a round.
//!
//! **Ownership of memory.** Whatever the kernel reads or writes while an operation is in flight
//! belongs to the ring: output buffers (given by [`Ring::send`], returned by [`Ring::sent`]), what
//! is written to the log ([`Ring::append`], [`Ring::append_went_on`]), the receive buffers and the
//! timer's deadline. So no caller can free it too early, and nothing
//! outside of this module and `buffers` needs `unsafe`.
//!
//! **Tokens.** An operation's `user_data` carries its kind, the connection's key and the generation
//! of that key, so that a completion that comes late never reaches the connection which has
//! got the same key since.
#![expect(unsafe_code, reason = "the kernel's rings; every block argues its safety")]

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::time::Duration;

use io_uring::types::{CancelBuilder, Fd, FsyncFlags, SubmitArgs, Timespec};
use io_uring::{IoUring, cqueue, opcode, squeue};

use super::buffers::{GROUP, ReceiveBuffers};
use crate::persist::log::Append;

/// Entries of the submission queue; a fuller one is submitted before the round's end.
const SUBMISSIONS: u32 = 512;
/// Entries of the completion queue (16 bytes each). The kernel keeps what does not fit elsewhere.
const COMPLETIONS: u32 = 4096;
/// The most bytes one send operation covers, so that progress of a large output is seen.
const SEND_MAX: usize = 512 * 1024;

/// A send of no more bytes than this is expected to complete while it is submitted.
const QUICK_SEND_MAX: u32 = 32 * 1024;

/// Completions that end a patient wait at once, and its least length, microseconds.
const PATIENCE: (usize, u32) = (16, 30);

/// What an operation is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub(super) enum Kind {
    /// A listener's multishot accept; the index is the listener's.
    Accept,
    /// A connection's multishot receive.
    Receive,
    /// A connection's send.
    Send,
    /// The cancellation of a connection's receive.
    CancelReceive,
    /// The multishot poll of the eventfd by which other threads wake this one.
    Wake,
    /// The timer that ends a park.
    Timer,
    /// The delay before a write to the log.
    LogDelay,
    /// A write to the log.
    LogWrite,
    /// A flush of the log.
    LogFlush,
    /// An operation whose completion tells nothing.
    Ignored,
}

impl Kind {
    const ALL: [Self; 10] = [
        Self::Accept,
        Self::Receive,
        Self::Send,
        Self::CancelReceive,
        Self::Wake,
        Self::Timer,
        Self::LogDelay,
        Self::LogWrite,
        Self::LogFlush,
        Self::Ignored,
    ];
}

/// Names an operation: kind (8 bits), generation (24 bits), index (32 bits).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Token(u64);

impl Token {
    pub(super) fn new(kind: Kind, index: u32, generation: u32) -> Self {
        let generation = u64::from(generation & 0xff_ffff);
        Self((kind as u64) << 56 | generation << 32 | u64::from(index))
    }

    pub(super) fn kind(self) -> Kind {
        Kind::ALL[(self.0 >> 56) as usize]
    }

    pub(super) fn index(self) -> u32 {
        self.0 as u32
    }

    /// Whether the operation was started for this generation of its index.
    pub(super) fn is_of(self, generation: u32) -> bool {
        (self.0 >> 32) & 0xff_ffff == u64::from(generation & 0xff_ffff)
    }
}

/// A completion as the kernel posted it. It may carry a descriptor, so it is not copied.
#[derive(Debug)]
pub(super) struct Completion {
    pub(super) token: Token,
    /// A count or descriptor, or a negated error number.
    pub(super) result: i32,
    flags: u32,
}

impl Completion {
    /// Whether the operation goes on and will complete again (multishot).
    pub(super) fn more(&self) -> bool {
        cqueue::more(self.flags)
    }

    /// The receive buffer that holds the bytes, if there is one.
    pub(super) fn buffer(&self) -> Option<u16> {
        cqueue::buffer_select(self.flags)
    }

    /// The socket that an accept has brought, or its error.
    pub(super) fn into_socket(self) -> io::Result<OwnedFd> {
        assert!(self.token.kind() == Kind::Accept, "invariant: only an accept brings a socket");
        if self.result < 0 {
            return Err(io::Error::from_raw_os_error(-self.result));
        }
        // SAFETY: the kernel opened the descriptor for this completion, which exists once and is
        // consumed here.
        Ok(unsafe { OwnedFd::from_raw_fd(self.result) })
    }
}

/// How long [`Ring::enter`] may block.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Wait {
    /// Not at all.
    No,
    /// Until something but the sends that are queued completes, but no longer than this.
    AtMost(Duration),
    /// The same, and for others to come after the first, if the kernel can do that: as long as
    /// little has come in little time.
    Patiently(Duration),
}

/// How far a send has come.
#[derive(Debug)]
pub(super) enum Progress {
    /// The kernel has all of it. The buffer comes back, empty.
    Done(Vec<u8>),
    /// So many bytes are still to be sent; the next part of them is queued.
    Continues(usize),
    /// The connection is broken. The buffer comes back, empty.
    Failed(Vec<u8>),
}

/// An output buffer while the kernel reads it.
#[derive(Default, Debug)]
struct Outbound {
    bytes: Vec<u8>,
    sent: usize,
    in_flight: bool,
}

/// A write to the log while the kernel reads it.
struct Appending {
    append: Append,
    delay: Box<Timespec>,
    /// Operations that have not completed.
    in_flight: usize,
    failed: Option<io::Error>,
    flushed: bool,
}

impl Appending {
    fn note(&mut self, completion: &Completion) {
        self.in_flight -= 1;
        let kind = completion.token.kind();
        match completion.result {
            // The delay is over.
            _ if kind == Kind::LogDelay => {}
            0 if kind == Kind::LogWrite => {
                self.failed = Some(io::ErrorKind::WriteZero.into());
            }
            written @ 1.. if kind == Kind::LogWrite => self.append.written += written as usize,
            0.. => self.flushed = true,
            // A flush is not begun behind a write that was cut short. Both are tried again.
            error if matches!(-error, libc::EINTR | libc::EAGAIN | libc::ECANCELED) => {}
            error => self.failed = Some(io::Error::from_raw_os_error(-error)),
        }
    }

    fn is_done(&self) -> bool {
        let is_written = self.append.written == self.append.limit();
        is_written && (self.flushed || !self.append.flushes)
    }
}

/// See the module's head.
pub(super) struct Ring {
    // The order of the fields matters: the ring is dropped before the memory that it uses.
    uring: IoUring,
    buffers: ReceiveBuffers,
    /// By connection key.
    outbound: Vec<Outbound>,
    deadline: Box<Timespec>,
    /// What is being written to the log.
    append: Option<Appending>,
    completions: Vec<Completion>,
    /// The kernel has a least time to wait (Linux 6.12).
    can_wait_patiently: bool,
    /// Queued sends that are so small that the kernel takes them at once, nearly always.
    quick_sends: usize,
}

impl Ring {
    /// Creates the ring. The thread that calls this must be the only one that ever uses it.
    pub(super) fn new() -> io::Result<Self> {
        let uring = IoUring::builder()
            .setup_single_issuer()
            .setup_defer_taskrun()
            .setup_taskrun_flag()
            .setup_submit_all()
            .setup_cqsize(COMPLETIONS)
            .build(SUBMISSIONS)?;
        let buffers = ReceiveBuffers::new()?;
        buffers.register(&uring.submitter())?;
        let can_wait_patiently = uring.params().is_feature_min_timeout();
        Ok(Self {
            uring,
            can_wait_patiently,
            buffers,
            outbound: Vec::new(),
            deadline: Box::new(Timespec::new()),
            append: None,
            completions: Vec::new(),
            quick_sends: 0,
        })
    }

    /// Names the eventfd that completions signal while [`signal_completions`] is on.
    ///
    /// [`signal_completions`]: Self::signal_completions
    pub(super) fn register_event(&mut self, event: RawFd) -> io::Result<()> {
        self.uring.submitter().register_eventfd(event)?;
        self.signal_completions(false);
        Ok(())
    }

    /// Whether completions signal the registered eventfd. Off while the core looks by itself, for
    /// a signal costs the sender of every packet.
    pub(super) fn signal_completions(&mut self, on: bool) {
        let queue = self.uring.completion();
        if on {
            queue.enable_eventfd();
        } else {
            queue.disable_eventfd();
        }
    }

    /// Accepts connections on a listener until an error ends it.
    pub(super) fn accept(&mut self, listener: RawFd, token: Token) -> io::Result<()> {
        // Not SOCK_NONBLOCK: operations on such sockets fail instead of waiting.
        let entry = opcode::AcceptMulti::new(Fd(listener)).flags(libc::SOCK_CLOEXEC).build();
        self.push(entry, token)
    }

    /// Receives into the lent buffers until the stream ends, an error, or a cancellation.
    pub(super) fn receive(&mut self, socket: RawFd, token: Token) -> io::Result<()> {
        self.push(opcode::RecvMulti::new(Fd(socket), GROUP).build(), token)
    }

    /// Polls an eventfd: one completion each time that it is notified.
    pub(super) fn poll(&mut self, event: RawFd, token: Token) -> io::Result<()> {
        let entry = opcode::PollAdd::new(Fd(event), libc::POLLIN as u32).multi(true).build();
        self.push(entry, token)
    }

    /// Cancels one operation. Completes under `token`; what it cancels completes under its own.
    pub(super) fn cancel(&mut self, target: Token, token: Token) -> io::Result<()> {
        let entry = opcode::AsyncCancel2::new(CancelBuilder::user_data(target.0)).build();
        self.push(entry, token)
    }

    /// Completes under `token` after this time. Once between two calls of [`enter`](Self::enter),
    /// for all timers share the place of the deadline until the kernel has copied it.
    pub(super) fn set_timer(&mut self, after: Duration, token: Token) -> io::Result<()> {
        *self.deadline = Timespec::from(after);
        let entry = opcode::Timeout::new(&raw const *self.deadline).build();
        self.push(entry, token)
    }

    /// Sends all of `bytes`, in the parts that the kernel takes. At most one send a connection is
    /// in flight; its completions go to [`sent`](Self::sent).
    pub(super) fn send(&mut self, socket: RawFd, token: Token, bytes: Vec<u8>) -> io::Result<()> {
        let index = token.index() as usize;
        if index >= self.outbound.len() {
            self.outbound.resize_with(index + 1, Outbound::default);
        }
        let outbound = &mut self.outbound[index];
        assert!(!outbound.in_flight, "invariant: one send in flight a connection");
        *outbound = Outbound { bytes, sent: 0, in_flight: true };
        self.send_rest(socket, token)
    }

    /// Takes the completion of a send. `finish` gives up what is left, because the connection
    /// closes.
    pub(super) fn sent(
        &mut self,
        socket: RawFd,
        completion: &Completion,
        finish: bool,
    ) -> io::Result<Progress> {
        let outbound = &mut self.outbound[completion.token.index() as usize];
        assert!(outbound.in_flight, "invariant: completions belong to sends");
        let interrupted = matches!(-completion.result, libc::EINTR | libc::EAGAIN);
        if completion.result > 0 {
            outbound.sent += completion.result as usize;
        }
        let rest = outbound.bytes.len() - outbound.sent;
        if rest > 0 && (completion.result > 0 || interrupted) && !finish {
            self.send_rest(socket, completion.token)?;
            return Ok(Progress::Continues(rest));
        }
        outbound.in_flight = false;
        let mut bytes = std::mem::take(&mut outbound.bytes);
        bytes.clear();
        Ok(if rest == 0 { Progress::Done(bytes) } else { Progress::Failed(bytes) })
    }

    /// Queues the next part of an output.
    fn send_rest(&mut self, socket: RawFd, token: Token) -> io::Result<()> {
        let outbound = &self.outbound[token.index() as usize];
        let rest = &outbound.bytes[outbound.sent..];
        let length = rest.len().min(SEND_MAX) as u32;
        self.quick_sends += usize::from(length <= QUICK_SEND_MAX);
        // MSG_WAITALL lets the kernel wait for room and go on by itself within this part.
        let entry = opcode::Send::new(Fd(socket), rest.as_ptr(), length)
            .flags(libc::MSG_WAITALL | libc::MSG_NOSIGNAL)
            .build();
        self.push(entry, token)
    }

    /// Writes to the log, and flushes it if that is wanted. One at a time; its completions go to
    /// [`append_went_on`](Self::append_went_on).
    pub(super) fn append(&mut self, append: Append) -> io::Result<()> {
        assert!(self.append.is_none(), "invariant: one write to the log at a time");
        let delay = Box::new(Timespec::from(Duration::from_micros(append.delay_us)));
        let appending = Appending { append, delay, in_flight: 1, failed: None, flushed: false };
        let appending = self.append.insert(appending);
        if appending.append.delay_us == 0 {
            return self.append_rest();
        }
        let entry = opcode::Timeout::new(&raw const *appending.delay).build();
        self.push(entry, Token::new(Kind::LogDelay, 0, 0))
    }

    /// Takes a completion of a write to the log; what was written and how it ended, once it has.
    pub(super) fn append_went_on(
        &mut self,
        completion: &Completion,
    ) -> io::Result<Option<(Append, io::Result<()>)>> {
        let appending = self.append.as_mut().expect("invariant: completions belong to a write");
        appending.note(completion);
        if appending.in_flight > 0 {
            return Ok(None);
        }
        let outcome = match appending.failed.take() {
            Some(error) => Err(error),
            None if appending.is_done() => Ok(()),
            None => return self.append_rest().map(|()| None),
        };
        Ok(self.append.take().map(|appending| (appending.append, outcome)))
    }

    /// Queues the rest of a write to the log and its flush, which begins when all of that is
    /// written, or does not begin.
    fn append_rest(&mut self) -> io::Result<()> {
        let appending = self.append.as_mut().expect("invariant: there is something to be written");
        let append = &appending.append;
        let file = Fd(append.file.file().as_raw_fd());
        let rest = &append.bytes[append.written..append.limit()];
        let flush = opcode::Fsync::new(file).flags(FsyncFlags::DATASYNC).build();
        let flush = flush.user_data(Token::new(Kind::LogFlush, 0, 0).0);
        let write = opcode::Write::new(file, rest.as_ptr(), rest.len() as u32)
            .offset(append.offset + append.written as u64)
            .build()
            .user_data(Token::new(Kind::LogWrite, 0, 0).0);
        let entries = match (rest.is_empty(), append.flushes) {
            (true, _) => &[flush][..],
            (false, false) => &[write],
            (false, true) => &[write.flags(squeue::Flags::IO_LINK), flush],
        };
        appending.in_flight = entries.len();
        self.push_together(entries)
    }

    /// Whether something is being written to the log.
    pub(super) fn is_appending(&self) -> bool {
        self.append.is_some()
    }

    /// The bytes in a receive buffer.
    pub(super) fn received(&self, buffer: u16, length: usize) -> &[u8] {
        self.buffers.bytes(buffer, length)
    }

    /// Lends a receive buffer to the kernel again, from the next [`enter`](Self::enter) on.
    pub(super) fn recycle(&mut self, buffer: u16) {
        self.buffers.recycle(buffer);
    }

    /// Lends more receive buffers, because a receive ended for want of one.
    pub(super) fn lend_more(&mut self) {
        self.buffers.grow();
    }

    /// Whether an operation waits to be submitted.
    pub(super) fn has_queued(&mut self) -> bool {
        !self.uring.submission().is_empty()
    }

    /// Whether the kernel has something for us, without a system call.
    pub(super) fn has_news(&mut self) -> bool {
        if !self.completions.is_empty() {
            return true;
        }
        let queue = self.uring.submission();
        if queue.taskrun() || queue.cq_overflow() {
            return true;
        }
        drop(queue);
        !self.uring.completion().is_empty()
    }

    /// Submits what is queued, and collects completions into [`take_completions`].
    ///
    /// Interruptions and a full completion queue are no errors here: the next call goes on.
    ///
    /// [`take_completions`]: Self::take_completions
    pub(super) fn enter(&mut self, wait: Wait) -> io::Result<()> {
        self.buffers.publish();
        match wait {
            Wait::AtMost(duration) | Wait::Patiently(duration) if self.completions.is_empty() => {
                let timespec = Timespec::from(duration);
                let mut arguments = SubmitArgs::new().timespec(&timespec);
                // The ends of the sends that are submitted here are not worth waking up for.
                let mut wanted = self.quick_sends + 1;
                if matches!(wait, Wait::Patiently(_)) && self.can_wait_patiently {
                    wanted = self.quick_sends + PATIENCE.0;
                    arguments = arguments.min_wait_usec(PATIENCE.1);
                }
                tolerate(self.uring.submitter().submit_with_args(wanted, &arguments))?;
                self.quick_sends = 0;
            }
            // Also if completions have been collected already, because the queue was full.
            Wait::No | Wait::AtMost(_) | Wait::Patiently(_) => self.submit_and_run()?,
        }
        self.collect();
        Ok(())
    }

    /// The completions of the last [`enter`](Self::enter), in exchange for an empty list.
    pub(super) fn take_completions(&mut self, spare: Vec<Completion>) -> Vec<Completion> {
        assert!(spare.is_empty(), "invariant: a list of completions is used up first");
        std::mem::replace(&mut self.completions, spare)
    }

    fn collect(&mut self) {
        self.completions.extend(self.uring.completion().map(|entry| Completion {
            token: Token(entry.user_data()),
            result: entry.result(),
            flags: entry.flags(),
        }));
    }

    /// Submits, and runs the deferred work of the kernel even when nothing is to be waited for.
    fn submit_and_run(&mut self) -> io::Result<()> {
        const GETEVENTS: u32 = 1;
        self.quick_sends = 0;
        let queued = self.uring.submission().len() as u32;
        // SAFETY: every queued entry points to memory that the ring owns (see `push`), and no
        // argument is passed.
        let result =
            unsafe { self.uring.submitter().enter::<libc::sigset_t>(queued, 0, GETEVENTS, None) };
        tolerate(result)
    }

    fn push(&mut self, entry: squeue::Entry, token: Token) -> io::Result<()> {
        self.push_together(&[entry.user_data(token.0)])
    }

    /// Queues operations that are submitted together: what links them ends with a submission.
    fn push_together(&mut self, entries: &[squeue::Entry]) -> io::Result<()> {
        loop {
            // SAFETY: the descriptors are open until the operations' completions have been taken
            // (the driver closes none earlier, and `append` holds its file), and the memory they
            // name is ours: an output buffer in `outbound` or the bytes in `append`, which keep it
            // until then, or a boxed deadline, which the kernel copies when it is submitted.
            if unsafe { self.uring.submission().push_multiple(entries) }.is_ok() {
                return Ok(());
            }
            // Full. Completions are collected too, or the kernel might refuse to take more.
            self.submit_and_run()?;
            self.collect();
        }
    }
}

impl Drop for Ring {
    /// What the kernel may still read is leaked: the ring's end cancels operations later than this.
    fn drop(&mut self) {
        for outbound in &mut self.outbound {
            if outbound.in_flight {
                std::mem::forget(std::mem::take(&mut outbound.bytes));
            }
        }
        if let Some(appending) = self.append.take() {
            std::mem::forget(appending.append.bytes);
        }
    }
}

/// Errors of `io_uring_enter` after which the next call simply goes on.
fn tolerate(result: io::Result<usize>) -> io::Result<()> {
    match result {
        Err(error) => match error.raw_os_error() {
            Some(libc::EINTR | libc::ETIME | libc::EBUSY | libc::EAGAIN) => Ok(()),
            _ => Err(error),
        },
        Ok(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_gives_back_its_parts() {
        for kind in Kind::ALL {
            for (index, generation) in [(0, 0), (7, 1), (u32::MAX, 0xff_ffff)] {
                let token = Token::new(kind, index, generation);
                assert_eq!((token.kind(), token.index()), (kind, index));
                assert!(token.is_of(generation));
                assert!(!token.is_of(generation.wrapping_add(1)));
            }
        }
    }
}
