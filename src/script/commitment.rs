//! Which script of the process has done what cannot be taken back, and may yet turn out to need
//! keys of other shards.
//!
//! Two of those at once could each have written what the other wants to read, and no order of the
//! two would be right. So there is one at a time; any other goes on as long as what it does can be
//! taken back.

use std::sync::atomic::{AtomicU8, Ordering};

/// See the module's head. The orderings are relaxed: nothing is read that this would publish, and
/// what the script does elsewhere travels in messages.
#[derive(Default, Debug)]
pub struct Commitment(AtomicU8);

const FREE: u8 = 0;
const TAKEN: u8 = 1;
const STRAYING: u8 = 2;

impl Commitment {
    /// Takes it for a script that is about to do what cannot be taken back; false when another
    /// has it.
    #[must_use]
    pub fn take(&self) -> bool {
        self.0.compare_exchange(FREE, TAKEN, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }

    /// The script that has it is to have every shard: everybody else gives way.
    pub fn stray(&self) {
        let before = self.0.swap(STRAYING, Ordering::Relaxed);
        assert_eq!(before, TAKEN, "invariant: a script strays once, with the commitment");
    }

    /// Whether a script that cannot be taken back wants every shard, or has them.
    pub fn strays(&self) -> bool {
        self.0.load(Ordering::Relaxed) == STRAYING
    }

    /// The script that has it has ended.
    pub fn end(&self) {
        let before = self.0.swap(FREE, Ordering::Relaxed);
        assert_ne!(before, FREE, "invariant: who ends has the commitment");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_script_at_a_time_has_it() {
        let commitment = Commitment::default();
        assert!(commitment.take() && !commitment.take());
        commitment.end();
        assert!(commitment.take() && !commitment.strays());
        commitment.stray();
        assert!(commitment.strays() && !commitment.take());
        commitment.end();
        assert!(!commitment.strays());
    }
}
