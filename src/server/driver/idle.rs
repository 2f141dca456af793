//! What a core does when a round has brought nothing: look again, spin, block or park.
//!
//! A pure decision, so that it can be tested without a clock. The ladder, by the time since
//! something last happened:
//!
//! | quiet for | step | costs | wakes within |
//! |---|---|---|---|
//! | (just now) | [`Step::Again`] | nothing is waited for | - |
//! | a few us, if that has paid lately | [`Step::Spin`] | the core's time | 0.1 us |
//! | up to 10 ms | [`Step::Block`] in the own ring | one system call | 3 us |
//! | longer | [`Step::Park`] through the executor | some ten system calls | 10 us |

use std::time::Duration;

use crate::route::engine::Wake;

/// How long to spin at most: about what blocking and being woken costs.
const SPIN_US: u64 = 10;
/// How long to block in the own ring at a time, for the executor's other tasks wait meanwhile.
const BLOCK_US: u64 = 500;
/// How long it has to be quiet before the core parks.
const PARK_AFTER_US: u64 = 10_000;
/// After so many refusals to spin, it is tried again whether it pays.
const SPIN_RETRY: u32 = 64;

/// What to do before the next round.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Step {
    /// Go round again at once.
    Again,
    /// Look, without a system call, until this moment of the monotonic clock.
    Spin(u64),
    /// Block in the ring, at most this long.
    Block(Duration),
    /// Give the core away until something happens, or until this has passed.
    Park(Option<Duration>),
}

/// The state of one core's ladder.
#[derive(Debug)]
pub(super) struct Idle {
    /// When something last happened.
    active_us: u64,
    /// Whether this idle time has been spun through already.
    spun: bool,
    /// How often spinning has paid lately, in 1/256.
    spin_hits: u32,
    spin_refused: u32,
    may_spin: bool,
}

impl Idle {
    /// `may_spin` is false when other threads need this processor, so that spinning can only hurt.
    pub(super) fn new(may_spin: bool) -> Self {
        Self { active_us: 0, spun: false, spin_hits: 256, spin_refused: 0, may_spin }
    }

    /// The step after a round at `now_us`. `busy`: the round brought something. `backlog`: mail is
    /// waiting for room in another core's queue.
    pub(super) fn next(&mut self, now_us: u64, busy: bool, backlog: bool, wake: Wake) -> Step {
        if busy {
            self.active_us = now_us;
            self.spun = false;
        }
        let left_us = match wake {
            Wake::Now => Some(0),
            Wake::At(at_us) => Some(at_us.saturating_sub(now_us)),
            Wake::Never => None,
        };
        if busy || left_us == Some(0) {
            return Step::Again;
        }
        if !self.spun && self.spinning_pays() {
            self.spun = true;
            return Step::Spin(now_us + SPIN_US.min(left_us.unwrap_or(SPIN_US)));
        }
        self.spun = true;
        if !backlog && now_us - self.active_us >= PARK_AFTER_US {
            return Step::Park(left_us.map(Duration::from_micros));
        }
        Step::Block(Duration::from_micros(left_us.unwrap_or(BLOCK_US).min(BLOCK_US)))
    }

    /// Tells whether spinning met with something.
    pub(super) fn spun(&mut self, hit: bool) {
        self.spin_hits = (self.spin_hits * 7 + if hit { 256 } else { 0 }) / 8;
    }

    fn spinning_pays(&mut self) -> bool {
        if !self.may_spin {
            return false;
        }
        if self.spin_hits < 128 {
            self.spin_refused += 1;
            if self.spin_refused < SPIN_RETRY {
                return false;
            }
        }
        self.spin_refused = 0;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_busy_core_goes_round_and_a_quiet_one_spins_then_blocks_then_parks() {
        let mut idle = Idle::new(true);
        assert_eq!(idle.next(1_000, true, false, Wake::Never), Step::Again);
        assert_eq!(idle.next(1_001, false, false, Wake::Now), Step::Again);
        assert_eq!(idle.next(1_002, false, false, Wake::Never), Step::Spin(1_002 + SPIN_US));
        idle.spun(false);
        let block = Step::Block(Duration::from_micros(BLOCK_US));
        assert_eq!(idle.next(1_020, false, false, Wake::Never), block);
        assert_eq!(idle.next(1_600, false, false, Wake::Never), block);
        let parked_us = 1_000 + PARK_AFTER_US;
        assert_eq!(idle.next(parked_us, false, false, Wake::Never), Step::Park(None));
        assert_eq!(idle.next(parked_us, false, true, Wake::Never), block);
    }

    #[test]
    fn no_step_is_longer_than_the_engine_allows() {
        for wait_us in [1, 7, 499, 500, 501, 20_000] {
            let mut idle = Idle::new(true);
            idle.next(1_000, true, false, Wake::Never);
            let wake = Wake::At(1_000 + wait_us);
            for now_us in [1_000, 1_000, 40_000] {
                let left_us = (1_000 + wait_us).saturating_sub(now_us);
                match idle.next(now_us, false, false, wake) {
                    Step::Again => assert_eq!(left_us, 0),
                    Step::Spin(until_us) => assert!(until_us <= 1_000 + wait_us),
                    Step::Block(duration) => assert!(duration.as_micros() as u64 <= left_us),
                    Step::Park(duration) => {
                        assert_eq!(duration.unwrap().as_micros() as u64, left_us);
                    }
                }
            }
        }
    }

    #[test]
    fn spinning_that_never_pays_becomes_rare() {
        let mut idle = Idle::new(true);
        let mut spins = 0;
        for round in 0..10_000u64 {
            idle.next(round * 100, true, false, Wake::Never);
            if matches!(idle.next(round * 100 + 1, false, false, Wake::Never), Step::Spin(_)) {
                idle.spun(false);
                spins += 1;
            }
        }
        assert!(spins < 10_000 / u64::from(SPIN_RETRY) + 16, "{spins}");
        for _ in 0..16 {
            idle.spun(true);
        }
        idle.next(2_000_000, true, false, Wake::Never);
        assert!(matches!(idle.next(2_000_001, false, false, Wake::Never), Step::Spin(_)));
    }

    #[test]
    fn a_core_that_shares_its_processor_never_spins() {
        let mut idle = Idle::new(false);
        for round in 0..1_000 {
            idle.next(round * 100, true, false, Wake::Never);
            let step = idle.next(round * 100 + 1, false, false, Wake::Never);
            assert!(matches!(step, Step::Block(_)));
        }
    }
}
