//! What the server needs of the kernel and the container, and how to say what is missing.
//!
//! [`gather`] asks the machine, [`judge`] decides: a pure function of the facts, tested on made-up
//! ones.

use std::fmt;
use std::fs;
use std::io;
use std::thread;

use super::ring::Ring;
use super::sys::{self, Limit, Resource};

/// The oldest kernel with everything that the ring needs (`IORING_SETUP_DEFER_TASKRUN`, multishot
/// receive, ring-mapped buffers).
const KERNEL_MIN: (u32, u32) = (6, 1);
/// What glommio insists on for its rings, bytes.
const LOCKED_MEMORY_MIN: u64 = 512 * 1024;
/// Descriptors beside those of clients: for each process and for each shard (rings, eventfds,
/// listeners, files being written).
const DESCRIPTORS_PROCESS: u64 = 32;
const DESCRIPTORS_SHARD: u64 = 24;

/// What the machine says.
#[derive(Debug)]
struct Facts {
    /// The kernel's release as it names itself, such as `6.1.0-18-amd64`.
    release: String,
    /// The sysctl `kernel.io_uring_disabled`, if the kernel has it.
    disabled: Option<u32>,
    /// The outcome of setting up a ring as the driver does: nothing, or an error number.
    ring: Result<(), i32>,
    /// The limit of locked memory that holds after we raised it as far as we may.
    locked_memory: u64,
}

/// Something that is withheld. Displayed as one sentence: what, and how to allow it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Problem {
    /// The kernel is too old.
    Kernel {
        /// Its release.
        release: String,
    },
    /// The administrator has switched `io_uring` off.
    Disabled {
        /// The value of `kernel.io_uring_disabled`.
        value: u32,
    },
    /// A seccomp profile or security module forbids `io_uring`.
    Forbidden,
    /// The kernel was built without `io_uring`.
    Absent,
    /// Too little memory may be locked.
    LockedMemory {
        /// The hard limit in bytes.
        limit: u64,
    },
    /// Setting up a ring failed for another reason.
    Other {
        /// The error number.
        number: i32,
    },
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kernel { release } => write!(
                f,
                "Kvasir needs Linux {}.{} or newer, but this kernel is {release}: \
                 update the kernel.",
                KERNEL_MIN.0, KERNEL_MIN.1
            ),
            Self::Disabled { value } => write!(
                f,
                "Kvasir needs io_uring, but the sysctl kernel.io_uring_disabled is {value}: \
                 allow it with `sysctl -w kernel.io_uring_disabled=0`."
            ),
            Self::Forbidden => write!(
                f,
                "Kvasir needs io_uring, but a seccomp profile or security policy forbids it: \
                 allow the system calls io_uring_setup, io_uring_enter and io_uring_register, in \
                 a container with `--security-opt seccomp=unconfined` or a profile that has them."
            ),
            Self::Absent => write!(
                f,
                "Kvasir needs io_uring, but this kernel or sandbox does not have the system call: \
                 use a kernel built with CONFIG_IO_URING, and no sandbox that emulates one."
            ),
            Self::LockedMemory { limit } => write!(
                f,
                "Kvasir needs {} KiB of locked memory, but the limit is {} KiB: raise it with \
                 `ulimit -l`, LimitMEMLOCK= of systemd, or `--ulimit memlock=-1` of a container.",
                LOCKED_MEMORY_MIN / 1024,
                limit / 1024
            ),
            Self::Other { number } => write!(
                f,
                "Kvasir needs io_uring, but setting up a ring failed: {}.",
                io::Error::from_raw_os_error(*number)
            ),
        }
    }
}

impl std::error::Error for Problem {}

/// Checks that the machine lets the server run; raises the limit of locked memory if it may.
pub fn check_system() -> Result<(), Problem> {
    judge(&gather())
}

fn gather() -> Facts {
    let read = |path| fs::read_to_string(path).unwrap_or_default().trim().to_owned();
    // On a thread of its own, for the end of a ring interrupts the thread that has used it.
    let ring = thread::scope(|scope| scope.spawn(|| Ring::new().map(drop)).join());
    let ring = ring.expect("invariant: setting up a ring does not panic");
    Facts {
        release: read("/proc/sys/kernel/osrelease"),
        disabled: read("/proc/sys/kernel/io_uring_disabled").parse().ok(),
        ring: ring.map_err(|error| error.raw_os_error().unwrap_or(0)),
        locked_memory: raise(Resource::LockedMemory, LOCKED_MEMORY_MIN),
    }
}

/// Judges the facts, the most telling first.
fn judge(facts: &Facts) -> Result<(), Problem> {
    if version(&facts.release).is_some_and(|version| version < KERNEL_MIN) {
        return Err(Problem::Kernel { release: facts.release.clone() });
    }
    match facts.ring {
        Ok(()) => {}
        Err(libc::EPERM | libc::EACCES) => {
            return Err(match facts.disabled {
                Some(value) if value > 0 => Problem::Disabled { value },
                _ => Problem::Forbidden,
            });
        }
        Err(libc::ENOSYS) => return Err(Problem::Absent),
        // Kernels before 5.12 count rings as locked memory; this one does not, so it is a cgroup.
        Err(number) => return Err(Problem::Other { number }),
    }
    if facts.locked_memory < LOCKED_MEMORY_MIN {
        return Err(Problem::LockedMemory { limit: facts.locked_memory });
    }
    Ok(())
}

/// Major and minor number of a kernel's release.
fn version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

/// Raises a soft limit to `wanted`, as far as the hard limit or our privileges allow. Returns the
/// soft limit that holds then.
fn raise(resource: Resource, wanted: u64) -> u64 {
    let Ok(limit) = sys::limit(resource) else {
        return 0;
    };
    if limit.soft >= wanted {
        return limit.soft;
    }
    let attempts = [
        Limit { soft: wanted, hard: limit.hard.max(wanted) },
        Limit { soft: limit.hard.min(wanted), hard: limit.hard },
    ];
    for attempt in attempts {
        if sys::set_limit(resource, attempt).is_ok() {
            return attempt.soft;
        }
    }
    limit.soft
}

/// How many clients the limit of open descriptors leaves room for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ClientLimit {
    /// `maxclients` as it is from now on.
    pub max_clients: usize,
    /// What to log, worded as the peers do, if it had to be lowered.
    pub warnings: Vec<String>,
}

/// Raises the limit of open descriptors to what `max_clients` and the shards need. If that cannot
/// be done, lowers `max_clients`, or fails when not even one client fits.
pub fn reserve_descriptors(max_clients: usize, shards: usize) -> Result<ClientLimit, String> {
    let own = DESCRIPTORS_PROCESS + DESCRIPTORS_SHARD * shards as u64;
    let wanted = max_clients as u64 + own;
    fit_clients(max_clients, own, raise(Resource::Descriptors, wanted))
}

fn fit_clients(max_clients: usize, own: u64, granted: u64) -> Result<ClientLimit, String> {
    let wanted = max_clients as u64 + own;
    if granted >= wanted {
        return Ok(ClientLimit { max_clients, warnings: Vec::new() });
    }
    if granted <= own {
        return Err(format!(
            "Your current 'ulimit -n' of {granted} is not enough for the server to start. \
             Please increase your open file limit to at least {}. Exiting.",
            own + 1
        ));
    }
    let lowered = (granted - own) as usize;
    let warnings = vec![
        format!(
            "You requested maxclients of {max_clients} requiring at least {wanted} max file \
             descriptors."
        ),
        format!(
            "Current maximum open files is {granted}. maxclients has been reduced to {lowered} to \
             compensate for low ulimit. If you need higher maxclients increase 'ulimit -n'."
        ),
    ];
    Ok(ClientLimit { max_clients: lowered, warnings })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts() -> Facts {
        let release = "6.1.0-18-amd64".to_owned();
        Facts { release, disabled: Some(0), ring: Ok(()), locked_memory: 8 << 20 }
    }

    #[test]
    fn a_machine_that_has_everything_passes() {
        assert_eq!(judge(&facts()), Ok(()));
        assert_eq!(judge(&Facts { disabled: None, ..facts() }), Ok(()));
        // The sysctl's value 1 spares privileged processes, so only the attempt counts.
        assert_eq!(judge(&Facts { disabled: Some(1), ..facts() }), Ok(()));
    }

    #[test]
    fn an_old_kernel_is_named_before_what_follows_from_it() {
        for release in ["5.15.0-91-generic", "6.0.19", "4.18.0-553.el8_10.x86_64"] {
            let old = Facts { release: release.into(), ring: Err(libc::EINVAL), ..facts() };
            assert_eq!(judge(&old), Err(Problem::Kernel { release: release.into() }));
        }
        for release in ["6.1.0", "6.10-rc1", "7.0.1", "unknown"] {
            assert_eq!(judge(&Facts { release: release.into(), ..facts() }), Ok(()));
        }
    }

    #[test]
    fn the_reason_why_the_ring_is_refused_is_told_apart() {
        let refused = |disabled, number| {
            judge(&Facts { disabled, ring: Err(number), ..facts() }).unwrap_err()
        };
        assert_eq!(refused(Some(2), libc::EPERM), Problem::Disabled { value: 2 });
        assert_eq!(refused(Some(0), libc::EPERM), Problem::Forbidden);
        assert_eq!(refused(None, libc::EACCES), Problem::Forbidden);
        assert_eq!(refused(None, libc::ENOSYS), Problem::Absent);
        assert_eq!(refused(None, libc::ENOMEM), Problem::Other { number: libc::ENOMEM });
        let docker = Facts { locked_memory: 64 * 1024, ..facts() };
        assert_eq!(judge(&docker), Err(Problem::LockedMemory { limit: 64 * 1024 }));
    }

    #[test]
    fn every_problem_is_one_sentence_that_ends_with_a_way_out() {
        let problems = [
            Problem::Kernel { release: "5.10".into() },
            Problem::Disabled { value: 1 },
            Problem::Forbidden,
            Problem::Absent,
            Problem::LockedMemory { limit: 65_536 },
            Problem::Other { number: libc::ENOMEM },
        ];
        for problem in problems {
            let text = problem.to_string();
            assert!(text.starts_with("Kvasir needs") && text.ends_with('.'), "{text}");
            assert!(text.contains(": ") && !text.contains('\n') && !text.contains("  "), "{text}");
        }
    }

    #[test]
    fn fewer_descriptors_mean_fewer_clients() {
        let all = fit_clients(10_000, 80, 10_080).unwrap();
        assert_eq!((all.max_clients, all.warnings.len()), (10_000, 0));
        let some = fit_clients(10_000, 80, 1_024).unwrap();
        assert_eq!((some.max_clients, some.warnings.len()), (944, 2));
        assert!(fit_clients(10_000, 80, 80).is_err());
    }
}
