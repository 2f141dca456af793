//! TCP ports for servers under test that no other test takes at the same time.
//!
//! Binding port 0 and letting go of it again does not do: two servers that both listen with
//! `SO_REUSEPORT` may then share a port silently and serve each other's clients. So a port is held
//! for the server's whole life by a UDP socket of the same number, which the kernel gives to one
//! holder at a time, across processes, and takes back however the test ends.

use std::net::{TcpListener, UdpSocket};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use crate::poll_every;

/// Below the range that the kernel draws the ports of outgoing connections from, and beside the
/// one that the Tcl suite uses.
const FIRST: u32 = 11_000;
const COUNT: u32 = 9_000;

/// A port that is ours while this value lives.
#[derive(Debug)]
pub struct ReservedPort {
    port: u16,
    _holder: UdpSocket,
}

impl ReservedPort {
    /// Finds a free port and holds it.
    pub fn reserve() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        // Processes begin at different places, so that they seldom try the same ports.
        let start = std::process::id().wrapping_mul(131);
        for _ in 0..COUNT {
            let step = NEXT.fetch_add(1, Ordering::Relaxed);
            let port = (FIRST + start.wrapping_add(step) % COUNT) as u16;
            let Ok(holder) = UdpSocket::bind(("127.0.0.1", port)) else {
                continue;
            };
            if TcpListener::bind(("0.0.0.0", port)).is_ok() {
                return Self { port, _holder: holder };
            }
        }
        panic!("no free port from {FIRST} to {}", FIRST + COUNT);
    }

    /// The port's number.
    pub fn number(&self) -> u16 {
        self.port
    }
}

/// Where the ranges of [`ReservedRange`] begin, how many there are, and how wide each is.
const FIRST_RANGE: u16 = 21_000;
const RANGES: u16 = 36;
const RANGE_WIDTH: u16 = 220;

/// A range of consecutive ports for a program that picks its own, such as the Tcl suite.
#[derive(Debug)]
pub struct ReservedRange {
    first: u16,
    _holder: UdpSocket,
}

impl ReservedRange {
    /// Holds a range that no other test holds; waits for one when all are taken.
    pub fn reserve() -> Self {
        let free = || (0..RANGES).find_map(Self::hold);
        let found = poll_every(Duration::from_millis(200), Duration::from_secs(3_600), free);
        found.expect("a range of ports becomes free within the hour")
    }

    fn hold(index: u16) -> Option<Self> {
        let first = FIRST_RANGE + index * RANGE_WIDTH;
        let holder = UdpSocket::bind(("127.0.0.1", first)).ok()?;
        // A run that was killed may have left servers behind.
        let mut ports = first..first + RANGE_WIDTH;
        let is_free = |port| TcpListener::bind(("127.0.0.1", port)).is_ok();
        ports.all(is_free).then_some(Self { first, _holder: holder })
    }

    /// The lowest port of the range.
    pub fn first(&self) -> u16 {
        self.first
    }

    /// How many ports the range has.
    pub fn count(&self) -> u16 {
        RANGE_WIDTH
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_held_at_the_same_time_differ() {
        let held: Vec<_> = (0..50).map(|_| ReservedPort::reserve()).collect();
        let mut numbers: Vec<_> = held.iter().map(ReservedPort::number).collect();
        numbers.sort_unstable();
        numbers.dedup();
        assert_eq!(numbers.len(), held.len());
    }
}
