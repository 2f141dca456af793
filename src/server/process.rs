//! What the process is to the system: attached to a terminal or not, and its title.
//!
//! All of it is done on the main thread, before there is any other.
#![expect(
    unsafe_code,
    reason = "raw system calls and memory of the kernel's; every block argues its safety"
)]

use std::env;
use std::fs::{self, File};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;

use super::sys::check;

/// Detaches the process from its terminal and from whoever started it, as the peers' `daemonize`
/// does. To be called before any other thread is started: a fork copies only the one that calls.
///
/// Only the daemon returns from this. It is no session's leader, so it cannot get a terminal by
/// accident; what it writes to its standard output is lost.
pub fn daemonize() -> io::Result<()> {
    leave_to_child()?;
    // SAFETY: setsid takes no argument and touches no memory of ours.
    check(unsafe { libc::setsid() })?;
    leave_to_child()?;
    let nowhere = File::options().read(true).write(true).open("/dev/null")?;
    for standard in [libc::STDIN_FILENO, libc::STDOUT_FILENO, libc::STDERR_FILENO] {
        // SAFETY: dup2 takes two plain integers; nothing of ours owns the standard descriptors.
        check(unsafe { libc::dup2(nowhere.as_raw_fd(), standard) })?;
    }
    Ok(())
}

/// Goes on in a child, and ends the process that calls.
fn leave_to_child() -> io::Result<()> {
    // SAFETY: the caller promises that this is the only thread, so that no lock is held by a
    // thread that the child does not have.
    match unsafe { libc::fork() } {
        0 => Ok(()),
        child => {
            check(child)?;
            std::process::exit(0);
        }
    }
}

/// The memory that `ps` and `/proc/PID/cmdline` show: the arguments, and behind them the
/// environment, into which the kernel reads on when the arguments no longer end with a zero.
#[derive(Debug)]
pub struct TitleMemory {
    start: usize,
    end: usize,
}

impl TitleMemory {
    /// Takes the memory over; nothing when the kernel does not tell where it is.
    ///
    /// To be called once, before any other thread is started, and after the last use of
    /// [`env::args_os`], which reads that memory. The environment moves elsewhere.
    pub fn take_over() -> Option<Self> {
        let memory = Self::find(&fs::read_to_string("/proc/self/stat").ok()?)?;
        let variables = env::vars_os().filter(|(name, _)| {
            let name = name.as_bytes();
            !name.is_empty() && !name.contains(&b'=')
        });
        for (name, value) in variables.collect::<Vec<_>>() {
            // SAFETY: the caller promises that there is no other thread to read the environment.
            unsafe { env::set_var(name, value) };
        }
        Some(memory)
    }

    /// Fields 48 to 51 of the file are where arguments and environment start and end. The second
    /// field is the program's name in parentheses, which may contain anything.
    fn find(stat: &str) -> Option<Self> {
        const ARGUMENTS: usize = 48 - 3;
        let (_, rest) = stat.rsplit_once(')')?;
        let mut fields = rest.split_ascii_whitespace().skip(ARGUMENTS);
        let mut address = || fields.next()?.parse::<usize>().ok().filter(|&address| address != 0);
        let (start, arguments_end) = (address()?, address()?);
        let (environment, environment_end) = (address()?, address()?);
        let end = if environment == arguments_end { environment_end } else { arguments_end };
        (start < end).then_some(Self { start, end })
    }

    /// Shows this title from now on, cut to the memory there is.
    pub fn write(&mut self, title: &[u8]) {
        let size = self.end - self.start;
        let mut bytes = vec![0; size];
        // The last byte stays zero: it ends the text, whatever reads it.
        let length = title.len().min(size - 1);
        bytes[..length].copy_from_slice(&title[..length]);
        let target = std::ptr::with_exposed_provenance_mut::<u8>(self.start);
        // SAFETY: the kernel put the arguments and the environment at these addresses, writable
        // and for the life of the process. `take_over` moved the environment away and was promised
        // that the arguments are not read again, so that nobody else uses the memory; it cannot
        // overlap a vector, which the allocator owns.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), target, size) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(fields: &[&str]) -> Option<(usize, usize)> {
        let filler = "0 ".repeat(45);
        let stat = format!("17 (a ) b) {filler}{}", fields.join(" "));
        TitleMemory::find(&stat).map(|memory| (memory.start, memory.end))
    }

    #[test]
    fn the_title_has_the_room_of_the_environment_if_that_follows() {
        assert_eq!(find(&["100", "120", "120", "300", "0"]), Some((100, 300)));
        assert_eq!(find(&["100", "120", "128", "300", "0"]), Some((100, 120)));
        assert_eq!(find(&["0", "0", "0", "0", "0"]), None);
        assert_eq!(find(&["100", "120"]), None);
        assert!(TitleMemory::find("").is_none());
    }

    #[test]
    fn the_kernel_tells_where_this_process_has_its_arguments() {
        let stat = fs::read_to_string("/proc/self/stat").unwrap();
        assert!(TitleMemory::find(&stat).is_some());
    }
}
