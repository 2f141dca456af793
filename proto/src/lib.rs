//! RESP2, RESP3 and inline requests, and replies: bytes to arguments and back. No I/O, no command.
//!
//! | module | what it holds |
//! |---|---|
//! | [`request`] | [`RequestParser`]: resumable, in place |
//! | [`args`] | [`Args`], the view of one request |
//! | [`inline`] | splitting a line with the peers' quoting rules |
//! | [`reply`] | [`Encoder`]: replies of both protocol versions, appended to a byte vector |
//! | [`value`] | [`Value`]: replies read back, for clients, tests and links to other servers |
//! | [`number`] | integers and doubles, to and from text, as strict as the peers |
//! | [`long_double`] | [`LongDouble`]: the 80-bit arithmetic of the peers' float increments |
//! | [`slot`] | CRC16 and the hash slot of a key |
//!
//! Invariant: nothing here knows a command, a key or a connection; all state is in values that the
//! caller owns.
#![forbid(unsafe_code)]

pub mod args;
mod bignum;
pub mod inline;
pub mod long_double;
pub mod number;
pub mod reply;
pub mod request;
mod shortest;
pub mod slot;
pub mod value;

pub use args::{ArgRange, ArgRanges, Args};
pub use long_double::{LongDouble, LongDoubleText};
pub use reply::{Deferred, Encoder, Mark, Resp};
pub use request::{Limits, Parsed, ProtocolError, RequestParser, append_request};
pub use slot::key_slot;
pub use value::Value;

#[cfg(test)]
mod testing {
    //! The configuration of every property test.

    use proptest::test_runner::{Config, RngSeed};

    /// The same cases in every run; `PROPTEST_RNG_SEED` and `PROPTEST_CASES` ask for others.
    pub(crate) fn config() -> Config {
        let mut config = Config { failure_persistence: None, ..Config::default() };
        if config.rng_seed == RngSeed::Random {
            config.rng_seed = RngSeed::Fixed(8_129);
        }
        config
    }
}
