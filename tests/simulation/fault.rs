//! Deliberate faults of the mailbox, to show that the simulation would notice real ones.

use std::collections::VecDeque;

use kvasir_server::route::message::{Batch, BatchKind, Control};
use kvasir_testing::Rng;

/// What goes wrong between cores.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Fault {
    /// Nothing.
    None,
    /// A message is delivered twice.
    Duplicate,
    /// A message overtakes the one before it.
    Swap,
    /// Two requests of a message get each other's reply.
    ExchangeReplies,
    /// Locks are lost as soon as they have been granted.
    LoseLocks,
}

impl Fault {
    /// Puts a message into the queue to its target, or what the fault makes of it.
    pub(crate) fn post(
        self,
        rng: &mut Rng,
        link: &mut VecDeque<Box<Batch>>,
        mut batch: Box<Batch>,
    ) {
        match self {
            Self::Duplicate if batch.controls.is_empty() && rng.one_in(4) => {
                link.push_back(Box::new(copy_of(&batch)));
            }
            Self::Swap if !link.is_empty() && rng.one_in(2) => {
                link.insert(link.len() - 1, batch);
                return;
            }
            Self::ExchangeReplies => exchange_replies(&mut batch),
            Self::LoseLocks => lose_locks(&mut batch),
            Self::None | Self::Duplicate | Self::Swap => {}
        }
        link.push_back(batch);
    }
}

fn copy_of(batch: &Batch) -> Batch {
    Batch {
        origin: batch.origin,
        kind: batch.kind,
        unix_ms: batch.unix_ms,
        requests: batch.requests.clone(),
        ranges: batch.ranges.clone(),
        data: batch.data.clone(),
        replies: batch.replies.clone(),
        controls: Vec::new(),
    }
}

fn exchange_replies(batch: &mut Batch) {
    let [first, second, ..] = &mut batch.requests[..] else { return };
    if batch.kind == BatchKind::Requests || first.done.parked || second.done.parked {
        return;
    }
    let len = first.done.reply_end;
    batch.replies[..second.done.reply_end].rotate_left(len);
    first.done.reply_end = second.done.reply_end - len;
}

fn lose_locks(batch: &mut Batch) {
    for control in std::mem::take(&mut batch.controls) {
        let lost = match &control {
            Control::Lock(id, _) => Some(Control::Release(*id)),
            _ => None,
        };
        batch.controls.push(control);
        batch.controls.extend(lost);
    }
}
