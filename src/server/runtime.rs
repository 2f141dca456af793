//! Process start and end: one pinned executor a shard, signals, and what a panic does.

use std::backtrace::Backtrace;
use std::fmt;
use std::io;
use std::os::fd::AsRawFd;
use std::panic::PanicHookInfo;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::thread::{self, JoinHandle};

use glommio::{LocalExecutor, LocalExecutorBuilder, Placement};

use super::driver::{Control, Driver, Parts};
use super::listener::{self, ListenError, ListenOptions, Listener, Listening};
use super::mailbox::{Cores, Mailbox, mailboxes};
use super::probe::{self, Problem};
use super::sys::{self, EventFd, SignalFd};
use crate::route::engine::{Engine, ShardId, ShutdownSignal};

/// Entries of each of the executor's three rings. They serve files and timers, not clients.
const EXECUTOR_RING_DEPTH: usize = 64;
/// Registered memory of each executor, all of it resident: the least that glommio takes.
const EXECUTOR_IO_MEMORY: usize = 64 * 1024;
/// The most shards of one process: a queue for each pair of them has to be looked at each round.
pub const SHARDS_MAX: usize = 256;

/// How to run: plain data, that the configuration is mapped to.
#[derive(Clone, Default, Debug)]
pub struct RunOptions {
    /// Shards, each with a thread; 0 for one on each processor that this process may use.
    pub shards: usize,
    /// Where to listen.
    pub listen: ListenOptions,
    /// What replaces the listeners later.
    pub listening: Listening,
}

/// Why the server did not start. Displayed as one line.
#[derive(Debug)]
pub enum StartError {
    /// The kernel or the container withholds something.
    System(Problem),
    /// More shards than [`SHARDS_MAX`].
    TooManyShards(usize),
    /// A listener could not be opened.
    Listen(ListenError),
    /// A thread, descriptor or ring could not be had.
    Resources {
        /// What was being set up.
        what: String,
        /// Why it failed.
        source: io::Error,
    },
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::System(problem) => problem.fmt(f),
            Self::TooManyShards(shards) => {
                write!(f, "{shards} shards are configured, but at most {SHARDS_MAX} are possible")
            }
            Self::Listen(error) => error.fmt(f),
            Self::Resources { what, source } => write!(f, "Could not set up {what}: {source}"),
        }
    }
}

impl std::error::Error for StartError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Listen(error) => Some(error),
            Self::Resources { source, .. } => Some(source),
            Self::System(_) | Self::TooManyShards(_) => None,
        }
    }
}

impl StartError {
    fn resources(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let what = what.into();
        move |source| Self::Resources { what, source }
    }
}

/// The number of shards that an option of 0 stands for: the processors this process may use.
pub fn default_shards() -> usize {
    sys::allowed_cpus().map_or(1, |cpus| cpus.len().clamp(1, SHARDS_MAX))
}

/// SIGTERM and SIGINT, which come to [`run`] instead of ending the process.
#[derive(Debug)]
pub struct Signals(SignalFd);

impl Signals {
    /// Takes the signals over. Must be called on the main thread before any other is started: a
    /// thread that is there already would go on to receive them, and die of them with the process.
    pub fn take_over() -> Result<Self, StartError> {
        SignalFd::new().map(Self).map_err(StartError::resources("signal handling"))
    }
}

/// Lets the calling thread run on all processors of the process. A shard's thread is pinned to one,
/// and so is what it begins: a thread that works for long would take half of that shard's time,
/// however many processors have nothing to do.
pub fn leave_core() {
    if let Err(error) = sys::leave_cpu() {
        // It does its work all the same.
        tracing::warn!("A thread stays on the processor of the shard that has begun it: {error}");
    }
}

/// What a server does before it is ready, on a thread of its own, while its shards run already;
/// whether it succeeded. If not, the shards have been told to stop.
pub type Preparation = Box<dyn FnOnce() -> bool + Send>;

/// Runs the server until it has stopped. `make` builds a shard's engine, on the thread of that
/// shard; `ready` is called when all of them accept connections and serve them, after `first`.
///
/// To be called once: from now on a panic on any thread ends the process with a report.
pub fn run<E: Engine + 'static>(
    prepared: Prepared,
    signals: &Signals,
    first: Option<Preparation>,
    ready: impl FnOnce(),
    make: impl Fn(ShardId) -> E + Send + Clone + 'static,
) -> Result<(), StartError> {
    std::panic::set_hook(Box::new(report_panic));
    let Signals(signals) = signals;
    let sockets = prepared.listen.kinds();
    let running = prepared.start(make)?;
    tracing::info!("Server initialized");
    let first = First::start(first)?;
    let mut ready = Some(ready);
    let mut interrupted = false;
    loop {
        if first.succeeded()
            && let Some(ready) = ready.take()
        {
            for kind in &sockets {
                tracing::info!("Ready to accept connections {kind}");
            }
            ready();
        }
        let descriptors = [&running.ended, &first.ended].map(AsRawFd::as_raw_fd);
        let readable = sys::wait_readable([signals.as_raw_fd(), descriptors[0], descriptors[1]])
            .map_err(StartError::resources("waiting for signals"))?;
        if readable[1] {
            break;
        }
        if readable[2] {
            first.ended.count();
            // When it failed, they are to stop.
            running.cores.wake_all();
        }
        if readable[0] {
            let number = signals.read().map_err(StartError::resources("reading signals"))?;
            interrupted = take_signal(&running, number, interrupted);
        }
    }
    running.join().map_err(StartError::resources("the core's ring"))
}

/// The [`Preparation`] under way.
struct First {
    succeeded: Arc<AtomicBool>,
    /// Notified when it has ended.
    ended: Arc<EventFd>,
}

impl First {
    fn start(first: Option<Preparation>) -> Result<Self, StartError> {
        let ended = EventFd::new().map_err(StartError::resources("an eventfd"))?;
        let (succeeded, ended) = (Arc::new(AtomicBool::new(first.is_none())), Arc::new(ended));
        if let Some(first) = first {
            let end = (Arc::clone(&succeeded), ThreadEnd(Arc::clone(&ended)));
            let work = move || {
                let (succeeded, _end) = end;
                succeeded.store(first(), Ordering::Release);
            };
            let thread = thread::Builder::new().name("load".to_owned()).spawn(work);
            thread.map_err(StartError::resources("the thread that loads the data"))?;
        }
        Ok(Self { succeeded, ended })
    }

    fn succeeded(&self) -> bool {
        self.succeeded.load(Ordering::Acquire)
    }
}

/// Acts on a signal as the peers do: the second SIGINT ends the process at once.
fn take_signal(running: &Running, number: i32, interrupted: bool) -> bool {
    let (name, signal) = match number {
        libc::SIGINT if interrupted => {
            tracing::warn!("You insist... exiting now.");
            std::process::exit(1);
        }
        libc::SIGINT => ("SIGINT", ShutdownSignal::Interrupt),
        _ => ("SIGTERM", ShutdownSignal::Terminate),
    };
    tracing::warn!("Received {name} scheduling shutdown...");
    running.signal(signal);
    true
}

/// The shards of a server that runs.
#[derive(Debug)]
pub struct Running {
    threads: Vec<JoinHandle<io::Result<()>>>,
    cores: Cores,
    control: Arc<Control>,
    /// Notified when a shard's thread ends.
    ended: Arc<EventFd>,
}

impl Running {
    /// Tells every engine that the process shall end.
    pub fn signal(&self, signal: ShutdownSignal) {
        self.control.signal(signal);
        self.cores.wake_all();
    }

    /// Waits until every shard has ended.
    pub fn join(self) -> io::Result<()> {
        for thread in self.threads {
            thread.join().expect("invariant: a shard's panic ends the process")?;
        }
        Ok(())
    }
}

/// A server that has what it needs of the machine, its sockets above all, but serves nobody yet.
pub struct Prepared {
    listen: ListenOptions,
    cpus: Vec<usize>,
    boxes: Vec<Mailbox>,
    cores: Cores,
    listeners: Vec<Vec<Listener>>,
    listening: Listening,
    control: Arc<Control>,
    ended: Arc<EventFd>,
}

/// Checks the machine and opens the sockets. What is wrong with either shows here, before there is
/// any thread.
pub fn prepare(options: RunOptions) -> Result<Prepared, StartError> {
    probe::check_system().map_err(StartError::System)?;
    let cpus = sys::allowed_cpus().map_err(StartError::resources("processor affinity"))?;
    let shards = if options.shards == 0 { cpus.len() } else { options.shards };
    if shards > SHARDS_MAX {
        return Err(StartError::TooManyShards(shards));
    }
    let listeners = listener::open(&options.listen, shards).map_err(StartError::Listen)?;
    let (boxes, cores) = mailboxes(shards).map_err(StartError::resources("mailboxes"))?;
    options.listening.attach(cores.clone());
    let ended = EventFd::new().map_err(StartError::resources("an eventfd"))?;
    let (control, ended) = (Arc::new(Control::default()), Arc::new(ended));
    let RunOptions { listen, listening, .. } = options;
    Ok(Prepared { listen, cpus, boxes, cores, listeners, listening, control, ended })
}

/// Starts the shards, and returns when all of them serve. [`run`] is this with signals and reports.
pub fn start<E: Engine + 'static>(
    options: RunOptions,
    make: impl Fn(ShardId) -> E + Send + Clone + 'static,
) -> Result<Running, StartError> {
    prepare(options)?.start(make)
}

impl Prepared {
    /// Starts the shards, and returns when all of them serve.
    fn start<E: Engine + 'static>(
        self,
        make: impl Fn(ShardId) -> E + Send + Clone + 'static,
    ) -> Result<Running, StartError> {
        let Self { listen, listening, cpus, boxes, cores, listeners, control, ended } = self;
        let unix_path = listen.unix_socket.unwrap_or_default().display().to_string();
        let shards = boxes.len();
        let mut threads = Vec::with_capacity(shards);
        let (report, reports) = mpsc::channel();
        for (mailbox, listeners) in boxes.into_iter().zip(listeners) {
            let index = mailbox.own().index();
            let start = ShardStart {
                cpu: cpus[index % cpus.len()],
                may_spin: shards <= cpus.len(),
                mailbox,
                listeners,
                listening: listening.clone(),
                unix_path: unix_path.clone(),
                control: Arc::clone(&control),
                ended: Arc::clone(&ended),
                report: report.clone(),
            };
            let make = make.clone();
            let thread = thread::Builder::new()
                .name(format!("shard-{index}"))
                .spawn(move || start.run(make))
                .map_err(StartError::resources(format!("the thread of shard {index}")))?;
            threads.push(thread);
        }
        drop(report);
        let running = Running { threads, cores, control, ended };
        for _ in 0..shards {
            let outcome = reports.recv().expect("invariant: a shard reports before it ends");
            outcome.map_err(StartError::resources("a shard's executor and ring"))?;
        }
        Ok(running)
    }
}

/// What a shard's thread begins with.
struct ShardStart {
    cpu: usize,
    may_spin: bool,
    mailbox: Mailbox,
    listeners: Vec<Listener>,
    listening: Listening,
    unix_path: String,
    control: Arc<Control>,
    ended: Arc<EventFd>,
    report: mpsc::Sender<io::Result<()>>,
}

impl ShardStart {
    /// The whole life of a shard's thread.
    fn run<E: Engine + 'static>(self, make: impl Fn(ShardId) -> E) -> io::Result<()> {
        let _end = ThreadEnd(Arc::clone(&self.ended));
        let executor = match executor(self.cpu) {
            Ok(executor) => executor,
            Err(error) => {
                // The starter waits for this report, unless it has already failed.
                let _ = self.report.send(Err(error));
                return Ok(());
            }
        };
        executor.run(async move {
            let engine = make(self.mailbox.own());
            let driver = Driver::new(Parts {
                engine,
                mailbox: self.mailbox,
                listeners: self.listeners,
                listening: self.listening,
                unix_path: self.unix_path,
                control: self.control,
                may_spin: self.may_spin,
            });
            match driver {
                Ok(driver) => {
                    let _ = self.report.send(Ok(()));
                    drop(self.report);
                    driver.run().await
                }
                Err(error) => {
                    let _ = self.report.send(Err(error));
                    Ok(())
                }
            }
        })
    }
}

fn executor(cpu: usize) -> io::Result<LocalExecutor> {
    LocalExecutorBuilder::new(Placement::Fixed(cpu))
        .ring_depth(EXECUTOR_RING_DEPTH)
        .io_memory(EXECUTOR_IO_MEMORY)
        .make()
        .map_err(|error| io::Error::other(error.to_string()))
}

/// Announces the end of a shard's thread; if it ends by a panic, the process ends with it.
struct ThreadEnd(Arc<EventFd>);

impl Drop for ThreadEnd {
    fn drop(&mut self) {
        if thread::panicking() {
            std::process::abort();
        }
        self.0.notify();
    }
}

/// Reports a panic and ends the process: a server that has lost a shard must not go on.
fn report_panic(panic: &PanicHookInfo<'_>) {
    let name = thread::current().name().unwrap_or("unnamed").to_owned();
    let payload = panic.payload();
    let text = payload.downcast_ref::<&str>().copied();
    let message = text.or_else(|| payload.downcast_ref::<String>().map(String::as_str));
    let message = message.unwrap_or("(no message)");
    let place = panic.location().map_or_else(String::new, |location| format!(" at {location}"));
    tracing::error!(
        "Kvasir {} crashed: thread {name} panicked{place}: {message}\n{}",
        env!("CARGO_PKG_VERSION"),
        Backtrace::force_capture()
    );
    std::process::abort();
}
