//! The few system calls that the standard library and socket2 have no safe form of.
//!
//! Each function here is a thin, safe wrapper: the arguments that the kernel reads or writes live
//! on the caller's stack for the whole call, and a descriptor that comes back is owned at once.
#![expect(unsafe_code, reason = "raw system calls; every block argues its safety")]

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

/// A counter descriptor that wakes whoever waits on it.
#[derive(Debug)]
pub(super) struct EventFd(File);

impl EventFd {
    /// Creates one with the counter at zero. It is not `EFD_NONBLOCK`, because operations of a ring
    /// on such a descriptor fail instead of waiting.
    pub(super) fn new() -> io::Result<Self> {
        // SAFETY: eventfd takes two plain integers and touches no memory of ours.
        let descriptor = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC) };
        Ok(Self(File::from(own(descriptor)?)))
    }

    /// Adds one to the counter, which wakes the waiter. It blocks, or fails, only at a counter of
    /// 2^64 - 2, which no machine lives to see; so there is no error to handle.
    pub(super) fn notify(&self) {
        let _ = (&self.0).write(&1u64.to_ne_bytes());
    }

    /// The counter, which is zero afterwards. Blocks while it is zero.
    pub(super) fn count(&self) -> u64 {
        let mut count = [0; 8];
        let read = (&self.0).read_exact(&mut count);
        read.expect("invariant: an eventfd gives its counter whole");
        u64::from_ne_bytes(count)
    }

    /// A second descriptor for the same counter.
    pub(super) fn try_clone(&self) -> io::Result<OwnedFd> {
        self.0.try_clone().map(OwnedFd::from)
    }
}

impl AsRawFd for EventFd {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

/// SIGTERM and SIGINT as a descriptor to read from.
#[derive(Debug)]
pub(super) struct SignalFd(File);

impl SignalFd {
    /// Blocks SIGTERM and SIGINT for this thread and all that it starts from now on, and delivers
    /// them to the returned descriptor instead. Call it before any other thread is started.
    ///
    /// SIGXFSZ is blocked as well, and delivered nowhere: a write beyond the process's limit of
    /// file sizes then fails as one on a full disk does, which is dealt with, and does not end the
    /// process.
    pub(super) fn new() -> io::Result<Self> {
        let mut set = std::mem::MaybeUninit::<libc::sigset_t>::zeroed();
        // SAFETY: `set` is valid for writes for the whole call, and sigemptyset initialises it.
        let emptied = unsafe { libc::sigemptyset(set.as_mut_ptr()) };
        check(emptied)?;
        // SAFETY: sigemptyset succeeded, so the set is initialised (and it was zeroed before).
        let mut set = unsafe { set.assume_init() };
        for signal in [libc::SIGTERM, libc::SIGINT, libc::SIGXFSZ] {
            // SAFETY: `set` is an initialised signal set that lives on this stack frame.
            check(unsafe { libc::sigaddset(&raw mut set, signal) })?;
        }
        // SAFETY: `set` is initialised, and a null third argument asks for no old mask.
        let blocked =
            unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut()) };
        if blocked != 0 {
            return Err(io::Error::from_raw_os_error(blocked));
        }
        // SAFETY: `set` is an initialised signal set that lives on this stack frame.
        check(unsafe { libc::sigdelset(&raw mut set, libc::SIGXFSZ) })?;
        // SAFETY: `set` is initialised; -1 asks for a new descriptor.
        let descriptor = unsafe { libc::signalfd(-1, &raw const set, libc::SFD_CLOEXEC) };
        Ok(Self(File::from(own(descriptor)?)))
    }

    /// The next signal's number. Blocks until there is one.
    pub(super) fn read(&self) -> io::Result<i32> {
        // The first field of `signalfd_siginfo` (128 bytes) is the signal's number.
        let mut information = [0u8; size_of::<libc::signalfd_siginfo>()];
        (&self.0).read_exact(&mut information)?;
        let [a, b, c, d, ..] = information;
        Ok(i32::from_ne_bytes([a, b, c, d]))
    }
}

impl AsRawFd for SignalFd {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

/// Blocks until one of the descriptors can be read; returns which can.
pub(super) fn wait_readable<const N: usize>(descriptors: [RawFd; N]) -> io::Result<[bool; N]> {
    let mut polled = descriptors.map(|fd| libc::pollfd { fd, events: libc::POLLIN, revents: 0 });
    loop {
        // SAFETY: `polled` is an array of N initialised entries that outlives the call.
        let ready = unsafe { libc::poll(polled.as_mut_ptr(), N as libc::nfds_t, -1) };
        match check(ready) {
            Ok(()) => return Ok(polled.map(|entry| entry.revents != 0)),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// The processors that a thread may run on; 0 is the calling one.
fn cpus_of(thread: libc::pid_t) -> io::Result<libc::cpu_set_t> {
    // SAFETY: a cpu_set_t is a plain bit array, for which all zeroes is a valid value.
    let mut set = unsafe { std::mem::zeroed::<libc::cpu_set_t>() };
    let bytes = size_of::<libc::cpu_set_t>();
    // SAFETY: `set` is valid for writes of the size that is passed with it.
    check(unsafe { libc::sched_getaffinity(thread, bytes, &raw mut set) })?;
    Ok(set)
}

/// Lets the calling thread run wherever the main thread may.
pub(super) fn leave_cpu() -> io::Result<()> {
    let main = libc::pid_t::try_from(std::process::id()).map_err(io::Error::other)?;
    let set = cpus_of(main)?;
    // SAFETY: `set` is initialised, valid for reads of the size that is passed with it, and
    // outlives the call.
    check(unsafe { libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &raw const set) })
}

/// The processors that this process may run on, in ascending order.
pub(super) fn allowed_cpus() -> io::Result<Vec<usize>> {
    let set = cpus_of(0)?;
    let allowed = |cpu: &usize| {
        // SAFETY: `cpu` is below CPU_SETSIZE, the number of bits in the set.
        unsafe { libc::CPU_ISSET(*cpu, &set) }
    };
    Ok((0..libc::CPU_SETSIZE as usize).filter(allowed).collect())
}

/// A resource limit of the process.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Resource {
    /// Open descriptors.
    Descriptors,
    /// Locked memory, in bytes.
    LockedMemory,
}

impl Resource {
    fn number(self) -> libc::__rlimit_resource_t {
        match self {
            Self::Descriptors => libc::RLIMIT_NOFILE,
            Self::LockedMemory => libc::RLIMIT_MEMLOCK,
        }
    }
}

/// The limit that holds now and the one up to which the process may raise it by itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Limit {
    pub(super) soft: u64,
    pub(super) hard: u64,
}

/// The limit of a resource.
pub(super) fn limit(resource: Resource) -> io::Result<Limit> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` is valid for writes for the whole call.
    check(unsafe { libc::getrlimit(resource.number(), &raw mut limit) })?;
    Ok(Limit { soft: limit.rlim_cur, hard: limit.rlim_max })
}

/// Sets both limits. Raising the hard one takes `CAP_SYS_RESOURCE`.
pub(super) fn set_limit(resource: Resource, limit: Limit) -> io::Result<()> {
    let limit = libc::rlimit { rlim_cur: limit.soft, rlim_max: limit.hard };
    // SAFETY: `limit` is initialised and outlives the call.
    check(unsafe { libc::setrlimit(resource.number(), &raw const limit) })
}

/// The processor's time-stamp counter.
#[cfg(target_arch = "x86_64")]
pub(super) fn time_stamp_counter() -> u64 {
    // SAFETY: RDTSC exists on every x86_64 processor and has no precondition; where the kernel
    // forbids it (PR_SET_TSC) the process is killed, and we never ask for that.
    unsafe { core::arch::x86_64::_rdtsc() }
}

fn own(descriptor: RawFd) -> io::Result<OwnedFd> {
    check(descriptor)?;
    // SAFETY: the system call that returned this descriptor has just created it for us alone.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
}

pub(super) fn check(result: libc::c_int) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_leaves_the_processor_that_it_was_begun_on() {
        let main = libc::pid_t::try_from(std::process::id()).unwrap();
        let set_of = |thread| {
            let set = cpus_of(thread).unwrap();
            let has = move |cpu: &usize| {
                // SAFETY: `cpu` is below CPU_SETSIZE, the number of bits in the set.
                unsafe { libc::CPU_ISSET(*cpu, &set) }
            };
            (0..libc::CPU_SETSIZE as usize).filter(has).collect::<Vec<_>>()
        };
        let everywhere = set_of(main);
        let pinned = std::thread::spawn(move || {
            // SAFETY: all zeroes is a valid value; the bit is that of a processor that we may use.
            let mut one = unsafe { std::mem::zeroed::<libc::cpu_set_t>() };
            // SAFETY: a processor's number is below the number of bits.
            unsafe { libc::CPU_SET(set_of(0)[0], &mut one) };
            let bytes = size_of::<libc::cpu_set_t>();
            // SAFETY: `one` is initialised and outlives the call.
            check(unsafe { libc::sched_setaffinity(0, bytes, &raw const one) }).unwrap();
            std::thread::spawn(move || {
                let before = set_of(0).len();
                leave_cpu().unwrap();
                (before, set_of(0))
            })
            .join()
            .unwrap()
        });
        assert_eq!(pinned.join().unwrap(), (1, everywhere));
    }

    #[test]
    fn only_the_event_that_was_notified_is_readable() {
        let (event, other) = (EventFd::new().unwrap(), EventFd::new().unwrap());
        event.notify();
        let descriptors = [other.as_raw_fd(), event.as_raw_fd()];
        assert_eq!(wait_readable(descriptors).unwrap(), [false, true]);
        other.notify();
        assert_eq!(wait_readable(descriptors).unwrap(), [true, true]);
    }

    #[test]
    fn this_process_may_run_somewhere_and_open_something() {
        assert!(!allowed_cpus().unwrap().is_empty());
        let descriptors = limit(Resource::Descriptors).unwrap();
        assert!(descriptors.soft > 0 && descriptors.soft <= descriptors.hard);
    }
}
