//! A core's loop: what is between the kernel's ring, the other cores and the engine.
//!
//! One round: submit what the last one queued and collect completions (one system call), tell the
//! engine the time, what has happened on the sockets and what came from other cores, let it work,
//! write to the log, then queue its outputs and hand its messages to the other cores. [`Idle`]
//! decides what happens before the next round. Once a millisecond the executor's other tasks get
//! their turn.

mod connection;
mod idle;
mod log;
mod sockets;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, IntoRawFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use glommio::io::BufferedFile;

use self::idle::{Idle, Round, Step};
use self::sockets::Sockets;
use super::clock::Clock;
use super::listener::{self, Listener, Listening};
use super::mailbox::{Mail, Mailbox, Sleep};
use super::ring::{Completion, Kind, Ring, Token, Wait};
use crate::route::engine::{Engine, ShutdownSignal, Wake};

/// How long the loop keeps the executor's other tasks waiting at most.
const YIELD_AFTER_US: u64 = 1_000;
/// How long no connection is accepted after the process ran out of descriptors or memory.
const ACCEPT_PAUSE_US: u64 = 100_000;
/// How long a stopping core tries to get its last replies out.
const FLUSH_US: u64 = 500_000;
/// A yield that took longer than this has let another thread run, microseconds.
const YIELDED_US: u64 = 2;
/// How soon the loop looks again whether a full queue to another core has room.
const BACKLOG_RETRY_US: u64 = 50;

/// What the process tells all of its cores.
#[derive(Default, Debug)]
pub(super) struct Control(AtomicU32);

impl Control {
    /// Asks for the end. The caller wakes the cores.
    pub(super) fn signal(&self, signal: ShutdownSignal) {
        let code = u32::from(signal == ShutdownSignal::Interrupt);
        // One thread takes signals: the number above the lowest bit counts them.
        let count = (self.0.load(Ordering::Relaxed) >> 1) + 1;
        self.0.store(count << 1 | code, Ordering::Release);
    }

    /// The last signal, if it came after the one that has been seen; its number.
    fn signalled(&self, seen: u32) -> Option<(u32, ShutdownSignal)> {
        let last = self.0.load(Ordering::Acquire);
        let interrupt = last & 1 == 1;
        let signal = if interrupt { ShutdownSignal::Interrupt } else { ShutdownSignal::Terminate };
        (last >> 1 > seen).then_some((last >> 1, signal))
    }
}

/// A listener and whether it is accepting.
#[derive(Debug)]
struct Accepting {
    listener: Listener,
    /// It has been replaced, and goes when its accept has ended.
    retired: bool,
    /// When to try again, after an error that only time mends.
    paused_until_us: Option<u64>,
}

/// One core's loop. See the module's head.
pub(super) struct Driver<E> {
    // The ring comes first: it is dropped before the sockets that its operations name.
    ring: Ring,
    engine: E,
    mailbox: Mailbox,
    /// By the index of their accepts; empty places are reused.
    listeners: Vec<Option<Accepting>>,
    listening: Listening,
    /// Which replacement of the listeners this core has seen.
    listening_version: u64,
    unix_path: String,
    sockets: Sockets,
    connection: connection::Scratch,
    completions: Vec<Completion>,
    clock: Clock,
    /// The moment of this round.
    now_us: u64,
    idle: Idle,
    control: Arc<Control>,
    /// How many signals the engine has been told.
    signals_seen: u32,
    timer: Timer,
    /// When the engine first wanted to stop.
    stopping_since_us: Option<u64>,
}

/// The ring's timer that ends a park. It is left running when the core wakes earlier: the next park
/// often ends before it, and a wake-up too many is cheaper than setting it twice.
#[derive(Default, Debug)]
struct Timer {
    deadline_us: Option<u64>,
    sequence: u32,
}

/// What a core is started with.
pub(super) struct Parts<E> {
    pub(super) engine: E,
    pub(super) mailbox: Mailbox,
    pub(super) listeners: Vec<Listener>,
    pub(super) listening: Listening,
    pub(super) unix_path: String,
    pub(super) control: Arc<Control>,
    pub(super) may_spin: bool,
}

impl<E: Engine> Driver<E> {
    /// Sets up the core's ring. Must be called on the thread that will run it.
    pub(super) fn new(parts: Parts<E>) -> io::Result<Self> {
        let mut ring = Ring::new()?;
        ring.register_event(parts.mailbox.event(Sleep::Parked).as_raw_fd())?;
        let clock = Clock::new();
        let mut driver = Self {
            ring,
            engine: parts.engine,
            mailbox: parts.mailbox,
            listeners: Vec::new(),
            listening_version: parts.listening.version(),
            listening: parts.listening,
            unix_path: parts.unix_path,
            sockets: Sockets::default(),
            connection: connection::Scratch::default(),
            completions: Vec::new(),
            clock,
            now_us: clock.monotonic_us(),
            idle: Idle::new(parts.may_spin),
            control: parts.control,
            signals_seen: 0,
            timer: Timer::default(),
            stopping_since_us: None,
        };
        driver.poll_event()?;
        for listener in parts.listeners {
            driver.listen(listener)?;
        }
        Ok(driver)
    }

    /// Runs until the engine has stopped. An error is one of the kernel's ring, and fatal.
    pub(super) async fn run(mut self) -> io::Result<()> {
        let park_file = self.park_file()?;
        let mut yielded_us = self.now_us;
        loop {
            let step = self.round()?;
            if self.is_finished() {
                break;
            }
            match step {
                Step::Again => self.enter_if_needed()?,
                Step::Yield { spin_until_us } => self.yield_and_spin(spin_until_us)?,
                Step::Spin { until_us } => {
                    self.spin(until_us);
                    self.enter_if_needed()?;
                }
                Step::Block(duration) => self.block(duration)?,
                Step::Park(duration) => {
                    self.park(duration.map(|left| left.as_micros() as u64), &park_file).await?;
                    yielded_us = self.clock.monotonic_us();
                }
            }
            if self.now_us.saturating_sub(yielded_us) >= YIELD_AFTER_US {
                glommio::executor().yield_now().await;
                yielded_us = self.clock.monotonic_us();
            }
        }
        // An error to close an eventfd has no consequence.
        let _ = park_file.close().await;
        Ok(())
    }

    /// One round with what has been collected; returns what to do before the next.
    fn round(&mut self) -> io::Result<Step> {
        let now = self.clock.now();
        self.now_us = now.monotonic_us;
        self.engine.tick(now);
        self.take_signal();
        self.take_listeners()?;
        // Mail is looked for after the sockets, and handled before them: what another core has done
        // before a client has sent something is known here before that is looked at.
        let spare = std::mem::take(&mut self.completions);
        let completions = self.ring.take_completions(spare);
        self.note_ended(&completions);
        let mut mail = self.take_mail()? > 0;
        let busy = self.complete(completions)?;
        let mut wake = self.engine.work();
        if self.write_log()? {
            wake = Wake::Now;
        }
        self.settle_all()?;
        let (sent, backlog) = self.send_mail();
        mail |= sent;
        if backlog {
            wake = sooner(wake, self.now_us + BACKLOG_RETRY_US);
        }
        if let Some(resume_us) = self.resume_listeners()? {
            wake = sooner(wake, resume_us);
        }
        let queued = self.ring.has_queued();
        let now_us = self.now_us;
        let serves_script = self.engine.serves_script();
        Ok(self.idle.next(Round { now_us, busy, mail, queued, backlog, serves_script, wake }))
    }

    /// Handles the completions of the round. Returns whether there were any that bring news, which
    /// the end of a send or of a timer does not.
    fn complete(&mut self, mut completions: Vec<Completion>) -> io::Result<bool> {
        let mut busy = false;
        for completion in completions.drain(..) {
            busy |= !matches!(completion.token.kind(), Kind::Timer | Kind::Send);
            match completion.token.kind() {
                Kind::Receive => self.complete_receive(&completion)?,
                Kind::Send => self.complete_send(&completion)?,
                Kind::Accept => self.complete_accept(completion)?,
                Kind::CancelReceive => self.complete_cancel(&completion)?,
                Kind::Wake if !completion.more() => self.poll_event()?,
                Kind::Timer if self.timer.is_current(completion.token) => {
                    self.timer.deadline_us = None;
                }
                Kind::LogDelay | Kind::LogWrite | Kind::LogFlush => {
                    if let Some((append, outcome)) = self.ring.append_went_on(&completion)? {
                        self.engine.appended(append, outcome);
                    }
                }
                Kind::Wake | Kind::Timer | Kind::Ignored => {}
            }
        }
        self.completions = completions;
        self.resume_receives()?;
        Ok(busy)
    }

    fn complete_accept(&mut self, completion: Completion) -> io::Result<()> {
        let (index, more) = (completion.token.index() as usize, completion.more());
        match completion.into_socket() {
            Ok(descriptor) => {
                let unix = self.accepting(index).listener.unix;
                let own = self.mailbox.own();
                let chosen = self.mailbox.cores().place_connection(own);
                if chosen == own {
                    self.open(descriptor, unix)?;
                } else {
                    self.mailbox.send(chosen, Mail::Socket { descriptor, unix });
                }
            }
            // These pass with the connection; the next one may well be accepted.
            Err(error) if is_of_one_connection(&error) => {}
            // This is how the accept of a listener ends that does not listen any more.
            Err(_) if self.accepting(index).retired => {}
            Err(error) => {
                tracing::warn!("Accepting client connection: {error}");
                let until_us = self.now_us + ACCEPT_PAUSE_US;
                self.accepting(index).paused_until_us = Some(until_us);
                return Ok(());
            }
        }
        if more {
            return Ok(());
        }
        if self.accepting(index).retired {
            self.listeners[index] = None;
            return Ok(());
        }
        self.accept(index)
    }

    /// The listener of an accept that is under way or has just ended.
    fn accepting(&mut self, index: usize) -> &mut Accepting {
        self.listeners[index].as_mut().expect("invariant: a listener outlives its accept")
    }

    /// Begins to accept on a listener.
    fn listen(&mut self, listener: Listener) -> io::Result<()> {
        let free = self.listeners.iter().position(Option::is_none);
        let index = free.unwrap_or(self.listeners.len());
        if index == self.listeners.len() {
            self.listeners.push(None);
        }
        self.listeners[index] = Some(Accepting { listener, retired: false, paused_until_us: None });
        self.accept(index)
    }

    /// Takes new listeners in place of the old ones, if there are any: of TCP only.
    fn take_listeners(&mut self) -> io::Result<()> {
        let version = self.listening.version();
        if version == self.listening_version {
            return Ok(());
        }
        self.listening_version = version;
        for index in 0..self.listeners.len() {
            let Some(old) = self.listeners[index].as_mut() else { continue };
            if old.listener.unix || old.retired {
                continue;
            }
            if old.paused_until_us.is_some() {
                self.listeners[index] = None;
                continue;
            }
            old.retired = true;
            old.listener.stop();
            let accept = Token::new(Kind::Accept, index as u32, 0);
            self.ring.cancel(accept, Token::new(Kind::Ignored, 0, 0))?;
        }
        for listener in self.listening.take(self.mailbox.own()) {
            self.listen(listener)?;
        }
        Ok(())
    }

    /// Refuses connections from now on. The kernel closes what the ring has been asked to accept on
    /// only some time after the process has ended: whoever connected meanwhile, to the server that
    /// is started next, would not be answered.
    fn stop_listening(&mut self) {
        for accepting in self.listeners.iter_mut().flatten() {
            accepting.retired = true;
            accepting.listener.stop();
        }
    }

    /// Accepts again where the pause is over; returns the end of the next pause.
    fn resume_listeners(&mut self) -> io::Result<Option<u64>> {
        let mut next_us = None;
        for index in 0..self.listeners.len() {
            let Some(accepting) = self.listeners[index].as_mut() else { continue };
            match accepting.paused_until_us {
                Some(until_us) if until_us <= self.now_us => {
                    accepting.paused_until_us = None;
                    self.accept(index)?;
                }
                Some(until_us) => next_us = Some(next_us.map_or(until_us, |us| until_us.min(us))),
                None => {}
            }
        }
        Ok(next_us)
    }

    fn accept(&mut self, index: usize) -> io::Result<()> {
        let listener = self.accepting(index).listener.as_raw_fd();
        self.ring.accept(listener, Token::new(Kind::Accept, index as u32, 0))
    }

    fn poll_event(&mut self) -> io::Result<()> {
        let event = self.mailbox.event(Sleep::Blocked).as_raw_fd();
        self.ring.poll(event, Token::new(Kind::Wake, 0, 0))
    }

    /// Takes a socket that is counted as this core's already.
    fn open(&mut self, descriptor: OwnedFd, unix: bool) -> io::Result<()> {
        match listener::describe(&descriptor, unix, &self.unix_path) {
            Ok(info) => self.open_connection(info, descriptor),
            Err(_gone) => {
                self.mailbox.cores().connection_closed(self.mailbox.own());
                Ok(())
            }
        }
    }

    fn take_signal(&mut self) {
        if let Some((number, signal)) = self.control.signalled(self.signals_seen) {
            self.signals_seen = number;
            self.engine.signal(signal);
        }
    }

    fn take_mail(&mut self) -> io::Result<usize> {
        let (engine, sockets) = (&mut self.engine, &mut self.connection.incoming);
        let count = self.mailbox.receive(|mail| match mail {
            Mail::Batch(batch) => engine.deliver(batch),
            Mail::Socket { descriptor, unix } => sockets.push((descriptor, unix)),
        });
        while let Some((descriptor, unix)) = self.connection.incoming.pop() {
            self.open(descriptor, unix)?;
        }
        Ok(count)
    }

    /// Sends the engine's messages. Returns whether there were any, and whether some are left for
    /// want of room.
    fn send_mail(&mut self) -> (bool, bool) {
        let mut sent = false;
        while let Some((target, batch)) = self.engine.next_outgoing() {
            self.mailbox.send(target, Mail::Batch(batch));
            sent = true;
        }
        (sent, !self.mailbox.flush())
    }

    /// Submits and collects, unless there is neither: mail alone takes no system call.
    fn enter_if_needed(&mut self) -> io::Result<()> {
        if self.ring.has_queued() || self.ring.has_news() {
            self.ring.enter(Wait::No)
        } else {
            Ok(())
        }
    }

    /// Lets others run who want the processor; if none did, looks for news until the moment given.
    fn yield_and_spin(&mut self, spin_until_us: Option<u64>) -> io::Result<()> {
        let began_us = self.clock.monotonic_us();
        std::thread::yield_now();
        if let Some(until_us) = spin_until_us {
            let shared = self.clock.monotonic_us() - began_us > YIELDED_US;
            self.spin(if shared { 0 } else { until_us });
        }
        self.enter_if_needed()
    }

    /// Looks for news until the moment given, at least once.
    fn spin(&mut self, until_us: u64) {
        let hit = loop {
            if self.ring.has_news() || self.mailbox.has_mail() {
                break true;
            }
            if self.clock.monotonic_us() >= until_us {
                break false;
            }
            std::hint::spin_loop();
        };
        self.idle.spun(hit);
    }

    /// Blocks in the ring.
    fn block(&mut self, duration: Duration) -> io::Result<()> {
        let asleep = self.mailbox.prepare_sleep(Sleep::Blocked);
        let wait = if !asleep {
            Wait::No
        } else if self.ring.is_appending() && self.mailbox.cores().len() == 1 {
            // What comes during a flush waits for the next one, so it may as well come together:
            // waking up costs more than a request. Other cores would be kept waiting by it.
            Wait::Patiently(duration)
        } else {
            Wait::AtMost(duration)
        };
        let result = self.ring.enter(wait);
        self.mailbox.awake();
        result
    }

    /// Gives the core to the executor until the ring has news, at most for `left_us`.
    async fn park(&mut self, left_us: Option<u64>, park_file: &BufferedFile) -> io::Result<()> {
        if self.mailbox.prepare_sleep(Sleep::Parked) {
            if let Some(left_us) = left_us {
                self.set_timer(left_us)?;
            }
            // From here on news signal the event. What came before is found by entering once more.
            self.ring.signal_completions(true);
            self.ring.enter(Wait::No)?;
            if !self.ring.has_news() {
                park_file.read_at(0, 8).await.map_err(io::Error::from)?;
            }
            self.ring.signal_completions(false);
        }
        self.mailbox.awake();
        self.ring.enter(Wait::No)
    }

    /// Sees to it that a timer runs out no later than in `left_us`.
    fn set_timer(&mut self, left_us: u64) -> io::Result<()> {
        let deadline_us = self.now_us + left_us;
        if self.timer.deadline_us.is_some_and(|running_us| running_us <= deadline_us) {
            return Ok(());
        }
        if self.timer.deadline_us.is_some() {
            self.ring.cancel(self.timer.token(), Token::new(Kind::Ignored, 0, 0))?;
        }
        self.timer.sequence = self.timer.sequence.wrapping_add(1);
        self.timer.deadline_us = Some(deadline_us);
        let left_us = deadline_us.saturating_sub(self.clock.monotonic_us());
        self.ring.set_timer(Duration::from_micros(left_us), self.timer.token())
    }

    /// The parking event as the executor can wait for it. It may have been notified before, which
    /// ends the next park early and does no other harm.
    #[expect(unsafe_code, reason = "glommio waits on files only, and takes a raw descriptor")]
    fn park_file(&self) -> io::Result<BufferedFile> {
        let descriptor = self.mailbox.event(Sleep::Parked).try_clone()?.into_raw_fd();
        // SAFETY: the descriptor has just been cloned for this file alone, which closes it.
        Ok(unsafe { BufferedFile::from_raw_fd(descriptor) })
    }

    /// Whether the engine wants to stop and its last outputs are sent (or cannot be, in time).
    fn is_finished(&mut self) -> bool {
        if !self.engine.stopping() {
            return false;
        }
        if self.stopping_since_us.is_none() {
            self.stop_listening();
        }
        let since_us = *self.stopping_since_us.get_or_insert(self.now_us);
        let flushed =
            !self.sockets.any_sending() && !self.ring.has_queued() && !self.ring.is_appending();
        flushed || self.now_us - since_us >= FLUSH_US
    }
}

impl Timer {
    fn token(&self) -> Token {
        Token::new(Kind::Timer, 0, self.sequence)
    }

    fn is_current(&self, token: Token) -> bool {
        token == self.token()
    }
}

/// The earlier of what the engine wants and a moment of the driver's.
fn sooner(wake: Wake, at_us: u64) -> Wake {
    match wake {
        Wake::Now => Wake::Now,
        Wake::At(engine_us) => Wake::At(engine_us.min(at_us)),
        Wake::Never => Wake::At(at_us),
    }
}

/// Whether an error of accept concerns only the connection that would have been accepted.
fn is_of_one_connection(error: &io::Error) -> bool {
    let exhausted = [libc::EMFILE, libc::ENFILE, libc::ENOBUFS, libc::ENOMEM];
    !error.raw_os_error().is_some_and(|number| exhausted.contains(&number))
}
