//! What this process uses of the machine: processor time, resident memory; and what there is.
#![expect(unsafe_code, reason = "calls of the C library and the allocator; each block argues")]

use std::ffi::{CStr, c_char, c_void};
use std::fs;
use std::mem::MaybeUninit;
use std::ptr;

/// Processor time, in microseconds.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct CpuTimes {
    /// Spent in the kernel.
    pub system_us: u64,
    /// Spent in the program.
    pub user_us: u64,
}

/// Whose processor time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Whose {
    /// All threads of this process.
    Process,
    /// The children that have ended and were waited for.
    Children,
    /// The calling thread.
    Thread,
}

/// Processor time used so far.
pub fn cpu_times(whose: Whose) -> CpuTimes {
    let who = match whose {
        Whose::Process => libc::RUSAGE_SELF,
        Whose::Children => libc::RUSAGE_CHILDREN,
        Whose::Thread => libc::RUSAGE_THREAD,
    };
    let mut usage = MaybeUninit::<libc::rusage>::zeroed();
    // SAFETY: `usage` is valid for writes of a rusage for the whole call.
    let result = unsafe { libc::getrusage(who, usage.as_mut_ptr()) };
    assert_eq!(result, 0, "invariant: getrusage fails only for an unknown `who`");
    // SAFETY: the call succeeded, so it is initialised; and a rusage is integers, which were
    // zeroed.
    let usage = unsafe { usage.assume_init() };
    let us = |time: libc::timeval| time.tv_sec as u64 * 1_000_000 + time.tv_usec as u64;
    CpuTimes { system_us: us(usage.ru_stime), user_us: us(usage.ru_utime) }
}

/// Memory of this process that is in RAM, in bytes; 0 where `/proc` is not mounted.
pub fn resident_bytes() -> u64 {
    let statm = fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages: u64 = statm.split(' ').nth(1).and_then(|text| text.parse().ok()).unwrap_or(0);
    pages * positive_sysconf(libc::_SC_PAGESIZE)
}

/// Memory of the machine, in bytes.
pub fn system_memory_bytes() -> u64 {
    positive_sysconf(libc::_SC_PHYS_PAGES) * positive_sysconf(libc::_SC_PAGESIZE)
}

/// The operating system as `uname` tells it: name, release and machine.
pub fn system_name() -> String {
    let kernel = |file: &str| {
        let text = fs::read_to_string(format!("/proc/sys/kernel/{file}"));
        text.map_or_else(|_| "?".to_owned(), |text| text.trim_end().to_owned())
    };
    format!("{} {} {}", kernel("ostype"), kernel("osrelease"), std::env::consts::ARCH)
}

/// What the allocator tells of itself, for people.
pub fn allocator_report() -> Vec<u8> {
    let mut report: Vec<u8> = Vec::new();
    let target = (&raw mut report).cast::<c_void>();
    // SAFETY: `append` gets `target` back, which points to `report` for the whole call, and is not
    // called afterwards; null options ask for everything.
    unsafe { tikv_jemalloc_sys::malloc_stats_print(Some(append), target, ptr::null()) };
    report
}

/// Appends a piece of the allocator's report.
unsafe extern "C" fn append(report: *mut c_void, piece: *const c_char) {
    // SAFETY: the allocator passes what `allocator_report` gave it: a vector that nobody else uses
    // during the call.
    let report = unsafe { &mut *report.cast::<Vec<u8>>() };
    // SAFETY: the allocator passes a C string, which lives until this function returns.
    let piece = unsafe { CStr::from_ptr(piece) };
    report.extend_from_slice(piece.to_bytes());
}

/// Has the allocator return unused pages to the system; whether it knew how to.
pub fn purge_allocator() -> bool {
    // The number that stands for all arenas at once.
    const PURGE_ALL: &CStr = c"arena.4096.purge";
    let (none, no_length) = (ptr::null_mut(), ptr::null_mut());
    // SAFETY: the name is a C string, and this control neither reads nor writes a value, so that
    // null pointers and a length of zero are what it wants.
    let result = unsafe {
        tikv_jemalloc_sys::mallctl(PURGE_ALL.as_ptr(), none, no_length, ptr::null_mut(), 0)
    };
    result == 0
}

fn positive_sysconf(name: libc::c_int) -> u64 {
    // SAFETY: sysconf takes a plain integer and touches no memory of ours.
    let value = unsafe { libc::sysconf(name) };
    u64::try_from(value).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_uses_something_of_the_machine() {
        let resident = resident_bytes();
        assert!(resident > 0 && resident < system_memory_bytes());
        let (thread, process) = (cpu_times(Whose::Thread), cpu_times(Whose::Process));
        assert!(thread.user_us <= process.user_us + process.system_us + 1_000_000);
        assert!(purge_allocator());
        let report = String::from_utf8(allocator_report()).unwrap();
        assert!(report.contains("jemalloc statistics"), "{report}");
        assert!(system_name().starts_with("Linux "), "{}", system_name());
    }
}
