//! What a core does when a round has brought nothing: look again, yield and spin, block or park.
//!
//! A pure decision, so that it can be tested without a clock. The ladder, by the time since
//! something last happened:
//!
//! | quiet for | step | costs | wakes within |
//! |---|---|---|---|
//! | (just now) | [`Step::Again`], or at once the one below that pays | nothing | - |
//! | less than a block is worth | [`Step::Yield`] | one system call | - |
//! | a few us, if that has paid lately | the same, with a spin | the core's time | 0.1 us |
//! | up to 10 ms | [`Step::Block`] in the own ring | one system call | 3 us |
//! | longer | [`Step::Park`] through the executor | some ten system calls | 10 us |
//!
//! Where a core has its processor to itself, yielding returns at once. Where it has not (a client
//! on the same machine, another process) the others do their part meanwhile, and what they bring is
//! dealt with in one round instead of waking this core for each piece. Two shards that share their
//! processors with the load need a third less CPU a command by it. After others have run there is
//! no spinning: it would be at their cost.

use std::time::Duration;

use crate::route::engine::Wake;

/// How long to spin at most: about what blocking and being woken costs.
const SPIN_US: u64 = 10;
/// As long, for the next call of a script that holds all shards.
const CALL_SPIN_US: u64 = 50;
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
    /// Yield to others who want the processor. If there are none, look, without a system call,
    /// until this moment of the monotonic clock.
    Yield {
        /// None: spinning has not paid lately.
        spin_until_us: Option<u64>,
    },
    /// Look, without a system call, until this moment of the monotonic clock.
    Spin {
        /// See above.
        until_us: u64,
    },
    /// Block in the ring, at most this long.
    Block(Duration),
    /// Give the core away until something happens, or until this has passed.
    Park(Option<Duration>),
}

/// What a round was like.
#[derive(Clone, Copy, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "independent observations")]
pub(super) struct Round {
    /// When it began, on the monotonic clock.
    pub(super) now_us: u64,
    /// Whether it brought something from a socket.
    pub(super) busy: bool,
    /// Whether it brought or sent mail: an answer is likely to come soon.
    pub(super) mail: bool,
    /// Whether it queued operations, which the next step has to submit.
    pub(super) queued: bool,
    /// Whether mail is waiting for room in another core's queue.
    pub(super) backlog: bool,
    /// Whether a script holds all shards, whose next call is likely to come soon.
    pub(super) serves_script: bool,
    /// What the engine wants.
    pub(super) wake: Wake,
}

/// The state of one core's ladder.
#[derive(Debug)]
pub(super) struct Idle {
    /// When something last happened.
    active_us: u64,
    /// Whether to yield before blocking, this time.
    will_yield: bool,
    /// Whether to spin after that.
    will_spin: bool,
    /// What it is for.
    awaited: Awaited,
    /// Whether spinning pays, for a call of a script, for an answer to mail and for anything else.
    for_call: SpinRecord,
    after_mail: SpinRecord,
    otherwise: SpinRecord,
    may_spin: bool,
}

/// What a core spins for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Awaited {
    Call,
    Mail,
    Anything,
}

/// How spinning has done lately.
#[derive(Debug)]
struct SpinRecord {
    /// How often it has paid, in 1/256.
    hits: u32,
    /// How often it was refused since it was last tried.
    refused: u32,
}

impl SpinRecord {
    /// Begins with trust.
    const NEW: Self = Self { hits: 256, refused: 0 };

    fn note(&mut self, hit: bool) {
        self.hits = (self.hits * 7 + if hit { 256 } else { 0 }) / 8;
    }

    fn pays(&mut self) -> bool {
        if self.hits < 128 {
            self.refused += 1;
            if self.refused < SPIN_RETRY {
                return false;
            }
        }
        self.refused = 0;
        true
    }
}

impl Idle {
    /// `may_spin` is false when other threads need this processor, so that spinning can only hurt.
    pub(super) fn new(may_spin: bool) -> Self {
        Self {
            active_us: 0,
            will_yield: false,
            will_spin: false,
            awaited: Awaited::Anything,
            for_call: SpinRecord::NEW,
            after_mail: SpinRecord::NEW,
            otherwise: SpinRecord::NEW,
            may_spin,
        }
    }

    /// The step after a round.
    pub(super) fn next(&mut self, round: Round) -> Step {
        let Round { now_us, busy, mail, queued, backlog, serves_script, wake } = round;
        if busy || mail {
            self.active_us = now_us;
            self.awaited = match (serves_script, mail) {
                (true, _) => Awaited::Call,
                (false, true) => Awaited::Mail,
                (false, false) => Awaited::Anything,
            };
            self.will_yield = true;
            self.will_spin = self.may_spin && self.record().pays();
        }
        let left_us = match wake {
            Wake::Now => Some(0),
            Wake::At(at_us) => Some(at_us.saturating_sub(now_us)),
            Wake::Never => None,
        };
        if left_us == Some(0) {
            return Step::Again;
        }
        if self.will_yield {
            if busy || mail || queued {
                return Step::Again;
            }
            self.will_yield = false;
            let until = |spin_us: u64| now_us + spin_us.min(left_us.unwrap_or(spin_us));
            match (self.awaited, self.will_spin) {
                (Awaited::Call, true) => return Step::Spin { until_us: until(CALL_SPIN_US) },
                (Awaited::Call, false) => {}
                (Awaited::Mail | Awaited::Anything, will_spin) => {
                    return Step::Yield { spin_until_us: will_spin.then(|| until(SPIN_US)) };
                }
            }
        }
        if !queued && !backlog && now_us - self.active_us >= PARK_AFTER_US {
            return Step::Park(left_us.map(Duration::from_micros));
        }
        // One system call submits what is queued and blocks, unless more has arrived meanwhile.
        Step::Block(Duration::from_micros(left_us.unwrap_or(BLOCK_US).min(BLOCK_US)))
    }

    /// Tells whether spinning met with something.
    pub(super) fn spun(&mut self, hit: bool) {
        self.record().note(hit);
    }

    fn record(&mut self) -> &mut SpinRecord {
        match self.awaited {
            Awaited::Call => &mut self.for_call,
            Awaited::Mail => &mut self.after_mail,
            Awaited::Anything => &mut self.otherwise,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUIET: Round = Round {
        now_us: 1_000,
        busy: false,
        mail: false,
        queued: false,
        backlog: false,
        serves_script: false,
        wake: Wake::Never,
    };
    const BUSY: Round = Round { busy: true, ..QUIET };
    const YIELD: Step = Step::Yield { spin_until_us: None };
    const BLOCK: Step = Step::Block(Duration::from_micros(BLOCK_US));

    /// A ladder for which spinning has not paid for long.
    fn blocking() -> Idle {
        let mut idle = Idle::new(true);
        for _ in 0..32 {
            idle.spun(false);
        }
        idle
    }

    #[test]
    fn a_busy_core_goes_round_and_a_quiet_one_spins_then_blocks_then_parks() {
        let mut idle = Idle::new(true);
        assert_eq!(idle.next(BUSY), Step::Again);
        assert_eq!(idle.next(Round { wake: Wake::Now, ..QUIET }), Step::Again);
        assert_eq!(idle.next(Round { queued: true, ..QUIET }), Step::Again);
        assert_eq!(idle.next(QUIET), Step::Yield { spin_until_us: Some(1_000 + SPIN_US) });
        assert_eq!(idle.next(QUIET), BLOCK);
        assert_eq!(idle.next(Round { now_us: 1_600, ..QUIET }), BLOCK);
        let late = Round { now_us: 1_000 + PARK_AFTER_US, ..QUIET };
        assert_eq!(idle.next(late), Step::Park(None));
        assert_eq!(idle.next(Round { backlog: true, ..late }), BLOCK);
        assert_eq!(idle.next(Round { queued: true, ..late }), BLOCK);
    }

    #[test]
    fn where_spinning_does_not_pay_a_core_only_yields() {
        let mut idle = blocking();
        assert_eq!(idle.next(Round { queued: true, ..BUSY }), Step::Again);
        assert_eq!(idle.next(QUIET), YIELD);
        assert_eq!(idle.next(Round { queued: true, ..QUIET }), BLOCK);
        // Whether an answer to mail is worth waiting for is a question of its own.
        assert_eq!(idle.next(Round { mail: true, ..QUIET }), Step::Again);
        assert_eq!(idle.next(QUIET), Step::Yield { spin_until_us: Some(1_000 + SPIN_US) });
    }

    #[test]
    fn between_the_calls_of_a_script_a_core_spins_or_blocks_and_does_not_yield() {
        let call = Round { mail: true, serves_script: true, ..QUIET };
        let mut idle = Idle::new(true);
        assert_eq!(idle.next(call), Step::Again);
        assert_eq!(idle.next(QUIET), Step::Spin { until_us: 1_000 + CALL_SPIN_US });
        assert_eq!(idle.next(QUIET), BLOCK);
        for _ in 0..32 {
            idle.spun(false);
        }
        assert_eq!(idle.next(call), Step::Again);
        assert_eq!(idle.next(QUIET), BLOCK, "it has not paid");
        // For anything else it is worth a try still.
        assert_eq!(idle.next(BUSY), Step::Again);
        assert_eq!(idle.next(QUIET), Step::Yield { spin_until_us: Some(1_000 + SPIN_US) });
    }

    #[test]
    fn no_step_is_longer_than_the_engine_allows() {
        for wait_us in [1, 7, 499, 500, 501, 20_000] {
            for mut idle in [Idle::new(true), Idle::new(false), blocking()] {
                let round = Round { wake: Wake::At(1_000 + wait_us), ..QUIET };
                for round in [Round { busy: true, ..round }, round, round] {
                    check_length(idle.next(round), wait_us);
                    check_length(idle.next(Round { serves_script: true, ..round }), wait_us);
                }
                let late = Round { now_us: 40_000, ..round };
                assert_eq!(idle.next(late), Step::Again);
            }
        }
    }

    fn check_length(step: Step, wait_us: u64) {
        match step {
            Step::Again | YIELD => {}
            Step::Yield { spin_until_us: Some(until_us) } | Step::Spin { until_us } => {
                assert!(until_us <= 1_000 + wait_us);
            }
            Step::Block(duration) => assert!(duration.as_micros() as u64 <= wait_us),
            Step::Park(duration) => assert_eq!(duration.unwrap().as_micros() as u64, wait_us),
        }
    }

    #[test]
    fn spinning_that_never_pays_becomes_rare_and_comes_back_when_it_pays() {
        let mut idle = Idle::new(true);
        let mut spins = 0;
        for _ in 0..10_000 {
            idle.next(BUSY);
            if idle.next(QUIET) != YIELD {
                idle.spun(false);
                spins += 1;
            }
        }
        assert!(spins < 10_000 / SPIN_RETRY + 16, "{spins}");
        for _ in 0..16 {
            idle.spun(true);
        }
        idle.next(BUSY);
        assert_ne!(idle.next(QUIET), YIELD);
    }

    #[test]
    fn a_core_that_shares_its_processor_never_spins() {
        let mut idle = Idle::new(false);
        for _ in 0..1_000 {
            assert_eq!(idle.next(Round { mail: true, ..BUSY }), Step::Again);
            assert_eq!(idle.next(QUIET), YIELD);
            assert_eq!(idle.next(QUIET), BLOCK);
        }
    }
}
