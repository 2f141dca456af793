//! Mail between cores: a queue for each ordered pair of them, and a wake-up for those who sleep.
//!
//! A core looks into its queues every round while it is busy, which costs it one load of a shared
//! cache line a queue. Only a core that blocks in the kernel has to be woken, by its eventfd, and
//! only the first sender pays for that. The protocol, for a sender and a core about to sleep:
//!
//! ```text
//!   sender                                sleeper
//!   S1 push the mail                      R1 asleep := how
//!   S2 fence                              R2 fence
//!   S3 if asleep.swap(no) is not no:      R3 if a queue has mail: asleep := no, go on
//!      notify                             R4 block until notified
//! ```
//!
//! There are two ways to sleep and an eventfd for each: blocking in the core's own ring, which
//! polls the first, and parked in the executor, which reads the second. (The ring could pass the
//! first on to the second, but the kernel delays an eventfd that is signalled by an eventfd by an
//! RCU grace period.)
//!
//! No wake-up is lost: the two fences are sequentially consistent, so one comes first. If S2 does,
//! R3 sees the mail of S1. If R2 does, S3 sees the flag of R1 and notifies; the eventfd keeps the
//! notification for R4 if it comes before. The test below runs every interleaving of this protocol
//! on a machine with store buffers, and shows that it fails without the fences.

use std::collections::VecDeque;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering, fence};

use rtrb::{Consumer, Producer, RingBuffer};

use super::sys::EventFd;
use crate::route::engine::ShardId;
use crate::route::message::Batch;

/// Places in a queue between two cores. A round sends at most a few, and what does not fit waits
/// in order with its sender.
const QUEUE_LENGTH: usize = 64;

/// What travels between cores.
#[derive(Debug)]
pub(super) enum Mail {
    /// A message of the sender's engine.
    Batch(Box<Batch>),
    /// A connection that the sender accepted and has more of than its share.
    Socket {
        /// The accepted socket.
        descriptor: OwnedFd,
        /// Whether it came over the unix socket.
        unix: bool,
    },
}

/// How a core sleeps.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub(super) enum Sleep {
    /// It blocks in its own ring, which polls the event.
    Blocked,
    /// It has given the processor to the executor, which reads the event.
    Parked,
}

/// The value of [`Shared::asleep`] for a core that looks into its queues by itself.
const AWAKE: u8 = u8::MAX;

/// What all threads see of one core. Aligned so that two cores share no cache line.
#[derive(Debug)]
#[repr(align(128))]
struct Shared {
    /// [`AWAKE`], or the [`Sleep`] that the core is in or about to begin.
    asleep: AtomicU8,
    /// By [`Sleep`].
    events: [EventFd; 2],
    /// Connections, counted from the moment that a core is chosen for one.
    connections: AtomicUsize,
}

/// All cores, as everyone sees them. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Cores(Arc<[Shared]>);

impl Cores {
    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Wakes every core, whether it sleeps or not.
    pub(super) fn wake_all(&self) {
        for core in self.0.iter() {
            core.events.iter().for_each(EventFd::notify);
        }
    }

    /// Chooses the core for a connection that `acceptor` has accepted, and counts it there: the
    /// acceptor itself unless another has fewer. The kernel spreads connections over
    /// the cores by hash, which for few connections is far from even, and the busiest core sets
    /// the latency of all.
    pub(super) fn place_connection(&self, acceptor: ShardId) -> ShardId {
        let count = |index: usize| self.0[index].connections.load(Ordering::Relaxed);
        let own = acceptor.index();
        let least = (0..self.0.len()).min_by_key(|&index| count(index)).unwrap_or(own);
        let chosen = if count(least) < count(own) { least } else { own };
        self.0[chosen].connections.fetch_add(1, Ordering::Relaxed);
        ShardId(chosen as u16)
    }

    /// Takes a closed connection out of the count.
    pub(super) fn connection_closed(&self, core: ShardId) {
        let before = self.0[core.index()].connections.fetch_sub(1, Ordering::Relaxed);
        assert!(before > 0, "invariant: a connection is counted before it is closed");
    }
}

/// The queue to one other core, and what did not fit into it.
struct Outbound {
    queue: Producer<Mail>,
    overflow: VecDeque<Mail>,
    /// Whether something was pushed since the target was last looked at for being asleep.
    pushed: bool,
}

impl Outbound {
    fn refill(&mut self) {
        while let Some(mail) = self.overflow.pop_front() {
            if let Err(rtrb::PushError::Full(mail)) = self.queue.push(mail) {
                self.overflow.push_front(mail);
                return;
            }
            self.pushed = true;
        }
    }
}

/// One core's end of all its queues.
pub(super) struct Mailbox {
    own: ShardId,
    cores: Cores,
    /// By sender; none from itself.
    inbound: Vec<Option<Consumer<Mail>>>,
    /// By target; none to itself.
    outbound: Vec<Option<Outbound>>,
}

/// The mailboxes of all cores, in order.
pub(super) fn mailboxes(shards: usize) -> io::Result<(Vec<Mailbox>, Cores)> {
    let shared = || {
        Ok(Shared {
            asleep: AtomicU8::new(AWAKE),
            events: [EventFd::new()?, EventFd::new()?],
            connections: AtomicUsize::new(0),
        })
    };
    let cores = Cores((0..shards).map(|_| shared()).collect::<io::Result<_>>()?);
    let mut boxes: Vec<Mailbox> = (0..shards)
        .map(|index| Mailbox {
            own: ShardId(index as u16),
            cores: cores.clone(),
            inbound: Vec::with_capacity(shards),
            outbound: Vec::with_capacity(shards),
        })
        .collect();
    for sender in 0..shards {
        for target in 0..shards {
            let (outbound, inbound) = if sender == target {
                (None, None)
            } else {
                let (queue, consumer) = RingBuffer::new(QUEUE_LENGTH);
                let overflow = VecDeque::new();
                (Some(Outbound { queue, overflow, pushed: false }), Some(consumer))
            };
            boxes[sender].outbound.push(outbound);
            boxes[target].inbound.push(inbound);
        }
    }
    Ok((boxes, cores))
}

impl Mailbox {
    /// The core that this is the mailbox of.
    pub(super) fn own(&self) -> ShardId {
        self.own
    }

    /// All cores.
    pub(super) fn cores(&self) -> &Cores {
        &self.cores
    }

    /// The eventfd that wakes this core from a kind of sleep.
    pub(super) fn event(&self, sleep: Sleep) -> &EventFd {
        &self.cores.0[self.own.index()].events[sleep as usize]
    }

    /// Hands mail to another core's queue, or keeps it in order while that is full. The target is
    /// woken by the next [`flush`](Self::flush).
    pub(super) fn send(&mut self, target: ShardId, mail: Mail) {
        let outbound = self.outbound[target.index()]
            .as_mut()
            .expect("invariant: a core sends no mail to itself");
        outbound.overflow.push_back(mail);
        outbound.refill();
    }

    /// Pushes what had not fitted, and wakes the sleepers among those who got mail. Returns whether
    /// everything is in the queues; if not, it must be called again soon.
    pub(super) fn flush(&mut self) -> bool {
        let (mut drained, mut pushed) = (true, false);
        for outbound in self.outbound.iter_mut().flatten() {
            outbound.refill();
            drained &= outbound.overflow.is_empty();
            pushed |= outbound.pushed;
        }
        if pushed {
            // S2 of the protocol, once for all targets.
            fence(Ordering::SeqCst);
            for (outbound, core) in self.outbound.iter_mut().zip(self.cores.0.iter()) {
                if outbound.as_mut().is_some_and(|outbound| std::mem::take(&mut outbound.pushed)) {
                    core.wake_sleeper();
                }
            }
        }
        drained
    }

    /// The mail of every other core that has arrived until now, to `deliver`. Bounded: at most what
    /// the queues held when they were reached.
    pub(super) fn receive(&mut self, mut deliver: impl FnMut(Mail)) -> usize {
        let mut count = 0;
        for inbound in self.inbound.iter_mut().flatten() {
            for _ in 0..inbound.slots() {
                let Ok(mail) = inbound.pop() else { break };
                deliver(mail);
                count += 1;
            }
        }
        count
    }

    /// Whether there is mail to receive.
    pub(super) fn has_mail(&self) -> bool {
        self.inbound.iter().flatten().any(|inbound| !inbound.is_empty())
    }

    /// Announces that this core is about to block until its event is notified. False if there is
    /// mail, and then it must not block. Afterwards, in any case: [`awake`](Self::awake).
    pub(super) fn prepare_sleep(&self, sleep: Sleep) -> bool {
        let own = &self.cores.0[self.own.index()];
        own.asleep.store(sleep as u8, Ordering::Relaxed); // R1
        fence(Ordering::SeqCst); // R2
        !self.has_mail() // R3
    }

    /// Announces that this core looks into its queues by itself again.
    pub(super) fn awake(&self) {
        let own = &self.cores.0[self.own.index()];
        own.asleep.store(AWAKE, Ordering::Relaxed);
    }
}

impl Shared {
    /// S3 of the protocol. The swap makes one sender of several the one who notifies.
    fn wake_sleeper(&self) {
        if self.asleep.load(Ordering::Relaxed) == AWAKE {
            return;
        }
        let sleep = self.asleep.swap(AWAKE, Ordering::Relaxed);
        if let Some(event) = self.events.get(usize::from(sleep)) {
            event.notify();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    /// The protocol of the module's head on a machine with store buffers (the kind of reordering
    /// that x86 has, and that the fences are for), every interleaving of it.
    mod model {
        use super::HashSet;

        const SENDERS: usize = 2;
        const SLEEPER: usize = SENDERS;

        /// The shared variables: a queue for each sender, the flag, the eventfd.
        const ASLEEP: usize = SENDERS;
        const EVENT: usize = SENDERS + 1;

        #[derive(Clone, Default, PartialEq, Eq, Hash)]
        struct State {
            memory: [bool; SENDERS + 2],
            /// The next step of each thread, and stores that the others do not see yet.
            threads: [(u8, Vec<(usize, bool)>); SENDERS + 1],
        }

        const END: u8 = 9;

        /// Which of the two fences there are.
        #[derive(Clone, Copy)]
        pub(super) struct Fences {
            pub(super) sender: bool,
            pub(super) sleeper: bool,
        }

        impl State {
            fn load(&self, thread: usize, variable: usize) -> bool {
                let stores = self.threads[thread].1.iter().rev();
                let own = stores.clone().find(|store| store.0 == variable);
                own.map_or(self.memory[variable], |store| store.1)
            }

            fn is_drained(&self, thread: usize) -> bool {
                self.threads[thread].1.is_empty()
            }

            /// The state after a step of a thread, if the thread can go on.
            fn step(&self, thread: usize, fences: Fences) -> Option<Self> {
                let mut next = self.clone();
                let (position, drained) = (self.threads[thread].0, self.is_drained(thread));
                let fence = if thread == SLEEPER { fences.sleeper } else { fences.sender };
                let goto = match (thread == SLEEPER, position) {
                    (false, 0) => next.store(thread, thread, 1),
                    (true, 0) => next.store(thread, ASLEEP, 1),
                    (_, 1) if fence && !drained => return None,
                    (_, 1) => 2,
                    (false, 2) => {
                        if self.load(thread, ASLEEP) {
                            3
                        } else {
                            END
                        }
                    }
                    // A swap is atomic and seen at once; the write to the eventfd follows it.
                    (false, 3) if !drained => return None,
                    (false, 3) => {
                        next.memory[ASLEEP] = false;
                        if self.memory[ASLEEP] { 4 } else { END }
                    }
                    (false, 4) => {
                        next.memory[EVENT] = true;
                        END
                    }
                    (true, 2..=3) => {
                        let queue = usize::from(position - 2);
                        if self.load(thread, queue) { END } else { position + 1 }
                    }
                    (true, 4) if self.memory[EVENT] => END,
                    _ => return None,
                };
                next.threads[thread].0 = goto;
                Some(next)
            }

            fn store(&mut self, thread: usize, variable: usize, goto: u8) -> u8 {
                self.threads[thread].1.push((variable, true));
                goto
            }

            /// The state after the oldest buffered store of a thread has become visible.
            fn drain(&self, thread: usize) -> Option<Self> {
                let mut next = self.clone();
                let (variable, value) = *self.threads[thread].1.first()?;
                next.threads[thread].1.remove(0);
                next.memory[variable] = value;
                Some(next)
            }

            fn is_lost(&self) -> bool {
                self.threads[SLEEPER].0 != END
            }
        }

        /// Whether some interleaving ends with a core asleep on its mail. Also counts the states.
        pub(super) fn loses_a_wake_up(fences: Fences) -> (bool, usize) {
            let mut seen = HashSet::new();
            let mut open = vec![State::default()];
            let mut lost = false;
            while let Some(state) = open.pop() {
                if !seen.insert(state.clone()) {
                    continue;
                }
                let threads = 0..=SLEEPER;
                let steps = threads.clone().filter_map(|thread| state.step(thread, fences));
                let drains = threads.filter_map(|thread| state.drain(thread));
                let next: Vec<_> = steps.chain(drains).collect();
                lost |= next.is_empty() && state.is_lost();
                open.extend(next);
            }
            (lost, seen.len())
        }
    }

    #[test]
    fn no_interleaving_loses_a_wake_up_and_both_fences_are_needed() {
        let lost = |sender, sleeper| model::loses_a_wake_up(model::Fences { sender, sleeper });
        let (lost_with_both, states) = lost(true, true);
        assert!(!lost_with_both && states > 100, "{states} states");
        assert!(lost(false, true).0);
        assert!(lost(true, false).0);
    }

    fn socket() -> Mail {
        let (end, _) = std::os::unix::net::UnixStream::pair().unwrap();
        Mail::Socket { descriptor: end.into(), unix: true }
    }

    fn batch(unix_ms: u64) -> Mail {
        let mut batch = Box::new(Batch::new(ShardId(0)));
        batch.unix_ms = unix_ms;
        Mail::Batch(batch)
    }

    #[test]
    fn mail_beyond_the_queue_waits_with_the_sender_in_order() {
        let (mut boxes, _) = mailboxes(2).unwrap();
        let [sender, target] = &mut boxes[..] else { panic!("two mailboxes") };
        for number in 0..200 {
            sender.send(ShardId(1), batch(number));
        }
        assert!(!sender.flush());
        let mut numbers = Vec::new();
        let mut deliver = |mail| match mail {
            Mail::Batch(batch) => numbers.push(batch.unix_ms),
            Mail::Socket { .. } => panic!("no socket was sent"),
        };
        while target.receive(&mut deliver) > 0 {
            sender.flush();
        }
        assert!(sender.flush() && !target.has_mail());
        assert_eq!(numbers, (0..200).collect::<Vec<_>>());
    }

    #[test]
    fn only_a_sleeper_is_notified_and_only_once() {
        let (mut boxes, _) = mailboxes(3).unwrap();
        let notified = |mailbox: &Mailbox, sleep| {
            let event = mailbox.event(sleep);
            event.notify();
            event.count() - 1
        };
        boxes[0].send(ShardId(2), socket());
        boxes[0].flush();
        assert_eq!(notified(&boxes[2], Sleep::Blocked), 0);
        assert!(!boxes[2].prepare_sleep(Sleep::Parked), "there is mail");
        boxes[2].awake();
        assert_eq!(boxes[2].receive(drop), 1);
        for sleep in [Sleep::Blocked, Sleep::Parked] {
            assert!(boxes[2].prepare_sleep(sleep));
            for sender in [0, 1] {
                boxes[sender].send(ShardId(2), socket());
                boxes[sender].flush();
            }
            assert_eq!(notified(&boxes[2], sleep), 1);
            boxes[2].awake();
            assert_eq!(boxes[2].receive(drop), 2);
        }
    }

    #[test]
    fn connections_go_to_the_core_with_the_fewest() {
        let (_, cores) = mailboxes(3).unwrap();
        let mut counts = [0; 3];
        for _ in 0..30 {
            counts[cores.place_connection(ShardId(1)).index()] += 1;
        }
        assert_eq!(counts, [10, 10, 10]);
        (0..4).for_each(|_| cores.connection_closed(ShardId(0)));
        assert_eq!(cores.place_connection(ShardId(1)), ShardId(0));
        // An acceptor with no more than the others keeps what it accepts.
        (0..3).for_each(|_| assert_eq!(cores.place_connection(ShardId(0)), ShardId(0)));
        assert_eq!(cores.place_connection(ShardId(2)), ShardId(2));
    }
}
