//! How a command waits for its keys.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use kvasir_proto::{Args, Encoder, number};
use kvasir_shard::ValueType;

use crate::commands::context::ShardContext;
use crate::errors::CommandError;
use crate::route::transaction::{Request, Transaction};

/// A command that waits until one of its keys has what it wants.
///
/// It is tried as a whole when it comes and each time one of the keys that it waits for may have
/// become ready, which is right after the command that did it. It waits for those of its keys whose
/// specification says [`ACCESS`](super::KeyFlags::ACCESS): the source of `BLMOVE`, not its
/// destination.
#[derive(Clone, Copy, Debug)]
pub struct Blocking {
    /// Reads from the arguments how long the client wants to wait. An error is the command's.
    pub patience: fn(Args<'_>) -> Result<Patience, CommandError>,
    /// The type of value that it waits for.
    pub awaits: ValueType,
    /// Whether it leaves the value as it is for whoever waits behind it, as `XREAD` does. Then all
    /// who wait are tried, and not only the first until one goes on waiting.
    pub shares: bool,
    /// Whether it is tried also when a key that it waits for goes, or gets a value of another type,
    /// as `XREADGROUP` is: it then ends with an error.
    pub notices_loss: bool,
    /// Tries it on the shard that owns all of its keys.
    pub whole: AttemptHandler,
    /// Tries it when its keys lie on several shards, under locks on all of them.
    pub spread: SpreadAttempt,
    /// Writes the reply of a client that has waited in vain.
    pub nothing: fn(&mut Encoder<'_>),
    /// Writes the reply of a client that may not wait, which for some is another.
    pub not_waiting: fn(&mut Encoder<'_>),
}

impl Blocking {
    /// Runs the command on one shard for a client that cannot wait, as in a transaction: when there
    /// is nothing for it, it is told so at once.
    pub fn run_once(
        &self,
        context: &mut ShardContext<'_>,
        args: Args<'_>,
        reply: &mut Encoder<'_>,
    ) -> Result<(), CommandError> {
        let mark = reply.mark();
        if (self.whole)(context, args, reply)? != Attempt::Done {
            reply.rollback(mark);
            (self.not_waiting)(reply);
        }
        Ok(())
    }
}

/// How long a client wants to wait.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Patience {
    /// Not at all: `XREAD` without `BLOCK`.
    None,
    /// So long.
    For(Duration),
    /// Until it is served.
    Forever,
}

/// Milliseconds that the peers keep free below the largest integer, for the present time.
const TIMEOUT_SLACK_MS: i64 = 1 << 41;

impl Patience {
    /// Reads a timeout in seconds, with a fraction; zero, and what rounds up to it, is for ever.
    pub fn of_seconds(argument: &[u8]) -> Result<Self, CommandError> {
        let seconds = number::parse_f64(argument)
            .filter(|seconds| !seconds.is_nan())
            .ok_or(CommandError::Other("ERR timeout is not a float or out of range"))?;
        let ms = (seconds * 1000.0).ceil();
        if ms >= i64::MAX as f64 {
            return Err(CommandError::Other("ERR timeout is out of range"));
        }
        Self::of_checked_ms(ms as i64)
    }

    /// Reads a timeout in milliseconds; zero is for ever.
    pub fn of_milliseconds(argument: &[u8]) -> Result<Self, CommandError> {
        let ms = number::parse_i64(argument)
            .ok_or(CommandError::Other("ERR timeout is not an integer or out of range"))?;
        Self::of_checked_ms(ms)
    }

    fn of_checked_ms(ms: i64) -> Result<Self, CommandError> {
        match u64::try_from(ms) {
            Err(_) => Err(CommandError::Other("ERR timeout is negative")),
            Ok(0) => Ok(Self::Forever),
            Ok(_) if ms > i64::MAX - TIMEOUT_SLACK_MS => {
                Err(CommandError::Other("ERR timeout is out of range"))
            }
            Ok(ms) => Ok(Self::For(Duration::from_millis(ms))),
        }
    }
}

/// What an attempt came to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Attempt {
    /// The reply is written.
    Done,
    /// Nothing is there, nothing was changed, and what was written is discarded.
    Wait,
    /// As [`Wait`](Self::Wait), and all later attempts are made with these arguments: `XREAD`
    /// replaces `$` by the identifier that it stands for now.
    WaitAs(Vec<Vec<u8>>),
}

/// Tries a command on one shard. An error ends the command; nothing was changed then.
pub type AttemptHandler =
    fn(&mut ShardContext<'_>, Args<'_>, &mut Encoder<'_>) -> Result<Attempt, CommandError>;

/// How a command is tried whose keys lie on several shards.
#[derive(Clone, Copy, Debug)]
pub enum SpreadAttempt {
    /// It takes from the first of its keys that exists: `whole` runs where that one lies.
    FirstKey,
    /// This coordinator, which visits the shards by [`Transaction::hop`] and never by `last_hop`.
    By(fn(Transaction, Request) -> SpreadCoordination),
}

/// The running attempt of a command with keys on several shards.
pub type SpreadCoordination = Pin<Box<dyn Future<Output = Result<SpreadOutcome, CommandError>>>>;

/// What an attempt with keys on several shards came to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum SpreadOutcome {
    /// The encoded reply.
    Done(Vec<u8>),
    /// As [`Attempt::Wait`].
    Wait,
    /// As [`Attempt::WaitAs`].
    WaitAs(Vec<Vec<u8>>),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timeouts_are_read_as_the_peers_read_them() {
        let ms = |ms| Ok(Patience::For(Duration::from_millis(ms)));
        let error = |text| Err(CommandError::Other(text));
        let seconds = |text: &str| Patience::of_seconds(text.as_bytes());
        assert_eq!(seconds("1.5"), ms(1500));
        assert_eq!(seconds("1e-9"), ms(1));
        assert_eq!(seconds("0"), Ok(Patience::Forever));
        assert_eq!(seconds("-0.0001"), Ok(Patience::Forever));
        assert_eq!(seconds("-0.1"), error("ERR timeout is negative"));
        assert_eq!(seconds("-inf"), error("ERR timeout is negative"));
        assert_eq!(seconds("inf"), error("ERR timeout is out of range"));
        assert_eq!(seconds("1e30"), error("ERR timeout is out of range"));
        assert_eq!(seconds("9223372036854775"), error("ERR timeout is out of range"));
        for wrong in ["", "x", "nan", " 1"] {
            assert_eq!(seconds(wrong), error("ERR timeout is not a float or out of range"));
        }
        let milliseconds = |text: &str| Patience::of_milliseconds(text.as_bytes());
        assert_eq!(milliseconds("7"), ms(7));
        assert_eq!(milliseconds("0"), Ok(Patience::Forever));
        assert_eq!(milliseconds("-1"), error("ERR timeout is negative"));
        assert_eq!(milliseconds("1.5"), error("ERR timeout is not an integer or out of range"));
        let largest = "9223372036854775807";
        assert_eq!(milliseconds(largest), error("ERR timeout is out of range"));
    }
}
