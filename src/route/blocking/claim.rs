//! Who decides about a client that waits: a flag that its own core and the shards share.

use std::sync::atomic::{AtomicU8, Ordering};

/// An attempt to serve the client is under way, or has succeeded.
const TAKEN: u8 = 1;
/// The client waits no more: its time is up, it has been unblocked, or it is gone.
const ENDED: u8 = 2;

/// The flag. A shard takes it before it tries the client's command, so that nothing is taken out of
/// a key for a client whose wait has ended, in whatever order the messages about that arrive; and
/// the client's core ends it, so that the reply to `CLIENT UNBLOCK` or `CLIENT KILL` tells what has
/// been decided.
#[derive(Debug, Default)]
pub(crate) struct Claim(AtomicU8);

impl Claim {
    /// Takes it for an attempt. False when the wait has ended, or another attempt is under way.
    pub(in crate::route) fn take(&self) -> bool {
        self.0.compare_exchange(0, TAKEN, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    /// Gives it back after an attempt in vain. False when the wait has ended meanwhile: then the
    /// client's core counts on being told so.
    pub(super) fn put_back(&self) -> bool {
        let before = self.0.fetch_and(!TAKEN, Ordering::AcqRel);
        debug_assert!(before & TAKEN != 0, "only who has taken it gives it back");
        before & ENDED == 0
    }

    /// Ends the wait. False when that is not decided yet, since an attempt is under way, or was
    /// decided before.
    pub(super) fn end(&self) -> bool {
        self.0.fetch_or(ENDED, Ordering::AcqRel) == 0
    }

    /// Whether the wait has ended without success.
    pub(super) fn is_ended(&self) -> bool {
        self.0.load(Ordering::Acquire) == ENDED
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn either_the_shard_or_the_clients_core_decides() {
        let claim = Claim::default();
        assert!(claim.take());
        assert!(!claim.take(), "one attempt at a time");
        assert!(claim.put_back());
        assert!(claim.take());
        assert!(!claim.end(), "the attempt may succeed");
        assert!(!claim.put_back(), "it did not, and the wait was to end");
        assert!(claim.is_ended());
        assert!(!claim.take());
        let claim = Claim::default();
        assert!(claim.end());
        assert!(!claim.end());
    }
}
