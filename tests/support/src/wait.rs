//! Waiting for a condition: the only place of the tests that sleeps.

use std::time::{Duration, Instant};

/// How long a condition may take before the test gives up: far more than a loaded machine needs,
/// so that it is never what decides whether a test passes.
const PATIENCE: Duration = Duration::from_secs(30);

/// Calls `probe` every `pause` until it yields a value, for `patience` at most.
pub fn poll_every<T>(
    pause: Duration,
    patience: Duration,
    mut probe: impl FnMut() -> Option<T>,
) -> Option<T> {
    let deadline = Instant::now() + patience;
    loop {
        if let Some(found) = probe() {
            return Some(found);
        }
        if Instant::now() >= deadline {
            return None;
        }
        #[expect(clippy::disallowed_methods, reason = "polling a process that tells us nothing")]
        std::thread::sleep(pause);
    }
}

/// Waits until `condition` holds and panics with `what` when it never does.
#[track_caller]
pub fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let pause = Duration::from_millis(5);
    let held = poll_every(pause, PATIENCE, || condition().then_some(()));
    assert!(held.is_some(), "waited {PATIENCE:?} in vain: {what}");
}
