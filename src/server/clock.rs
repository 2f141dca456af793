//! The only reader of clocks. Everything else is told the time.

use std::sync::OnceLock;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::route::engine::Now;

/// Reads the two clocks of a round: two vDSO calls, about 40 ns, no system call.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    start: Instant,
}

impl Clock {
    /// A clock whose monotonic reading is the same on all cores of this process.
    pub fn new() -> Self {
        static START: OnceLock<Instant> = OnceLock::new();
        Self { start: *START.get_or_init(Instant::now) }
    }

    /// The time now.
    pub fn now(self) -> Now {
        let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        Now { unix_us: unix.as_micros() as u64, monotonic_us: self.monotonic_us() }
    }

    /// The monotonic part alone.
    pub(super) fn monotonic_us(self) -> u64 {
        self.start.elapsed().as_micros() as u64
    }
}

impl Default for Clock {
    fn default() -> Self {
        Self::new()
    }
}

/// A cheap counter for timing single commands, with the factor that turns it into nanoseconds.
///
/// On `x86_64` processors whose time-stamp counter runs at a constant rate in all power states it
/// is that counter (some 20 cycles a reading); elsewhere it is the monotonic clock. A simulation
/// passes a counter of its own.
#[derive(Clone, Copy, Debug)]
pub struct Stopwatch {
    read: fn() -> u64,
    /// Nanoseconds a tick, as a fixed-point number with 32 fractional bits.
    scale: u64,
}

impl Stopwatch {
    /// The best counter of this machine. The first call calibrates it, which takes two
    /// milliseconds.
    pub fn hardware() -> Self {
        static HARDWARE: OnceLock<Stopwatch> = OnceLock::new();
        *HARDWARE.get_or_init(calibrate)
    }

    /// A counter that the caller supplies, which counts nanoseconds.
    pub fn from_nanoseconds(read: fn() -> u64) -> Self {
        Self { read, scale: 1 << 32 }
    }

    /// The counter's reading, in ticks of unspecified length.
    pub fn ticks(self) -> u64 {
        (self.read)()
    }

    /// A difference of two readings in nanoseconds.
    pub fn nanoseconds(self, ticks: u64) -> u64 {
        ((u128::from(ticks) * u128::from(self.scale)) >> 32) as u64
    }

    /// The time since an earlier reading in nanoseconds; 0 when the counter went back, which an
    /// unsynchronised counter of another core might.
    pub fn elapsed_ns(self, since: u64) -> u64 {
        self.nanoseconds(self.ticks().saturating_sub(since))
    }
}

fn monotonic_ns() -> u64 {
    Clock::new().start.elapsed().as_nanos() as u64
}

#[cfg(target_arch = "x86_64")]
fn calibrate() -> Stopwatch {
    use super::sys::time_stamp_counter;

    let cpuinfo = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    if !is_invariant(&cpuinfo) {
        return Stopwatch::from_nanoseconds(monotonic_ns);
    }
    let (clock_start, ticks_start) = (Instant::now(), time_stamp_counter());
    while clock_start.elapsed() < Duration::from_millis(2) {
        std::hint::spin_loop();
    }
    let (elapsed, ticks) = (clock_start.elapsed(), time_stamp_counter() - ticks_start);
    let scale = (elapsed.as_nanos() << 32) / u128::from(ticks.max(1));
    Stopwatch { read: time_stamp_counter, scale: scale as u64 }
}

#[cfg(not(target_arch = "x86_64"))]
fn calibrate() -> Stopwatch {
    Stopwatch::from_nanoseconds(monotonic_ns)
}

/// Whether the kernel reports a counter of constant rate that no sleep state stops.
#[cfg(any(target_arch = "x86_64", test))]
fn is_invariant(cpuinfo: &str) -> bool {
    let flags = cpuinfo.lines().find(|line| line.starts_with("flags")).unwrap_or_default();
    let has = |name| flags.split_ascii_whitespace().any(|flag| flag == name);
    has("constant_tsc") && has("nonstop_tsc")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_monotonic_clock_agrees_between_instances_and_never_goes_back() {
        let (first, second) = (Clock::new(), Clock::new());
        let mut last = 0;
        for _ in 0..1000 {
            for clock in [first, second] {
                let now = clock.now();
                assert!(now.monotonic_us >= last);
                assert!(now.unix_us > 1_600_000_000_000_000);
                last = now.monotonic_us;
            }
        }
    }

    #[test]
    fn a_supplied_counter_counts_nanoseconds() {
        let watch = Stopwatch::from_nanoseconds(|| 1_000);
        assert_eq!(watch.ticks(), 1_000);
        assert_eq!(watch.nanoseconds(123_456_789_012), 123_456_789_012);
        assert_eq!(watch.elapsed_ns(400), 600);
        assert_eq!(watch.elapsed_ns(4_000), 0);
    }

    #[test]
    fn the_hardware_counter_tells_about_the_same_time_as_the_clock() {
        let watch = Stopwatch::hardware();
        let (outer, ticks) = (Instant::now(), watch.ticks());
        let inner = Instant::now();
        while inner.elapsed() < Duration::from_millis(5) {}
        let (inner, watched) = (inner.elapsed().as_nanos(), u128::from(watch.elapsed_ns(ticks)));
        let outer = outer.elapsed().as_nanos();
        assert!(watched * 100 >= inner * 95, "{watched} ns, at least {inner} passed");
        assert!(watched * 95 <= outer * 100, "{watched} ns, at most {outer} passed");
    }

    #[test]
    fn only_a_constant_counter_that_never_stops_counts_as_invariant() {
        let cpuinfo = |flags: &str| format!("processor : 0\nflags\t\t: fpu {flags} sse\n");
        assert!(is_invariant(&cpuinfo("constant_tsc nonstop_tsc")));
        assert!(!is_invariant(&cpuinfo("constant_tsc")));
        assert!(!is_invariant(&cpuinfo("tsc rdtscp")));
        assert!(!is_invariant(""));
    }
}
